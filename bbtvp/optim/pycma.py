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
    """Runs pycma's strategies, one at a time: the last that was begun.

    Their random numbers come from one private stream, never from global state.
    """

    def __init__(self, start: Start, method: str, diagonal: bool) -> None:
        self._sigma = start.sigma
        self._diagonal = diagonal
        self.random = stream(start.seed, "optim", method)
        self._fence = GlobalRandom(derived_seed(start.seed, "optim", method, "global"))
        self._asked: list[Vector] = []
        self.library = ""
        self.strategy: Any = None
        """The `cma.CMAEvolutionStrategy` that runs."""

    def begin(self, mean: Vector, popsize: int) -> None:
        """Begin a strategy around `mean`, (dim,)."""
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
        with self._fence.lent():
            self.strategy = cma.CMAEvolutionStrategy(mean, self._sigma, options)

    def ask(self) -> Matrix:
        """(n, dim): the candidates of the next generation."""
        with self._fence.lent():
            self._asked = self.strategy.ask()
        return np.array(self._asked)

    def tell(self, losses: Vector) -> None:
        """Give the losses, (n,), of the last ask."""
        # pycma knows its own vectors again, and may change the list of losses: it gets those
        # vectors and a new list.
        with self._fence.lent():
            self.strategy.tell(self._asked, losses.tolist())

    def ended(self) -> bool:
        """Whether one of pycma's own criteria ends the strategy."""
        with self._fence.lent():
            return bool(self.strategy.stop())

    def _normal(self, *shape: int) -> Matrix:
        return self.random.standard_normal(shape)
