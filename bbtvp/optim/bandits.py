"""Bandits-TD: a gradient estimate that is kept from step to step."""

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
from bbtvp.optim.descent import Descent, StepLengths, check, units


@final
class BanditsTd(Descent):
    """Bandit optimisation with a time prior: one vector v is learnt across steps.

    Successive gradients are alike, so v carries what was measured before.

    Ilyas, Engstrom and Madry, "Prior Convictions", ICLR 2019, in the l2 form of the release. With û
    = u/‖u‖ and pairs of random e_k = e · u_k/√d, u_k ~ N(0, I):

        v ← v + lr · mean_k (L(θ + h · unit(v + e_k)) − L(θ + h · unit(v − e_k))) / (h e) · e_k(1)
        θ ← θ − a_i v/‖v‖,    a_i = a / (i + o)^alpha                                       (2)

    v starts at 0. `popsize` is twice the number of pairs, 2 by default (published).

    The tile ("data") prior keeps v on a coarse grid and up-samples it. Every step of θ is then a
    multiple of an up-sampled vector, so θ never leaves that subspace: the same as searching there.
    It is therefore a search space here (a frame of blocks, or `Subspace`), and this method needs no
    option for it.

    Published (`BanditsTd.published`): thousands of queries in a ball, on pixels of 0 to 1. Measured
    as `descent` says, but no RATE was without fault; with this one the worst of the noisy searches
    ended 9 % above its start: h = 0.3 sigma √d, e = 1, lr = LEARN d, alpha = 0.4, a_1 = RATE sigma
    √d · pairs^(1 − alpha), so that a budget makes a path of the same length whatever the pairs.
    """

    RATE: ClassVar[float] = 0.01
    LEARN: ClassVar[float] = 0.003

    published: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"h": 0.01, "lr": 0.1, "e": 0.01, "a": 0.5, "o": 0.0, "alpha": 0.0}
    )
    """`src/configs/l2.json` of the release, with popsize 2."""

    def __init__(
        self,
        start: Start,
        *,
        h: float | None = None,
        e: float = 1.0,
        lr: float | None = None,
        a: float | None = None,
        o: float = 1.0,
        alpha: float = 0.4,
    ) -> None:
        super().__init__("bandits-td", start, start.popsize or 2)
        if self.popsize % 2:
            raise UsageError(
                "bandits-td evaluates pairs: popsize must be even (2 by default), "
                f"got {self.popsize}"
            )
        root = start.sigma * math.sqrt(self.dim)
        self._h = 0.3 * root if h is None else h
        self._lr = self.LEARN * self.dim if lr is None else lr
        check("bandits-td", o=o, alpha=alpha)
        stride = self.RATE * root * (self.popsize // 2) ** (1 - alpha)
        a = stride * (1 + o) ** alpha if a is None else a
        check("bandits-td", above=True, h=self._h, e=e, lr=self._lr, a=a)
        self._e = e
        self._lengths = StepLengths(a, o, alpha)
        self._random = stream(self.seed, "optim", "bandits-td")
        self._v = np.zeros(self.dim)
        self._noise = np.empty((0, self.dim))

    def _ask(self) -> Matrix:
        pairs = self.popsize // 2
        self._noise = (
            self._e * self._random.standard_normal((pairs, self.dim)) / math.sqrt(self.dim)
        )
        sides = np.stack((self._v + self._noise, self._v - self._noise), axis=1).reshape(
            self.popsize, self.dim
        )
        return self._theta + self._h * units(sides)

    def _tell(self, z: Matrix, losses: Vector) -> None:
        slopes = (losses[0::2] - losses[1::2]) / (self._h * self._e)
        self._v = self._v + self._lr * (slopes @ self._noise) / len(slopes)  # (1)
        self._move(self._lengths.rate(self._step) * units(self._v[None])[0])  # (2)

    def _options(self) -> dict[str, JSON]:
        return {"h": self._h, "e": self._e, "lr": self._lr, **self._lengths.resolved()}
