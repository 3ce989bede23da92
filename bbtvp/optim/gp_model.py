"""The Gaussian process behind `gp`: regression with an offset for each batch.

Its length scales and noise maximise the marginal likelihood.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.optim.base import JSON

FITTED = 128
KEPT = 600
"""Newest losses that the scales are fitted to, and that a search remembers: their cost is cubic."""

ITERATIONS = 15
"""Of L-BFGS after each batch, from the scales of the batch before."""

WINSOR = 5.0
"""Losses further above the median than this many robust standard deviations are pulled in: failures
are not terrain.
"""

_JITTER = 1e-8
_PRIOR_SCALE = np.log(2.0)
_PRIOR_SPREAD = 0.7
"""Length scales are log-normal around 2, that is of the order of a prior z ~ N(0, 1)."""
_PRIOR_NOISE = np.log(0.3)


@cache
def _blas() -> Any:
    """The linear algebra libraries of numpy and scipy."""
    import scipy.linalg  # type: ignore[import-untyped]  # noqa: F401  # brings the library that is to be found
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Linear algebra on one thread: their number changes the rounding, and so the candidates.

    A few hundred rows are no work for several anyway.
    """
    limited: AbstractContextManager[Any] = _blas().limit(limits=1, user_api="blas")
    return limited


@final
class Surface:
    """f in  y = o_b + f(z) + ε.  Everything is in units of the standard deviation of the losses.

    `_log` holds the logarithms of s, of the `dim` length scales, of σ (noise) and of τ (offsets of
    batches).
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._prior_mean = np.concatenate(
            [[0.0], np.full(dim, _PRIOR_SCALE), [_PRIOR_NOISE, _PRIOR_NOISE]]
        )
        self._prior_variance = np.concatenate([[1.0], np.full(dim, _PRIOR_SPREAD**2), [1.0, 1.0]])
        self._log = self._prior_mean
        self._z = np.empty((0, dim))
        self._chol = np.empty((0, 0))
        self._weights = np.empty(0)

    @property
    def scales(self) -> Vector:
        """(dim,) fitted length scales."""
        scales: Vector = np.exp(self._log[1 : 1 + self.dim])
        return scales

    def fit(self, z: Matrix, losses: Vector, batches: NDArray[np.int64]) -> None:
        """Learn from (n, dim) points, their (n,) losses and the batch of each.

        The newest comes last; n is at most `KEPT`.
        """
        from scipy.optimize import minimize  # type: ignore[import-untyped]

        y = standardised(losses)
        near = z[-FITTED:]
        recent = batches[-FITTED:]
        known = (near[:, None] - near[None], y[-FITTED:], recent[:, None] == recent)
        bounds = [(-3.0, 3.0), *[(-1.5, 3.0)] * self.dim, (-4.0, 2.0), (-4.0, 2.0)]
        options = {"maxiter": ITERATIONS}
        found = minimize(
            self._cost,
            self._log,
            args=known,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options=options,
        )
        self._log = found.x
        self._condition(z, y, batches)

    @property
    def memory(self) -> list[JSON]:
        """The fitted scales, as logarithms."""
        return list(self._log.tolist())

    def recall(self, memory: JSON, z: Matrix, losses: Vector, batches: NDArray[np.int64]) -> None:
        """Restore the state after the `fit` to these points that gave this memory.

        UsageError for something that is no memory.
        """
        numbers = (
            [value for value in memory if isinstance(value, float)]
            if isinstance(memory, list)
            else []
        )
        if len(numbers) != self.dim + 3 or not np.isfinite(numbers).all():
            raise UsageError(
                f"the memory of gp over {self.dim} variables is {self.dim + 3} numbers, "
                f"got {memory!r}"
            )
        self._log = np.array(numbers)
        self._condition(z, standardised(losses), batches)

    def _condition(self, z: Matrix, y: Vector, batches: NDArray[np.int64]) -> None:
        from scipy.linalg import cho_solve, cholesky

        self._z = z
        self._chol = cholesky(self._covariance(z, batches), lower=True)
        self._weights = cho_solve((self._chol, True), y)

    def mean(self, z: Matrix) -> Vector:
        """(n,) posterior mean of f."""
        mean: Vector = self._kernel(z, self._z) @ self._weights
        return mean

    def draws(self, z: Matrix, count: int, rng: np.random.Generator) -> Matrix:
        """(count, n) independent draws of f at the n points, from the posterior."""
        from scipy.linalg import cholesky, solve_triangular

        across = self._kernel(z, self._z)
        known = solve_triangular(self._chol, across.T, lower=True)
        covariance = self._kernel(z, z) - known.T @ known
        covariance[np.diag_indices_from(covariance)] += 1e-6 * np.exp(2 * self._log[0])
        root = cholesky(covariance, lower=True)
        draws: Matrix = across @ self._weights + rng.standard_normal((count, len(z))) @ root.T
        return draws

    def _kernel(self, one: Matrix, other: Matrix) -> Matrix:
        a = one / self.scales
        b = other / self.scales
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
        squares -= 2 * a @ b.T
        kernel, _ = matern(np.maximum(squares, 0, out=squares))
        kernel *= np.exp(2 * self._log[0])
        return kernel

    def _covariance(self, z: Matrix, batches: NDArray[np.int64]) -> Matrix:
        covariance: Matrix = self._kernel(z, z) + np.exp(2 * self._log[-1]) * (
            batches[:, None] == batches
        )
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * self._log[-2]) + _JITTER
        return covariance

    def _cost(
        self, log: Vector, differences: NDArray[np.float64], y: Vector, same: NDArray[np.bool_]
    ) -> tuple[float, Vector]:
        """Negative log posterior of the scales, and its gradient (Rasmussen and Williams, eq. 5.9).

        differences: (n, n, dim) of points. same: (n, n), whether both are of one batch.
        """
        from scipy.linalg import cho_solve, cholesky

        variance, noise, offset = np.exp(2 * log[[0, -2, -1]])
        squares = differences / np.exp(log[1 : 1 + self.dim])
        np.square(squares, out=squares)
        kernel, slopes = matern(squares.sum(axis=-1))
        kernel *= variance
        covariance = kernel + offset * same
        covariance[np.diag_indices_from(covariance)] += noise + _JITTER
        root = cholesky(covariance, lower=True, overwrite_a=True)
        weights = cho_solve((root, True), y)
        slack = cho_solve((root, True), np.eye(len(y)), overwrite_b=True) - np.outer(
            weights, weights
        )
        cost = float(0.5 * y @ weights + np.log(np.diag(root)).sum())
        slope = np.empty_like(log)
        slope[0] = (slack * kernel).sum()
        slope[1 : 1 + self.dim] = 0.5 * np.einsum("ij,ijk->k", slack * variance * slopes, squares)
        slope[-2] = np.trace(slack) * noise
        slope[-1] = (slack * same).sum() * offset
        off = log - self._prior_mean
        return cost + float(
            0.5 * (off**2 / self._prior_variance).sum()
        ), slope + off / self._prior_variance


def standardised(losses: Vector) -> Vector:
    """(n,) losses with median 0 and standard deviation 1.

    Losses far above the rest are pulled in first.
    """
    middle = float(np.median(losses))
    spread = 1.4826 * float(np.median(np.abs(losses - middle)))
    bounded = np.minimum(losses, middle + WINSOR * spread) if spread else losses
    scale: Any = bounded.std()
    result: Vector = (bounded - middle) / (scale or 1.0)
    return result


def matern(squares: Matrix) -> tuple[Matrix, Matrix]:
    """Matérn-5/2 correlation k at squared distances in length scales, and −2 dk/d(squared).

    The latter times a variable's squared difference is the slope in its log length scale.
    """
    root = np.sqrt(5 * squares)
    decay = np.exp(-root)
    slope = 1 + root
    kernel = root**2
    kernel /= 3
    kernel += slope  # 1 + root + root ** 2 / 3
    kernel *= decay
    slope *= 5 / 3
    slope *= decay
    return kernel, slope
