"""Shifts of weather, glass, paper and video, kept for figures: no setting is tuned on any of them.

Elastic, fog, glass, low light (shot noise) and pixelation are kinds of ImageNet-C (Hendrycks &
Dietterich, arXiv 1903.12261); the others are faults of print and video, and rain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bbtvp.core.arrays import Pixels
from bbtvp.zoo.shifts.planes import levels

_WAVE = 10
"""Pixels between the places of a warped picture that move on their own."""

_CLOUDS = (2, 4, 8, 16)
"""Places along each side that the layers of a fog are drawn at, each half as thick as the last."""

_MIST = 225
"""Level of fog."""

_SCREEN = np.array([[12, 5, 6, 13], [4, 0, 1, 7], [11, 3, 2, 8], [15, 10, 9, 14]])
"""Order in which the pixels of a printed dot are inked."""

_FULL = 10_000
"""Photons that a pixel of a sensor counts at white."""

_STREAKS = 1000
"""Streaks of the heaviest rain."""

_STREAK = 0.2
"""Length of a streak, in shares of the height."""

_WET = 0.7
"""Share of a streak's own level; the rest is what lies behind it."""

_WATER = 200
"""Level of a streak."""

_Floats = NDArray[np.float64]


def _sampled(pixels: NDArray[np.uint8], rows: _Floats, columns: _Floats) -> _Floats:
    """(H, W, C) levels at these places, linear between pixels; beyond an edge lies its colour.

    pixels: (H, W, C); rows, columns: broadcast to (H, W), in pixels.
    """
    height, width = pixels.shape[:2]
    rows, columns = np.broadcast_arrays(rows.clip(0, height - 1), columns.clip(0, width - 1))
    top = np.floor(rows).astype(int)
    left = np.floor(columns).astype(int)
    bottom = np.minimum(top + 1, height - 1)
    right = np.minimum(left + 1, width - 1)
    down = (rows - top)[:, :, None]
    across = (columns - left)[:, :, None]
    upper = pixels[top, left] * (1 - across) + pixels[top, right] * across
    lower = pixels[bottom, left] * (1 - across) + pixels[bottom, right] * across
    found: _Floats = upper * (1 - down) + lower * down
    return found


def _places(pixels: Pixels) -> tuple[_Floats, _Floats]:
    """(H, 1) rows and (1, W) columns of the pixels."""
    height, width = pixels.shape[:2]
    return np.arange(height, dtype=float)[:, None], np.arange(width, dtype=float)[None]


def _drawn_smooth(shape: tuple[int, int], grid: _Floats) -> _Floats:
    """(H, W) values that a grid of few places grows to."""
    image = Image.fromarray(grid.astype(np.float32))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC), float)


def elastic(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Warped paper: places a few pixels apart move on their own, by `strength` pixels (σ)."""
    height, width = pixels.shape[:2]
    grid = (2, max(2, height // _WAVE), max(2, width // _WAVE))
    down, right = (
        strength * _drawn_smooth((height, width), field) for field in rng.normal(0, 1, grid)
    )
    rows, columns = _places(pixels)
    return levels(_sampled(pixels, rows + down, columns + right))


def fog(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Patches of fog, which hide a share `strength` of the picture where they are thickest."""
    thick = np.zeros(pixels.shape[:2])
    for number, places in enumerate(_CLOUDS):
        thick += _drawn_smooth(pixels.shape[:2], rng.uniform(0, 1, (places, places))) / 2**number
    thick -= thick.min()
    hidden = (strength * thick / max(float(thick.max()), 1e-9)).clip(0, 1)[:, :, None]
    return levels(pixels * (1 - hidden) + _MIST * hidden)


def glass(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Frosted glass: each pixel is one that lies up to `strength` pixels away in each direction."""
    height, width = pixels.shape[:2]
    away = np.rint(strength * rng.uniform(-1, 1, (2, height, width))).astype(int)
    rows = (np.arange(height)[:, None] + away[0]).clip(0, height - 1)
    columns = (np.arange(width)[None] + away[1]).clip(0, width - 1)
    seen: Pixels = pixels[rows, columns]
    return seen


def halftone(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Print in dots of four pixels, in inks whose levels lie 255 to the power `strength` apart."""
    height, width = pixels.shape[:2]
    side = len(_SCREEN)
    repeats = (-(-height // side), -(-width // side))
    screen = np.tile(_SCREEN / _SCREEN.size, repeats)[:height, :width, None]
    apart = 255.0**strength
    return levels(np.floor(pixels / apart + screen) * apart)


def interlacing(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A frame of video in motion: every second row is `strength` pixels further to one side."""
    rows, columns = _places(pixels)
    later = columns + strength * rng.choice((-1, 1))
    return levels(_sampled(pixels, rows, np.where(rows % 2 == 1, later, columns)))


def low_light(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """`strength` stops less light, each photon counted; the camera makes up for half the stops."""
    photons = pixels / 255 * _FULL * 2.0**-strength
    counted = np.rint(photons + np.sqrt(photons) * rng.normal(0, 1, pixels.shape))
    return levels(counted * 2.0 ** (strength / 2) * 255 / _FULL)


def misregistration(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Colours out of register: red and blue lie `strength` pixels to either side of green."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = _places(pixels)
    planes = [
        _sampled(
            pixels[:, :, [channel]],
            rows + away * strength * np.sin(angle),
            columns + away * strength * np.cos(angle),
        )
        for channel, away in enumerate((-1, 0, 1))
    ]
    return levels(np.concatenate(planes, axis=2))


def pixelation(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Enlarged from too few pixels: each is a square of 1 + `strength` pixels of one colour."""
    height, width = pixels.shape[:2]
    few = [max(1, round(side / (1 + strength))) for side in (width, height)]
    small = Image.fromarray(pixels).resize((few[0], few[1]), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def rain(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Thin light streaks of one slant: a share `strength` of the heaviest rain."""
    height, width = pixels.shape[:2]
    slant = rng.uniform(-0.5, 0.5)
    length = _STREAK * height
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    for x, y in rng.uniform(-_STREAK, 1 + _STREAK, (_STREAKS, 2))[: round(strength * _STREAKS)]:
        start = (x * width, y * height)
        draw.line((*start, start[0] + slant * length, start[1] + length), fill=1)
    wet = _WET * np.asarray(mask)[:, :, None]
    return levels(pixels * (1 - wet) + _WATER * wet)
