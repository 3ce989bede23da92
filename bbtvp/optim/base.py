"""The contract of every optimiser, and the checks that make it hold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import digest
from bbtvp.core.errors import BbtvpError, UsageError

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"


@final
@dataclass(frozen=True, eq=False)
class Start:
    """Where a search begins; the settings that all optimisers share.

    dim: number of variables, at least 1. seed: any integer; equal seeds give equal searches.
    sigma: standard deviation of the first candidates around `x0`, in units of z.
    popsize: candidates per ask; None lets the optimiser choose.
    budget: candidates that will be told in all, for optimisers that plan ahead. The caller keeps it, not the optimiser.
    x0: (dim,) centre of the first candidates; None is the origin.
    """

    dim: int
    seed: int
    sigma: float = 1.0
    popsize: int | None = None
    budget: int | None = None
    x0: Vector | None = None

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UsageError(f"an optimiser needs at least 1 variable, got dim={self.dim}: give the prompt a layer")
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise UsageError(f"sigma must be finite and above 0, got {self.sigma}")
        for name, value in (("popsize", self.popsize), ("budget", self.budget)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.x0 is not None and (np.shape(self.x0) != (self.dim,) or not np.isfinite(self.x0).all()):
            raise UsageError(f"x0 must hold {self.dim} finite numbers, got an array of shape {np.shape(self.x0)}")
        if self.x0 is not None:
            object.__setattr__(self, "x0", np.array(self.x0, dtype=np.float64))  # the caller may change theirs

    def origin(self) -> Vector:
        """(dim,) float64: `x0`, or zeros. A fresh copy."""
        return np.zeros(self.dim) if self.x0 is None else np.array(self.x0, dtype=np.float64)

    def batch(self) -> int:
        """`popsize`, or the default of CMA-ES, 4 + floor(3 ln dim) (Hansen, arXiv 1604.00772, eq. 48)."""
        return self.popsize or 4 + math.floor(3 * math.log(self.dim))

    def resolved(self) -> dict[str, JSON]:
        """The settings as JSON; `x0` by the digest of its bytes, for it can be long."""
        return {
            "dim": self.dim,
            "seed": self.seed,
            "sigma": self.sigma,
            "budget": self.budget,
            "x0": None if self.x0 is None else digest(self.origin().tobytes()),
        }


class Optimiser(ABC):
    """Minimises by ask and tell.

    Subclasses implement `_ask`, `_tell`, `_recommend` and `_options`; what reaches them is already checked. They draw
    from private generators only: numpy's global random state is left as it was.
    """

    def __init__(self, method: str, start: Start, popsize: int) -> None:
        self.method = method
        self.start = start
        self.dim = start.dim
        self.seed = start.seed
        self.popsize = popsize
        self._batch: Matrix | None = None
        self._told = 0

    @final
    def ask(self) -> Matrix:
        """(popsize, dim) float64, read-only: the candidates to evaluate. The same batch again until it is told."""
        if self._batch is None:
            batch = np.array(self._ask(), dtype=np.float64)
            if not np.isfinite(batch).all():
                raise BbtvpError(f"{self.method} has diverged after {self._told} candidates: choose smaller steps")
            batch.setflags(write=False)
            self._batch = batch
        return self._batch

    @final
    def tell(self, z: Matrix, losses: Vector) -> None:
        """Give the losses of exactly the asked batch, in its order; lower is better.

        Raises UsageError, and changes nothing, if the batch is another one or a loss is NaN or infinite.
        """
        if self._batch is None:
            raise UsageError("tell before ask: call ask() and evaluate the batch that it returns")
        if not np.array_equal(z, self._batch):
            raise UsageError("told a batch that was not asked: tell the rows of the last ask(), all and in order")
        values = np.array(losses, dtype=np.float64)
        if values.shape != (len(self._batch),):
            raise UsageError(f"expected {len(self._batch)} losses, one per candidate, got shape {values.shape}")
        if not np.isfinite(values).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise UsageError(f"{bad} of {len(values)} losses are NaN or infinite: query those candidates again first")
        self._tell(self._batch, values)
        self._told += len(values)
        self._batch = None

    @final
    def recommend(self) -> Vector:
        """(dim,) the point to deploy by the search's own rule; `x0` before anything is told."""
        return np.array(self._recommend(), dtype=np.float64) if self._told else self.start.origin()

    @final
    @property
    def resolved(self) -> dict[str, JSON]:
        """Every option as finally used, ready for the journal."""
        return {"method": self.method, **self.start.resolved(), "popsize": self.popsize, **self._options()}

    @final
    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.resolved.items())})"

    @abstractmethod
    def _ask(self) -> Matrix:
        """The next (popsize, dim) batch; called once per tell."""

    @abstractmethod
    def _tell(self, z: Matrix, losses: Vector) -> None:
        """Learn from the asked batch and its finite losses; both are the optimiser's to keep."""

    @abstractmethod
    def _recommend(self) -> Vector:
        """The point to deploy; called only after a tell, and must not change the search."""

    @abstractmethod
    def _options(self) -> dict[str, JSON]:
        """The options that only this optimiser has, as finally used."""
