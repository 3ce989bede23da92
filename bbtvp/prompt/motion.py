"""Blur along a straight line, as of a moving camera: read from the picture, and undone."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from bbtvp.prompt.levels import Floats, rounded
from bbtvp.prompt.pose import edge_colour

_Whole: TypeAlias = NDArray[np.int64]
_Step: TypeAlias = tuple[int, int]

_SIDE = 128
"""Longest side in pixels of the copy on which a blur is read and undone."""
_ONE_WAY = 0.4
"""A picture is blurred where the least directional energy of its slopes is below this share of the
greatest: they are gone along the motion.
"""
_FINE = 8
"""Slopes along the motion are counted in eighths of a level, in whole numbers."""
_SHORTEST = 2
"""Pixels of the copy."""
_ITERATIONS = 20
_FLOOR = 1.0
"""Levels that are added to all, so that nothing is divided by zero."""


def deblurred(image: Image.Image) -> Image.Image:
    """Sharpened along the direction of a motion, where the picture shows one.

    Slopes are missing along a motion: the structure tensor gives its direction. Each edge becomes
    two opposite ones at the ends of the motion, so the slopes along it are most unlike themselves
    at its length (Yitzhaky and Kopeika 1997, "Identification of blur parameters from motion blurred
    images"). Richardson and Lucy's iteration divides the blur of that line out. It holds levels
    above zero, which keeps the ground even where the ground is dark, so channels with a light edge
    are inverted meanwhile. It works on a small copy; the picture is given the difference.
    """
    factor = math.ceil(max(image.size) / _SIDE)
    small = image.reduce(factor)
    line = _line(np.asarray(small.convert("L"), np.int64))
    if not line:
        return image
    pixels = np.asarray(small)
    light = edge_colour(pixels) > 127
    blurred = np.where(light, 255 - pixels, pixels).astype(np.float32)
    gained = _richardson_lucy(blurred + np.float32(_FLOOR), line)
    gained -= blurred + np.float32(_FLOOR)
    gained[..., light] *= -1
    halves = Image.fromarray(rounded(gained / 2 + 128))
    box = (0.0, 0.0, image.width / factor, image.height / factor)
    change = halves.resize(image.size, Image.Resampling.BILINEAR, box=box)
    half = ImageChops.add(image, change, 1, -128)
    return ImageChops.add(half, change, 1, -128)


def _line(luma: _Whole) -> list[_Step]:
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


def _richardson_lucy(blurred: Floats, line: list[_Step]) -> Floats:
    """Richardson 1972, Lucy 1974, with a symmetric point spread function along a line."""
    sharp = blurred.copy()
    for _ in range(_ITERATIONS):
        sharp *= _mean(blurred / _mean(sharp, line), line)
    return sharp


def _mean(values: Floats, line: list[_Step]) -> Floats:
    """Of the values at these steps, added one after another; beyond the edges as at them."""
    reach = max(abs(step) for steps in line for step in steps)
    height, width = values.shape[:2]
    wide = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), "edge")
    total = np.zeros_like(values)
    for down, right in line:
        top = reach + down
        left = reach + right
        total += wide[top : top + height, left : left + width]
    total /= np.float32(len(line))
    return total
