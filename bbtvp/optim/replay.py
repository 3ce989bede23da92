"""Resuming a search from what its journal holds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import JournalError
from bbtvp.optim.base import Optimiser


def replay(optimiser: Optimiser, history: Iterable[tuple[Matrix, Vector]]) -> None:
    """Bring a new optimiser to the state after `history`.

    history: (batch, losses) pairs in the order they were told.

    The optimiser is asked again and must ask the same batches to the bit; JournalError if it does
    not. That holds for equal options and library versions on one kind of machine (linear algebra
    may round differently on another).
    """
    for number, (z, losses) in enumerate(history, start=1):
        if not np.array_equal(optimiser.ask(), z):
            raise JournalError(
                f"batch {number} of the journal is not what {optimiser.method} asks now: "
                "resume with the options, library versions and machine type that began the "
                "run, or start a new one"
            )
        optimiser.tell(z, losses)
