"""Scores of predictions against answers.

A prediction is what `prediction(reply, labels)` gives: a label, free text, UNPARSED (a reply that
names no single label: wrong, and counted), or None / NaN (a failed query: missing data, left out of
the score, and counted).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.plugins import Registry
from bbtvp.tasks.replies import UNPARSED, names, normalise, number

__all__ = [
    "METRICS",
    "UNPARSED",
    "Metric",
    "Predictions",
    "Score",
    "accuracy",
    "confusion",
    "mean_absolute_error",
    "number",
    "per_class",
    "per_sample",
    "score",
]

_NUMBER = re.compile(r"-?\d+(\.\d+)?")

Predictions = Sequence[str | float | None] | NDArray[np.float64]
"""One entry per sample; None or NaN where the query failed."""


class Score(NamedTuple):
    """The value over n samples (NaN if n is 0).

    missing: failed queries, which are not among the n. unparsed: replies that name no single label.
    """

    value: float
    n: int
    missing: int
    unparsed: int


def _same_label(given: str, answer: str) -> bool:
    return given == answer or (
        _is_number(given) and _is_number(answer) and number(given) == number(answer)
    )


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(normalise(text)) is not None


def _exact(given: str, answer: str) -> bool:
    return normalise(given) == normalise(answer)


def _contains(given: str, answer: str) -> bool:
    return names(given, answer)


def _mean(scores: NDArray[np.float64]) -> float:
    return float(scores.mean())


@final
@dataclass(frozen=True)
class Metric:
    """How replies are scored. Higher is better.

    right: (prediction, answer) → whether this sample is right. The proof compares how many samples
    turn right and wrong, so one sample scores 0 or 1. over: scores (n,) of 0 and 1, n at least 1 →
    the value of the set; their mean by default. needs_labels: whether every sample must have a list
    of allowed answers, which the prediction is then one of.
    """

    right: Callable[[str, str], bool]
    over: Callable[[NDArray[np.float64]], float] = _mean
    needs_labels: bool = False


_BUILTIN: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric(_same_label, needs_labels=True),
        "exact": Metric(_exact),
        "contains": Metric(_contains),
    }
)
METRICS = Registry(
    "bbtvp.metrics",
    "metric",
    check=lambda found: isinstance(found, Metric),
    expected="a bbtvp.tasks.Metric",
    builtin=_BUILTIN,
)
"""Metrics by the name that a task states; plug-ins add to them.

`accuracy`: the label is the answer, or the same number. `exact`: equal after `normalise`.
`contains`: the answer occurs as a whole phrase in the reply (lenient: a reply that lists everything
is right every time).
"""


def per_sample(
    metric: str | Metric, predictions: Predictions, answers: Sequence[str]
) -> NDArray[np.float64]:
    """(n,) float64: 1 right, 0 wrong or unparsed, NaN missing; what paired tests take.

    Raises UsageError for an unknown metric, ValueError if the lengths differ.
    """
    right = _found(metric).right
    pairs = zip(predictions, answers, strict=True)
    scores = [
        math.nan if _missing(given) else float(right(str(given), answer)) for given, answer in pairs
    ]
    return np.array(scores, dtype=np.float64)


def score(metric: str | Metric, predictions: Predictions, answers: Sequence[str]) -> Score:
    """The value of a set. Raises as `per_sample` does."""
    scores = per_sample(metric, predictions, answers)
    scored = scores[~np.isnan(scores)]
    value = float(_found(metric).over(scored)) if scored.size else math.nan
    return Score(value, int(scored.size), int(scores.size - scored.size), _unparsed(predictions))


def accuracy(predictions: Predictions, answers: Sequence[str]) -> Score:
    """Share of predictions that are the answer."""
    return score("accuracy", predictions, answers)


def per_class(predictions: Predictions, answers: Sequence[str]) -> dict[str, Score]:
    """Accuracy among the samples of each true answer, by answer."""
    given: dict[str, list[str | float | None]] = defaultdict(list)
    for one, answer in zip(predictions, answers, strict=True):
        given[answer].append(one)
    return {
        answer: accuracy(given[answer], [answer] * len(given[answer])) for answer in sorted(given)
    }


def confusion(predictions: Predictions, answers: Sequence[str]) -> dict[str, dict[str, int]]:
    """How often each true answer was taken for what."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for given, answer in _present(predictions, answers):
        counts[answer][given] += 1
    return {answer: dict(sorted(counts[answer].items())) for answer in sorted(counts)}


def mean_absolute_error(predictions: Predictions, answers: Sequence[str | float]) -> Score:
    """Mean |prediction - answer| of counts, in the answers' unit; texts are read by `number`.

    A reply without one number has no error: it is left out of the mean, and counted as unparsed.
    """
    pairs = [(number(given), number(answer)) for given, answer in _present(predictions, answers)]
    errors = [
        abs(given - answer) for given, answer in pairs if given is not None and answer is not None
    ]
    value = math.fsum(errors) / len(errors) if errors else math.nan
    return Score(value, len(errors), len(predictions) - len(pairs), len(pairs) - len(errors))


def _found(metric: str | Metric) -> Metric:
    found: Metric = metric if isinstance(metric, Metric) else METRICS.load(metric)
    return found


def _missing(given: object) -> bool:
    return given is None or (isinstance(given, float) and math.isnan(given))


def _present(predictions: Predictions, answers: Sequence[str | float]) -> Iterator[tuple[str, str]]:
    pairs = zip(predictions, answers, strict=True)
    return (
        (str(given), str(answer))
        for given, answer in pairs
        if not (_missing(given) or _missing(answer))
    )


def _unparsed(predictions: Predictions) -> int:
    return sum(isinstance(given, str) and given == UNPARSED for given in predictions)
