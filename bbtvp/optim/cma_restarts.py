"""CMA-ES with restarts and a growing population, by pycma."""

from __future__ import annotations

import math
from typing import final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.optim.base import JSON, Optimiser, Start
from bbtvp.optim.descent import check_count
from bbtvp.optim.pycma import Pycma, check_size

SMOOTH = 5
"""Generations whose median losses a run is judged by: one alone would be the luckiest."""


@final
class CmaRestarts(Optimiser):
    """IPOP-CMA-ES: when a run has ended, begin another elsewhere with twice the population.

    Auger and Hansen, "A restart CMA evolution strategy with increasing population size", CEC 2005.
    Run r = 0, 1, … has λ_r = λ_0 · 2^min(r, restarts) candidates and begins at a mean drawn from
    N(x0, sigma² I), the first at x0. A run ends by pycma's own criteria, or when the median losses
    of the newer half of the last `patience` generations are no better than those of the older half.
    Those criteria wait for digits that a noisy loss never reaches.

    Here `Start.popsize` is λ_0; `popsize` of the search is its largest batch, λ_0 · 2^restarts. A
    generation is one batch. `restarts` defaults to what lets the largest generation be a tenth of
    the budget, at most 9, or to 4 without a budget; `patience` to 10 + 30 d/λ_r.

    Recommends the mean of the run whose last SMOOTH generations had the lowest median losses.
    """

    def __init__(
        self, start: Start, *, restarts: int | None = None, patience: int | None = None
    ) -> None:
        self._first = start.batch()
        if restarts is None:
            room = 16 if start.budget is None else start.budget // (10 * self._first)
            restarts = min(9, max(0, room.bit_length() - 1))
        check_count("cma-restarts", 0, restarts=restarts)
        if restarts > 20:
            raise UsageError(
                f"cma-restarts doubles its population: restarts must be at most 20, got {restarts}"
            )
        if patience is not None:
            check_count("cma-restarts", 2, patience=patience)
        super().__init__("cma-restarts", start, self._first * 2**restarts)
        check_size(self, diagonal=False)
        self._restarts = restarts
        self._patience = patience
        self._pycma = Pycma(start, self.method, diagonal=False)
        self._runs = 0
        self._medians: list[float] = []
        self._begin(start.origin())
        self._winner = start.origin()
        self._lowest = math.inf

    def _begin(self, mean: Vector) -> None:
        self._size = self._first * 2 ** min(self._runs, self._restarts)
        self._runs += 1
        self._medians = []
        self._pycma.begin(mean, self._size)

    def _ask(self) -> Matrix:
        return self._pycma.ask()

    def _tell(self, z: Matrix, losses: Vector) -> None:
        self._pycma.tell(losses)
        ended = self._pycma.ended()
        self._medians.append(float(np.median(losses)))
        level = float(np.mean(self._medians[-SMOOTH:]))
        if level <= self._lowest:
            self._winner = np.array(self._pycma.strategy.mean)
            self._lowest = level
        if ended or self._stagnates():
            spread = self.start.sigma * self._pycma.random.standard_normal(self.dim)
            self._begin(self.start.origin() + spread)

    def _stagnates(self) -> bool:
        patience = self._patience or 10 + math.ceil(30 * self.dim / self._size)
        recent = self._medians[-patience:]
        half = patience // 2
        return len(recent) == patience and float(np.median(recent[-half:])) >= float(
            np.median(recent[:-half])
        )

    def _recommend(self) -> Vector:
        return self._winner

    def _options(self) -> dict[str, JSON]:
        return {
            "first": self._first,
            "restarts": self._restarts,
            "patience": self._patience,
            "library": self._pycma.library,
        }
