"""Which optimiser searches a stage, and where it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import derived_seed
from bbtvp.optim import Optimiser, Subspace, optimiser
from bbtvp.prompt import PromptSpace
from bbtvp.search.config import SearchConfig
from bbtvp.search.methods import gradient_rank, method_for, nowhere
from bbtvp.search.plan import Plan, Stage
from bbtvp.search.surrogacy import gradients_near
from bbtvp.surrogate import Guide, active_part
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample


@final
class Engines:
    """Makes each stage's optimiser.

    A wrong method or option is found when this is made, before the first query: UsageError for a
    method that is unknown, or that cannot search so many variables.
    """

    def __init__(self, space: PromptSpace, plan: Plan, config: SearchConfig) -> None:
        self.space = space
        self.config = config
        self._name, self._rank = gradient_rank(config.method)
        for stage in plan.stages:
            x0 = np.zeros(space.dim_of(stage.kinds))
            self._make(stage, x0, nowhere if config.guided else None)

    def begin(
        self,
        stage: Stage,
        base: Vector,
        start: Vector,
        *,
        head: Head | None = None,
        samples: Sequence[Sample] = (),
    ) -> Optimiser:
        """A new search over the variables of a stage, from `start` on.

        base, start: (dim,) whole search vectors; what the stage does not search stays as in `base`.
        head, samples: the surrogate that guides, and the images that it looks at.
        """
        x0 = active_part(self.space, stage.kinds, start)
        if head is None:
            return self._make(stage, x0)
        guide = Guide(head, self.space, samples, kinds=stage.kinds).over(base)
        if self._rank is None:
            return self._make(stage, x0, guide)
        gradients = gradients_near(
            head, self.space, samples, kinds=stage.kinds, start=start, seed=self.config.seed
        )
        return self._make(stage, x0, guide, gradients)

    def _make(
        self, stage: Stage, x0: Vector, guide: Any = None, gradients: Matrix | None = None
    ) -> Optimiser:
        """The optimiser of a stage.

        gradients: (m, d) that span the subspace of `NAME@gK`; where there are fewer than K, random
        directions follow.
        """
        dim = self.space.dim_of(stage.kinds)
        subspace = None
        if self._rank is not None:
            rows = np.eye(1, dim) if gradients is None else gradients
            subspace = Subspace.principal(rows, self._rank, self.config.seed)
        method = method_for(self._name, dim if self._rank is None else self._rank)
        seed = derived_seed(self.config.seed, "optimiser", stage.name)
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
            **self.config.method_options,
        )

    def _choices(self, stage: Stage) -> tuple[tuple[int, int], ...]:
        """The categorical groups of this stage, by their place among its variables."""
        whole = np.arange(self.space.dim)
        slices = self.space.slices
        places = np.concatenate([whole[slices[kind]] for kind in slices if kind in stage.kinds])
        at = {int(place): i for i, place in enumerate(places)}
        return tuple((at[first], count) for first, count in self.space.choices if first in at)
