"""Which optimiser searches a stage, and where it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import derived_seed
from bbtvp.optim import Factory, Optimiser, Subspace, optimiser
from bbtvp.prompt import PromptSpace
from bbtvp.search.config import SearchConfig
from bbtvp.search.methods import gradient_rank, method_for, nowhere
from bbtvp.search.plan import Plan, Stage
from bbtvp.search.refinement import GP_OPTIONS, STEP
from bbtvp.search.surrogacy import gradients_near
from bbtvp.search.variables import Places, searched
from bbtvp.surrogate import Guide
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample

PULL = 0.1
"""What a squared unit of distance from the recipe costs a recommendation, in standard deviations of
the losses: what the source does not care about stays as it was, for another model may care.
"""


@final
class Engines:
    """Makes each stage's optimiser.

    A wrong method or option is found when this is made, before the first query: UsageError for a
    method that is unknown, or that cannot search so many variables.
    """

    def __init__(self, space: PromptSpace, plan: Plan, config: SearchConfig) -> None:
        self.space = space
        self._raced = len(space.starts()) > 1
        self.config = config
        self._name, self._rank = gradient_rank(config.method)
        for stage in plan.stages:
            places = searched(space, stage.kinds, config)
            if len(places):
                guide = nowhere if config.guided else None
                self._make(stage, space.neutral(), places, guide)

    def begin(
        self,
        stage: Stage,
        base: Vector,
        places: Places,
        *,
        head: Head | None = None,
        samples: Sequence[Sample] = (),
    ) -> Optimiser:
        """A new search over the variables at these places, from `base` (dim,) on.

        What the stage does not search stays as in `base`. head, samples: the surrogate that guides,
        and the images that it looks at.
        """
        if head is None:
            return self._make(stage, base, places)
        guide = Guide(head, self.space, samples, kinds=stage.kinds).over(base)
        if self._rank is None:
            return self._make(stage, base, places, guide)
        gradients = gradients_near(
            head, self.space, samples, kinds=stage.kinds, start=base, seed=self.config.seed
        )
        return self._make(stage, base, places, guide, gradients)

    def _make(
        self,
        stage: Stage,
        base: Vector,
        places: Places,
        guide: Any = None,
        gradients: Matrix | None = None,
    ) -> Optimiser:
        """The optimiser of a stage.

        gradients: (m, d) that span the subspace of `NAME@gK`; where there are fewer than K, random
        directions follow.
        """
        dim = len(places)
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
            x0=base[places],
            guide=guide,
            choices=self._choices(places),
            subspace=subspace,
            **self._options(method),
        )

    def _options(self, method: str | Factory) -> Mapping[str, Any]:
        """The options of the method; around a recipe `gp` is drawn to it.

        Where a prompt is refined, the first steps are short.
        """
        drawn: dict[str, Any] = {}
        if method == "gp" and self._raced:
            drawn["pull"] = PULL
        if self.config.start is not None:
            drawn |= {"sigma": STEP, **(GP_OPTIONS if method == "gp" else {})}
        return {**drawn, **self.config.method_options}

    def _choices(self, places: Places) -> tuple[tuple[int, int], ...]:
        """The categorical groups among these places, by their order there."""
        at = {int(place): i for i, place in enumerate(places)}
        return tuple((at[first], count) for first, count in self.space.choices if first in at)
