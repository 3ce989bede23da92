"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError


def holm(p_values: Sequence[float] | Vector) -> Vector:
    """(m,) p-values adjusted for m tests by Holm's step-down method (1979), in the given order.

    With p_(1) ≤ … ≤ p_(m): adjusted p_(i) = max over j ≤ i of min(1, (m − j + 1) p_(j)).
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise UsageError(
            "p-values must be a list of numbers in 0..1: leave out the tests that gave none"
        )
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted
