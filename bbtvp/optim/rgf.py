"""RGF: the one-sided random gradient-free estimate of BAR."""

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
from bbtvp.optim.descent import Descent, check, check_count, units


@final
class Rgf(Descent):
    """Random gradient-free minimisation, one-sided, with a polynomial decay of the step.

    Nesterov and Spokoiny, Found. Comput. Math. 17 (2017); as in BAR, Tsai, Chen and Ho, ICML 2020:

        g = (d/q) Σ_k (L(θ + β u_k) − L(θ)) / β · u_k,   u_k uniform on the unit sphere     (1)
        η_t = (η_0 − η_1) (1 − min(t, T)/T)^power + η_1,   t = 0, 1, …                      (2)
        θ ← θ − η_t g                                                                       (3)

    A batch is the pivot θ and q directions: `popsize` is 1 + q, 6 by default. T is `steps`, else
    what the budget allows; without either, η stays at η_0.

    BAR's W lies behind a sigmoid in 150,528 dimensions, and its step β = 0.1 moves one of them by
    3e-4. Here, measured as `descent` says: β = 0.3 sigma √d, so that a direction moves each
    variable by 0.3 sigma, η_0 = RATE sigma² and η_1 = η_0 / 10, the ratio of BAR.
    """

    RATE: ClassVar[float] = 0.1

    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"beta": 0.1, "eta": 0.01, "end": 0.001, "power": 0.9, "steps": 2000}
    )
    """The TensorFlow release of BAR, with popsize 2. The port in ZIP: β 0.01, η 0.01 → 0.0001,
    popsize 6.
    """

    def __init__(
        self,
        start: Start,
        *,
        beta: float | None = None,
        eta: float | None = None,
        end: float | None = None,
        power: float = 0.9,
        steps: int | None = None,
    ) -> None:
        super().__init__("rgf", start, start.popsize or 6)
        if self.popsize < 2:
            raise UsageError(
                "rgf compares directions to a pivot: popsize must be at least 2, "
                f"got {self.popsize}"
            )
        self._beta = 0.3 * start.sigma * math.sqrt(self.dim) if beta is None else beta
        self._eta = self.RATE * start.sigma**2 if eta is None else eta
        check("rgf", above=True, beta=self._beta, eta=self._eta)
        self._end = 0.1 * self._eta if end is None else end
        check("rgf", end=self._end, power=power)
        if steps is not None:
            check_count("rgf", 1, steps=steps)
        elif start.budget is not None:
            steps = max(1, start.budget // self.popsize)
        self._power = power
        self._steps = steps
        self._random = stream(self.seed, "optim", "rgf")
        self._directions = np.empty((0, self.dim))

    def _rate(self) -> float:
        if self._steps is None:
            return self._eta
        left = 1 - min(self._step - 1, self._steps) / self._steps
        return float((self._eta - self._end) * left**self._power + self._end)  # (2)

    def _ask(self) -> Matrix:
        self._directions = units(self._random.standard_normal((self.popsize - 1, self.dim)))
        return np.vstack((self._theta, self._theta + self._beta * self._directions))

    def _tell(self, z: Matrix, losses: Vector) -> None:
        slopes = (losses[1:] - losses[0]) / self._beta
        self._move(self._rate() * self.dim * (slopes @ self._directions) / len(slopes))  # (1), (3)

    def _options(self) -> dict[str, JSON]:
        steps = self._steps
        power = self._power
        return {
            "beta": self._beta,
            "eta": self._eta,
            "end": self._end,
            "power": power,
            "steps": steps,
        }
