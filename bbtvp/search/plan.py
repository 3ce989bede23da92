"""How a budget of image queries is spent: fixed before the first query, so that a resumed run plans
the same.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from bbtvp.core.errors import UsageError
from bbtvp.prompt import PromptSpace
from bbtvp.search.allocation import Allocation

SECOND_STAGE_FROM = 2000
"""Budget from which a second stage is worth its queries."""

VALIDATION_SHARE = 0.128
"""Of the budget, for each arm on validation."""

CHECK = 16
"""Training images on which the points where a search may begin are compared with each other."""


@final
@dataclass(frozen=True)
class Stage:
    """One search: over the variables of `kinds`, `generations` × `popsize` candidates on `images`
    images each.

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
    """Stages in order, and the number of validation images for each arm (unprompted, then each
    stage's winner).

    prime: training images whose answers a surrogate learns from. starts: points where the search
    may begin.
    """

    stages: tuple[Stage, ...]
    validation: int
    allocation: Allocation = field(default_factory=Allocation)
    prime: int = 0
    starts: int = 1

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Plan:
        """From what `dataclasses.asdict` gives, as a journal keeps it. LookupError or TypeError for
        anything else.
        """
        stages = (
            Stage(**{**stage, "kinds": tuple(stage["kinds"])}) for stage in described["stages"]
        )
        return cls(
            **{
                **described,
                "stages": tuple(stages),
                "allocation": Allocation(**described["allocation"]),
            }
        )

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
        return (
            sum(stage.queries for stage in self.stages)
            + self.held * (1 + len(self.stages))
            + self.extra
        )


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
    popsize: int | Callable[[int], int] | None = None,
    prime: int = 0,
    starts: int = 1,
) -> Plan:
    """Divide `budget` image queries, given the sizes of the two splits.

    popsize: candidates per generation, or what says so for a number of variables; `default_popsize`
    by default. Raises UsageError for a budget of 0, a space without variables, and a budget too
    small for one generation, with the smallest that would do.
    """
    if budget < 1:
        raise UsageError(f"a budget of {budget} image queries finds nothing; try --queries 1000")
    chosen = allocation or Allocation()
    if chosen.images > training:
        chosen = replace(chosen, images=training)
    size_of = (lambda dim: popsize) if isinstance(popsize, int) else popsize or default_popsize
    sizes = {group: size_of(space.dim_of(group)) for group in _groups(space)}
    trial = Plan((), validation, chosen, min(prime, training), starts)
    if plan := _divided(trial, sizes, budget):
        return plan
    least = next(more for more in itertools.count(budget + 1) if _divided(trial, sizes, more))
    raise UsageError(f"{budget} image queries do not reach one generation; give at least {least}")


def _divided(trial: Plan, sizes: Mapping[tuple[str, ...], int], budget: int) -> Plan | None:
    """The plan with its stages and validation images, as many as `trial` at most; None if they do
    not fit in.
    """
    chosen = trial.allocation
    groups = list(sizes)[: 1 if budget < SECOND_STAGE_FROM else None]
    held = min(trial.validation, max(4, round(budget * VALIDATION_SHARE / chosen.repeats)))
    search = (budget - held * chosen.repeats * (1 + len(groups)) - trial.extra) // len(groups)
    stages = []
    for group in groups:
        cost = chosen.cost(sizes[group])
        if search < cost:
            return None
        stages.append(
            Stage("+".join(group), group, sizes[group], chosen.images, search // cost, cost)
        )
    return replace(trial, stages=tuple(stages), validation=held)


def _groups(space: PromptSpace) -> list[tuple[str, ...]]:
    """The layers of each stage: few, meaningful variables first, then those of the fine layers."""
    searched = [layer for layer in space.layers if space.dim_of((layer.kind,))]
    if not searched:
        raise UsageError("this prompt has no variables to search; choose another preset")
    coarse = tuple(layer.kind for layer in searched if not layer.fine)
    fine = tuple(layer.kind for layer in searched if layer.fine)
    return [group for group in (coarse, fine) if group]
