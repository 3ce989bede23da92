"""What a proof says beyond accuracy: classes, confusions, and figures of certain tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Vector
from bbtvp.stats import paired_interval, roc_auc
from bbtvp.tasks.metrics import UNPARSED, confusion, per_class
from bbtvp.tasks.replies import number
from bbtvp.verify.answers import ModelAnswers

_Resampled = Callable[[NDArray[np.intp]], Vector]
"""A figure of resampled images: (draws, n) places of images → (draws,) values."""

_Pair = tuple[_Resampled, _Resampled]
"""One figure before and after."""


class ClassAccuracy(NamedTuple):
    """Accuracy on the n images of one true answer, before and after."""

    n: int
    before: float
    after: float


@final
@dataclass(frozen=True)
class MetricChange:
    """One figure of the same images before and after, with a paired bootstrap interval.

    name: "roc_auc" (two labels), "f1" and "yes_ratio" (yes or no), "mean_absolute_error" (numbers;
    lower is better). difference: after − before. positive: the label that the figure is about, ""
    where there is none.
    """

    name: str
    before: float
    after: float
    difference: float
    difference_ci95: tuple[float, float]
    positive: str = ""


@final
@dataclass(frozen=True)
class ProofDetail:
    """Figures of the images that were answered in all arms.

    confusion_*: counts[truth][answer]; the answer "" is a reply that named no label.
    """

    per_class: Mapping[str, ClassAccuracy]
    confusion_before: Mapping[str, Mapping[str, int]]
    confusion_after: Mapping[str, Mapping[str, int]]
    figures: tuple[MetricChange, ...]

    def as_json(self) -> dict[str, Any]:
        """The fields, classes by name."""
        classes = {label: found._asdict() for label, found in self.per_class.items()}
        return asdict(self) | {"per_class": classes}


def proof_detail(answers: ModelAnswers, seed: int) -> ProofDetail:
    """Zero-shot against prompted. A task of free answers has no classes, but may have figures."""
    given = _Given.of(answers)
    figures = tuple(given.figures(seed))
    if answers.task.labels is None:
        return ProofDetail({}, {}, {}, figures)
    first = per_class(given.before, given.truths)
    second = per_class(given.after, given.truths)
    classes = {
        label: ClassAccuracy(first[label].n, first[label].value, second[label].value)
        for label in first
    }
    return ProofDetail(
        classes,
        confusion(given.before, given.truths),
        confusion(given.after, given.truths),
        figures,
    )


@final
class _Given(NamedTuple):
    """The true and the given answers to the images that were answered in all arms.

    margins: (n,) before and after, by how much the log-probability of the positive label exceeds
    that of the other; None unless the task has two labels and the model gives log-probabilities.
    """

    labels: tuple[str, ...]
    truths: list[str]
    before: list[str]
    after: list[str]
    margins: tuple[Vector, Vector] | None

    @classmethod
    def of(cls, answers: ModelAnswers) -> _Given:
        kept = np.flatnonzero(answers.answered())
        labels = answers.task.labels or ()
        given = [answers.arms[arm].labels for arm in ("zero_shot", "prompted")]
        before, after = ([said[i] or UNPARSED for i in kept] for said in given)
        truths = [answers.samples[i].answer for i in kept]
        first = answers.scores("zero_shot")
        second = answers.scores("prompted")
        if len(labels) != 2 or first is None or second is None:
            return cls(labels, truths, before, after, None)
        place = labels.index(_positive(labels))
        margins = [scores[kept, place] - scores[kept, 1 - place] for scores in (first, second)]
        return cls(labels, truths, before, after, (margins[0], margins[1]))

    def figures(self, seed: int) -> list[MetricChange]:
        """Those that the answers allow."""
        positive = _positive(self.labels)
        pairs: dict[str, _Pair] = {}
        if self.margins is not None:
            truth = np.array([answer == positive for answer in self.truths])
            pairs["roc_auc"] = _auc(self.margins[0], truth), _auc(self.margins[1], truth)
        if {label.casefold() for label in self.labels} == {"yes", "no"}:
            pairs |= self._polar(positive)
        numbers = {*self.truths, *self.labels}
        if self.truths and all(number(answer) is not None for answer in numbers):
            pairs["mean_absolute_error"] = self._error(self.before), self._error(self.after)
        found = (
            _change(name, pair, len(self.truths), seed, positive) for name, pair in pairs.items()
        )
        return [change for change in found if change is not None]

    def _polar(self, positive: str) -> dict[str, _Pair]:
        """Figures of yes and no."""
        truth = np.array([answer == positive for answer in self.truths])
        first = np.array([answer == positive for answer in self.before])
        second = np.array([answer == positive for answer in self.after])
        return {
            "f1": (_f1(first, truth), _f1(second, truth)),
            "yes_ratio": (_mean(first), _mean(second)),
        }

    def _error(self, answers: Sequence[str]) -> _Resampled:
        pairs = zip(answers, self.truths, strict=True)
        return _mean(np.array([_error(answer, truth) for answer, truth in pairs]))


def _positive(labels: Sequence[str]) -> str:
    """The label that figures of two classes are about: yes, else the last one."""
    by_name = {label.casefold(): label for label in labels}
    return by_name.get("yes", labels[-1] if labels else "")


def _change(name: str, pair: _Pair, n: int, seed: int, positive: str) -> MetricChange | None:
    """None where one of the two has no value: a ROC curve of one class, an error of no number."""
    before, after = pair
    whole = np.arange(n)[None]
    first = float(before(whole)[0])
    second = float(after(whole)[0])
    if not np.isfinite(first) or not np.isfinite(second):
        return None
    return MetricChange(
        name,
        first,
        second,
        second - first,
        paired_interval(lambda rows: after(rows) - before(rows), n, seed=seed),
        "" if name == "mean_absolute_error" else positive,
    )


def _auc(margin: Vector, truth: NDArray[np.bool_]) -> _Resampled:
    # A reply near no label has no score. It ranks lowest, as the least certain.
    known = np.where(np.isfinite(margin), margin, -np.inf)
    return lambda rows: roc_auc(known[rows], truth[rows])


def _f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> _Resampled:
    hits = (said & truth).astype(np.float64)
    wrong = (said != truth).astype(np.float64)

    def value(rows: NDArray[np.intp]) -> Vector:
        twice = 2 * hits[rows].sum(axis=1)
        return _ratio(twice, twice + wrong[rows].sum(axis=1))

    return value


def _mean(values: NDArray[Any]) -> _Resampled:
    """The mean of the values that are numbers."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)

    def value(rows: NDArray[np.intp]) -> Vector:
        return _ratio(filled[rows].sum(axis=1), known[rows].sum(axis=1))

    return value


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Vector:
    """part / whole, NaN where the whole is 0."""
    missing = np.full(len(whole), np.nan)
    found: Vector = np.divide(part, whole, out=missing, where=whole > 0)
    return found


def _error(answer: str, truth: str) -> float:
    said = number(answer)
    true = number(truth)
    return float("nan") if said is None or true is None else abs(said - true)
