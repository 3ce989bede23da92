"""SPSA with gradient correction: the zeroth-order method of BlackVIP."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.optim.base import JSON, Start
from bbtvp.optim.descent import Gains, Mirrored, check
from bbtvp.optim.spsa import perturbations, simultaneous


@final
class SpsaGc(Mirrored):
    """Simultaneous perturbation stochastic approximation with a Nesterov-style correction.

    Oh et al., "BlackVIP: Black-Box Visual Prompting for Robust Transfer Learning", CVPR 2023. At
    step i = 1, 2, …

        a_i = a / (i + o)^alpha,    c_i = c / i^gamma
        Δ_k segmented uniform on [−1, −0.5] ∪ [0.5, 1],    k = 1 … K
        g = mean_k (L(θ + c_i Δ_k) − L(θ − c_i Δ_k)) / (2 c_i) · 1/Δ_k   (elementwise)      (1)
        m ← β m + g,    m = g at i = 1                                                      (2)
        θ ← θ − a_i (g + β m)                                                               (3)

    An ask holds the pairs θ + c_i Δ_1, θ − c_i Δ_1, θ + c_i Δ_2, …: 2K rows; `popsize` sets 2K.
    Evaluate both sides of a pair on the same images. Recommends θ.

    The published constants (`SpsaGc.published`) belong to the weights of a network and 5,000
    epochs. Here z has scale `sigma`, losses are of order 1 and steps number in the tens, so `a`
    defaults to 0.3 sigma² and `c` to 0.3 sigma: on quadratic and logistic losses of 5 to 1,000
    variables, with 60 steps, about the best pair that never diverged, and c is large enough to
    survive rounding to 8 bits. `a` and `c`, when given, are taken as they are. If a search
    diverges, lower `a`; its steps grow with the loss, so keep that of order 1.
    """

    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"o": 1.0, "c": 0.01, "a": 0.01, "alpha": 0.4, "gamma": 0.1, "beta": 0.9}
    )
    """Defaults of the released code, with popsize 10: `optimiser("spsa-gc", dim, seed,
    **SpsaGc.published)`.
    """
    vp: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"o": 1.0, "c": 0.01, "a": 40.0, "alpha": 0.5, "gamma": 0.1, "beta": 0.9}
    )
    """The same release for black-box VP, whose variables are pixels: its `a` is 10 to 40 and `beta`
    0.3 to 0.9.
    """

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
        super().__init__("spsa-gc", start, 10)
        a = 0.3 * start.sigma**2 if a is None else a
        self._gains = Gains("spsa-gc", a, 0.3 * start.sigma if c is None else c, o, alpha, gamma)
        check("spsa-gc", beta=beta)
        if beta >= 1:
            raise UsageError(f"spsa-gc option beta must be in [0, 1), got {beta}")
        self._beta = beta
        self._random = stream(self.seed, "optim", "spsa-gc")
        self._momentum = np.zeros(self.dim)

    def _directions(self, pairs: int) -> Matrix:
        return perturbations(self._random, (pairs, self.dim), "segmented")

    def _width(self) -> float:
        return self._gains.width(self._step)

    def _change(self, difference: Vector) -> Vector:
        gradient = simultaneous(difference, self._delta, self._width())  # (1)
        self._momentum = self._beta * self._momentum + gradient  # (2): it starts at 0
        return self._gains.rate(self._step) * (gradient + self._beta * self._momentum)  # (3)

    def _options(self) -> dict[str, JSON]:
        return {**self._gains.resolved(), "beta": self._beta}
