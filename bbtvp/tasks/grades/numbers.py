"""Graded scores of numbers."""

from __future__ import annotations

from collections.abc import Sequence

from bbtvp.tasks.replies import normalise, number

_TOLERANCE = 0.05
"""Share of the true number by which a relaxed answer may be off."""


def relaxed(given: str, answer: str) -> float:
    """1 for a number within 5 % of the true one, or for the same text; else 0.

    It is the relaxed accuracy of ChartQA (Masry et al., ACL Findings 2022). Both numbers are read
    by `bbtvp.tasks.replies.number`, which leaves a percent sign out. Of a true 0 only 0 is right.
    """
    said = number(given)
    true = number(answer)
    if said is None or true is None:
        return float(normalise(given) == normalise(answer))
    return float(abs(said - true) <= _TOLERANCE * abs(true))


def count_accuracy(given: str, answer: str) -> float:
    """1 − |given − true| / max(true, 1), at least 0: an error as large as the count gives nothing.

    A reply without one number gives 0.
    """
    said = number(given)
    true = number(answer)
    if said is None or true is None:
        return 0.0
    return max(0.0, 1 - abs(said - true) / max(abs(true), 1.0))


def count_problem(answers: Sequence[str]) -> str:
    """Why these answers are no counts."""
    wrong = next((answer for answer in answers if number(answer) is None), None)
    return "" if wrong is None else f"the answer {wrong!r} is no number, which 'count' needs"
