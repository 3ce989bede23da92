"""SPSA with gradient correction: the zeroth-order method of BlackVIP."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.optim.base import JSON, Optimiser, Start


@final
class SpsaGc(Optimiser):
    """Simultaneous perturbation stochastic approximation with a Nesterov-style correction.

    Oh et al., "BlackVIP: Black-Box Visual Prompting for Robust Transfer Learning", CVPR 2023. At step i = 1, 2, …

        a_i = a / (i + o)^alpha,    c_i = c / i^gamma,    Δ_k segmented uniform on [−1, −0.5] ∪ [0.5, 1], k = 1 … K
        g_k = (L(θ + c_i Δ_k) − L(θ − c_i Δ_k)) / (2 c_i) · 1/Δ_k   (elementwise),    g = mean of the g_k
        m ← β m + g  (m = g at i = 1),    θ ← θ − a_i (g + β m)

    An ask holds the pairs θ + c_i Δ_1, θ − c_i Δ_1, θ + c_i Δ_2, …: 2K rows; `popsize` sets 2K. Evaluate both sides of
    a pair on the same images. Recommends θ.

    The published constants (`SpsaGc.published`) belong to the weights of a network and 5,000 epochs. Here z has scale
    `sigma`, losses are of order 1 and steps number in the tens, so `a` defaults to 0.3 sigma² and `c` to 0.3 sigma:
    on quadratic and logistic losses of 5 to 1,000 variables, with 60 steps, about the best pair that never diverged,
    and c is large enough to survive rounding to 8 bits. `a` and `c`, when given, are taken as they are. If a search
    diverges, lower `a`; its steps grow with the loss, so keep that of order 1.
    """

    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"o": 1.0, "c": 0.01, "a": 0.01, "alpha": 0.4, "gamma": 0.1, "beta": 0.9}
    )
    """Defaults of the released code, with popsize 10: `optimiser("spsa-gc", dim, seed, **SpsaGc.published)`."""

    def __init__(
        self,
        start: Start,
        *,
        o: float = 1.0,
        c: float | None = None,
        a: float | None = None,
        alpha: float = 0.4,
        gamma: float = 0.1,
        beta: float = 0.9,
    ) -> None:
        super().__init__("spsa-gc", start, start.popsize or 10)
        if self.popsize % 2:
            raise UsageError(f"spsa-gc evaluates pairs: popsize must be even (2K, 10 by default), got {self.popsize}")
        self._a = 0.3 * start.sigma**2 if a is None else a
        self._c = 0.3 * start.sigma if c is None else c
        self._o, self._alpha, self._gamma, self._beta = o, alpha, gamma, beta
        self._check()
        self._random = stream(self.seed, "optim", "spsa-gc")
        self._theta = start.origin()
        self._momentum = np.zeros(self.dim)
        self._delta = np.empty((0, self.dim))
        self._step = 0

    def _check(self) -> None:
        for name, value in (("a", self._a), ("c", self._c)):
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"spsa-gc option {name} must be finite and above 0, got {value}")
        for name, value in (("o", self._o), ("alpha", self._alpha), ("gamma", self._gamma)):
            if not (np.isfinite(value) and value >= 0):
                raise UsageError(f"spsa-gc option {name} must be finite and at least 0, got {value}")
        if not 0 <= self._beta < 1:
            raise UsageError(f"spsa-gc option beta must be in [0, 1), got {self._beta}")

    def _width(self) -> float:
        return float(self._c / self._step**self._gamma)

    def _ask(self) -> Matrix:
        self._step += 1
        shape = (self.popsize // 2, self.dim)
        self._delta = self._random.uniform(0.5, 1.0, shape) * self._random.choice((-1.0, 1.0), shape)
        offset = self._width() * self._delta
        return np.stack((self._theta + offset, self._theta - offset), axis=1).reshape(self.popsize, self.dim)

    def _tell(self, z: Matrix, losses: Vector) -> None:
        slope = (losses[0::2] - losses[1::2]) / (2 * self._width())
        gradient = (slope[:, None] / self._delta).mean(axis=0)
        self._momentum = self._beta * self._momentum + gradient  # starts at 0, so m = g at step 1
        rate = self._a / (self._step + self._o) ** self._alpha
        self._theta = self._theta - rate * (gradient + self._beta * self._momentum)

    def _recommend(self) -> Vector:
        return self._theta

    def _options(self) -> dict[str, JSON]:
        return {
            "o": self._o,
            "c": self._c,
            "a": self._a,
            "alpha": self._alpha,
            "gamma": self._gamma,
            "beta": self._beta,
        }
