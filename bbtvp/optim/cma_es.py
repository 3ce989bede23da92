"""CMA-ES, by pycma."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import derived_seed, stream
from bbtvp.optim.base import JSON, Optimiser, Start
from bbtvp.optim.global_random import GlobalRandom

FULL_LIMIT = 3_000
"""Variables beyond which a full covariance matrix (8 d² bytes, several copies) is refused."""


@final
class CmaEs(Optimiser):
    """Covariance matrix adaptation evolution strategy, minimising over z ~ N(m, s² C).

        m ← m + Σ_i w_i (z_(i) − m)           (weights by rank, so only the order of the losses counts)
        C ← (1 − c_1 − c_μ) C + c_1 p pᵀ + c_μ Σ_i w_i y_i y_iᵀ,     y_i = (z_(i) − m) / s

    Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772; with `diagonal`, separable CMA-ES (Ros and
    Hansen, PPSN 2008): C is diagonal, linear time and memory, for d in the thousands. Recommends the mean m, which
    averages noise away; the best candidate seen would be the luckiest one.

    pycma adapts the step size by path length (CSA), from 300 variables on in two points (TPA): see `resolved`.
    """

    def __init__(self, start: Start, *, diagonal: bool = False) -> None:
        super().__init__("cma-diagonal" if diagonal else "cma", start, start.batch())
        if self.popsize < 2:
            raise UsageError(f"{self.method} ranks its candidates: popsize must be at least 2, got {self.popsize}")
        if self.dim > FULL_LIMIT and not diagonal:
            raise UsageError(f"cma keeps a {self.dim} x {self.dim} matrix: beyond {FULL_LIMIT} use cma-diagonal")
        self._random = stream(self.seed, "optim", self.method)
        self._fence = GlobalRandom(derived_seed(self.seed, "optim", self.method, "global"))
        self._asked: list[Vector] = []
        with self._fence.lent():
            self._es, self._library = self._strategy(diagonal)

    def _strategy(self, diagonal: bool) -> tuple[Any, str]:
        import cma  # type: ignore[import-untyped]

        options = {
            "popsize": self.popsize,
            "CMA_diagonal": diagonal,
            "randn": self._normal,
            "seed": np.nan,  # anything else reseeds numpy's global generator; 0 would mean the clock
            "signals_filename": "",  # else it reads cma_signals.in from the working folder
            "verbose": -10,
            "verb_log": 0,
        }
        return cma.CMAEvolutionStrategy(self.start.origin(), self.start.sigma, options), f"cma {cma.__version__}"

    def _normal(self, *shape: int) -> Matrix:
        return self._random.standard_normal(shape)

    def _ask(self) -> Matrix:
        with self._fence.lent():
            self._asked = self._es.ask()
        return np.array(self._asked)

    def _tell(self, z: Matrix, losses: Vector) -> None:
        # pycma knows its own vectors again, and may change the list of losses: it gets those vectors and a new list.
        with self._fence.lent():
            self._es.tell(self._asked, losses.tolist())

    def _recommend(self) -> Vector:
        mean: Vector = self._es.mean
        return mean

    def _options(self) -> dict[str, JSON]:
        return {"step_size": type(self._es.adapt_sigma).__name__, "library": self._library}
