"""How a budget of image queries is spent: fixed before the first query, so that a resumed run plans the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

from bbtvp.core.errors import UsageError
from bbtvp.prompt import PromptSpace
from bbtvp.study.allocation import Allocation

FINE = ("frame", "overlay", "coordinator")
"""Layers of many variables: they enter second, and only if they pay. Few, meaningful variables come first."""

SECOND_STAGE_FROM = 2000
"""Budget from which a second stage is worth its queries."""

VALIDATION_SHARE = 0.128
"""Of the budget, for each arm on validation."""

CHECK = 16
"""Training images on which the points where a search may begin are compared with each other."""


@final
@dataclass(frozen=True)
class Stage:
    """One search: over the variables of `kinds`, `generations` × `popsize` candidates on `images` images each.

    cost: image queries of one generation.
    """

    name: str
    kinds: tuple[str, ...]
    popsize: int
    images: int
    generations: int
    cost: int

    @property
    def queries(self) -> int:
        """Image queries of the stage."""
        return self.cost * self.generations


@final
@dataclass(frozen=True)
class Plan:
    """Stages in order, and the number of validation images for each arm (unprompted, then each stage's winner).

    prime: training images whose unprompted answers a surrogate learns from. starts: points where the search may begin.
    """

    stages: tuple[Stage, ...]
    validation: int
    allocation: Allocation = field(default_factory=Allocation)
    prime: int = 0
    starts: int = 1

    @property
    def held(self) -> int:
        """Image queries of one arm on validation."""
        return self.validation * self.allocation.repeats

    @property
    def extra(self) -> int:
        """Image queries that are neither a generation's nor validation's."""
        check = CHECK * self.starts if self.starts > 1 else 0
        return (self.prime + check) * self.allocation.repeats

    @property
    def queries(self) -> int:
        """The most the run will spend, without retries and failures."""
        return sum(stage.queries for stage in self.stages) + self.held * (1 + len(self.stages)) + self.extra


def default_popsize(dim: int) -> int:
    """CMA-ES's λ = 4 + ⌊3 ln d⌋ (Hansen, arXiv 1604.00772, eq. 48)."""
    return 4 + int(3 * math.log(dim))


def make_plan(
    space: PromptSpace,
    budget: int,
    *,
    training: int,
    validation: int,
    allocation: Allocation | None = None,
    popsize: int | None = None,
    prime: int = 0,
    starts: int = 1,
) -> Plan:
    """Divide `budget` image queries, given the sizes of the two splits.

    Raises UsageError for a budget of 0, a space without variables, and a budget too small for one generation, with the
    smallest that would do.
    """
    if budget < 1:
        raise UsageError(f"a budget of {budget} image queries finds nothing; try --queries 1000")
    groups = _groups(space, budget)
    chosen = allocation or Allocation()
    if chosen.images > training:
        chosen = Allocation(training, 1, chosen.paired, chosen.control, chosen.patience, chosen.repeats)
    arms = 1 + len(groups)
    held = min(validation, max(4, round(budget * VALIDATION_SHARE / chosen.repeats)))
    trial = Plan((), held, chosen, min(prime, training), starts)
    search = (budget - trial.held * arms - trial.extra) // len(groups)
    stages = []
    for group in groups:
        size = popsize or default_popsize(space.dim_of(group))
        cost = chosen.cost(size) + chosen.paired * chosen.images * chosen.repeats
        generations = search // cost
        if generations < 1:
            least = math.ceil((cost * len(groups) + trial.extra) / (1 - VALIDATION_SHARE * arms))
            raise UsageError(
                f"{budget} image queries do not reach one generation; give at least {max(least, budget + 1)}"
            )
        stages.append(Stage("+".join(group), group, size, chosen.images, generations, cost))
    return Plan(tuple(stages), held, chosen, trial.prime, starts)


def _groups(space: PromptSpace, budget: int) -> list[tuple[str, ...]]:
    """The layers of each stage."""
    dims = {kind: space.dim_of((kind,)) for kind in space.slices}
    if not sum(dims.values()):
        raise UsageError("this prompt has no variables to search; choose another preset")
    coarse = tuple(kind for kind, dim in dims.items() if dim and kind not in FINE)
    fine = tuple(kind for kind, dim in dims.items() if dim and kind in FINE)
    groups = [group for group in (coarse, fine) if group]
    return groups[:1] if budget < SECOND_STAGE_FROM else groups
