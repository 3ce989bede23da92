"""Names for the arrays that cross module borders."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) uint8, sRGB, 0-255: exactly what is sent to a model."""

Vector: TypeAlias = NDArray[np.float64]
"""(d,) float64 search vector z, unbounded, about N(0, 1) in scale."""

Matrix: TypeAlias = NDArray[np.float64]
"""(n, d) float64: n search vectors."""
