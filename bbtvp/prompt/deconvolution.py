"""A known blur divided out of a picture, on a small copy of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops

from bbtvp.prompt.enlarge import enlarged
from bbtvp.prompt.levels import Floats, rounded
from bbtvp.prompt.pose import edge_colour

Step: TypeAlias = tuple[int, int]
"""Pixels down and to the right."""

_SIDE = 128
"""Longest side in pixels of the copy on which a blur is read and undone."""
_ITERATIONS = 20
_FLOOR = 1.0
"""Levels that are added to all, so that nothing is divided by zero."""


def small_copy(image: Image.Image) -> Image.Image:
    """Of at most 128 pixels a side, by means of whole squares of pixels."""
    return image.reduce(_factor(image))


def sharpened(
    image: Image.Image, small: Image.Image, spread: Sequence[Sequence[Step]]
) -> Image.Image:
    """The picture without a blur, by the iteration of Richardson (1972) and Lucy (1974).

    small: its `small_copy`, which is what is sharpened; the picture is given the difference.
    spread: the blur is a mean over the first steps, then over the second, and so on; all symmetric.

    The iteration holds levels above zero, which keeps the ground even where the ground is dark, so
    channels with a light edge are inverted meanwhile.
    """
    factor = _factor(image)
    pixels = np.asarray(small)
    light = edge_colour(pixels) > 127
    blurred = np.where(light, 255 - pixels, pixels).astype(np.float32)
    blurred += np.float32(_FLOOR)
    gained = _richardson_lucy(blurred, spread)
    gained -= blurred
    gained[..., light] *= -1
    halves = Image.fromarray(rounded(gained / 2 + 128))
    change = Image.fromarray(enlarged(halves, image.size, factor))
    half = ImageChops.add(image, change, 1, -128)
    return ImageChops.add(half, change, 1, -128)


def _factor(image: Image.Image) -> int:
    return math.ceil(max(image.size) / _SIDE)


def _richardson_lucy(blurred: Floats, spread: Sequence[Sequence[Step]]) -> Floats:
    sharp = blurred.copy()
    for _ in range(_ITERATIONS):
        sharp *= _spread(blurred / _spread(sharp, spread), spread)
    return sharp


def _spread(values: Floats, spread: Sequence[Sequence[Step]]) -> Floats:
    for steps in spread:
        values = _mean(values, steps)
    return values


def _mean(values: Floats, steps: Sequence[Step]) -> Floats:
    """Of the values at these steps, added one after another; beyond the edges as at them."""
    reach = max(abs(pixels) for step in steps for pixels in step)
    height, width = values.shape[:2]
    wide = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), "edge")
    total = np.zeros_like(values)
    for down, right in steps:
        top = reach + down
        left = reach + right
        total += wide[top : top + height, left : left + width]
    total /= np.float32(len(steps))
    return total
