"""The optimiser `climb`: a (1+1) evolution strategy with the one-fifth rule."""

from __future__ import annotations

import math
from typing import final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.optim import JSON, Optimiser, Start


@final
class Climb(Optimiser):
    """One parent, one child; the better of the two is the next parent.

        child = parent + σ ξ,  ξ ~ N(0, I)                                              (1)
        parent ← child, σ ← σ e^(rate)      if L(child) < L(parent)                     (2)
        σ ← σ e^(−rate/4)                   otherwise                                   (3)

    σ stays as it is when one child in five is better (Rechenberg, 1973). A batch holds the parent
    too, for losses of different batches are taken on different images. rate: above 0.
    """

    def __init__(self, start: Start, *, rate: float = 0.4) -> None:
        super().__init__("climb", start, 2)
        self._rate = rate
        self._parent = start.origin()
        self._sigma = start.sigma
        self._random = stream(self.seed, "optim", "climb")

    def _ask(self) -> Matrix:
        child = self._parent + self._sigma * self._random.standard_normal(self.dim)  # (1)
        return np.stack((self._parent, child))

    def _tell(self, z: Matrix, losses: Vector) -> None:
        if losses[1] < losses[0]:
            self._parent = z[1]
            self._sigma *= math.exp(self._rate)  # (2)
        else:
            self._sigma *= math.exp(-self._rate / 4)  # (3)

    def _recommend(self) -> Vector:
        return self._parent

    def _options(self) -> dict[str, JSON]:
        return {"rate": self._rate}
