"""What differs between two runs: configuration, environment, the steps of their journals, the
answers they got.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bbtvp.runs.recording import Recording

Pairs = dict[str, tuple[Any, Any]]
"""By name, what it is in the first and in the second; only where they differ."""


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Pairs:
    """What differs between two flat mappings; None for what one of them lacks."""
    names = [*first, *(name for name in second if name not in first)]
    return {
        name: (first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    }


def environments(first: Mapping[str, Any], second: Mapping[str, Any]) -> Pairs:
    """Differences of Python, platform and packages, given two of a record's environments."""
    flat = [
        {"python": one["python"], "platform": one["platform"], **one["packages"]}
        for one in (first, second)
    ]
    return differing(*flat)


class StepDifference(NamedTuple):
    """The first step that is not the same, and how.

    fields: of the step that differ; none if only one run has the step, which `only` then says (1 or
    2). largest: the largest absolute difference between two numbers in its place, None if more than
    numbers differ.
    """

    step: str
    fields: tuple[str, ...]
    largest: float | None
    only: int | None = None

    def __str__(self) -> str:
        if self.only:
            return f"{self.step}, which only the {('first', 'second')[self.only - 1]} run has"
        what = _MEANING.get(self.fields[0], "") if self.fields else ""
        by = "" if self.largest is None else f" by up to {self.largest:.3g}"
        return f"{self.step}: {', '.join(self.fields)} differ{by}" + (f" ({what})" if what else "")


_MEANING = {
    "z": "other candidates: the optimiser, or its libraries, went another way",
    "samples": "other images: another seed, plan or task",
    "evaluations": "the same candidates on the same images, judged otherwise: the answers differ",
    "losses": "the same images, judged otherwise: the answers differ",
}
_ORDER = ("z", "samples", "evaluations", "losses")


def first_step(first: Recording, second: Recording) -> StepDifference | None:
    """The first step, in the order of the first run, that differs; None if all are equal."""
    for name, step in first.steps.items():
        other = second.steps.get(name)
        if other is None:
            return StepDifference(name, (), None, 1)
        if found := differing(step, other):
            fields = sorted(
                found, key=lambda field: _ORDER.index(field) if field in _ORDER else len(_ORDER)
            )
            largest = max((_largest(*found[field]) for field in fields), default=0.0)
            return StepDifference(name, tuple(fields), largest if math.isfinite(largest) else None)
    extra = next((name for name in second.steps if name not in first.steps), None)
    return None if extra is None else StepDifference(extra, (), None, 2)


class AnswerDifferences(NamedTuple):
    """Queries that both runs had answered, those answered otherwise, and the largest difference of
    a log-probability.

    largest: None if a text differs, or the number of scores.
    """

    both: int
    different: int
    largest: float | None


def answers(first: Recording, second: Recording) -> AnswerDifferences:
    """Compare the answers to the same queries: equal pixels, text and model."""
    ours = first.answers
    theirs = second.answers
    pairs = [
        ((query.text, query.scores), (theirs[key].text, theirs[key].scores))
        for key, query in ours.items()
        if key in theirs
    ]
    other = [pair for pair in pairs if pair[0] != pair[1]]
    largest = max((_largest(*pair) for pair in other), default=0.0)
    return AnswerDifferences(len(pairs), len(other), largest if math.isfinite(largest) else None)


def _largest(one: Any, other: Any) -> float:
    """The largest absolute difference of two numbers in the same place; infinite if anything else
    differs.
    """
    return max(_gaps(one, other), default=0.0)


def _gaps(one: Any, other: Any) -> Iterator[float]:
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    if numbers and not isinstance(one, bool) and not isinstance(other, bool):
        yield abs(one - other)
    elif (
        isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other)
    ):
        for left, right in zip(one, other, strict=True):
            yield from _gaps(left, right)
    elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key, left in one.items():
            yield from _gaps(left, other[key])
    elif one != other:
        yield math.inf
