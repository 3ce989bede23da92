"""Searching few directions of many variables: z = origin + basis · u."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import digest
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.optim.base import JSON, Optimiser, Start

Basis: TypeAlias = NDArray[np.float32]


@final
@dataclass(frozen=True, eq=False)
class Subspace:
    """A linear map from u (k,) to z (d,), of unit scale.

    For u ~ N(0, I) the mean square of the entries of z is 1.

    basis: (d, k) float32, 1 <= k <= d: 4 d k bytes, 140 MB for d = 69,840 and k = 500. In float32,
    so that z carries a relative rounding of about 1e-7, far below one step of 8 bits. Making a
    random one takes twice the memory. kind: how the basis came about, for the journal.
    """

    basis: Basis
    kind: str = "given"

    def __post_init__(self) -> None:
        basis = self.basis
        if not (
            isinstance(basis, np.ndarray)
            and basis.dtype == np.float32
            and not basis.flags.writeable
        ):
            basis = np.array(basis, dtype=np.float32)  # the caller may change theirs
        if basis.ndim != 2 or not 1 <= basis.shape[1] <= basis.shape[0]:
            raise UsageError(
                f"a subspace needs a (d, k) basis with 1 <= k <= d, got shape {basis.shape}"
            )
        if not np.isfinite(basis).all():
            raise UsageError("a subspace needs a basis of finite numbers, got NaN or infinity")
        basis.setflags(write=False)
        object.__setattr__(self, "basis", basis)

    @property
    def dim(self) -> int:
        return int(self.basis.shape[0])

    @property
    def rank(self) -> int:
        return int(self.basis.shape[1])

    @cached_property
    def digest(self) -> str:
        return digest(str(self.basis.shape).encode(), self.basis.tobytes())

    def resolved(self) -> dict[str, JSON]:
        return {"kind": self.kind, "dim": self.dim, "rank": self.rank, "digest": self.digest}

    def lift(self, u: Matrix) -> Matrix:
        """basis · u for each row: (n, k) → (n, dim) float64."""
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a search that diverges is told so in `ask`
            return np.asarray(u.astype(np.float32) @ self.basis.T, dtype=np.float64)

    def pull(self, gradients: Matrix) -> Matrix:
        """basisᵀ · g for each row, the chain rule: (n, dim) → (n, k) float64."""
        return np.asarray(gradients.astype(np.float32) @ self.basis, dtype=np.float64)

    @classmethod
    def random_projection(cls, dim: int, rank: int, seed: int) -> Self:
        """The random projection of BBT (Sun et al., ICML 2022).

        Its entries are N(0, 1), and each row is then scaled to length 1.

        So every entry of z is exactly N(0, 1) for u ~ N(0, I). BBT scales its entries to the
        standard deviation of the embeddings for the same purpose.
        """
        _check_rank(rank, dim)
        rows = stream(seed, "optim", "subspace", dim, rank).standard_normal(
            (dim, rank), dtype=np.float32
        )
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return cls(_frozen(rows), "random")

    @classmethod
    def principal(cls, gradients: Matrix, rank: int, seed: int = 0) -> Self:
        """The `rank` leading right-singular vectors of surrogate gradients (m, d).

        The columns have length √(d/rank).

        Random orthonormal directions complete them if the gradients span fewer. Not centred: a
        gradient that all share matters most. Rows weigh by their length: scale them first if that
        is not meant. Needs about 16 d (m + rank) bytes meanwhile.
        """
        rows = np.array(gradients, dtype=np.float64)
        if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
            raise UsageError(
                "principal directions need (m, d) finite gradients, "
                f"got an array of shape {rows.shape}"
            )
        dim = rows.shape[1]
        _check_rank(rank, dim)
        _, sizes, leading = np.linalg.svd(rows, full_matrices=False)
        leading = leading[sizes > 1e-10 * max(sizes[0], 1e-300)][:rank]
        # The sign of a singular vector is arbitrary: its largest entry is made positive.
        leading *= np.sign(leading[np.arange(len(leading)), np.abs(leading).argmax(axis=1)])[
            :, None
        ]
        more = stream(seed, "optim", "subspace", "more").standard_normal((rank - len(leading), dim))
        columns = orthonormal(np.vstack((leading, more))).T * math.sqrt(dim / rank)
        return cls(_frozen(columns.astype(np.float32)), "principal")


@final
class Projected(Optimiser):
    """Runs any optimiser over u (k,) and asks and recommends in z = x0 + basis · u (d,).

    `sigma` is the scale of u, and so of z. A guide is pulled back by the chain rule, basisᵀ ·
    gradient. `choices` mean nothing to u: z is decoded by the largest of each group, whatever
    search made it.
    """

    def __init__(
        self, start: Start, subspace: Subspace, build: Callable[[Start], Optimiser]
    ) -> None:
        if subspace.dim != start.dim:
            raise UsageError(
                f"the subspace lies in {subspace.dim} variables, the search has {start.dim}"
            )
        self._subspace = subspace
        self._origin = start.origin()

        def pulled(u: Vector) -> Matrix:
            return subspace.pull(
                start.gradients(self._lift(u[None])[0], "the search in a subspace")
            )

        guide = None if start.guide is None else pulled
        self._inner = build(replace(start, dim=subspace.rank, x0=None, guide=guide, choices=()))
        super().__init__(f"{self._inner.method}@{subspace.rank}", start, self._inner.popsize)

    def _lift(self, u: Matrix) -> Matrix:
        return self._origin + self._subspace.lift(u)

    def _ask(self) -> Matrix:
        return self._lift(self._inner.ask())

    def _tell(self, z: Matrix, losses: Vector) -> None:
        self._inner.tell(self._inner.ask(), losses)  # the same batch again until it is told

    def _recommend(self) -> Vector:
        point: Vector = self._lift(self._inner.recommend()[None])[0]
        return point

    def _options(self) -> dict[str, JSON]:
        return {"subspace": self._subspace.resolved(), "inner": self._inner.resolved}


def orthonormal(rows: Matrix) -> Matrix:
    """Orthonormal rows that span the given (m, d).

    Earlier rows come first; zero and dependent ones drop out.

    Gram and Schmidt, twice, which is as accurate as Householder (Giraud et al., 2005), and knows
    which rows to drop.
    """
    basis = np.empty((len(rows), rows.shape[1]))
    found = 0
    for row in rows:
        length = float(np.linalg.norm(row))
        if length == 0:
            continue
        rest = row / length
        for _ in range(2):
            rest = rest - (basis[:found] @ rest) @ basis[:found]
        left = float(np.linalg.norm(rest))
        if left > 1e-8 and found < rows.shape[1]:
            basis[found] = rest / left
            found += 1
    return basis[:found]


def _check_rank(rank: int, dim: int) -> None:
    if not 1 <= rank <= dim:
        raise UsageError(f"a subspace of {dim} variables has 1 to {dim} directions, not {rank}")


def _frozen(basis: Basis) -> Basis:
    """Handed over, not copied: a basis can be large."""
    basis.setflags(write=False)
    return basis
