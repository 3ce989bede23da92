"""Shifts of light: exposure, fog, lamps, shadows, reflections."""

from __future__ import annotations

import colorsys

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.zoo.shifts.planes import across, levels

_BARS = 3
"""Shadows in one picture."""

_BAR = 0.2
"""Width of a shadow, in shares of the picture."""

_LAMP = 0.25
"""Radius of a lamp's reflection, in shares of the side."""


def low_contrast(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Fog: a share `strength` of every level is replaced by a light grey."""
    return levels(pixels * (1 - strength) + 150 * strength)


def dark(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Underexposed: a share `strength` of the light is missing."""
    return levels(pixels * (1 - strength))


def bright(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Overexposed: half the contrast, levels raised by `strength` of the range.

    What is light clips.
    """
    return levels(pixels * 0.5 + 255 * strength)


def uneven_light(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Light from one side: it falls by `strength` stops towards the other side."""
    fall = (1 + across(pixels, rng.uniform(0, 2 * np.pi))) / 2
    return levels(pixels * 2.0 ** (-strength * fall))


def shadow(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Shadows of three parallel bars, which take a share `strength` of the light."""
    place = (1 + across(pixels, rng.uniform(0, np.pi))) / 2
    starts = (np.arange(_BARS) + rng.uniform(0, 1 - _BAR * _BARS, _BARS)) / _BARS
    shaded = np.any([(place >= start) & (place < start + _BAR) for start in starts], axis=0)
    return levels(np.where(shaded, 1 - strength, 1.0) * pixels)


def glare(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """The reflection of a lamp, `strength` times as bright as white, near the middle."""
    height, width = pixels.shape[:2]
    row, column = rng.uniform(0.25, 0.75, 2)
    rows, columns = np.mgrid[:height, :width]
    distance = (rows / height - row) ** 2 + (columns / width - column) ** 2
    lamp = np.exp(-distance / (2 * _LAMP**2))
    return levels(pixels + 255 * strength * lamp[:, :, None])


def color_cast(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A lamp of one hue, of saturation `strength`; each picture has a hue of its own."""
    return levels(pixels * np.array(colorsys.hsv_to_rgb(rng.uniform(), strength, 1.0)))
