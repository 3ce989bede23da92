"""CatCMA: continuous and categorical variables together, by cmaes."""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.core.rng import derived_seed
from bbtvp.optim.base import JSON, Optimiser, Start
from bbtvp.optim.cma_noise import LIMIT
from bbtvp.optim.pycma import check_size


@final
class CatCma(Optimiser):
    """A joint distribution: a Gaussian, and a categorical one for each of the `choices`.

    Hamano, Saito, Nomura, Uchida and Shirakawa, "CatCMA: Stochastic Optimization for Mixed-Category
    Problems", GECCO 2024 (arXiv 2405.09962). The Gaussian is updated as in CMA-ES, the
    probabilities q by a natural gradient whose step adapts to its signal-to-noise ratio (ASNG), and
    a margin keeps every category possible:

        q ← q + δ/‖F^½ Σ_i w_i (c_(i) − q)‖ · Σ_i w_i (c_(i) − q),   then q ≥ q_min
        with c one-hot and weights by rank

    In z the variables of a choice are 1 for the chosen category and 0 for the others. x0 gives its
    largest of a group one half and the rest evenly; a group without a single largest begins evenly.
    Recommends the mean of the Gaussian and the likeliest category of each choice. `popsize`
    defaults to 4 + 3 ln(variables), a choice counting once.
    """

    categorical: ClassVar[bool] = True

    def __init__(self, start: Start) -> None:
        if not start.choices:
            raise UsageError(
                "catcma is for categorical variables: pass choices=((first, count), ...), "
                "or use cma"
            )
        self._groups = [slice(first, first + count) for first, count in start.choices]
        chosen = np.zeros(start.dim, dtype=bool)
        for group in self._groups:
            chosen[group] = True
        self._free = np.flatnonzero(~chosen)
        variables = len(self._free) + len(self._groups)
        if len(self._free) > LIMIT:
            raise UsageError(
                f"catcma decomposes matrices of {len(self._free)} continuous variables: "
                f"beyond {LIMIT} use cma"
            )
        super().__init__("catcma", start, start.popsize or 4 + math.floor(3 * math.log(variables)))
        check_size(self, diagonal=False)
        self._es, self._library = self._strategy()
        self._asked: list[Any] = []

    def _strategy(self) -> tuple[Any, str]:
        import cmaes  # type: ignore[import-untyped]

        sizes = np.array([count for _, count in self.start.choices])
        weights = np.zeros((len(sizes), sizes.max()))
        for row, group in zip(weights, self._groups, strict=True):
            row[: group.stop - group.start] = _weights(self.start.origin()[group])
        # The library wants 2 continuous variables: those that z lacks are drawn, and lead nowhere.
        mean = np.zeros(max(2, len(self._free)))
        mean[: len(self._free)] = self.start.origin()[self._free]
        seed = derived_seed(self.seed, "optim", self.method)
        search = cmaes.CatCMA(
            mean,
            self.start.sigma,
            sizes,
            seed=seed,
            population_size=self.popsize,
            cat_param=weights,
        )
        return search, f"cmaes {cmaes.__version__}"

    def _z(self, continuous: Vector, one_hot: Matrix) -> Vector:
        z = np.zeros(self.dim)
        z[self._free] = continuous[: len(self._free)]
        for group, row in zip(self._groups, one_hot, strict=True):
            z[group] = row[: group.stop - group.start]
        return z

    def _ask(self) -> Matrix:
        self._asked = [self._es.ask() for _ in range(self.popsize)]
        return np.array([self._z(x, c) for x, c in self._asked])

    def _tell(self, z: Matrix, losses: Vector) -> None:
        try:
            self._es.tell(list(zip(self._asked, losses.tolist(), strict=True)))
        except AssertionError as error:
            raise BbtvpError(
                f"{self.method} has diverged ({error}): choose a smaller sigma"
            ) from error

    def _recommend(self) -> Vector:
        weights: Matrix = self._es._q  # the library has no public name for it
        return self._z(self._es.mean, np.eye(weights.shape[1])[weights.argmax(axis=1)])

    def _options(self) -> dict[str, JSON]:
        return {"library": self._library}


def _weights(start: Vector) -> Vector:
    """The first probabilities of one choice."""
    count = len(start)
    if np.count_nonzero(start == start.max()) > 1:
        return np.full(count, 1 / count)
    weights = np.full(count, 0.5 / count)
    weights[start.argmax()] += 0.5
    return weights
