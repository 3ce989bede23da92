"""Blur along a straight line, as of a moving camera: read from the picture, and undone."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.prompt.deconvolution import Step, sharpened, small_copy

_Whole: TypeAlias = NDArray[np.int64]

_ONE_WAY = 0.4
"""A picture is blurred where the least directional energy of its slopes is below this share of the
greatest: they are gone along the motion.
"""
_FINE = 8
"""Slopes along the motion are counted in eighths of a level, in whole numbers."""
_SHORTEST = 2
"""Pixels of the copy."""


def deblurred(image: Image.Image) -> Image.Image:
    """Sharpened along the direction of a motion, where the picture shows one.

    Slopes are missing along a motion: the structure tensor gives its direction. Each edge becomes
    two opposite ones at the ends of the motion, so the slopes along it are most unlike themselves
    at its length (Yitzhaky and Kopeika 1997, "Identification of blur parameters from motion blurred
    images").
    """
    small = small_copy(image)
    line = _line(np.asarray(small.convert("L"), np.int64))
    return sharpened(image, small, [line]) if line else image


def _line(luma: _Whole) -> list[Step]:
    """The steps, down and right, from the middle of a motion to each of its pixels; [] for none."""
    if min(luma.shape) < 2 * _SHORTEST + 2:
        return []
    right = luma[1:-1, 2:] - luma[1:-1, :-2]
    down = luma[2:, 1:-1] - luma[:-2, 1:-1]
    level = int((right**2).sum()) - int((down**2).sum())
    cross = 2 * int((right * down).sum())
    power = int((right**2).sum()) + int((down**2).sum())
    spread = math.hypot(level, cross)
    if power - spread >= _ONE_WAY * (power + spread):
        return []
    degrees = round(math.degrees(math.atan2(cross, level)) / 2 + 90)
    across, along = (round(turn(math.radians(degrees)), 15) for turn in (math.cos, math.sin))
    slopes = np.rint(_FINE * (right * across + down * along)).astype(np.int64)
    lags = range(_SHORTEST, min(luma.shape) // 2)
    likeness = [_product(slopes, round(lag * along), round(lag * across)) for lag in lags]
    length = lags[int(np.argmin(likeness))]
    places = [place - (length - 1) / 2 for place in range(length)]
    return [(round(place * along), round(place * across)) for place in places]


def _product(slopes: _Whole, down: int, right: int) -> int:
    """Summed products with those a step away, within the picture."""
    height, width = slopes.shape
    first = slopes[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    other = slopes[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    return int((first * other).sum())
