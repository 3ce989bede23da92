"""Bayesian optimisation for a few meaningful variables.

Every loss that was told counts, not only those of the last batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.optim.base import JSON, Choices, Optimiser, Start
from bbtvp.optim.gp_model import KEPT, Surface, one_thread

LIMIT = 64
"""Variables beyond which distances say too little to learn from hundreds of losses."""

REACH = 3.0
"""The search stays within this many `sigma` of `x0` in every variable, unless it is told another.
"""

POOL = 100
LOCAL = (0.6, 0.3, 0.12)
"""Candidates drawn from the start's own distribution, and again as many at each of these shares of
a length scale.
"""

ELITE = 5


@final
class GaussianProcess(Optimiser):
    """Thompson sampling from a Gaussian process whose batches share an unknown offset.

        loss of z in batch b  =  o_b + f(z) + ε,    o_b ~ N(m, τ²),  f ~ GP(0, s² k),  ε ~ N(0, σ²)

    k is Matérn-5/2 with one length scale per variable; all scales are fitted after each batch by
    marginal likelihood under weak priors (Rasmussen and Williams, 2006, ch. 5; see `Surface`). The
    offset is what common random numbers leave behind: the candidates of a batch see the same
    images, those of the next batch see others, and easy images must not make a candidate look good.
    So losses of many batches can be pooled (the newest 600), where an evolution strategy forgets.

    The first batch is `x0` and a scrambled Sobol design. Later ones hold the current
    recommendation, then the minima of independent draws from the posterior (Thompson, 1933; in
    batches: Hernández-Lobato et al., 2017) over a pool of candidates near and far. Recommends the
    minimum of the posterior mean, not the luckiest candidate seen.

    For up to 64 variables; a group of `choices` enters the distances as the category chosen.

    pull: what a squared unit of distance from the start costs in the recommendation, in standard
    deviations of the losses: of points that the losses hold equal it is the one nearest to x0.
    reach: the search stays within so many `sigma` of `x0` in every variable.
    """

    def __init__(self, start: Start, pull: float = 0.0, reach: float = REACH) -> None:
        super().__init__("gp", start, start.batch())
        if not (math.isfinite(reach) and reach > 0):
            raise UsageError(f"the reach of gp is {reach}; give a number above 0")
        self.reach = reach
        if not (math.isfinite(pull) and pull >= 0):
            raise UsageError(f"the pull of gp is {pull}; give a number from 0 up")
        self.pull = pull
        if self.dim > LIMIT:
            raise UsageError(
                f"gp is for at most {LIMIT} variables, got {self.dim}: use cma, or cma-diagonal"
            )
        if self.popsize < 2:
            raise UsageError(
                f"gp compares its candidates: popsize must be at least 2, got {self.popsize}"
            )
        self._z = np.empty((0, self.dim))
        self._losses = np.empty(0)
        self._batches = np.empty(0, np.int64)
        self._surface = Surface(self.dim)

    def _ask(self) -> Matrix:
        if not len(self._z):
            return self._design()
        with one_thread():
            return self._drawn()

    def _drawn(self) -> Matrix:
        rng = stream(self.seed, "optim", "gp", self._told)
        pool = self._pool(rng)
        draws = self._surface.draws(self._shown(pool), self.popsize - 1, rng)
        chosen: list[int] = []
        for draw in draws:  # the minima of two draws may be one candidate: then the next best
            draw[chosen] = np.inf
            chosen.append(int(draw.argmin()))
        return np.vstack([self._best()[None], pool[chosen]])

    def _design(self) -> Matrix:
        from scipy.stats import norm, qmc  # type: ignore[import-untyped]

        sobol = qmc.Sobol(self.dim, rng=stream(self.seed, "optim", "gp", "design"))
        shares = sobol.random_base2((self.popsize - 1).bit_length())[: self.popsize - 1]
        offsets = norm.ppf(np.clip(shares, 0.01, 0.99))
        return self._inside(
            self.start.origin() + self.start.sigma * np.vstack([np.zeros((1, self.dim)), offsets])
        )

    def _pool(self, rng: np.random.Generator) -> Matrix:
        means = self._surface.mean(self._shown(self._z))
        elite = self._z[np.argsort(means, kind="stable")[:ELITE]]
        shape = (POOL, self.dim)
        parts = [self.start.origin() + self.start.sigma * rng.standard_normal(shape)]
        for share in LOCAL:
            centre = elite[rng.integers(len(elite), size=POOL)]
            moved = rng.random(shape) < max(
                0.5, 1 / self.dim
            )  # some variables rest, so that good ones are kept
            parts.append(centre + moved * share * self._scales() * rng.standard_normal(shape))
        return self._inside(np.vstack(parts))

    def _scales(self) -> Vector:
        """A step of 1 in each variable: its length scale, never the whole range."""
        scales: Vector = np.minimum(self._surface.scales, self.reach) * self.start.sigma
        return scales

    def _inside(self, z: Matrix) -> Matrix:
        origin = self.start.origin()
        reach = self.reach * self.start.sigma
        return np.clip(z, origin - reach, origin + reach)

    def _shown(self, z: Matrix) -> Matrix:
        """z as distances see it: in units of sigma around x0.

        Each group of choices becomes the category chosen.
        """
        shown = (z - self.start.origin()) / self.start.sigma
        chosen = categories(
            z, self.start.choices
        )  # of z itself: what lies furthest from x0 is not what is chosen
        for first, count in self.start.choices:
            shown[:, first : first + count] = chosen[:, first : first + count]
        return shown

    def _tell(self, z: Matrix, losses: Vector) -> None:
        number = self._batches[-1] + 1 if len(self._batches) else 0
        self._z = np.vstack([self._z, z])[-KEPT:]
        self._losses = np.concatenate([self._losses, losses])[-KEPT:]
        self._batches = np.concatenate([self._batches, np.full(len(z), number)])[-KEPT:]
        with one_thread():
            self._surface.fit(self._shown(self._z), self._losses, self._batches)

    @property
    def memory(self) -> JSON:
        """The fitted scales: each fit begins at the one before."""
        return self._surface.memory

    def _resume(self, batches: Sequence[Matrix], losses: Sequence[Vector], memory: JSON) -> None:
        numbers = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
        self._z = np.vstack(batches)[-KEPT:]
        self._losses = np.concatenate(losses)[-KEPT:]
        self._batches = numbers[-KEPT:]
        with one_thread():
            self._surface.recall(memory, self._shown(self._z), self._losses, self._batches)

    def _recommend(self) -> Vector:
        with one_thread():
            return self._best()

    def _best(self) -> Vector:
        rng = stream(self.seed, "optim", "gp", "recommend", self._told)
        best = self._z
        for share in (0.0, 0.4, 0.2, 0.1, 0.05):
            near = (
                [best]
                if not share
                else [best, *(self._around(point, share, rng) for point in best)]
            )
            candidates = self._inside(np.vstack(near))
            costs = self._surface.mean(self._shown(candidates))
            costs += self.pull * ((candidates - self.start.origin()) ** 2).sum(axis=1)
            best = candidates[np.argsort(costs, kind="stable")[:ELITE]]
        found: Vector = best[0]
        return found

    def _around(self, point: Vector, share: float, rng: np.random.Generator) -> Matrix:
        return point + share * self._scales() * rng.standard_normal((60, self.dim))

    def _options(self) -> dict[str, JSON]:
        return {"kernel": "matern-5/2", "reach": self.reach, "pull": self.pull}


def categories(z: Matrix, choices: Choices) -> NDArray[np.float64]:
    """(n, d) z with every group of choices replaced by 1 for the chosen and 0 for the others."""
    shown = z.copy()
    for first, count in choices:
        group = shown[:, first : first + count]
        group[...] = np.eye(count)[group.argmax(axis=1)]
    return shown
