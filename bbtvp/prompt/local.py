"""Contrast of each part of a picture brought to the whole range of levels."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.prompt.blur import wide_blur
from bbtvp.prompt.enlarge import enlarged
from bbtvp.prompt.levels import bands, floats_of, rounded

_SIDE = 64
"""Longest side in pixels, nearly, of the copy on which the levels about each pixel are read."""
_REACH = 1 / 8
"""How far the levels about a pixel are read, as a share of the longer side."""
_SOFT = 1 / 16
"""Standard deviation of the blur of what was read, as a share of the longer side."""
_LEAST = 48
"""Levels that are stretched over the whole range, at least, so that noise is not.

Where there are fewer, an even part keeps its level.
"""


def locally_stretched(image: Image.Image) -> Image.Image:
    """Black where the darkest channel about a pixel is, white where the lightest is; RGB.

    So a veil of light or haze goes off where it lies, as by the dark channel (He, Sun and Tang,
    Single image haze removal using dark channel prior, 2009), and what is pale or dim is stretched.
    All channels of a pixel change alike.
    """
    factor = -(-max(image.size) // _SIDE)
    small = image.reduce(factor)
    pixels = np.asarray(small)
    reach = max(1, int(max(small.size) * _REACH))
    ends = np.zeros_like(pixels)
    ends[..., 0] = _least(pixels.min(axis=2), reach)
    ends[..., 1] = 255 - _least(255 - pixels.max(axis=2), reach)
    soft = Image.fromarray(wide_blur(Image.fromarray(ends), max(small.size) * _SOFT))
    low, high = (enlarged(plane, image.size, factor) for plane in soft.split()[:2])
    return Image.fromarray(_stretched(np.asarray(image), low, high))


def _least(levels: Pixels, reach: int) -> Pixels:
    """The least level within a square about each pixel."""
    for axis in (0, 1):
        side = levels.shape[axis]
        widths = [(reach, reach) if each == axis else (0, 0) for each in (0, 1)]
        padded = np.pad(levels, widths, mode="edge")
        parts = [padded.take(range(at, at + side), axis=axis) for at in range(2 * reach + 1)]
        levels = np.minimum.reduce(parts)
    return levels


def _stretched(pixels: Pixels, low: Pixels, high: Pixels) -> Pixels:
    made = np.empty_like(pixels)
    for rows in bands(pixels):
        darkest = low[rows].astype(np.float32)
        between = high[rows] - darkest
        black = darkest - darkest * np.maximum(_LEAST - between, 0) / 255
        gains = 255 / np.maximum(between, _LEAST)
        for channel in range(3):  # numpy is slow at one number for the three of a pixel
            values = floats_of(pixels[rows, :, channel], "toned")
            values -= black
            values *= gains
            made[rows, :, channel] = rounded(values)
    return made
