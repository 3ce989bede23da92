"""Shifts that a user would know: what happens to an image between the training data and the field.

Each takes a strength; `STRENGTH` holds the one that leaves zoo/llava between 5 points above chance
and 70 % on each subject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter

from bbtvp.core.arrays import Pixels

Shift = Callable[[Pixels, float, np.random.Generator], Pixels]


def _levels(levels: np.ndarray) -> Pixels:
    pixels: Pixels = np.rint(levels).clip(0, 255).astype(np.uint8)
    return pixels


def low_contrast(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Fog: a share `strength` of every level is replaced by a light grey."""
    return _levels(pixels * (1 - strength) + 150 * strength)


def dark(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Underexposed: a share `strength` of the light is missing."""
    return _levels(pixels * (1 - strength))


def bright(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Overexposed: half the contrast, levels raised by `strength` of the range.

    What is light clips.
    """
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

_SUBJECTS = (
    "digits",
    "shapes",
    "counting",
    "reasoning",
    "hallucination",
    "hallucination-popular",
    "hallucination-adversarial",
)
_STRENGTHS = {
    "low-contrast": (0.80, 0.87, 0.80, 0.80, 0.86, 0.86, 0.86),
    "dark": (0.65, 0.73, 0.65, 0.62, 0.73, 0.73, 0.73),
    "bright": (0.60, 0.70, 0.66, 0.62, 0.71, 0.71, 0.71),
    "noise": (38, 38, 28, 46, 66, 110, 66),
    "blur": (4.0, 3.0, 3.0, 2.3, 3.2, 3.2, 3.2),
}
STRENGTH: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        subject: {shift: row[i] for shift, row in _STRENGTHS.items()}
        for i, subject in enumerate(_SUBJECTS)
    }
)
