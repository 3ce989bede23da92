"""Random search: the baseline that every method has to beat."""

from __future__ import annotations

import math
from typing import final

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.optim.base import JSON, Optimiser, Start


@final
class RandomSearch(Optimiser):
    """z ~ N(x0, sigma² I), independently.

    It recommends the candidate with the lowest loss, the earliest of equals.

    With noisy losses that candidate is also the luckiest: its loss is optimistic, so check it on
    validation.
    """

    def __init__(self, start: Start) -> None:
        super().__init__("random", start, start.batch())
        self._random = stream(self.seed, "optim", "random")
        self._best = start.origin()
        self._lowest = math.inf

    def _ask(self) -> Matrix:
        return self.start.origin() + self.start.sigma * self._random.standard_normal(
            (self.popsize, self.dim)
        )

    def _tell(self, z: Matrix, losses: Vector) -> None:
        winner = int(losses.argmin())
        if losses[winner] < self._lowest:
            self._best = z[winner]
            self._lowest = float(losses[winner])

    def _recommend(self) -> Vector:
        return self._best

    def _options(self) -> dict[str, JSON]:
        return {}
