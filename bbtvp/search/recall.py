"""A search that goes on: what its optimiser asked before is read in the journal, not worked out
again.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.optim import Optimiser
from bbtvp.runs.journal import Journal


@final
class Recalled:
    """An optimiser of one stage, of which the journal may know the first generations.

    One that is slow to work out again has a `memory`; it is journalled with each generation, as it
    was before, and the candidates with it. So all generations but the last are read there. The last
    is asked anew from its memory: if the libraries that are installed now ask other candidates, it
    shows. An optimiser without a memory is asked everything again, which costs it little.
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
        """What the journal is to keep of the generation that is asked now, beside what became of
        it.
        """
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
