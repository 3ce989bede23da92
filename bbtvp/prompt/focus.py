"""Blur that is alike in all directions, as out of focus: read from the picture, and undone."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from bbtvp.prompt.deconvolution import sharpened, small_copy

_LEAST = 1.2
_MOST = 8.0
"""Standard deviations of a blur, in pixels of the copy: below the least it is none."""
_STEEPEST = 200
"""One slope of so many may be steeper than the one that counts."""
_ENDS = 100
"""One pixel of so many may lie beyond the range of luma, at each end."""


def refocused(image: Image.Image) -> Image.Image:
    """Sharpened in all directions, where even the steepest edges of the picture are soft.

    An edge of contrast c that is blurred by a Gaussian of deviation s has the slope c / (s√2π) in
    its middle, so the picture's range of luma over its steepest slope gives s (Elder and Zucker
    1998, "Local scale control for edge detection and blur estimation", for one edge). Two means
    over squares stand for the Gaussian.
    """
    small = small_copy(image)
    deviation = _deviation(np.asarray(small.convert("L"), np.int64))
    if deviation < _LEAST:
        return image
    side = math.sqrt(6 * min(deviation, _MOST) ** 2 + 1)  # twice a side's variance is the blur's
    reach = round((side - 1) / 2)
    column = [(step, 0) for step in range(-reach, reach + 1)]
    row = [(0, step) for step in range(-reach, reach + 1)]
    return sharpened(image, small, (column, row, column, row))


def _deviation(luma: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
    """Pixels; 0 for what is too small or even to tell."""
    if min(luma.shape) < 3:
        return 0.0
    right = luma[1:-1, 2:] - luma[1:-1, :-2]
    down = luma[2:, 1:-1] - luma[:-2, 1:-1]
    squares = np.sort(right**2 + down**2, axis=None)
    steepest = math.sqrt(int(squares[-1 - len(squares) // _STEEPEST])) / 2
    levels = np.sort(luma, axis=None)
    cut = len(levels) // _ENDS
    contrast = int(levels[-1 - cut]) - int(levels[cut])
    return contrast / (steepest * math.sqrt(2 * math.pi)) if steepest else 0.0
