"""What a proof will ask and what it can show, before a query is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Vector
from bbtvp.core.rng import stream
from bbtvp.models import Model
from bbtvp.prompt import Prompt
from bbtvp.search import choose_reader
from bbtvp.search.calibration import calibrates
from bbtvp.stats import boundaries, images_if_unchanged, images_needed, smallest_gain
from bbtvp.stats.power import LOST
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.metrics import RIGHT_OR_WRONG
from bbtvp.verify.arms import AGAIN, distinct_arms
from bbtvp.verify.verdict import LEVEL, Rule

CALIBRATION = 64
"""Unprompted images on which the output calibration is fitted: of ten labels, six each."""

_LOOKS = 10
"""The most looks of a sequential proof."""

_LOOK = 20
"""The fewest test images between two looks."""


class ModelPlan(NamedTuple):
    """What one model is asked: its arms, and the most image queries."""

    model: str
    arms: tuple[str, ...]
    queries: int


@final
@dataclass(frozen=True)
class ProofPlan:
    """The most image queries of a proof, model by model, and what so many test images can show.

    seen: the true gain that is shown to lie above the rule's `min_gain` with a probability of 80 %,
    if the prompt spoils a share `lost` of the answers; None if no gain is. needed: test images for
    true gains of 5, 10 and 20 points; None where no number of them will do. Both take every score
    as right or wrong. graded: scores may lie between; then fewer images show as much, because of
    all changes with these means those from 0 to 1 and back vary most. unchanged: of a rule that
    allows a loss, the fewest test images for a go if no answer changes; None of any other rule.
    """

    shares: tuple[ModelPlan, ...]
    images: int
    calibration: int
    seen: float | None
    needed: dict[float, int | None]
    lost: float = LOST
    graded: bool = False
    unchanged: int | None = None

    @property
    def queries(self) -> int:
        """The most image queries, of all models together."""
        return sum(share.queries for share in self.shares)

    def as_json(self) -> dict[str, Any]:
        """The document of `bbtvp verify --dry-run --json`, without costs."""
        return {
            "queries": self.queries,
            "images": self.images,
            "calibration": self.calibration,
            "models": [share._asdict() for share in self.shares],
            "detectable_gain": self.seen,
            "images_needed": {f"{gain:g}": count for gain, count in self.needed.items()},
            "assumed_lost": self.lost,
            "graded": self.graded,
            **({"images_if_unchanged": self.unchanged} if self.unchanged else {}),
        }


def plan_proof(
    prompt: Prompt,
    task: Task,
    models: Sequence[Model | str],
    *,
    reader: str,
    calibration: int,
    rule: Rule,
) -> ProofPlan:
    """The plan of a proof, which asks nothing.

    The counts of queries are upper bounds: what an endpoint offers is known only after its probe,
    and what a model given by name offers is known only after it is loaded.
    """
    pool = min(calibration, len(task.validation) + len(task.train))
    images = len(task.test)
    return ProofPlan(
        tuple(_model_plan(prompt, task, model, reader, pool) for model in models),
        images,
        pool,
        smallest_gain(images, margin=rule.min_gain),
        {gain: images_needed(gain, margin=rule.min_gain) for gain in (0.05, 0.1, 0.2)},
        graded=str(task.scoring) not in RIGHT_OR_WRONG,
        unchanged=images_if_unchanged(-rule.min_gain) if rule.min_gain < 0 else None,
    )


def _model_plan(
    prompt: Prompt, task: Task, model: Model | str, reader: str, pool: int
) -> ModelPlan:
    asked = list(distinct_arms(prompt))
    if prompt.is_identity:
        name = model if isinstance(model, str) else model.spec
        return ModelPlan(name, tuple(asked), len(task.test))
    fitted = pool if task.labels is not None else 0
    if isinstance(model, str):
        return ModelPlan(model, tuple(asked), len(asked) * len(task.test) + fitted)
    if model.is_endpoint:
        asked.append(AGAIN)
    else:
        asked += [] if model.capabilities.deterministic else [AGAIN]
        fitted = fitted if calibrates(choose_reader(reader, model, task), task) else 0
    return ModelPlan(model.spec, tuple(asked), len(asked) * len(task.test) + fitted)


def looking_order(images: int, seed: int) -> NDArray[np.intp]:
    """The order in which a sequential proof asks about so many test images."""
    return stream(seed, "verify", "order").permutation(images)


@final
class ProofSettings(NamedTuple):
    """How a proof was made, so far as its figures depend on it.

    deciding, others: models whose gain decides the verdict, and those that may only be harmed,
    whether they were asked or not. The rest are options of `verify`.
    """

    reader: str = "auto"
    normalise: str = "mean"
    calibration: int = 0
    sequential: bool = False
    seed: int = 0
    deciding: int = 0
    others: int = 0


@final
@dataclass(frozen=True)
class SequentialDesign:
    """After how many images each look of a sequential proof is, and the bounds of |Z| there.

    ends: (looks,) images by each look. z: (looks,) bounds at a level of 5 % for one model. below_z:
    the same at that level shared by several models (Bonferroni). limit_z: the same at 2.5 %, for a
    repeated 95 % interval.
    """

    ends: tuple[int, ...]
    z: Vector
    below_z: Vector
    limit_z: Vector

    @classmethod
    def of(cls, images: int, models: int, level: float = LEVEL) -> SequentialDesign:
        """Equally spaced looks at so many test images, for so many models of one role.

        level: of the test that shows a gain (`Rule.level`).
        """
        count = max(1, min(_LOOKS, images // _LOOK))
        ends = np.unique(np.rint(np.linspace(0, images, count + 1)[1:]).astype(int))
        shares = (ends / images).tolist()
        levels = (level, LEVEL / max(1, models), 0.025)
        return cls(tuple(ends.tolist()), *(boundaries(shares, level) for level in levels))

    def batches(self, samples: Sequence[Sample]) -> list[Sequence[Sample]]:
        """The samples between the looks."""
        return [samples[start:end] for start, end in zip((0, *self.ends), self.ends, strict=False)]
