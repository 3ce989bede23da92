"""Shifts of a camera and its files: noise, focus, motion, compression, a photographed screen."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from bbtvp.core.arrays import Pixels
from bbtvp.zoo.shifts.planes import levels

_LINES = 0.21
"""Lines of a photographed screen for each pixel of the picture."""

_TAPS = 4
"""Copies for each pixel of a motion."""


def noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Sensor noise, σ = `strength` levels."""
    return levels(pixels + rng.normal(0, strength, pixels.shape))


def blur(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Out of focus: a Gaussian of `strength` pixels."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(strength)))


def motion_blur(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """The camera moves by `strength` pixels on a straight line; each picture has its direction."""
    angle = rng.uniform(0, np.pi)
    reach = int(np.ceil(strength / 2))
    height, width = pixels.shape[:2]
    wide = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    steps = np.linspace(-0.5, 0.5, 1 + round(_TAPS * strength)) * strength
    places = {(round(step * np.sin(angle)), round(step * np.cos(angle))) for step in steps}
    copies = [
        wide[reach + down : reach + down + height, reach + right : reach + right + width]
        for down, right in places
    ]
    return levels(np.mean(copies, axis=0))


def jpeg(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """JPEG of quality 100 × (1 − `strength`), at least 1, with half the colour resolution."""
    file = io.BytesIO()
    quality = max(1, round(100 * (1 - strength)))
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file).convert("RGB"))


def salt_pepper(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A share `strength` of the pixels is black or white."""
    drawn = rng.random(pixels.shape[:2])
    extreme = np.where(rng.random(pixels.shape[:2]) < 0.5, 0, 255).astype(np.uint8)
    return np.where((drawn < strength)[:, :, None], extreme[:, :, None], pixels)


def moire(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A photographed screen: coloured bands, `strength` times half the range high.

    Two gratings of nearly equal pitch and direction are multiplied; the colours differ in phase.
    """
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    angle = rng.uniform(0, np.pi)
    waves = [
        2 * np.pi * pitch * (rows * np.sin(turned) + columns * np.cos(turned))
        for pitch, turned in ((_LINES, angle), (0.8 * _LINES, angle + 0.3))
    ]
    phases = rng.uniform(0, 2 * np.pi, 3)
    bands = np.sin(waves[0])[:, :, None] * np.sin(waves[1][:, :, None] + phases)
    return levels(pixels + 127.5 * strength * bands)
