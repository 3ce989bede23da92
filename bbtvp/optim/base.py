"""The contract of every optimiser, and the checks that make it hold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, TypeAlias, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import digest
from bbtvp.core.errors import BbtvpError, UsageError

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"

Guide: TypeAlias = Callable[[Vector], Matrix]
"""z (dim,) → (k, dim), k at least 1: gradients of free surrogate losses at z. Deterministic; costs
no query.
"""

Choices: TypeAlias = tuple[tuple[int, int], ...]
"""(first index, count) of groups of adjacent variables; the largest of a group, the first if
several, is its choice.
"""


@final
@dataclass(frozen=True, eq=False)
class Start:
    """Where a search begins; the settings that all optimisers share.

    - dim: number of variables, at least 1.
    - seed: any integer; equal seeds give equal searches.
    - sigma: standard deviation of the first candidates around `x0`, in units of z.
    - popsize: candidates in the largest batch; None lets the optimiser choose. `cma-restarts` says
      what it reads here.
    - budget: candidates that will be told in all, for optimisers that plan ahead. The caller keeps
      to it, not the optimiser.
    - x0: (dim,) centre of the first candidates; None is the origin.
    - guide: gradients of free surrogate losses, for the methods that are `guided`.
    - choices: how categorical variables live in z. `catcma` knows them. To the others z is
      continuous, and the caller takes the largest of each group.
    """

    dim: int
    seed: int
    sigma: float = 1.0
    popsize: int | None = None
    budget: int | None = None
    x0: Vector | None = None
    guide: Guide | None = None
    choices: Choices = ()

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UsageError(
                f"an optimiser needs at least 1 variable, got dim={self.dim}: "
                "give the prompt a layer"
            )
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise UsageError(f"sigma must be finite and above 0, got {self.sigma}")
        for name, value in (("popsize", self.popsize), ("budget", self.budget)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.x0 is not None and (
            np.shape(self.x0) != (self.dim,) or not np.isfinite(self.x0).all()
        ):
            raise UsageError(
                f"x0 must hold {self.dim} finite numbers, got an array of shape {np.shape(self.x0)}"
            )
        if self.x0 is not None:
            object.__setattr__(
                self, "x0", np.array(self.x0, dtype=np.float64)
            )  # the caller may change theirs
        if self.guide is not None and not callable(self.guide):
            raise UsageError(
                "guide must be a function of z (dim,) that gives (k, dim) gradients, "
                f"got {self.guide!r}"
            )
        object.__setattr__(self, "choices", _checked(self.choices, self.dim))

    def origin(self) -> Vector:
        """(dim,) float64: `x0`, or zeros. A fresh copy."""
        return np.zeros(self.dim) if self.x0 is None else np.array(self.x0, dtype=np.float64)

    def batch(self) -> int:
        """`popsize`, or the default of CMA-ES: 4 + floor(3 ln dim).

        Hansen, arXiv 1604.00772, eq. 48.
        """
        return self.popsize or 4 + math.floor(3 * math.log(self.dim))

    def need_guide(self, method: str) -> Guide:
        """The guide; UsageError if there is none."""
        if self.guide is None:
            raise UsageError(
                f"{method} needs surrogate gradients: pass guide=<function of z (dim,) "
                "giving (k, dim)>, or use cma"
            )
        return self.guide

    def gradients(self, z: Vector, method: str) -> Matrix:
        """(k, dim) float64: the guide's rows at z (dim,), checked.

        method: the name that errors use.
        """
        rows = np.array(self.need_guide(method)(z.copy()), dtype=np.float64)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != self.dim:
            raise UsageError(
                f"the guide gave an array of shape {rows.shape} where {method} needs (k, "
                f"{self.dim})"
            )
        if not np.isfinite(rows).all():
            raise BbtvpError(
                "the guide gave gradients that are NaN or infinite: correct it, or leave it out"
            )
        return rows

    def resolved(self) -> dict[str, JSON]:
        """The settings as JSON; `x0` by the digest of its bytes, for it can be long."""
        return {
            "dim": self.dim,
            "seed": self.seed,
            "sigma": self.sigma,
            "budget": self.budget,
            "x0": None if self.x0 is None else digest(self.origin().tobytes()),
            "guide": self.guide is not None,
            "choices": [list(group) for group in self.choices],
        }


def _checked(choices: Choices, dim: int) -> Choices:
    """The groups as plain integers.

    UsageError if a group leaves z, overlaps another, or holds fewer than two categories.
    """
    if not isinstance(choices, Sequence):
        raise UsageError(f"choices are pairs (first index, count) in a tuple, got {choices!r}")
    groups = []
    for group in choices:
        pair = isinstance(group, Sequence) and len(group) == 2
        if not pair or not all(isinstance(number, int | np.integer) for number in group):
            raise UsageError(f"choices are pairs of integers (first index, count), got {group!r}")
        first, count = (int(number) for number in group)
        if first < 0 or count < 2 or first + count > dim:
            raise UsageError(
                f"choice {(first, count)} needs 2 or more categories inside {dim} variables"
            )
        groups.append((first, count))
    for (one, count), (two, _) in pairwise(sorted(groups)):
        if one + count > two:
            raise UsageError(
                f"choices overlap: {(one, count)} runs into the group that begins at {two}"
            )
    return tuple(groups)


class Optimiser(ABC):
    """Minimises by ask and tell.

        search = CmaEs(Start(dim=5, seed=0))
        for _ in range(60):
            z = search.ask()                        # (n, 5), n at most search.popsize
            search.tell(z, (z**2).sum(axis=1))      # (n,) losses, lower is better
        best = search.recommend()                   # (5,), near 0

    `guided`: it needs a guide, so a search gives it a surrogate's gradients. `estimator`: a batch
    holds the finite differences of one step, so a search plans with its default `popsize` and not
    with a population that grows with the variables. `categorical`: it is for choices, so a search
    leaves them to it.

    Subclasses implement `_ask`, `_tell`, `_recommend` and `_options`; what reaches them is already
    checked. They draw from private generators only: numpy's global random state is left as it was.
    """

    guided: ClassVar[bool] = False
    estimator: ClassVar[bool] = False
    categorical: ClassVar[bool] = False

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
        """(n, dim) float64, read-only: the candidates to evaluate.

        Asked again before it is told, it returns the same batch.

        1 <= n <= popsize, and n may change from batch to batch. Score all of one batch on the same
        images. Estimators of a gradient and single CMA-ES runs compare losses within a batch only,
        so the next batch may see others; `random`, `cma-restarts` and most of nevergrad also
        compare across batches.
        """
        if self._batch is None:
            batch = np.array(self._ask(), dtype=np.float64)
            if batch.ndim != 2 or batch.shape[1] != self.dim or not 1 <= len(batch) <= self.popsize:
                raise BbtvpError(
                    f"{self.method} asked an array of shape {batch.shape}, "
                    f"not 1 to {self.popsize} rows of {self.dim}"
                )
            if not np.isfinite(batch).all():
                raise BbtvpError(
                    f"{self.method} has diverged after {self._told} candidates: "
                    "choose smaller steps"
                )
            batch.setflags(write=False)
            self._batch = batch
        return self._batch

    @final
    def tell(self, z: Matrix, losses: Vector) -> None:
        """Give the losses of exactly the asked batch, in its order; lower is better.

        Raises UsageError, and changes nothing, if the batch is another one or a loss is NaN or
        infinite.
        """
        if self._batch is None:
            raise UsageError("tell before ask: call ask() and evaluate the batch that it returns")
        if not np.array_equal(z, self._batch):
            raise UsageError(
                "told a batch that was not asked: tell the rows of the last ask(), all and in order"
            )
        values = np.array(losses, dtype=np.float64)
        if values.shape != (len(self._batch),):
            raise UsageError(
                f"expected {len(self._batch)} losses, one per candidate, got shape {values.shape}"
            )
        if not np.isfinite(values).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise UsageError(
                f"{bad} of {len(values)} losses are NaN or infinite: "
                "query those candidates again first"
            )
        self._tell(self._batch, values)
        self._told += len(values)
        self._batch = None

    @property
    def memory(self) -> JSON:
        """What it has learnt beyond the batches and losses, if that is slow to work out again.

        None for a method that `replay` restores quickly.
        """
        return None

    @final
    def resume(self, history: Sequence[tuple[Matrix, Vector]], memory: JSON) -> None:
        """Continue, in a new optimiser, a search that told `history` and then had this `memory`.

        Nothing is asked again.

        history: (batch, losses) pairs in the order they were told. UsageError if this optimiser was
        told something before, or if the memory is none of its own.
        """
        if self._told or self._batch is not None:
            raise UsageError(f"this {self.method} has begun; resume a new one")
        if memory is None:
            raise UsageError(f"{self.method} keeps no memory: replay the history")
        if history:
            self._resume(
                [np.array(z, np.float64) for z, _ in history],
                [np.array(of) for _, of in history],
                memory,
            )
            self._told = sum(len(z) for z, _ in history)

    @final
    def recommend(self) -> Vector:
        """(dim,) the point to deploy by the search's own rule; `x0` before anything is told."""
        return np.array(self._recommend(), dtype=np.float64) if self._told else self.start.origin()

    @final
    @property
    def resolved(self) -> dict[str, JSON]:
        """Every option as finally used, ready for the journal."""
        return {
            "method": self.method,
            **self.start.resolved(),
            "popsize": self.popsize,
            **self._options(),
        }

    @final
    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.resolved.items())
        return f"{type(self).__name__}({options})"

    @abstractmethod
    def _ask(self) -> Matrix:
        """The next (n, dim) batch, n at most `popsize`; called once per tell.

        If it raises (a guide may), it is called again by the next `ask`: change nothing before what
        can raise.
        """

    @abstractmethod
    def _tell(self, z: Matrix, losses: Vector) -> None:
        """Learn from the asked batch and its finite losses; both are the optimiser's to keep."""

    def _resume(self, batches: Sequence[Matrix], losses: Sequence[Vector], memory: JSON) -> None:
        """Be where `_tell` of all of these would have led. For who has a `memory`."""
        raise NotImplementedError

    @abstractmethod
    def _recommend(self) -> Vector:
        """The point to deploy; called only after a tell, and must not change the search."""

    @abstractmethod
    def _options(self) -> dict[str, JSON]:
        """The options that only this optimiser has, as finally used."""
