"""Gain against image queries, from the journal of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.runs.recording import Recording
from bbtvp.runs.tally import UNPROMPTED
from bbtvp.stats import PairedGain, paired_gain


@final
class Generation(NamedTuple):
    """One generation of a stage: the mean and the least loss of its candidates.

    queries: image queries of the run until then.
    """

    queries: int
    stage: str
    mean: float
    best: float


@final
class Validated(NamedTuple):
    """The gain of a stage's prompt over no prompt, on validation images.

    queries: image queries of the run until then.
    """

    queries: int
    name: str
    paired: PairedGain


@final
@dataclass(frozen=True)
class Curve:
    """How a search went on.

    unprompted: share of right answers on validation without a prompt, None if not known yet.
    """

    unprompted: float | None
    generations: tuple[Generation, ...]
    validated: tuple[Validated, ...]


def curve_of(recording: Recording) -> Curve:
    """The curve of a journal, which may be that of a search under way."""
    spent = _spent(recording)
    bare: Vector | None = None
    generations: list[Generation] = []
    validated: list[Validated] = []
    for (name, step), queries in zip(recording.steps.items(), spent, strict=True):
        stage, _, rest = name.rpartition("/")
        if name == f"validation/{UNPROMPTED}":
            bare = _floats(step["correct"])
        elif stage == "validation" and bare is not None:
            gain = paired_gain(bare, _floats(step["correct"]))
            validated.append(Validated(queries, rest, gain))
        elif "evaluations" in step and rest.isdecimal():
            losses = _floats([row["loss"] for row in step["evaluations"]])
            losses = losses[np.isfinite(losses)]
            if losses.size:
                generations.append(
                    Generation(queries, stage, float(losses.mean()), float(losses.min()))
                )
    known = bare is not None and np.isfinite(bare).any()
    return Curve(
        float(np.nanmean(bare)) if bare is not None and known else None,
        tuple(generations),
        tuple(validated),
    )


def _spent(recording: Recording) -> Sequence[int]:
    """Image queries until each step was written, attempts counted."""
    per_step = np.zeros(len(recording.steps) + 1, np.int64)
    for recorded in recording.queries.values():
        for one in recorded:
            per_step[one.steps] += one.query.usage.attempts
    total: list[int] = np.cumsum(per_step)[:-1].tolist()
    return total


def _floats(values: Sequence[float | None]) -> Vector:
    return np.array([np.nan if value is None else value for value in values], np.float64)
