"""Scores of predictions against answers.

A prediction is what `prediction(reply, labels)` gives: a label, free text, UNPARSED (a reply that
names no single label: wrong, and counted), or None / NaN (a failed query: missing data, left out of
the score, and counted). A score lies between 0 and 1: a metric of right and wrong gives 1 or 0, a
graded one anything between.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, TypeGuard, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.errors import UsageError
from bbtvp.core.plugins import Registry
from bbtvp.tasks.grades.boxes import BOXES, box_misfit, box_problem, iou
from bbtvp.tasks.grades.numbers import count_accuracy, count_problem, relaxed
from bbtvp.tasks.grades.texts import anls, character_accuracy, token_f1, word_accuracy
from bbtvp.tasks.grades.vqa import vqa_accuracy, vqa_match, vqa_problem
from bbtvp.tasks.replies import UNPARSED, names, normalise, number

__all__ = [
    "METRICS",
    "RIGHT_OR_WRONG",
    "UNPARSED",
    "Metric",
    "Predictions",
    "Score",
    "accuracy",
    "confusion",
    "mean_absolute_error",
    "metric_named",
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


AcceptedAnswers: TypeAlias = Sequence[str | tuple[str, ...]]
"""The right answer of each sample, or all that are accepted for it."""


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


def _any(answers: Sequence[str]) -> str:
    return ""


def _any_size(answers: Sequence[str], width: int, height: int) -> str:
    return ""


@final
@dataclass(frozen=True)
class Metric:
    """How replies are scored. Higher is better.

    grade: (prediction, answer) → the score of one sample, from 0 to 1; a bool counts as 1 or 0. Of
    several accepted answers the best grade counts. among: (prediction, answers) → the score, for a
    metric that needs all answers of the sample at once. over: scores (n,), n at least 1 → the value
    of the set; their mean by default. needs_labels: whether every sample must have a list of
    allowed answers, which the prediction is then one of. problem: (answers) → why a sample with
    these answers cannot be scored, "" if it can. misfit: (answers, width, height) → the same of a
    sample whose picture has this size in pixels. whole: whether the prediction is the whole reply
    and not the final statement in it, as for boxes in JSON. name: in messages. version: tells
    functions of one name apart; both are part of the digest of a task.
    """

    grade: Callable[[str, str], float]
    over: Callable[[NDArray[np.float64]], float] = _mean
    needs_labels: bool = False
    among: Callable[[str, Sequence[str]], float] | None = None
    problem: Callable[[Sequence[str]], str] = _any
    misfit: Callable[[Sequence[str], int, int], str] = _any_size
    whole: bool = False
    name: str = ""
    version: str = ""

    def __str__(self) -> str:
        return self.name or getattr(self.grade, "__name__", "a metric")

    def score(self, given: str, answers: Sequence[str], where: str = "") -> float:
        """The score of a prediction, 0 to 1.

        where: what an error begins with. Raises UsageError if the function fails, or gives no
        number from 0 to 1.
        """
        found: object
        asked = f"{where}metric {str(self)!r} on the prediction {given!r}, answer {answers[0]!r}"
        try:
            if self.among is not None:
                found = self.among(given, answers)
            else:
                # Checked before the best is taken: a NaN would hide behind max.
                grades = [self.grade(given, answer) for answer in answers]
                found = next((one for one in grades if not _is_score(one)), None)
                found = max(grades) if found is None else found
        except Exception as error:  # a user's function can raise anything
            raise UsageError(f"{asked}: {type(error).__name__}: {error}; mend it") from error
        if not _is_score(found):
            raise UsageError(f"{asked} gives {found!r}; return a number from 0 to 1")
        return float(found)


def _is_score(found: object) -> TypeGuard[float]:
    number = isinstance(found, bool | int | float | np.bool_ | np.number)
    return number and bool(0 <= found <= 1)  # type: ignore[operator]


_BUILTIN: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric(_same_label, needs_labels=True),
        "exact": Metric(_exact),
        "contains": Metric(_contains),
        "anls": Metric(anls),
        "1-cer": Metric(character_accuracy),
        "1-wer": Metric(word_accuracy),
        "token-f1": Metric(token_f1),
        "vqa": Metric(vqa_match, among=vqa_accuracy, problem=vqa_problem),
        "relaxed": Metric(relaxed),
        "count": Metric(count_accuracy, problem=count_problem),
        **{
            name: Metric(
                partial(iou, form=form),
                problem=partial(box_problem, form=form),
                misfit=partial(box_misfit, form=form),
                whole=True,
            )
            for name, form in BOXES.items()
        },
    }
)
METRICS = Registry(
    "bbtvp.metrics",
    "metric",
    check=lambda found: isinstance(found, Metric),
    expected="a bbtvp.tasks.Metric",
    builtin=_BUILTIN,
)
"""Metrics by the name that a task states; plug-ins add to them. docs/replies.md describes them.

`accuracy`: the label is the answer, or the same number. `exact`: equal after `normalise`.
`contains`: the answer occurs as a whole phrase in the reply (lenient: a reply that lists everything
is right every time). The others are graded (`bbtvp.tasks.grades`).
"""


RIGHT_OR_WRONG = ("accuracy", "exact", "contains")
"""Metrics whose score is 0 or 1."""


def metric_named(name: str) -> Metric:
    """The metric that is registered under this name.

    Raises UsageError for an unknown one, and for one in a file of code, which only the command line
    and Python may name.
    """
    if ":" in name:
        raise UsageError(
            f"the metric {name} is code, which is not run because a file names it; name it "
            f"yourself: --metric {name}"
        )
    found: Metric = METRICS.load(name)
    return found if found.name else replace(found, name=name)


def per_sample(
    metric: str | Metric, predictions: Predictions, answers: AcceptedAnswers
) -> NDArray[np.float64]:
    """(n,) float64: 1 right, 0 wrong or unparsed, between for a graded metric, NaN missing.

    It is what paired tests take. Raises UsageError for an unknown metric, or one that gives no
    score, and ValueError if the lengths differ.
    """
    found = _found(metric)
    pairs = zip(predictions, answers, strict=True)
    scores = [
        math.nan if _missing(given) else found.score(str(given), _accepted(answer))
        for given, answer in pairs
    ]
    return np.array(scores, dtype=np.float64)


def _accepted(answer: str | tuple[str, ...]) -> tuple[str, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def score(metric: str | Metric, predictions: Predictions, answers: AcceptedAnswers) -> Score:
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
    return metric if isinstance(metric, Metric) else metric_named(metric)


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
