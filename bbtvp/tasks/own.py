"""A metric of one's own: a function in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from bbtvp.core.digest import digest
from bbtvp.core.errors import UsageError
from bbtvp.tasks.metrics import Metric


def own_metric(function: Callable[[str, str], float], name: str = "") -> Metric:
    """The metric of a function (prediction, answer) → score from 0 to 1.

    Its name is the function's, or the one that is given, and its version a digest of the source
    text, so that a run goes on only with the same function. UsageError for what is no function.
    """
    if not callable(function):
        raise UsageError(
            f"a metric of type {type(function).__name__}; give a name such as 'anls', or a "
            "function of a prediction and an answer"
        )
    try:
        version = digest(inspect.getsource(function).encode())
    except (OSError, TypeError):  # made at a prompt, or in C
        version = ""
    return Metric(function, name=name or getattr(function, "__name__", "own"), version=version)
