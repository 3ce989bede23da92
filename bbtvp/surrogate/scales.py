"""The spread of a term over candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

LEAST = 1e-12
"""A spread below this is none: the candidates do not differ in that term."""


def spread(values: ArrayLike) -> float:
    """Standard deviation (n − 1) across candidates; NaN = missing.

    NaN if fewer than two are there.
    """
    found = np.asarray(values, np.float64).ravel()
    found = found[np.isfinite(found)]
    return float(found.std(ddof=1)) if found.size > 1 else float("nan")
