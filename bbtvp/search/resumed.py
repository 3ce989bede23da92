"""An optimiser that goes on where a run was killed, from what the journal keeps of it."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.optim import Optimiser
from bbtvp.runs.journal import Journal


@final
class ResumedOptimiser:
    """An optimiser of one stage, of which the journal may hold the first generations.

    An optimiser that is slow to replay has a `memory`. Each generation is journalled with the
    memory before it and with its candidates, so all generations but the last are read there. The
    last is computed again from its memory, which shows if the libraries that are installed now
    give other candidates. An optimiser without a memory is replayed whole.
    """

    def __init__(self, optimiser: Optimiser, journal: Journal, stage: str) -> None:
        self._optimiser = optimiser
        self._history = list[tuple[Matrix, Vector]]()
        self._known: list[Matrix] = []
        self._memory: Any = None
        while optimiser.memory is not None:
            step = journal.step(f"{stage}/{len(self._known)}")
            if step is None or "asked" not in step:
                break
            self._known.append(np.array(step["asked"], np.float64))
            self._memory = step["memory"]

    @property
    def note(self) -> dict[str, Any]:
        """What the journal keeps of the present generation, beside its evaluations."""
        memory = self._optimiser.memory
        return {} if memory is None else {"asked": self._optimiser.ask().tolist(), "memory": memory}

    def ask(self) -> Matrix:
        """As an optimiser does."""
        if len(self._history) < len(self._known) - 1:
            return self._known[len(self._history)]
        if self._known:
            self._optimiser.resume(self._history, self._memory)
            self._known = []
        return self._optimiser.ask()

    def tell(self, z: Matrix, losses: Vector) -> None:
        """As an optimiser does."""
        if self._known:
            self._history.append((z, losses))
        else:
            self._optimiser.tell(z, losses)

    def recommend(self) -> Vector:
        """As an optimiser does; not before the last known generation was asked."""
        return self._optimiser.recommend()
