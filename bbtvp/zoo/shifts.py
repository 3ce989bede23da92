"""Shifts that a user would know: what happens to an image between the training data and the field.

Each takes a strength; `STRENGTH` holds the one that leaves zoo/llava between chance and about 70 % on each subject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter

from bbtvp.core.arrays import Pixels

Shift = Callable[[Pixels, float, np.random.Generator], Pixels]


def _levels(levels: np.ndarray) -> Pixels:
    return np.rint(levels).clip(0, 255).astype(np.uint8)


def low_contrast(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Fog: a share `strength` of every level is replaced by a light grey."""
    return _levels(pixels * (1 - strength) + 150 * strength)


def dark(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Underexposed: a share `strength` of the light is missing."""
    return _levels(pixels * (1 - strength))


def bright(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Overexposed: levels pushed up by `strength` of the range at half the contrast; what is light clips."""
    return _levels(pixels * 0.5 + 255 * strength)


def noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Sensor noise, σ = `strength` levels."""
    return _levels(pixels + rng.normal(0, strength, pixels.shape))


def blur(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Out of focus: a Gaussian of `strength` pixels."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(strength)))


SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {"low-contrast": low_contrast, "dark": dark, "bright": bright, "noise": noise, "blur": blur}
)
"""By name, as in `zoo/counting-dark`."""

STRENGTH: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        subject: {"low-contrast": 0.84, "dark": 0.86, "bright": 0.6, "noise": 55, "blur": 3}
        for subject in ("digits", "shapes", "counting", "reasoning", "hallucination")
    }
)
