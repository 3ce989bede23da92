"""What a verification will ask and what it can see, said before a query is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.models import Model
from bbtvp.prompt import Prompt
from bbtvp.search import choose_reader
from bbtvp.stats import boundaries, images_needed, smallest_gain
from bbtvp.stats.power import LOST
from bbtvp.tasks import Sample, Task
from bbtvp.verify.arms import AGAIN, arms
from bbtvp.verify.inquiry import Inquiry
from bbtvp.verify.verdict import LEVEL, Rule

CALIBRATION = 64
"""Unprompted images on which the output calibration is fitted: of ten labels, six each."""

LOOKS = 10
LOOK = 20
"""Looks of the sequential mode at most, and test images between two of them at least."""


class Share(NamedTuple):
    """What one model is asked: its arms, and image queries at most."""

    model: str
    arms: tuple[str, ...]
    queries: int


@final
@dataclass(frozen=True)
class Plan:
    """The image queries at most, model by model, and what so many test images can show.

    seen: the true gain that is shown to lie above the rule's `min_gain` with four chances in five,
    if one answer in ten is spoilt (`lost`); None if none is. needed: test images for gains of 5, 10
    and 20 points, None for no number.
    """

    shares: tuple[Share, ...]
    images: int
    calibration: int
    seen: float | None
    needed: dict[float, int | None]
    lost: float = LOST

    @property
    def queries(self) -> int:
        return sum(share.queries for share in self.shares)

    def as_json(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "images": self.images,
            "calibration": self.calibration,
            "models": [share._asdict() for share in self.shares],
            "detectable_gain": self.seen,
            "images_needed": {f"{gain:g}": count for gain, count in self.needed.items()},
            "assumed_lost": self.lost,
        }


def plan(
    prompt: Prompt,
    task: Task,
    models: Sequence[Model | str],
    *,
    reader: str,
    calibration: int,
    rule: Rule,
) -> Plan:
    """Bounds; what an endpoint offers is known after its probe only, and of a name before it is
    loaded nothing is.
    """
    pool = min(calibration, len(task.validation) + len(task.train))
    shares = [_share(prompt, task, model, reader, pool) for model in models]
    needed = {gain: images_needed(gain, margin=rule.min_gain) for gain in (0.05, 0.1, 0.2)}
    return Plan(
        tuple(shares),
        len(task.test),
        pool,
        smallest_gain(len(task.test), margin=rule.min_gain),
        needed,
    )


def _share(prompt: Prompt, task: Task, model: Model | str, reader: str, pool: int) -> Share:
    asked = list(arms(prompt))
    fitted = pool if task.labels is not None else 0
    if isinstance(model, str):
        return Share(model, tuple(asked), len(asked) * len(task.test) + fitted)
    if model.is_endpoint:
        asked.append(AGAIN)
    else:
        asked += [] if model.capabilities.deterministic else [AGAIN]
        fitted = fitted if Inquiry.calibrates(choose_reader(reader, model, task), task) else 0
    return Share(model.spec, tuple(asked), len(asked) * len(task.test) + fitted)


@final
@dataclass(frozen=True)
class Looks:
    """The sequential mode: after how many images each look is, and the boundary that |Z| must pass
    there.

    z: of level 5 % for one model. below_z: of that level shared by several models (Bonferroni).
    limit_z: of 2.5 %, for a repeated 95 % interval.
    """

    ends: tuple[int, ...]
    z: Vector
    below_z: Vector
    limit_z: Vector

    @classmethod
    def of(cls, images: int, models: int) -> Looks:
        """Equally spaced."""
        count = max(1, min(LOOKS, images // LOOK))
        ends = np.unique(np.rint(np.linspace(0, images, count + 1)[1:]).astype(int))
        shares = (ends / images).tolist()
        levels = (LEVEL, LEVEL / max(1, models), 0.025)
        return cls(tuple(ends.tolist()), *(boundaries(shares, level) for level in levels))

    def batches(self, samples: Sequence[Sample]) -> list[Sequence[Sample]]:
        """The samples between the looks."""
        return [samples[start:end] for start, end in zip((0, *self.ends), self.ends, strict=False)]
