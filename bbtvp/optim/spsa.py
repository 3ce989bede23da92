"""SPSA: simultaneous perturbation, the method behind most black-box prompt tuners."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.optim.base import JSON, Start
from bbtvp.optim.descent import Gains, Mirrored, check_word

SHAPES = ("rademacher", "segmented")


@final
class Spsa(Mirrored):
    """Simultaneous perturbation stochastic approximation.

    Spall, IEEE Trans. Automatic Control 37 (1992); gains and guidelines: Johns Hopkins APL Tech.
    Digest 19 (1998). At step i = 1, 2, …, with K pairs of directions Δ_k:

        a_i = a / (i + o)^alpha,    c_i = c / i^gamma
        g = mean_k (L(θ + c_i Δ_k) − L(θ − c_i Δ_k)) / (2 c_i) · 1/Δ_k   (elementwise)      (1)
        θ ← θ − a_i g                                                                       (2)

    `perturbation` is "rademacher" (±1, Spall) or "segmented" (uniform on [−1, −0.5] ∪ [0.5, 1], as
    BlackVIP and ZIP). `clip` is ZIP's intrinsic clipping, g ← g · min(1, √d / ‖g‖) (Park et al.,
    ICLR 2025), against rare huge steps. `popsize` is 2K, 10 by default. `o` defaults to a tenth of
    the planned steps, as Spall advises, or 1 without budget.

    Defaults, measured as `descent` says: c = 0.3 sigma, and a = RATE sigma² (1 + o)^alpha, so that
    the first step is RATE sigma² g whatever `o` is.
    """

    RATE: ClassVar[float] = 1.0

    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"alpha": 0.602, "gamma": 0.101, "perturbation": "rademacher", "clip": False}
    )
    """Spall's exponents, which are our defaults; a, c and o he leaves to the problem."""
    zip: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "o": 1.0,
            "c": 0.01,
            "a": 0.01,
            "alpha": 0.4,
            "gamma": 0.1,
            "perturbation": "segmented",
            "clip": True,
        }
    )
    """Released configuration of ZIP, with popsize 10."""

    def __init__(
        self,
        start: Start,
        *,
        o: float | None = None,
        c: float | None = None,
        a: float | None = None,
        alpha: float = 0.602,
        gamma: float = 0.101,
        perturbation: str = "rademacher",
        clip: bool = False,
    ) -> None:
        super().__init__("spsa", start, 10)
        check_word("spsa", SHAPES, perturbation=perturbation)
        if o is None:
            o = 1.0 if start.budget is None else 0.1 * (start.budget // self.popsize)
        # checks o and alpha, which the default of a needs
        first = Gains(self.method, a=1.0, c=1.0, o=o, alpha=alpha, gamma=gamma)
        a = self.RATE * start.sigma**2 / first.rate(1) if a is None else a
        self._gains = Gains("spsa", a, 0.3 * start.sigma if c is None else c, o, alpha, gamma)
        self._perturbation = perturbation
        self._clip = bool(clip)
        self._random = stream(self.seed, "optim", "spsa")

    def _directions(self, pairs: int) -> Matrix:
        return perturbations(self._random, (pairs, self.dim), self._perturbation)

    def _width(self) -> float:
        return self._gains.width(self._step)

    def _change(self, difference: Vector) -> Vector:
        gradient = simultaneous(difference, self._delta, self._width())
        if self._clip:
            gradient = gradient * min(
                1.0, math.sqrt(self.dim) / max(float(np.linalg.norm(gradient)), 1e-300)
            )
        return self._gains.rate(self._step) * gradient  # (2)

    def _options(self) -> dict[str, JSON]:
        return {**self._gains.resolved(), "perturbation": self._perturbation, "clip": self._clip}


def perturbations(random: np.random.Generator, shape: tuple[int, int], kind: str) -> Matrix:
    """Random directions.

    Their entries are ±1 ("rademacher"), or uniform on [−1, −0.5] ∪ [0.5, 1] ("segmented").
    """
    size = random.uniform(0.5, 1.0, shape) if kind == "segmented" else 1.0
    return np.asarray(size * random.choice((-1.0, 1.0), shape))


def simultaneous(difference: Vector, delta: Matrix, width: float) -> Vector:
    """The SPSA estimate, averaged over pairs: equation (1) of `Spsa` and `SpsaGc`."""
    slope = difference / (2 * width)
    return np.asarray((slope[:, None] / delta).mean(axis=0))  # (1)
