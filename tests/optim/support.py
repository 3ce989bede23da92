"""Functions and fixtures' helpers shared by the tests of the optimisers."""

from __future__ import annotations

from typing import Any

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.optim import Optimiser, optimiser
from bbtvp.testing.optimiser import drive, sphere

__all__ = ["BUDGET", "DIM", "NAMES", "drive", "ellipsoid", "lean", "make", "onehot", "sphere"]

NAMES = (
    "gp",
    "cma",
    "cma-diagonal",
    "cma-restarts",
    "cma-noise",
    "catcma",
    "spsa",
    "spsa-gc",
    "nes",
    "rgf",
    "guided-es",
    "p-rgf",
    "bandits-td",
    "random",
    "cma@3",
    "p-rgf@4",
    "ng:DE@3",
    "ng:NGOpt",
    "ng:TBPSA",
    "ng:DE",
    "ng:PSO",
    "ng:NgIohTuned",
    "ng:OnePlusOne",
)
"""Every method of our own, and nevergrad's: planned, evolutionary, drawing from numpy's global
state, simple.
"""

DIM = 5
BUDGET = 400


def make(name: str, dim: int = DIM, seed: int = 0, **settings: Any) -> Optimiser:
    """A search with what its method needs: a budget, a guide, a choice."""
    settings = {"budget": BUDGET, **settings}
    if name.startswith(("guided-es", "p-rgf")):
        settings.setdefault("guide", lean)
    if name == "catcma":
        settings.setdefault("choices", ((1, 3),))
    return optimiser(name, dim, seed, **settings)


def lean(z: Vector) -> Matrix:
    """A guide: the gradient of the sphere, turned a little."""
    gradient = 2 * (z - 1) / len(z)
    return (gradient + 0.5 * np.roll(gradient, 1))[None]


def ellipsoid(z: Matrix) -> Vector:
    """Condition number 10⁴, rotated, so that a diagonal covariance cannot straighten it."""
    dim = z.shape[1]
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((dim, dim)))[0]
    return np.asarray((((z - 1) @ turn) ** 2 * np.logspace(0, 4, dim)).sum(axis=1))


def onehot(z: Matrix, first: int, count: int) -> bool:
    """Whether the group is 1 for one category and 0 for the others, in every row."""
    group = z[:, first : first + count]
    return bool(((group == 0) | (group == 1)).all() and (group.sum(axis=1) == 1).all())
