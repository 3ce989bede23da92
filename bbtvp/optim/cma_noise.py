"""CMA-ES that slows down where losses are noisy, by cmaes."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.core.rng import derived_seed
from bbtvp.optim.base import JSON, Optimiser, Start

LIMIT = 500
"""Variables beyond which a tell, which needs several eigenvalue decompositions, would take seconds.
"""


@final
class CmaNoise(Optimiser):
    """LRA-CMA-ES: learning rates follow the signal-to-noise ratio of their own updates.

    There is one rate for the mean and one for the covariance.

    Nomura, Akimoto and Ono, "CMA-ES with Learning Rate Adaptation", GECCO 2023 (arXiv 2304.03473).
    With Δ an update of the mean, or of the covariance, in the local coordinates of the search
    distribution:

        E ← (1 − β) E + β Δ,   V ← (1 − β) V + β ‖Δ‖²,   SNR = (‖E‖² − β/(2 − β) V) / (V − ‖E‖²)
        η ← η · exp( min(0.1 η, β) · clip(SNR / (1.4 η) − 1, −1, 1) ),   η ≤ 1

    No candidate is asked twice: repeating a query says nothing where answers are stored, or where
    the noise comes from the images of a batch, which its candidates share. Recommends the mean.
    """

    def __init__(self, start: Start) -> None:
        super().__init__("cma-noise", start, start.batch())
        if self.popsize < 4:
            raise UsageError(
                f"cma-noise needs 2 parents: popsize must be at least 4, got {self.popsize}"
            )
        if self.dim > LIMIT:
            raise UsageError(
                f"cma-noise decomposes {self.dim} x {self.dim} matrices: beyond {LIMIT} use cma"
            )
        import cmaes  # type: ignore[import-untyped]

        self._library = f"cmaes {cmaes.__version__}"
        seed = derived_seed(self.seed, "optim", self.method)
        self._es: Any = cmaes.CMA(
            start.origin(), start.sigma, seed=seed, population_size=self.popsize, lr_adapt=True
        )

    def _ask(self) -> Matrix:
        return np.array([self._es.ask() for _ in range(self.popsize)])

    def _tell(self, z: Matrix, losses: Vector) -> None:
        try:
            self._es.tell(list(zip(z, losses.tolist(), strict=True)))
        except AssertionError as error:
            raise BbtvpError(
                f"{self.method} has diverged ({error}): choose a smaller sigma"
            ) from error

    def _recommend(self) -> Vector:
        mean: Vector = self._es.mean
        return mean

    def _options(self) -> dict[str, JSON]:
        return {"library": self._library}
