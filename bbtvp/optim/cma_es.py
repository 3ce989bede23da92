"""CMA-ES, by pycma."""

from __future__ import annotations

from typing import final

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.optim.base import JSON, Optimiser, Start
from bbtvp.optim.pycma import Pycma, check_size


@final
class CmaEs(Optimiser):
    """Covariance matrix adaptation evolution strategy, minimising over z ~ N(m, s² C).

        m ← m + Σ_i w_i (z_(i) − m)           (weights by rank: only the order of losses counts)
        C ← (1 − c_1 − c_μ) C + c_1 p pᵀ + c_μ Σ_i w_i y_i y_iᵀ,     y_i = (z_(i) − m) / s

    Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772; with `diagonal`, separable
    CMA-ES (Ros and Hansen, PPSN 2008): C is diagonal, linear time and memory, for d in the
    thousands. Recommends the mean m, which averages noise away; the best candidate seen would be
    the luckiest one.

    pycma adapts the step size by path length (CSA), from 300 variables on in two points (TPA): see
    `resolved`.
    """

    def __init__(self, start: Start, *, diagonal: bool = False) -> None:
        super().__init__("cma-diagonal" if diagonal else "cma", start, start.batch())
        check_size(self, diagonal)
        self._pycma = Pycma(start, self.method, diagonal)
        self._pycma.begin(start.origin(), self.popsize)

    def _ask(self) -> Matrix:
        return self._pycma.ask()

    def _tell(self, z: Matrix, losses: Vector) -> None:
        self._pycma.tell(losses)

    def _recommend(self) -> Vector:
        mean: Vector = self._pycma.strategy.mean
        return mean

    def _options(self) -> dict[str, JSON]:
        step_size = type(self._pycma.strategy.adapt_sigma).__name__
        return {"step_size": step_size, "library": self._pycma.library}
