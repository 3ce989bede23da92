"""Beyond accuracy: per class, what was taken for what, and the figures that a kind of task is known
by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Vector
from bbtvp.search import Reading
from bbtvp.stats import paired_interval, roc_auc
from bbtvp.tasks.metrics import UNPARSED, confusion, per_class
from bbtvp.tasks.replies import number
from bbtvp.verify.inquiry import Inquiry

_Resampled = Callable[[NDArray[np.intp]], Vector]


class Class(NamedTuple):
    """Accuracy among the n images of one true answer, before and after."""

    n: int
    before: float
    after: float


@final
@dataclass(frozen=True)
class Figure:
    """One figure of the same images before and after, and the paired bootstrap interval of the
    difference.

    name: "roc_auc" (two labels), "f1" and "yes_ratio" (yes or no), "mean_absolute_error" (numbers;
    lower is better). positive: the label it is about, "" where there is none.
    """

    name: str
    before: float
    after: float
    difference: float
    difference_ci95: tuple[float, float]
    positive: str = ""


@final
@dataclass(frozen=True)
class Detail:
    """Of the images answered in all arms. confusion: counts[truth][answer], "" for a reply that
    named no label.
    """

    per_class: Mapping[str, Class]
    confusion_before: Mapping[str, Mapping[str, int]]
    confusion_after: Mapping[str, Mapping[str, int]]
    figures: tuple[Figure, ...]

    def as_json(self) -> dict[str, Any]:
        """The fields, classes by name."""
        return asdict(self) | {
            "per_class": {label: found._asdict() for label, found in self.per_class.items()}
        }


def detail(inquiry: Inquiry, seed: int) -> Detail:
    """Of zero-shot against prompted; free answers have no classes, only the figures that they
    allow.
    """
    kept = np.flatnonzero(inquiry.answered())
    truths = [inquiry.samples[i].answer for i in kept]
    before, after = (
        [_prediction(inquiry.answers[arm][i].reading) for i in kept]
        for arm in ("zero_shot", "prompted")
    )
    if inquiry.task.labels is None:
        return Detail({}, {}, {}, tuple(_figures(inquiry, kept, truths, before, after, seed)))
    first = per_class(before, truths)
    second = per_class(after, truths)
    classes = {
        label: Class(first[label].n, first[label].value, second[label].value) for label in first
    }
    figures = tuple(_figures(inquiry, kept, truths, before, after, seed))
    return Detail(classes, confusion(before, truths), confusion(after, truths), figures)


def _prediction(reading: Reading) -> str:
    return UNPARSED if reading.answer is None else reading.answer


def _figures(
    inquiry: Inquiry,
    kept: NDArray[np.intp],
    truths: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
    seed: int,
) -> list[Figure]:
    labels = inquiry.task.labels or ()
    polar = {label.casefold(): label for label in labels}
    positive = polar.get("yes", labels[-1] if labels else "")
    truth = np.array([answer == positive for answer in truths])
    pairs: dict[str, tuple[_Resampled, _Resampled]] = {}
    first = inquiry.scores("zero_shot")
    second = inquiry.scores("prompted")
    if len(labels) == 2 and first is not None and second is not None:
        place = labels.index(positive)
        margins = [scores[kept, place] - scores[kept, 1 - place] for scores in (first, second)]
        pairs["roc_auc"] = _auc(margins[0], truth), _auc(margins[1], truth)
    if polar.keys() == {"yes", "no"}:
        said = [np.array([answer == positive for answer in given]) for given in (before, after)]
        pairs["f1"] = _f1(said[0], truth), _f1(said[1], truth)
        pairs["yes_ratio"] = _mean(said[0]), _mean(said[1])
    if truths and all(number(answer) is not None for answer in {*truths, *labels}):
        errors = [
            np.array([_error(a, t) for a, t in zip(given, truths, strict=True)])
            for given in (before, after)
        ]
        pairs["mean_absolute_error"] = _mean(errors[0]), _mean(errors[1])
    found = (_figure(name, pair, len(kept), seed, positive) for name, pair in pairs.items())
    return [figure for figure in found if figure is not None]


def _figure(
    name: str, pair: tuple[_Resampled, _Resampled], n: int, seed: int, positive: str
) -> Figure | None:
    """None where one of the two has no value: a ROC curve of one class, an error of no number."""
    before, after = pair
    whole = np.arange(n)[None]
    first = float(before(whole)[0])
    second = float(after(whole)[0])
    if not np.isfinite(first) or not np.isfinite(second):
        return None
    interval = paired_interval(lambda rows: after(rows) - before(rows), n, seed=seed)
    return Figure(
        name,
        first,
        second,
        second - first,
        interval,
        "" if name == "mean_absolute_error" else positive,
    )


def _auc(margin: Vector, truth: NDArray[np.bool_]) -> _Resampled:
    # a reply near no label has no score: it ranks lowest, as sure of nothing
    known = np.where(np.isfinite(margin), margin, -np.inf)
    return lambda rows: roc_auc(known[rows], truth[rows])


def _f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> _Resampled:
    hits = (said & truth).astype(np.float64)
    wrong = (said != truth).astype(np.float64)

    def value(rows: NDArray[np.intp]) -> Vector:
        twice = 2 * hits[rows].sum(axis=1)
        missed = wrong[rows].sum(axis=1)
        total = twice + missed
        result: Vector = np.divide(twice, total, out=np.full(len(rows), np.nan), where=total > 0)
        return result

    return value


def _mean(values: NDArray[Any]) -> _Resampled:
    """Of those that are numbers."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)

    def value(rows: NDArray[np.intp]) -> Vector:
        count = known[rows].sum(axis=1)
        result: Vector = np.divide(
            filled[rows].sum(axis=1), count, out=np.full(len(rows), np.nan), where=count > 0
        )
        return result

    return value


def _error(answer: str, truth: str) -> float:
    said = number(answer)
    true = number(truth)
    return float("nan") if said is None or true is None else abs(said - true)
