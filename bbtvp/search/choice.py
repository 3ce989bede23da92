"""The choice on validation: which of the finalists is kept, if any is.

After the first stage of a space that proposes recipes, the finalists are the optimiser's
recommendation, the same half-way to neutral, the recipe that won the race, and the placement alone
(the empty frame). The identity is always the arm that there is to beat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import BudgetReached
from bbtvp.prompt import PromptSpace
from bbtvp.search.evaluation import additive
from bbtvp.search.events import ArmValidated, StageUnvalidated, Watch
from bbtvp.search.plan import FINALISTS, Plan, Stage
from bbtvp.search.validation import LEAST, Arm, ArmLosses, Validation, paired
from bbtvp.search.variables import Places

START = "start"
"""The name of the arm of a prompt that is refined."""

TIE = 0.5
"""Finalists within so many standard errors of the best are held equal."""

SHRUNK = 0.5
"""What is left of the recommendation's continuous variables in the finalist between it and neutral.
"""


@final
class Choice(NamedTuple):
    """The best of the finalists, what it got on validation, and whether it is kept."""

    z: Vector
    losses: ArmLosses
    kept: bool


@final
class Chooser:
    """Compares the finalists of each stage on validation, with the prompt that was kept before."""

    def __init__(self, plan: Plan, validation: Validation, *, watch: Watch) -> None:
        self.plan = plan
        self.validation = validation
        self.watch = watch
        self.base = validation.losses("unprompted", None)
        self.arms = [_unprompted(self.base)]
        watch(ArmValidated(self.arms[0]))

    def begin(self, start: Vector) -> ArmLosses:
        """Ask about the prompt that is refined: it is what there is to beat.

        Its arm is kept if it beats the unprompted images. Raises BudgetReached if a cap left no
        answer.
        """
        found = self.validation.losses(START, start)
        self.arms.append(self._arm(START, found, self.base, bar=0.0))
        self.watch(ArmValidated(self.arms[-1]))
        return found

    def choose(
        self, stage: Stage, finalists: Mapping[str, Vector], incumbent: ArmLosses
    ) -> Choice | None:
        """The best of the finalists, whether or not it is kept; None if a cap left no answer.

        finalists: by name, the most neutral first. Of those that the source holds equal the first
        is taken.
        """
        answered: dict[str, ArmLosses] = {}
        for name in self._looked_at(stage, finalists):
            try:
                answered[name] = self.validation.losses(name, finalists[name])
            except BudgetReached as reached:
                self.watch(StageUnvalidated(name, str(reached)))
        if not answered:
            return None
        best = _preferred(answered, self.base)
        for name in sorted(answered, key=lambda name: name != best):
            bar = luck(answered, best) if name == best else np.inf
            self.arms.append(self._arm(name, answered[name], incumbent, bar=bar))
            self.watch(ArmValidated(self.arms[-1]))
        kept = any(arm.kept for arm in self.arms[-len(answered) :])
        return Choice(finalists[best], answered[best], kept)

    def keep(self, name: str, found: ArmLosses) -> None:
        """Add an arm that is kept for another reason than its gain: it is cheaper, and no worse."""
        arm = self._arm(name, found, self.base, bar=np.inf)
        self.arms.append(replace(arm, kept=True))
        self.watch(ArmValidated(self.arms[-1]))

    def _looked_at(self, stage: Stage, finalists: Mapping[str, Vector]) -> list[str]:
        """The finalists that are asked about all images: the best of a first look, in order."""
        names = list(finalists)
        if len(names) < 2:
            return names
        first, second = self.plan.looks
        z = np.stack([finalists[name] for name in names])
        losses = self.validation.look(f"choice/{stage.name}", z, first.images)
        means = additive(losses)
        ranked = sorted(range(len(names)), key=lambda i: (not np.isfinite(means[i]), means[i], i))
        return [names[i] for i in sorted(ranked[: second.prompts])]

    def _arm(self, name: str, found: ArmLosses, incumbent: ArmLosses, *, bar: float) -> Arm:
        """The arm of a finalist, kept if it beats the incumbent by `bar` and one standard error.

        Fewer than `LEAST` images, for want of budget, keep nothing.
        """
        gain, stderr = paired(self.base.losses, found.losses)
        step, noise = paired(incumbent.losses, found.losses)
        answered = int(np.isfinite(self.base.losses - found.losses).sum())
        beats = step - bar > noise
        return Arm(
            name,
            float(np.nanmean(found.losses)),
            found.accuracy,
            gain,
            stderr,
            kept=bool(beats) and (answered >= LEAST or not found.cut),
            answered=answered,
            planned=len(found.losses),
            cut=found.cut or self.base.cut,
            graded=found.graded,
        )


def finalists_of(
    space: PromptSpace, stage: Stage, found: Vector, *, recipes: Sequence[Vector], places: Places
) -> dict[str, Vector]:
    """The finalists after a race and a search, the most neutral first, each point once.

    found: the recommendation; places: where its continuous variables lie. recipes: those that ended
    the race, the best first: the next one takes the place of one that is neutral.
    """
    shrunk = found.copy()
    shrunk[places] *= SHRUNK
    points = [
        (f"{stage.name} (placement)", space.empty_frame(found).z),
        *((f"{stage.name} (recipe {number})", z) for number, z in enumerate(recipes, 1)),
    ]
    known = [one.tobytes() for one in (space.neutral(), found + 0.0, shrunk + 0.0)]
    finalists: dict[str, Vector] = {}
    for name, z in points:
        if (z + 0.0).tobytes() not in known and len(finalists) < FINALISTS - 2:
            finalists[name] = z
            known.append((z + 0.0).tobytes())
    return {**finalists, f"{stage.name} (shrunk)": shrunk, stage.name: found}


def is_of(name: str, stage: Stage) -> bool:
    """Whether an arm of this name is a finalist of the stage."""
    return name == stage.name or name.startswith(f"{stage.name} (")


def ranked_finalists(stage: Stage, recipes: Sequence[Vector]) -> dict[str, Vector]:
    """The finalists of a race after which nothing is to be searched, the best first."""
    names = [stage.name, *(f"{stage.name} (recipe {number})" for number in range(2, FINALISTS + 1))]
    return dict(zip(names, recipes, strict=False))


def _preferred(answered: Mapping[str, ArmLosses], base: ArmLosses) -> str:
    """The first of those that the source holds equal to the best, if it gains as surely."""
    names = list(answered)
    best = min(names, key=lambda name: float(np.nanmean(answered[name].losses)))
    for name in names:
        lead, noise = paired(answered[name].losses, answered[best].losses)
        gain, stderr = paired(base.losses, answered[name].losses)
        if lead <= TIE * noise and gain > stderr:
            return name
    return best


def luck(answered: Mapping[str, ArmLosses], best: str) -> float:
    """By how much the best of the finalists seems better than it is if all are equal.

    Half the expected size of the difference to another: √(2/π)/2 of its standard error. Finalists
    that answer alike leave little to luck. 0 for a single one.
    """
    noises = [
        paired(losses.losses, answered[best].losses)[1]
        for name, losses in answered.items()
        if name != best
    ]
    return math.sqrt(2 / math.pi) / 2 * max(noises, default=0.0)


def _unprompted(losses: ArmLosses) -> Arm:
    return Arm(
        "unprompted",
        float(np.nanmean(losses.losses)),
        losses.accuracy,
        answered=int(np.isfinite(losses.losses).sum()),
        planned=len(losses.losses),
        cut=losses.cut,
        graded=losses.graded,
    )
