"""Looking at data before they are all in, without being fooled by one of the looks: error spending.

A test that is looked at K times at level a errs far more often than a. Here the k-th look, at a
share t_k of all samples that there can be, may spend only what a function f(t) that rises to a has
freed by then (Lan and DeMets, Biometrika 70 (1983) 659). Means of growing samples behave as
Brownian motion B(t) = Z√t, so the boundary c_k solves

    P(Z_1 < c_1, …, Z_{k-1} < c_{k-1}, Z_k ≥ c_k) = f(t_k) − f(t_{k-1})

by the recursive integration of Armitage, McPherson and Rowe (JRSS A 132 (1969) 235). The whole test
then errs with probability a, whenever it stops. The values that no look refuses, {δ : |Z_k(δ)| <
c_k}, are a repeated confidence interval: it holds at every look at once (Jennison and Turnbull,
JRSS B 51 (1989) 305).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError

NODES = 501
"""Of the trapezoidal rule on each density; boundaries then agree with published ones to every digit
printed.
"""

REACH = 9.0
"""Standard deviations below 0 where a density is taken to end."""


def spent(share: float, alpha: float) -> float:
    """f(t) = alpha · t^1.5, of the power family (Kim and DeMets, Biometrika 74 (1987) 149).

    Between O'Brien and Fleming's rule, which hardly ever stops early, and Pocock's, which pays for
    it at the end.
    """
    return float(alpha * share**1.5)


def boundaries(
    shares: Sequence[float], alpha: float = 0.05, spending: Callable[[float, float], float] = spent
) -> Vector:
    """(K,) the c_k of a one-sided test of level alpha, for looks at these shares of all samples
    (rising, at most 1).

    UsageError for shares that do not rise, or an alpha outside (0, ½).
    """
    from scipy.optimize import brentq  # type: ignore[import-untyped]
    from scipy.stats import norm  # type: ignore[import-untyped]

    if (
        not len(shares)
        or any(b <= a for a, b in itertools.pairwise((0.0, *shares)))
        or shares[-1] > 1 + 1e-12
    ):
        raise UsageError(
            f"looks at the shares {list(shares)}; give rising ones, above 0 and at most 1"
        )
    if not 0 < alpha < 0.5:
        raise UsageError(f"a level of {alpha}; give one between 0 and 0.5")
    found = []
    before = 0.0
    used = 0.0
    nodes = np.zeros(1)
    mass = np.ones(1)  # where B lies, and with what probability, if no look has stopped
    for share in shares:
        step = np.sqrt(share - before)
        may = spending(min(share, 1.0), alpha) - used
        x = nodes
        w = mass

        def crossing(
            bound: float, x: Vector = x, w: Vector = w, step: float = step, may: float = may
        ) -> float:
            return float(w @ norm.sf((bound - x) / step)) - may

        edge = REACH * np.sqrt(share)
        bound = float(brentq(crossing, -edge, edge, xtol=1e-12)) if crossing(edge) < 0 else edge
        found.append(bound / np.sqrt(share))
        grid = np.linspace(-edge, bound, NODES)
        density = norm.pdf((grid[:, None] - x) / step) @ w / step
        width = grid[1] - grid[0]
        weights = np.full(NODES, width)
        weights[[0, -1]] /= 2
        nodes = grid
        mass = density * weights
        before = share
        used = used + may
    return np.array(found)
