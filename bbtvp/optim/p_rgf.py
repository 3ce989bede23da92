"""P-RGF: random directions biased towards a surrogate gradient.

The bias grows with how well the gradient is measured to fit.
"""

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
from bbtvp.optim.descent import Descent, StepLengths, check, check_count, units

REFRESH = 10
ONCE_MORE = 3
"""When the norm of the gradient is measured: at iterations 0, 10, 20, …, and 3, for it changes fast
at first.
"""


def prior_weight(cosine: float, dim: int, q: int) -> float:
    """λ*: the share of each direction that the prior gets.

    cosine: of the prior with the gradient, a below. dim: variables d. q: directions.

        λ* = 0                                                             if a² ≤ 1/(d+2q−2)
           = 1                                                             if a² ≥ (2q−1)/(d+2q−2)
           = (1−a²)(1 − a²(d+2q−2)) / ( a⁴ d (d+2q−2) − 2 a² d q + 1 )     otherwise

    It maximises the expected cosine between the estimate and the gradient (Cheng et al., NeurIPS
    2019, theorem 1).
    """
    square = cosine * cosine
    n = dim + 2 * q - 2
    if square * n <= 1:
        return 0.0
    if square * n >= 2 * q - 1:
        return 1.0
    return (1 - square) * (1 - square * n) / (square * square * dim * n - 2 * square * dim * q + 1)


@final
class PRgf(Descent):
    """Prior-guided RGF with the exact λ* and a measured cosine.

    Cheng et al., "Improving Black-box Adversarial Attacks with a Transfer-based Prior", NeurIPS
    2019. With v the unit surrogate gradient (the sum of the guide's rows) and D(u) = (L(θ + s u) −
    L(θ)) / s:

        ‖∇L‖² ≈ d · mean of D(w_j)²,  w_j random unit, at iterations 0, 3, 10, 20, …        (1)
        a = D(v) / ‖∇L‖;    v ← −v, a ← −a  if a < 0;    λ = λ*(a), see `prior_weight`      (2)
        u_k = √λ v + √(1−λ) unit((I − v vᵀ) ξ_k)                                            (3)
        g = 1/q Σ_k D(u_k) u_k;    g = v if λ = 1                                           (4)
        θ ← θ − a_i g/‖g‖,    a_i = a / (i + o)^alpha                                       (5)

    A step is a batch θ, θ + s v, probes θ + s w_j on a refresh; then, unless λ = 1, a batch θ, θ +
    s u_1, …: θ is in both, so that each difference lies within one batch. The release pays one
    query for it; losses equal, the rule is the same. A slope of exactly 0 (rounding) means no trust
    here; the release doubles s. `popsize` is 1 + q, 12 by default; `probes` directions w_j, 10 if
    they fit (popsize − 2).

    Published (`PRgf.published`): an attack in a ball. Measured as `descent` says: s = 0.3 sigma √d,
    so that a direction moves each variable by 0.3 sigma, and a_1 = RATE sigma √d, alpha = 0.4.
    """

    guided: ClassVar[bool] = True
    RATE: ClassVar[float] = 0.1

    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"probes": 10, "a": 2.0, "o": 0.0, "alpha": 0.0}
    )
    """With popsize 51, and s = 1e-4 √d on pixels of 0 to 1: far below one step of 8 bits."""

    def __init__(
        self,
        start: Start,
        *,
        s: float | None = None,
        a: float | None = None,
        o: float = 1.0,
        alpha: float = 0.4,
        probes: int | None = None,
    ) -> None:
        super().__init__("p-rgf", start, start.popsize or 12)
        start.need_guide("p-rgf")
        room = self.popsize - 2
        if room < 1:
            raise UsageError(
                "p-rgf asks 2 points and a probe at once: popsize must be at least 3, "
                f"got {self.popsize}"
            )
        self._probes = min(10, room) if probes is None else probes
        check_count("p-rgf", 1, probes=self._probes)
        if self._probes > room:
            raise UsageError(
                f"p-rgf asks {self._probes} probes, popsize {self.popsize} has room for {room}"
            )
        root = start.sigma * math.sqrt(self.dim)
        self._s = 0.3 * root if s is None else s
        check("p-rgf", o=o, alpha=alpha)
        a = self.RATE * root * (1 + o) ** alpha if a is None else a
        check("p-rgf", above=True, s=self._s, a=a)
        self._lengths = StepLengths(a, o, alpha)
        self._random = stream(self.seed, "optim", "p-rgf")
        self._norm = 0.0
        self._prior = np.zeros(self.dim)
        self._weight: float | None = None  # λ of this step, once measured
        self._asked = np.empty((0, self.dim))

    def _ask(self) -> Matrix:
        self._asked = self._first() if self._weight is None else self._second(self._weight)
        return np.vstack((self._theta, self._theta + self._s * self._asked))

    def _first(self) -> Matrix:
        """Unit directions: the prior, and the probes when the norm is due."""
        self._prior = units(self.start.gradients(self._theta, "p-rgf").sum(axis=0, keepdims=True))[
            0
        ]
        done = self._step - 1
        probes = self._probes if done % REFRESH == 0 or done == ONCE_MORE else 0
        return np.vstack((self._prior, units(self._random.standard_normal((probes, self.dim)))))

    def _second(self, weight: float) -> Matrix:
        """q unit directions with √λ of the prior in each."""
        free = self._random.standard_normal((self.popsize - 1, self.dim))
        free -= np.outer(free @ self._prior, self._prior)
        return math.sqrt(weight) * self._prior + math.sqrt(1 - weight) * units(free)  # (3)

    def _tell(self, z: Matrix, losses: Vector) -> None:
        slopes = (losses[1:] - losses[0]) / self._s
        if self._weight is None:
            weight = self._measure(slopes)
            self._weight = weight
            if weight == 1.0:
                self._step_along(self._prior)
        else:
            self._step_along(slopes @ self._asked / len(slopes))  # (4)

    def _measure(self, slopes: Vector) -> float:
        """λ of this step, from D(v) and on a refresh the D(w_j); v is turned to where L rises."""
        if len(slopes) > 1:
            self._norm = math.sqrt(self.dim * float(np.mean(slopes[1:] ** 2)))  # (1)
        cosine = float(slopes[0]) / self._norm if self._norm > 0 else 0.0  # (2)
        if cosine < 0:
            self._prior = -self._prior
        alone = self.dim == 1 and cosine != 0  # there is no other direction
        return 1.0 if alone else prior_weight(cosine, self.dim, self.popsize - 1)

    def _step_along(self, gradient: Vector) -> None:
        self._move(self._lengths.rate(self._step) * units(gradient[None])[0])  # (5)
        self._weight = None

    def _options(self) -> dict[str, JSON]:
        return {"s": self._s, **self._lengths.resolved(), "probes": self._probes}
