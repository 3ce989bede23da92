"""How a budget of image queries is spent.

The plan is fixed before the first query, so that a resumed run plans the same. It knows of no
retries: what they cost comes off the search, once their rate was seen (`with_retries`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, final

from bbtvp.core.errors import UsageError
from bbtvp.prompt import PromptSpace
from bbtvp.search.config import SearchConfig
from bbtvp.search.methods import popsize_for
from bbtvp.search.variables import searched

SECOND_STAGE_FROM = 2000
"""Budget from which a second stage is worth its queries."""

SIZE_ARMS = 2
"""Image queries that are kept for the choice of the size, as a multiple of those of one arm."""

COST_SHARE = 0.16
"""Of the budget, for each arm on validation where the cheapest size is sought: fewer than 135 right
and wrong answers cannot show that a size is no worse.
"""

VALIDATION_SHARE = 0.128
"""Of the budget, for each arm on validation; the unprompted arm and one more without a race."""

AFTER_RACE_SHARE = 0.1
"""The same where validation chooses among several finalists."""

REFINED_SHARE = 0.16
"""Of the budget, for each of the three arms on validation where a prompt is refined."""

RACE_SHARE = 0.35
"""Of the budget, at most, for the race of the recipes."""

RACE_FULL = 350
"""Image queries up to which a race may have more than `RACE_SHARE`, where its recipes need them: so
a small budget sees most recipes of the default too, and searches less around the winner.
"""

RACE_MOST = 0.6
"""Of the budget, at most, for such a race."""

CHECK = 16
"""Training images on which a single recipe is compared with the neutral point."""

FEWEST = 6
"""Images of the first rung of a race, at least."""

FEWEST_SMALL = 4
"""The same where the race has less than `RACE_FULL` image queries."""

CHILDREN = 3
"""Pairs of good recipes that join a race after its first rung."""

FINALISTS = 4
"""Prompts among which validation chooses, at most, after a race."""

FIRST_LOOK = 1 / 4
"""Share of the validation images that all finalists are asked about; the best two get the rest."""


@final
@dataclass(frozen=True)
class Stage:
    """One search over the variables of some layers.

    kinds: these layers. It asks about `generations` × `popsize` candidates, each on `images`
    images. cost: image queries of one generation, 0 where the race leaves nothing to search.
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
class Rung:
    """One round of a race: so many prompts, each on the same new images."""

    prompts: int
    images: int

    @property
    def queries(self) -> int:
        """Image queries of the round, with one answer per image."""
        return self.prompts * self.images


@final
@dataclass(frozen=True)
class Plan:
    """The race, the stages in order, and the rounds of the choice on validation.

    validation: images for the unprompted arm, and for each arm that is asked about all of them.
    prime: training images whose answers a surrogate learns from. rungs: the rounds of the race, the
    neutral point among the prompts. looks: the rounds of the choice after the first stage; later
    stages have one finalist. repeats: answers per image. patience: a stage ends after so many
    generations in a row without a lower mean loss; 0 never does. sizes: image queries of the choice
    of the size that is sent, as a multiple of one arm's; 0 where accuracy alone is the goal.
    started: whether a prompt is refined, which is an arm on validation too.
    """

    stages: tuple[Stage, ...]
    validation: int
    prime: int = 0
    rungs: tuple[Rung, ...] = ()
    looks: tuple[Rung, ...] = ()
    repeats: int = 1
    patience: int = 0
    sizes: int = 0
    started: bool = False

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Plan:
        """From what `as_json` gives, as a journal keeps it, of this version or an earlier one.

        LookupError or TypeError for anything else.
        """
        values = dict(described)
        compared = values.pop("starts", 1)
        if compared > 1:
            values["rungs"] = [{"prompts": compared, "images": CHECK}]
        stages = tuple(
            Stage(**{**stage, "kinds": tuple(stage["kinds"])}) for stage in values["stages"]
        )
        rounds = {
            name: tuple(Rung(**rung) for rung in values.get(name, ()))
            for name in ("rungs", "looks")
        }
        return cls(**{**values, "stages": stages, **rounds})

    def as_json(self) -> dict[str, Any]:
        """JSON-able; without a race it is what earlier versions wrote."""
        written = asdict(self)
        return {
            name: value for name, value in written.items() if value or name not in _LATER_FIELDS
        }

    @property
    def held(self) -> int:
        """Image queries of one arm on all validation images."""
        return self.validation * self.repeats

    def choosing(self, stage: int) -> int:
        """Image queries of the choice on validation after the stage of this number."""
        if stage or not self.looks:
            return self.held
        return sum(look.queries for look in self.looks) * self.repeats

    def chosen_after(self, stage: int) -> int:
        """Image queries of all choices from this stage on, that of the size among them."""
        return self._chosen_from(stage) + self.held * self.sizes

    def after(self, stage: int) -> int:
        """Image queries of the stages after this one, with their choices."""
        later = sum(each.queries for each in self.stages[stage + 1 :])
        return later + self._chosen_from(stage + 1)

    def _chosen_from(self, stage: int) -> int:
        return sum(self.choosing(number) for number in range(stage, len(self.stages)))

    @property
    def extra(self) -> int:
        """Image queries that are neither a generation's nor validation's."""
        return (self.prime + sum(rung.queries for rung in self.rungs)) * self.repeats

    @property
    def queries(self) -> int:
        """The most the run will spend, without retries and failures."""
        generations = sum(stage.queries for stage in self.stages)
        first = self.held * (1 + self.started)
        return generations + first + self.chosen_after(0) + self.extra


_LATER_FIELDS = ("rungs", "looks", "sizes", "started")
"""Fields of `Plan` that earlier versions did not write."""


def make_plan(
    space: PromptSpace,
    config: SearchConfig,
    *,
    training: int,
    validation: int,
    recipes: int | None = None,
) -> Plan:
    """Divide the image queries of `config`, given the sizes of the two splits.

    recipes: points where the search may begin, by default those of the space.

    Raises UsageError for a space without variables and a budget too small for one generation, with
    the smallest that would do.
    """
    images = min(config.images, training)
    stages = [_stage(space, kinds, config, images=images) for kinds in _groups(space)]
    trial = Plan(
        tuple(stages),
        validation,
        prime=min(config.prime, training),
        repeats=config.repeats,
        patience=config.patience,
        sizes=SIZE_ARMS if config.goal == "cost" else 0,
        started=config.start is not None,
    )
    count = len(space.starts()) if recipes is None else recipes
    if trial.started and stages[0].cost:
        count = 1  # the choices of the start stay: the budget goes to what lies near it
    racing = _Racing(count, warm=config.warm, training=training)
    if plan := _divided(trial, racing, config.queries):
        return plan
    least = next(
        more for more in itertools.count(config.queries + 1) if _divided(trial, racing, more)
    )
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
        if stage.generations
    ]
    if plan.rungs:
        parts.insert(0, f"race: {_rounds(plan.rungs)}")
    if plan.prime:
        parts.insert(0, f"{plan.prime} training images to prime the surrogate")
    if plan.looks:
        parts.append(f"choice on validation: {_rounds(plan.looks)}")
    if plan.sizes:
        parts.append(f"sizes to send: at most {plan.sizes * plan.held} image queries")
    return (
        f"{'; then '.join(parts)}; {plan.validation} validation images per arm; "
        f"at most {plan.queries} image queries"
    )


def _rounds(rungs: Sequence[Rung]) -> str:
    return ", ".join(f"{rung.prompts} prompts × {rung.images} images" for rung in rungs)


def _stage(
    space: PromptSpace, kinds: tuple[str, ...], config: SearchConfig, *, images: int
) -> Stage:
    """A stage with its sizes, and no generations yet."""
    dim = len(searched(space, kinds, config))
    name = "+".join(kinds)
    if not dim:
        return Stage(name, kinds, 0, images, 0, 0)
    popsize = config.popsize or popsize_for(config.method, dim)
    return Stage(name, kinds, popsize, images, 0, popsize * images * config.repeats)


def _divided(trial: Plan, racing: _Racing, budget: int) -> Plan | None:
    """The plan with its generations and validation images, as many as `trial` at most.

    With several finalists where they leave room for a generation, else with one. None if that does
    not fit in either.
    """
    stages = trial.stages if budget >= SECOND_STAGE_FROM else trial.stages[:1]
    share = budget / trial.repeats
    held = AFTER_RACE_SHARE if racing.starts > 1 else VALIDATION_SHARE
    if trial.started:
        held = REFINED_SHARE
    if trial.sizes:
        held = COST_SHARE
    validation = min(trial.validation, max(4, round(share * held)))
    plan = replace(trial, stages=stages, validation=validation)
    single = trial.sizes or trial.started  # the sizes are the finalists, or the start is one
    looks = () if single else racing.looks(validation)
    return _filled(replace(plan, looks=looks), racing, budget) or _filled(plan, racing, budget)


def _filled(plan: Plan, racing: _Racing, budget: int) -> Plan | None:
    """The plan with its race, and the generations that the rest is enough for; None for none."""
    stages = plan.stages
    left = budget - plan.queries
    room = left / plan.repeats
    fewest = FEWEST
    if stages[0].cost:
        room = min(racing.room(budget / plan.repeats), (left - stages[0].cost) / plan.repeats)
        fewest = FEWEST if room >= RACE_FULL else FEWEST_SMALL
    plan = replace(plan, rungs=racing.rungs(room, fewest))
    search = (budget - plan.queries) // len(stages)
    if search < max(0, *(stage.cost for stage in stages)):
        return None
    full = (
        replace(stage, generations=search // stage.cost if stage.cost else 0) for stage in stages
    )
    return replace(plan, stages=tuple(full))


@final
@dataclass(frozen=True)
class _Racing:
    """What the sizes of a race depend on.

    starts: recipes of the space, the neutral point among them. warm: whether the surrogate adds
    one. training: images of that split.
    """

    starts: int
    warm: bool
    training: int

    def room(self, budget: float) -> float:
        """Image queries of the race, at most, where a search follows it."""
        needed = _cost(self._sizes(self.starts + self.warm, 0), FEWEST)
        return max(budget * RACE_SHARE, min(budget * RACE_MOST, RACE_FULL, needed))

    def rungs(self, budget: float, fewest: int) -> tuple[Rung, ...]:
        """The rounds of a race for about so many image queries.

        fewest: images of its first rung, at least.

        Each halves the recipes and doubles their images (successive halving: Karnin et al., 2013).
        Where the budget is too small, there are no children, then only the first recipes race. One
        recipe alone is compared with the neutral point on `CHECK` images.
        """
        recipes = self.starts + self.warm
        if recipes < 2:
            return ()
        if recipes == 2:
            return (Rung(2, min(CHECK, self.training)),)
        sizes = self._sizes(recipes, CHILDREN)
        while recipes > 2 and _cost(sizes, fewest) > budget:
            sizes = self._sizes(recipes, 0)
            recipes -= 1
        images = max(fewest, int(budget / _cost(sizes, 1)))
        return tuple(
            Rung(size, min(self.training, images * 2**number)) for number, size in enumerate(sizes)
        )

    def looks(self, validation: int) -> tuple[Rung, ...]:
        """The rounds of the choice on validation: all finalists, then two of them."""
        if self.starts < 2:
            return ()
        first = math.ceil(validation * FIRST_LOOK)
        return (Rung(FINALISTS, first), Rung(2, validation - first))

    def _sizes(self, recipes: int, children: int) -> list[int]:
        """Recipes of each rung, with the children that join after the first."""
        sizes = [recipes]
        while recipes > FINALISTS:
            recipes = math.ceil(recipes / 2)
            if len(sizes) == 1:
                recipes += min(children, recipes - 1)
            sizes.append(recipes)
        return sizes


def _cost(sizes: Sequence[int], images: int) -> int:
    return sum(size * images * 2**number for number, size in enumerate(sizes))


def _groups(space: PromptSpace) -> list[tuple[str, ...]]:
    """The layers of each stage: few, meaningful variables first, then those of the fine layers."""
    searched_layers = [layer for layer in space.layers if space.dim_of((layer.kind,))]
    if not searched_layers:
        raise UsageError("this prompt has no variables to search; choose another preset")
    coarse = tuple(layer.kind for layer in searched_layers if not layer.fine)
    fine = tuple(layer.kind for layer in searched_layers if layer.fine)
    return [group for group in (coarse, fine) if group]
