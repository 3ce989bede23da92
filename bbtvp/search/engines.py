"""Which optimiser searches a stage, and where it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import derived_seed
from bbtvp.optim import Factory, Optimiser, Subspace, factory, method_name, optimiser
from bbtvp.prompt import PromptSpace
from bbtvp.search.plan import Plan, Stage, default_popsize
from bbtvp.search.surrogacy import Surrogacy, gradients_near, guide_of
from bbtvp.surrogate import active_part
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample

AUTO = "auto"
ALONG = "@g"
"""`cma@g24`: the search keeps to the 24 principal directions of the surrogate's gradients."""
FEW = 32
FULL = 500
"""Variables up to which `auto` takes gp, and up to which cma; cma-diagonal beyond."""


def method_for(method: str | Factory, dim: int) -> str | Factory:
    """The optimiser that `auto` stands for."""
    if method != AUTO:
        return method
    return "gp" if dim <= FEW else "cma" if dim <= FULL else "cma-diagonal"


def popsize_for(method: str | Factory, dim: int) -> int:
    """Candidates per generation: what a step of an estimator needs, or else CMA-ES's λ."""
    name, rank = _parted(method)
    if name != AUTO and getattr(factory(name), "estimator", False):
        return optimiser(name, 2, 0, guide=_nowhere).popsize
    digits = rank.removeprefix("g")
    return default_popsize(int(digits) if digits.isdecimal() else dim)


@final
class Engines:
    """Makes each stage's optimiser. A wrong method or option is found when this is made, before the
    first query.

    Raises UsageError for a method that is unknown, that cannot search so many variables, or that
    needs a surrogate where there is none.
    """

    def __init__(
        self,
        space: PromptSpace,
        plan: Plan,
        method: str | Factory,
        seed: int,
        surrogacy: Surrogacy | None = None,
        **options: Any,
    ) -> None:
        self.space = space
        self.plan = plan
        self.method = method
        self.seed = seed
        self.options = options
        name = "" if callable(method) else method
        before, along, rank = name.partition(ALONG)
        self._method = method if callable(method) else before
        if along and not rank.isdecimal():
            raise UsageError(
                f"{method!r}: after {ALONG} comes a number of gradients' directions, as in cma{ALONG}24"
            )
        self._rank = int(rank) if along else None
        self.guided = bool(along) or is_guided(method)
        if self.guided and (surrogacy is None or surrogacy.surrogate is None):
            raise UsageError(
                f"{method_name(method)} follows a surrogate's gradient: add --surrogate zoo/clip"
            )
        for stage in plan.stages:
            self._make(
                stage,
                np.zeros(space.dim_of(stage.kinds)),
                _nowhere if self.guided else None,
                np.eye(1),
            )

    def begin(
        self,
        stage: Stage,
        base: Vector,
        start: Vector,
        head: Head | None = None,
        samples: Sequence[Sample] = (),
    ) -> Optimiser:
        """A new search over the variables of a stage, from `start` on; both are whole z.

        head, samples: the surrogate that guides, and the images that it looks at.
        """
        guide = None
        rows = np.eye(1)
        if head is not None:
            guide = guide_of(head, self.space, samples, stage.kinds, base)
            rows = (
                gradients_near(head, self.space, samples, stage.kinds, start, self.seed)
                if self._rank
                else rows
            )
        return self._make(stage, active_part(self.space, stage.kinds, start), guide, rows)

    def _make(self, stage: Stage, x0: Vector, guide: Any, gradients: Matrix) -> Optimiser:
        """gradients: (m, d) that span the subspace of `NAME@gK`; where there are fewer than K,
        random ones follow.
        """
        dim = self.space.dim_of(stage.kinds)
        subspace = None
        if self._rank is not None:
            rows = gradients if gradients.shape[1] == dim else np.eye(1, dim)
            subspace = Subspace.principal(rows, self._rank, self.seed)
        method = method_for(self._method, dim if self._rank is None else self._rank)
        seed = derived_seed(self.seed, "optimiser", stage.name)
        return optimiser(
            method,
            dim,
            seed,
            popsize=stage.popsize,
            budget=stage.popsize * stage.generations,
            x0=x0,
            guide=guide,
            choices=self._choices(stage),
            subspace=subspace,
            **self.options,
        )

    def _choices(self, stage: Stage) -> tuple[tuple[int, int], ...]:
        """The categorical groups of the whole z that lie in this stage, by their place among its
        variables.
        """
        places = np.concatenate(
            [
                np.arange(self.space.dim)[self.space.slices[k]]
                for k in self.space.slices
                if k in stage.kinds
            ]
        )
        at = {int(place): i for i, place in enumerate(places)}
        return tuple((at[first], count) for first, count in self.space.choices if first in at)


def is_guided(method: str | Factory) -> bool:
    """Whether a method follows a surrogate's gradient. UsageError for one that is unknown."""
    name, _ = _parted(method)
    return name != AUTO and bool(getattr(factory(name), "guided", False))


def _parted(method: str | Factory) -> tuple[str | Factory, str]:
    """The method, and what follows its @."""
    if callable(method):
        return method, ""
    name, _, rank = method.partition("@")
    return name, rank


def _nowhere(z: Vector) -> Any:
    return np.zeros((1, len(z)))
