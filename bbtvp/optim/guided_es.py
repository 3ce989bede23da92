"""Guided ES: random directions that lean towards surrogate gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.optim.base import JSON, Start
from bbtvp.optim.descent import Gains, Mirrored, check, check_count
from bbtvp.optim.subspace import orthonormal


@final
class GuidedEs(Mirrored):
    """Evolution strategy whose directions lean towards the last k surrogate gradients.

    They are stretched along the span U of those gradients.

    Maheswaranathan et al., "Guided evolutionary strategies", ICML 2019. U (d, k) has orthonormal
    columns:

        ε = √(mix/d) ξ + √((1 − mix)/k) U ζ,   ξ ~ N(0, I_d),  ζ ~ N(0, I_k)                (1)
        so that Cov ε = (mix/d) I + ((1 − mix)/k) U Uᵀ
        g = β/(2 c_i² P) Σ_p (L(θ + c_i ε_p) − L(θ − c_i ε_p)) c_i ε_p                      (2)
        θ ← θ − a_i g                                                                       (3)

    The guide is asked at every θ; the newest `memory` of its rows span U (None: those of the last
    call). Zero and dependent rows drop out; without any left, ε is isotropic. mix = 1 ignores the
    guide, 0 trusts it alone. `popsize` is 2P, 10 by default. ε has length about 1, whatever d.

    Published (`GuidedEs.published`): a demo of 1,000 steps. Defaults, measured as `descent` says: c
    = 0.3 sigma √d, so that a direction moves each variable by about 0.3 sigma, and a = RATE sigma²
    d.
    """

    guided: ClassVar[bool] = True
    RATE: ClassVar[float] = 1.0

    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "a": 0.2,
            "c": 0.1,
            "mix": 0.5,
            "beta": 1.0,
            "memory": 1,
            "o": 0.0,
            "alpha": 0.0,
            "gamma": 0.0,
        }
    )
    """The demo of the release, with popsize 2. `mix` is the paper's alpha, `a` its learning rate,
    `c` its σ.
    """

    def __init__(
        self,
        start: Start,
        *,
        mix: float = 0.5,
        beta: float = 1.0,
        memory: int | None = None,
        o: float = 1.0,
        c: float | None = None,
        a: float | None = None,
        alpha: float = 0.4,
        gamma: float = 0.1,
    ) -> None:
        super().__init__("guided-es", start, 10)
        start.need_guide(self.method)
        check(self.method, mix=mix)
        check(self.method, above=True, beta=beta)
        if mix > 1:
            raise UsageError(f"guided-es option mix must be in [0, 1], got {mix}")
        if memory is not None:
            check_count(self.method, 1, memory=memory)
        a = self.RATE * start.sigma**2 * self.dim if a is None else a
        c = 0.3 * start.sigma * math.sqrt(self.dim) if c is None else c
        self._gains = Gains(self.method, a, c, o, alpha, gamma)
        self._mix = mix
        self._beta = beta
        self._memory = memory
        self._random = stream(self.seed, "optim", self.method)
        self._rows = np.empty((0, self.dim))

    def _directions(self, pairs: int) -> Matrix:
        latest = self.start.gradients(self._theta, self.method)
        # Newest first: where rows depend on each other, the older ones drop out.
        self._rows = np.vstack((latest, self._rows))[: self._memory or len(latest)]
        basis = orthonormal(self._rows)
        mix = self._mix if len(basis) else 1.0
        around = self._random.standard_normal((pairs, self.dim))
        along = self._random.standard_normal((pairs, len(basis)))
        stretch = math.sqrt((1 - mix) / max(1, len(basis)))
        return math.sqrt(mix / self.dim) * around + stretch * (along @ basis)  # (1)

    def _width(self) -> float:
        return self._gains.width(self._step)

    def _change(self, difference: Vector) -> Vector:
        scaled = self._beta * difference / (2 * self._width())
        gradient = scaled @ self._delta / len(self._delta)  # (2)
        return self._gains.rate(self._step) * gradient  # (3)

    def _options(self) -> dict[str, JSON]:
        return {
            **self._gains.resolved(),
            "mix": self._mix,
            "beta": self._beta,
            "memory": self._memory,
        }
