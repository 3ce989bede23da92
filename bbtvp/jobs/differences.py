"""What differs between two runs: configuration, environment, journal steps, answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from bbtvp.runs.recording import Recording

_T = TypeVar("_T")
Pairs = dict[str, tuple[Any, Any]]
"""The values in the first and in the second, by name; only where they differ."""


def side_by_side(
    first: Mapping[str, _T], second: Mapping[str, _T]
) -> dict[str, tuple[_T | None, _T | None]]:
    """The values of two mappings by name; None for what one of them lacks."""
    return {name: (first.get(name), second.get(name)) for name in {**first, **second}}


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Pairs:
    """What differs between two flat mappings; None for what one of them lacks."""
    pairs = side_by_side(first, second)
    return {name: (one, other) for name, (one, other) in pairs.items() if one != other}


def environments(first: Mapping[str, Any], second: Mapping[str, Any]) -> Pairs:
    """Differences of Python, platform and packages, given two of a record's environments."""
    flat = [
        {"python": one["python"], "platform": one["platform"], **one["packages"]}
        for one in (first, second)
    ]
    return differing(*flat)


class StepDifference(NamedTuple):
    """The first step that differs between two journals, and how.

    fields: those of the step that differ. largest: the largest absolute difference between two
    numbers in the same place, None if anything but numbers differs. only: the run (1 or 2) that
    alone has the step; then `fields` is empty.
    """

    step: str
    fields: tuple[str, ...]
    largest: float | None
    only: int | None = None

    def __str__(self) -> str:
        if self.only:
            return f"{self.step}, which only the {('first', 'second')[self.only - 1]} run has"
        said = f"{self.step}: {', '.join(self.fields)} differ"
        if self.largest is not None:
            said += f" by up to {self.largest:.3g}"
        meaning = _MEANING.get(self.fields[0]) if self.fields else None
        return said if meaning is None else f"{said} ({meaning})"


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
        found = differing(step, other)
        if found:
            largest = max(_largest(*pair) for pair in found.values())
            fields = tuple(sorted(found, key=_rank))
            return StepDifference(name, fields, largest if math.isfinite(largest) else None)
    extra = next((name for name in second.steps if name not in first.steps), None)
    return None if extra is None else StepDifference(extra, (), None, 2)


def _rank(field: str) -> int:
    """The place of a step's field in a list, the most telling first."""
    return _ORDER.index(field) if field in _ORDER else len(_ORDER)


class AnswerDifferences(NamedTuple):
    """How the answers to the same queries differ.

    both: queries that both runs had answered. different: those with different answers. largest: the
    largest difference of a log-probability, None if a text or the number of scores differs.
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
    """The largest absolute difference of two numbers in the same place.

    Infinite if anything but numbers differs.
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
