"""How a budget of image queries is spent.

The plan is fixed before the first query, so that a resumed run plans the same. It knows of no
retries: what they cost comes off the search, once their rate was seen (`with_retries`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from bbtvp.core.errors import UsageError
from bbtvp.prompt import PromptSpace
from bbtvp.search.config import SearchConfig
from bbtvp.search.methods import popsize_for

SECOND_STAGE_FROM = 2000
"""Budget from which a second stage is worth its queries."""

VALIDATION_SHARE = 0.128
"""Of the budget, for each arm on validation."""

CHECK = 16
"""Training images on which the points where a search may begin are compared with each other."""


@final
@dataclass(frozen=True)
class Stage:
    """One search over the variables of some layers.

    kinds: these layers. It asks about `generations` × `popsize` candidates, each on `images`
    images. cost: image queries of one generation.
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
    """Stages in order, and the number of validation images for each arm.

    The arms are the unprompted images, then the winner of each stage. prime: training images whose
    answers a surrogate learns from. starts: points where the search may begin. repeats: answers per
    image. patience: a stage ends after so many generations in a row without a lower mean loss; 0
    never does.
    """

    stages: tuple[Stage, ...]
    validation: int
    prime: int = 0
    starts: int = 1
    repeats: int = 1
    patience: int = 0

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Plan:
        """From what `dataclasses.asdict` gives, as a journal keeps it.

        LookupError or TypeError for anything else.
        """
        stages = (
            Stage(**{**stage, "kinds": tuple(stage["kinds"])}) for stage in described["stages"]
        )
        return cls(**{**described, "stages": tuple(stages)})

    @property
    def held(self) -> int:
        """Image queries of one arm on validation."""
        return self.validation * self.repeats

    @property
    def extra(self) -> int:
        """Image queries that are neither a generation's nor validation's."""
        check = CHECK * self.starts if self.starts > 1 else 0
        return (self.prime + check) * self.repeats

    @property
    def queries(self) -> int:
        """The most the run will spend, without retries and failures."""
        generations = sum(stage.queries for stage in self.stages)
        return generations + self.held * (1 + len(self.stages)) + self.extra


def make_plan(space: PromptSpace, config: SearchConfig, *, training: int, validation: int) -> Plan:
    """Divide the image queries of `config`, given the sizes of the two splits.

    Raises UsageError for a space without variables and a budget too small for one generation, with
    the smallest that would do.
    """
    images = min(config.images, training)
    stages = [_stage(space, kinds, config, images=images) for kinds in _groups(space)]
    trial = Plan(
        tuple(stages),
        validation,
        prime=min(config.prime, training),
        starts=len(space.starts()) + config.warm,
        repeats=config.repeats,
        patience=config.patience,
    )
    if plan := _divided(trial, config.queries):
        return plan
    least = next(more for more in itertools.count(config.queries + 1) if _divided(trial, more))
    raise UsageError(
        f"{config.queries} image queries do not reach one generation; give at least {least}"
    )


def with_retries(queries: int, attempts: float) -> int:
    """How many image queries to keep for so many queries, at so many attempts for each.

    The mean, and one standard deviation of a sum of geometric numbers of attempts.
    """
    return math.ceil(queries * attempts + math.sqrt(queries * attempts * (attempts - 1)))


def describe_plan(plan: Plan) -> str:
    """The plan in one line."""
    parts = [
        f"{stage.name}: {stage.generations} × {stage.popsize} candidates × {stage.images} images"
        for stage in plan.stages
    ]
    if plan.starts > 1:
        parts.insert(0, f"{plan.starts} starting points × {CHECK} images")
    if plan.prime:
        parts.insert(0, f"{plan.prime} training images to prime the surrogate")
    return (
        f"{'; then '.join(parts)}; {plan.validation} validation images per arm; "
        f"at most {plan.queries} image queries"
    )


def _stage(
    space: PromptSpace, kinds: tuple[str, ...], config: SearchConfig, *, images: int
) -> Stage:
    """A stage with its sizes, and no generations yet."""
    popsize = config.popsize or popsize_for(config.method, space.dim_of(kinds))
    return Stage("+".join(kinds), kinds, popsize, images, 0, popsize * images * config.repeats)


def _divided(trial: Plan, budget: int) -> Plan | None:
    """The plan with its generations and validation images, as many as `trial` at most.

    None if they do not fit in.
    """
    stages = trial.stages if budget >= SECOND_STAGE_FROM else trial.stages[:1]
    validation = min(trial.validation, max(4, round(budget * VALIDATION_SHARE / trial.repeats)))
    plan = replace(trial, validation=validation)
    search = (budget - plan.held * (1 + len(stages)) - plan.extra) // len(stages)
    if any(search < stage.cost for stage in stages):
        return None
    full = tuple(replace(stage, generations=search // stage.cost) for stage in stages)
    return replace(plan, stages=full)


def _groups(space: PromptSpace) -> list[tuple[str, ...]]:
    """The layers of each stage: few, meaningful variables first, then those of the fine layers."""
    searched = [layer for layer in space.layers if space.dim_of((layer.kind,))]
    if not searched:
        raise UsageError("this prompt has no variables to search; choose another preset")
    coarse = tuple(layer.kind for layer in searched if not layer.fine)
    fine = tuple(layer.kind for layer in searched if layer.fine)
    return [group for group in (coarse, fine) if group]
