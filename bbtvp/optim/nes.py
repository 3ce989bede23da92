"""NES: the antithetic Gaussian gradient of evolution strategies."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, final

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.optim.base import JSON, Start
from bbtvp.optim.descent import Gains, Mirrored


@final
class Nes(Mirrored):
    """Natural evolution strategy of an isotropic Gaussian, in mirrored pairs.

    It follows the gradient of E[L(θ + c_i ε)].

    Wierstra et al., JMLR 15 (2014); Salimans et al., arXiv 1703.03864; as a black-box attack, Ilyas
    et al., ICML 2018.

        a_i = a / (i + o)^alpha,   c_i = c / i^gamma,   ε_k ~ N(0, I)
        g = 1/(2 c_i P) Σ_k (L(θ + c_i ε_k) − L(θ − c_i ε_k)) ε_k                           (1)
        θ ← θ − a_i g                                                                       (2)

    `popsize` is 2P, 10 by default. Published: constant gains (`Nes.published`); c = 0.001 is below
    one step of 8 bits. Defaults, measured as `descent` says: c = 0.3 sigma, a = RATE sigma².
    """

    RATE: ClassVar[float] = 2.0

    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"c": 0.001, "a": 0.01, "o": 0.0, "alpha": 0.0, "gamma": 0.0}
    )
    """Ilyas et al., with popsize 50; their step takes the sign of g inside a ball, ours g itself.
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
    ) -> None:
        super().__init__("nes", start, 10)
        a = self.RATE * start.sigma**2 if a is None else a
        self._gains = Gains("nes", a, 0.3 * start.sigma if c is None else c, o, alpha, gamma)
        self._random = stream(self.seed, "optim", "nes")

    def _directions(self, pairs: int) -> Matrix:
        return self._random.standard_normal((pairs, self.dim))

    def _width(self) -> float:
        return self._gains.width(self._step)

    def _change(self, difference: Vector) -> Vector:
        gradient = difference / (2 * self._width()) @ self._delta / len(self._delta)  # (1)
        return self._gains.rate(self._step) * gradient  # (2)

    def _options(self) -> dict[str, JSON]:
        return self._gains.resolved()
