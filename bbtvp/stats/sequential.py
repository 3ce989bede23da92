"""Sequential tests: boundaries for looking at data before all of it is in, by error spending.

>>> boundaries([0.5, 1.0]).round(3)
array([2.104, 1.737])

A test of level a that is looked at K times errs far more often than with probability a. Here the
k-th look, at a share t_k of all planned samples, may spend only the error that a function f(t),
which rises to a, allows by then (Lan and DeMets, Biometrika 70 (1983) 659). Means of growing
samples behave as Brownian motion B(t) = Z√t, so the boundary c_k solves

    P(Z_1 < c_1, …, Z_{k-1} < c_{k-1}, Z_k ≥ c_k) = f(t_k) − f(t_{k-1})

by the recursive integration of Armitage, McPherson and Rowe (JRSS A 132 (1969) 235). The whole test
then errs with probability a, whenever it stops. The values that no look rejects, {δ : |Z_k(δ)| <
c_k}, are a repeated confidence interval, which holds at all looks together (Jennison and Turnbull,
JRSS B 51 (1989) 305).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError

NODES = 501
"""Nodes of the trapezoidal rule on each density. Boundaries then agree with the published ones to
every printed digit.
"""

REACH = 9.0
"""Standard deviations below 0 at which a density is cut off."""


def error_spent(share: float, alpha: float) -> float:
    """f(t) = alpha · t^1.5, of the power family (Kim and DeMets, Biometrika 74 (1987) 149).

    It lies between the rule of O'Brien and Fleming, which rarely stops early, and that of Pocock,
    which stops early at the price of power at the end.
    """
    return float(alpha * share**1.5)


def boundaries(
    shares: Sequence[float],
    alpha: float = 0.05,
    spending: Callable[[float, float], float] = error_spent,
) -> Vector:
    """(K,) the boundaries c_k of a one-sided test of level alpha.

    shares: of all samples, at each look; rising, above 0 and at most 1. spending: f(share, alpha),
    the error that may be spent by then. UsageError for other shares, or an alpha outside (0, ½).
    """
    from scipy.optimize import brentq  # type: ignore[import-untyped]
    from scipy.stats import norm  # type: ignore[import-untyped]

    _check_looks(shares, alpha)
    found = []
    before = 0.0
    used = 0.0
    density = _Density(np.zeros(1), np.ones(1))
    for share in shares:
        step = np.sqrt(share - before)
        allowed = spending(min(share, 1.0), alpha) - used

        def excess(
            bound: float, density: _Density = density, step: float = step, allowed: float = allowed
        ) -> float:
            """How much more error than allowed this look spends with this bound on B."""
            crossing = density.mass @ norm.sf((bound - density.nodes) / step)
            return float(crossing) - allowed

        edge = REACH * np.sqrt(share)
        bound = float(brentq(excess, -edge, edge, xtol=1e-12)) if excess(edge) < 0 else edge
        found.append(bound / np.sqrt(share))
        density = density.moved(step, -edge, bound)
        before = share
        used = used + allowed
    return np.array(found)


class _Density(NamedTuple):
    """Where B lies, and with what probability, if no look has stopped the test."""

    nodes: Vector
    mass: Vector

    def moved(self, step: float, low: float, high: float) -> _Density:
        """The density after a step of this standard deviation, on the part that goes on."""
        from scipy.stats import norm

        grid = np.linspace(low, high, NODES)
        density = norm.pdf((grid[:, None] - self.nodes) / step) @ self.mass / step
        weights = np.full(NODES, grid[1] - grid[0])
        weights[[0, -1]] /= 2
        return _Density(grid, density * weights)


def _check_looks(shares: Sequence[float], alpha: float) -> None:
    rising = all(a < b for a, b in itertools.pairwise((0.0, *shares)))
    if not len(shares) or not rising or shares[-1] > 1 + 1e-12:
        raise UsageError(
            f"looks at the shares {list(shares)}; give rising ones, above 0 and at most 1"
        )
    if not 0 < alpha < 0.5:
        raise UsageError(f"a level of {alpha}; give one between 0 and 0.5")
