"""What the methods share that run pycma."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import derived_seed, stream
from bbtvp.optim.base import Optimiser, Start
from bbtvp.optim.global_random import GlobalRandom

FULL_LIMIT = 3_000
"""Variables beyond which a full covariance matrix (8 d² bytes, several copies) is refused."""


def check_size(search: Optimiser, diagonal: bool) -> None:
    """UsageError for a population that cannot be ranked, or a matrix that would not fit."""
    if search.popsize < 2:
        raise UsageError(
            f"{search.method} ranks its candidates: popsize must be at least 2, "
            f"got {search.popsize}"
        )
    if search.dim > FULL_LIMIT and not diagonal:
        raise UsageError(
            f"{search.method} keeps a {search.dim} x {search.dim} matrix: "
            f"beyond {FULL_LIMIT} use cma-diagonal"
        )


@final
class Pycma:
    """Makes pycma's strategies.

    Their random numbers come from one private stream, never from global state.
    """

    def __init__(self, start: Start, method: str, diagonal: bool) -> None:
        self._sigma = start.sigma
        self._diagonal = diagonal
        self.random = stream(start.seed, "optim", method)
        self._fence = GlobalRandom(derived_seed(start.seed, "optim", method, "global"))
        self.lent = self._fence.lent
        self.library = ""

    def strategy(self, mean: Vector, popsize: int) -> Any:
        """A `cma.CMAEvolutionStrategy` around `mean`; run it inside `lent()`."""
        import cma  # type: ignore[import-untyped]

        options = {
            "popsize": popsize,
            "CMA_diagonal": self._diagonal,
            "randn": self._normal,
            # anything else reseeds numpy's global generator, and 0 would mean the clock
            "seed": np.nan,
            "signals_filename": "",  # else it reads cma_signals.in from the working folder
            "verbose": -10,
            "verb_log": 0,
        }
        self.library = f"cma {cma.__version__}"
        with self.lent():
            return cma.CMAEvolutionStrategy(mean, self._sigma, options)

    def _normal(self, *shape: int) -> Matrix:
        return self.random.standard_normal(shape)
