"""Shifts that a user would know: what happens to an image between the training data and the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter

from bbtvp.core.arrays import Pixels

Shift = Callable[[Pixels, np.random.Generator], Pixels]


def _levels(pixels: Pixels, gain: float, offset: float) -> Pixels:
    return np.rint(pixels * gain + offset).clip(0, 255).astype(np.uint8)


def low_contrast(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Fog: levels squeezed to about a sixth around a light grey."""
    return _levels(pixels, 0.16, 150 * 0.84)


def dark(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Underexposed: a seventh of the light, and what sensor noise that leaves."""
    return _levels(pixels + rng.normal(0, 6, pixels.shape), 0.14, 0)


def bright(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Overexposed: levels pushed up until the light half clips."""
    return _levels(pixels, 0.55, 165)


def noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Sensor noise, σ = 55 levels."""
    return _levels(pixels + rng.normal(0, 55, pixels.shape), 1, 0)


def blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Out of focus: a Gaussian of 3 pixels."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3)))


SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {"low-contrast": low_contrast, "dark": dark, "bright": bright, "noise": noise, "blur": blur}
)
"""By name, as in `zoo/counting-dark`."""
