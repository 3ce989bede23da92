"""How a picture lies in its frame: turned upright, and without an even margin."""

from __future__ import annotations

import cmath
import functools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops

from bbtvp.core.arrays import Pixels

_SIDE = 256
"""Longest side in pixels of the copy on which the directions of edges are read."""
_CLEAR = 0.3
"""Share of the contrast that must lie along two directions at right angles, at least. Without any
such edges a grid of pixels gives 0.22.
"""
_LEAST = 0.25
"""The least square of a gradient, in squared levels a pixel, other than 0."""
_TRIM_LIMIT = 1.6
"""The most by which trimming enlarges a picture, about as much as the largest zoom."""
_TRIM_MARGIN = 0.08
"""What is left around the content, as a share of each side."""
_TRIM_CONTRAST = 0.25
"""Content differs from the edge's colour by more than this share of the picture's contrast."""


def edge_colour(pixels: Pixels) -> Pixels:
    """(3,) the median colour of the outermost pixels."""
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour: Pixels = np.median(edge, axis=0).astype(np.uint8)
    return colour


def upright(image: Image.Image) -> Image.Image:
    """Turned by at most 45 degrees, so that most of its edges are level or plumb.

    With g = |g| e^(iθ) the gradient of luma, the sum of |g|² e^(4iθ) points to 4θ of edges at right
    angles; its length over the sum of |g|² says how clear they are. A picture without such edges
    stays as it is. Corners that come in have the colour of the edge.
    """
    factor = math.ceil(max(image.size) / _SIDE)
    luma = np.asarray(image.convert("L").reduce(factor), np.float64)
    if min(luma.shape) < 2:
        return image
    down, right = np.gradient(luma)
    level = right**2 - down**2
    cross = 2 * right * down
    power = right**2 + down**2
    weight = 1 / np.maximum(power, _LEAST)
    fourfold = complex(((level**2 - cross**2) * weight).sum(), (2 * level * cross * weight).sum())
    if abs(fourfold) <= _CLEAR * float(power.sum()):
        return image
    # In tenths of a degree the order in which a processor sums does not show.
    degrees = round(math.degrees(cmath.phase(fourfold)) / 4, 1)
    colour = tuple(map(int, edge_colour(np.asarray(image))))
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=colour)


def trimmed(image: Image.Image) -> Image.Image:
    """The part that differs from the edge's colour, in the picture's own shape."""
    left, top, right, bottom = _content(image)
    spans = [(left, right), (top, bottom)]
    sides = list(zip(spans, image.size, strict=True))
    shares = [(stop - start) / side + 2 * _TRIM_MARGIN for (start, stop), side in sides]
    share = max(1 / _TRIM_LIMIT, *shares)
    if share >= 1:
        return image
    across, down = (
        min(max((start + stop) / 2 - share * side / 2, 0.0), side * (1 - share))
        for (start, stop), side in sides
    )
    box = (across, down, across + share * image.width, down + share * image.height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def _content(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what differs from the edge's colour; all where nothing does.

    By Pillow, whose loops over single bytes take a tenth of numpy's time over pixels.
    """
    colour = tuple(map(int, edge_colour(np.asarray(image))))
    channels = ImageChops.difference(image, Image.new("RGB", image.size, colour)).split()
    away = functools.reduce(ImageChops.lighter, channels)
    least = _TRIM_CONTRAST * max(_percentile_99(away.histogram()), 1.0)
    marked = away.point([255 * (level > least) for level in range(256)])
    return marked.getbbox() or (0, 0, *image.size)


def _percentile_99(counts: Sequence[int]) -> float:
    """As `np.percentile` of levels that occur so many times, to the last bit."""
    up_to = np.cumsum(counts)
    place = (int(up_to[-1]) - 1) * 0.99
    below = math.floor(place)
    low, high = np.searchsorted(up_to, [below, below + 1], side="right").tolist()
    share = place - below
    return float(high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share)
