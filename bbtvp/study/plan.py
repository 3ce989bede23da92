"""How a budget of image queries is spent: fixed before the first query, so that a resumed run plans the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from bbtvp.core.errors import UsageError
from bbtvp.prompt import PromptSpace

COARSE = ("placement", "tone")
"""Layers of few, meaningful variables: they enter first. The rest (a frame) enters second, and only if it pays."""

SECOND_STAGE_FROM = 2000
"""Budget from which a second stage is worth its queries."""

VALIDATION_SHARE = 0.128
"""Of the budget, for each arm on validation."""


@final
@dataclass(frozen=True)
class Stage:
    """One search: over the variables of `kinds`, `generations` × `popsize` candidates on `images` images each."""

    name: str
    kinds: tuple[str, ...]
    popsize: int
    images: int
    generations: int

    @property
    def queries(self) -> int:
        """Image queries of the stage."""
        return self.popsize * self.images * self.generations


@final
@dataclass(frozen=True)
class Plan:
    """Stages in order, and the number of validation images for each arm (unprompted, then each stage's winner)."""

    stages: tuple[Stage, ...]
    validation: int

    @property
    def queries(self) -> int:
        """The most the run will spend, without retries and failures."""
        return sum(stage.queries for stage in self.stages) + self.validation * (1 + len(self.stages))


def default_popsize(dim: int) -> int:
    """CMA-ES's λ = 4 + ⌊3 ln d⌋ (Hansen, arXiv 1604.00772, eq. 48)."""
    return 4 + int(3 * math.log(dim))


def make_plan(
    space: PromptSpace, budget: int, *, training: int, validation: int, images: int = 8, popsize: int | None = None
) -> Plan:
    """Divide `budget` image queries, given the sizes of the two splits.

    images: images per candidate and generation. Raises UsageError for a budget of 0, a space without variables, and
    a budget too small for one generation, with the smallest that would do.
    """
    if budget < 1:
        raise UsageError(f"a budget of {budget} image queries finds nothing; try --queries 1000")
    dims = {kind: space.dim_of((kind,)) for kind in space.slices}
    if not sum(dims.values()):
        raise UsageError("this prompt has no variables to search; choose another preset")
    coarse = tuple(kind for kind, dim in dims.items() if dim and kind in COARSE)
    fine = tuple(kind for kind, dim in dims.items() if dim and kind not in COARSE)
    groups = [group for group in (coarse, fine) if group]
    if len(groups) == 2 and budget < SECOND_STAGE_FROM:
        groups = [coarse]
    arms = 1 + len(groups)
    held = min(validation, max(4, round(budget * VALIDATION_SHARE)))
    images = min(images, training)
    search = (budget - held * arms) // len(groups)
    stages = []
    for group in groups:
        size = popsize or default_popsize(space.dim_of(group))
        generations = search // (size * images)
        if generations < 1:
            least = math.ceil((size * images * len(groups)) / (1 - VALIDATION_SHARE * arms))
            raise UsageError(
                f"{budget} image queries do not reach one generation; give at least {max(least, budget + 1)}"
            )
        stages.append(Stage("+".join(group), group, size, images, generations))
    return Plan(tuple(stages), held)
