"""How a picture lies in its frame: turned upright, and without an even margin."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
from PIL import Image

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
    pixels = np.asarray(image)
    away = np.abs(pixels.astype(np.int16) - edge_colour(pixels)).max(axis=2)
    content = away > _TRIM_CONTRAST * max(float(np.percentile(away, 99)), 1.0)
    spans = [_span(content.any(axis=axis), side) for axis, side in enumerate(image.size)]
    sides = list(zip(spans, image.size, strict=True))
    shares = [(stop - start) / side + 2 * _TRIM_MARGIN for (start, stop), side in sides]
    share = max(1 / _TRIM_LIMIT, *shares)
    if share >= 1:
        return image
    left, top = (
        min(max((start + stop) / 2 - share * side / 2, 0.0), side * (1 - share))
        for (start, stop), side in sides
    )
    box = (left, top, left + share * image.width, top + share * image.height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def _span(marked: np.ndarray[Any, np.dtype[np.bool_]], side: int) -> tuple[int, int]:
    """First and last place that is marked, the last excluded; all where none is."""
    places = np.flatnonzero(marked)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, side)
