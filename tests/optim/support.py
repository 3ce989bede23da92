"""Functions and fixtures' helpers shared by the tests of the optimisers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.optim import Optimiser, optimiser

NAMES = (
    "cma",
    "cma-diagonal",
    "spsa-gc",
    "random",
    "ng:NGOpt",
    "ng:TBPSA",
    "ng:DE",
    "ng:PSO",
    "ng:NgIohTuned",
    "ng:OnePlusOne",
)
"""Every method of our own, and nevergrad's: planned, evolutionary, drawing from numpy's global state, simple."""

DIM = 5
BUDGET = 400


def make(name: str, dim: int = DIM, seed: int = 0, budget: int = BUDGET) -> Optimiser:
    return optimiser(name, dim, seed, budget=budget)


def sphere(z: Matrix) -> Vector:
    """A mean of squares around 1: of order 1 at the origin, 0 at the optimum."""
    return np.asarray(((z - 1) ** 2).mean(axis=1))


def ellipsoid(z: Matrix) -> Vector:
    """Condition number 10⁴, rotated, so that a diagonal covariance cannot straighten it."""
    dim = z.shape[1]
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((dim, dim)))[0]
    return np.asarray((((z - 1) @ turn) ** 2 * np.logspace(0, 4, dim)).sum(axis=1))


def drive(search: Optimiser, loss: Callable[[Matrix], Vector], candidates: int) -> list[tuple[Matrix, Vector]]:
    """Spend `candidates`; the (batch, losses) pairs told."""
    history = []
    for _ in range(max(1, candidates // search.popsize)):
        z = search.ask()
        losses = loss(z)
        search.tell(z, losses)
        history.append((z, losses))
    return history


def global_state() -> tuple[object, ...]:
    kind, keys, *rest = np.random.get_state()
    return kind, np.asarray(keys).tobytes(), *rest
