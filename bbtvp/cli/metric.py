"""`--metric`: a registered metric by its name, or a function in a file or a package.

The code that a user names is the user's own: it runs with all rights of the program. So only the
command line reads a name such as `score.py:mine`; a bundle, a record or a jobs file that holds one
runs nothing (`bbtvp.tasks.metrics.metric_named`).
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bbtvp.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from bbtvp.tasks import Metric


def open_metric(text: str) -> str | Metric:
    """The metric that a user names: a registered one, `FILE.py:FUNCTION` or `PACKAGE:FUNCTION`.

    The object may be a function of a prediction and an answer, or a `Metric`. UsageError where it
    is not there.
    """
    from bbtvp.tasks import Metric
    from bbtvp.tasks.metrics import metric_named
    from bbtvp.tasks.own import own_metric

    place, colon, name = text.rpartition(":")
    if not colon:
        metric_named(text)
        return text
    module = _file(Path(place).expanduser()) if place.endswith(".py") else _package(place)
    if not hasattr(module, name):
        known = [one for one, found in vars(module).items() if callable(found)]
        raise UsageError(f"{place}: {unknown('function', name, known)}")
    found = getattr(module, name)
    return replace(found, name=text) if isinstance(found, Metric) else own_metric(found, text)


def _file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"no such file: {path}; give --metric FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise UsageError(f"{path} cannot be imported: {error}; mend it") from error
    return module


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"the metric's package {name!r} cannot be imported: {error}") from error
