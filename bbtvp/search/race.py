"""The race: which of the recipes that the layers propose is worth searching around.

A recipe is a point of the prompt space that a layer proposes: an operation, a size, a wording, a
look of marks. The race is successive halving (Karnin et al., 2013) over paired losses: all recipes
of a rung are asked about the same images, each is scored by its mean fall of the loss against the
neutral point there, and the better half goes on to twice as many new images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.models import Budget
from bbtvp.prompt import PromptSpace
from bbtvp.runs.journal import Journal
from bbtvp.search.objective import Objective
from bbtvp.search.plan import Plan, Rung
from bbtvp.search.steps import journalled, mark_of
from bbtvp.search.validation import attempts_note, paired
from bbtvp.tasks import Sample

_INHERITED = 0.5
"""Images that a child's inherited score counts for, as a share of those its parents saw."""

_TIE = 1.0
"""Recipes within so many standard errors of the best are held equal."""

_TIE_OF_MORE = 2.0
"""The same for one that does all that the best does, and restores more: what the source can do
without, another model may need.
"""


@final
class Placed(NamedTuple):
    """How a recipe ended: its mean fall of the loss against the neutral point, and its noise."""

    z: Vector
    fall: float
    noise: float

    @property
    def beats_neutral(self) -> bool:
        return self.fall > self.noise


@final
@dataclass(eq=False)
class _Entrant:
    """A recipe in the race, its losses and those of the neutral point on the same images.

    inherited, weight: a first estimate of its fall, and the images that it counts for. place: in
    the order in which the recipes were proposed.
    """

    z: Vector
    losses: list[float] = field(default_factory=list)
    neutral: list[float] = field(default_factory=list)
    inherited: float = 0.0
    weight: float = 0.0
    place: int = 0

    @property
    def seen(self) -> int:
        return len(self.losses)

    def placed(self) -> Placed:
        fall, noise = paired(np.array(self.neutral), np.array(self.losses))
        return Placed(self.z, fall, noise)

    def ties_with(self, best: _Entrant, tie: float) -> bool:
        """Whether the best is ahead by no more than so many standard errors.

        On the images of both.
        """
        both = min(self.seen, best.seen)
        lead, noise = paired(np.array(self.losses[-both:]), np.array(best.losses[-both:]))
        return lead <= tie * noise

    @property
    def score(self) -> float:
        """Its mean fall, and what it inherited, each with its weight in images."""
        own = np.array(self.neutral) - np.array(self.losses)
        own = own[np.isfinite(own)]
        total = len(own) + self.weight
        if not total:
            return 0.0
        return float((own.sum() + self.weight * self.inherited) / total)


@final
class Race:
    """Successive halving over recipes; each rung is asked once, then read from the journal."""

    def __init__(
        self, objective: Objective, plan: Plan, *, journal: Journal, budget: Budget, seed: int
    ) -> None:
        self.objective = objective
        self.plan = plan
        self.journal = journal
        self.budget = budget
        train = objective.task.train
        order = stream(seed, "race").permutation(len(train))
        self._images = itertools.cycle([train[i] for i in order])

    def run(self, recipes: Sequence[Vector]) -> list[Placed]:
        """The recipes of the last rung, the best first; recipes: the neutral point first.

        A recipe that is not better than the neutral point by its standard error comes after it. The
        choice on validation comes later, so the race need not prove anything. Spends the image
        queries of the plan's rungs. Raises BudgetReached at a cap.
        """
        first = self.plan.rungs[0]
        runners = [_Entrant(z, place=i) for i, z in enumerate(recipes[: first.prompts])]
        for number, rung in enumerate(self.plan.rungs):
            if number:
                children = rung.prompts - math.ceil(len(runners) / 2) if number == 1 else 0
                runners = self._next(runners, rung, children)
            self._ask(number, rung, runners)
        return _ranked(runners, self.objective.space)

    def _next(self, runners: Sequence[_Entrant], rung: Rung, most: int) -> list[_Entrant]:
        """Those that go on: the neutral point, the best others, and at most so many children."""
        neutral, *others = runners
        ranked = sorted(others, key=lambda runner: -runner.score)
        children = _children(self.objective.space, ranked, most)
        places = rung.prompts - 1 - len(children)
        return [neutral, *ranked[:places], *children]

    def _ask(self, number: int, rung: Rung, runners: Sequence[_Entrant]) -> None:
        samples = list(itertools.islice(self._images, rung.images))
        z = np.stack([runner.z for runner in runners])
        losses = self._losses(f"race/{number}", z, samples)
        for runner, row in zip(runners, losses, strict=True):
            runner.losses += row.tolist()
            runner.neutral += losses[0].tolist()

    def _losses(self, name: str, z: Matrix, samples: Sequence[Sample]) -> Matrix:
        """(k, n) losses, NaN where a query failed."""
        mark = mark_of(z)
        done = journalled(self.journal, name, mark)
        if done is None:
            table = self.objective.score(z, samples).losses
            rows = [[v if np.isfinite(v) else None for v in row] for row in table.tolist()]
            done = self.journal.write_step(
                name,
                z=mark,
                samples=[sample.id for sample in samples],
                losses=rows,
                **attempts_note(self.budget),
            )
        return np.array(done["losses"], np.float64)


def _ranked(runners: Sequence[_Entrant], space: PromptSpace) -> list[Placed]:
    """Best first, the neutral point before all that do not beat it by their noise.

    Of those that beat it and are held equal to the best, one that reads its strength from the
    picture comes before one that changes all alike, and then the one that was proposed first.
    """
    neutral, *others = runners
    ranked = sorted(others, key=lambda runner: -runner.placed().fall)
    better = [runner for runner in ranked if runner.placed().beats_neutral]
    equal = [runner for runner in others if runner in better and _tie(runner, better[0], space)]
    equal.sort(key=lambda runner: (_is_fixed(runner.z, space), runner.place))
    first = equal[:1]
    rest = [runner for runner in better if runner not in first]
    behind = [runner for runner in ranked if runner not in better]
    return [runner.placed() for runner in (*first, *rest, neutral, *behind)]


def _tie(runner: _Entrant, best: _Entrant, space: PromptSpace) -> bool:
    """Whether a recipe is held equal to the best."""
    does_as_much = np.array_equal(combined(space, best.z, runner.z), runner.z)
    more = does_as_much and not _is_fixed(runner.z, space)
    return runner.ties_with(best, _TIE_OF_MORE if more else _TIE)


def _is_fixed(z: Vector, space: PromptSpace) -> bool:
    """Whether a continuous variable is moved: that is the same change for every picture."""
    fixed = z.copy()
    for first, count in space.choices:
        fixed[first : first + count] = 0
    return bool(fixed.any())


def _children(space: PromptSpace, ranked: Sequence[_Entrant], most: int) -> list[_Entrant]:
    """What the best pairs make together, with the better parent's score as a first estimate."""
    found: list[_Entrant] = []
    known = [runner.z for runner in ranked]
    pairs = sorted(itertools.combinations(range(len(ranked)), 2), key=sum)
    for better, other in pairs:
        if len(found) >= most:
            break
        z = combined(space, ranked[better].z, ranked[other].z)
        if any(np.array_equal(z, one) for one in known):
            continue
        known.append(z)
        parent = ranked[better]
        found.append(
            _Entrant(
                z,
                inherited=parent.score,
                weight=_INHERITED * parent.seen,
                place=len(known),
            )
        )
    return found


def combined(space: PromptSpace, better: Vector, other: Vector) -> Vector:
    """`better`, with the choices and variables of `other` where `better` is neutral."""
    z = better.copy()
    grouped = {place: group for group in space.choices for place in range(group[0], sum(group))}
    for place in range(space.dim):
        first, count = grouped.get(place, (place, 1))
        if not better[first : first + count].any():
            z[place] = other[place]
    return z
