"""The metric `within-one`: a number that is off by at most one is right."""

from __future__ import annotations

from bbtvp.tasks import Metric
from bbtvp.tasks.replies import number


def within_one(prediction: str, answer: str) -> bool:
    """Whether both are numbers, and at most 1 apart."""
    given = number(prediction)
    true = number(answer)
    return given is not None and true is not None and abs(given - true) <= 1


WITHIN_ONE = Metric(within_one)
