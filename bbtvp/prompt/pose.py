"""How a picture lies in its frame: upright, not foreshortened, and without an even margin."""

from __future__ import annotations

import bisect
import cmath
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from bbtvp.core.arrays import Pixels

_Slopes: TypeAlias = NDArray[np.float64]

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
_SQUEEZE_STEP = 1 / 16
"""Stretches are whole multiples of it beyond 1, exact in float64."""
_FEWEST_STEPS = 2
_MOST_STEPS = 16
"""Less than the fewest is no foreshortening. Beyond twice its size a picture shows no more."""
_CLEAR_SLOPE = 1 / 8
"""Slopes of luma count from this share of the steepest, so that noise does not."""
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
    slopes = _slopes(image)
    if slopes is None:
        return image
    down, right = slopes
    level = right**2 - down**2
    cross = 2 * right * down
    power = right**2 + down**2
    weight = 1 / np.maximum(power, _LEAST)
    fourfold = complex(((level**2 - cross**2) * weight).sum(), (2 * level * cross * weight).sum())
    if abs(fourfold) <= _CLEAR * float(power.sum()):
        return image
    # In tenths of a degree the order in which a processor sums does not show.
    degrees = round(math.degrees(cmath.phase(fourfold)) / 4, 1)
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=_edge_colour(image))


def trimmed(image: Image.Image) -> Image.Image:
    """The part that differs from the edge's colour, in the picture's own shape."""
    left, top, right, bottom = _content(image, _edge_colour(image))
    across = (right - left) / image.width + 2 * _TRIM_MARGIN
    along = (bottom - top) / image.height + 2 * _TRIM_MARGIN
    share = max(1 / _TRIM_LIMIT, across, along)
    if share >= 1:
        return image
    columns = _shown(left, right, image.width, share)
    rows = _shown(top, bottom, image.height, share)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def unsqueezed(image: Image.Image) -> Image.Image:
    """Stretched along the axis on which the picture is foreshortened, by 1.125 to 2.

    Edges of things seen square on run in all directions alike; seen from above or from one side,
    most of them run along the axis that keeps its length (Witkin 1981, "Recovering surface shape
    and orientation from texture"). Contours are counted by their length after the stretch, so that
    it makes a circle of an ellipse. The picture keeps its size, and what differs from the edge's
    colour stays in it whole, enlarged by `trimmed`'s limit at most; what comes in has that colour.
    """
    slopes = _slopes(image)
    if slopes is None:
        return image
    down, right = (slope**2 for slope in slopes)
    steep = down + right
    clear = steep > _CLEAR_SLOPE**2 * steep.max()
    ratio = _stretch(down[clear], right[clear])
    if ratio == 1:  # one of the axes is the longer, at most
        ratio = 1 / _stretch(right[clear], down[clear])
    if ratio == 1:
        return image
    colour = _edge_colour(image)
    left, top, right_end, bottom = _content(image, colour)
    across = min(1.0, (right_end - left) / image.width + 2 * _TRIM_MARGIN)
    along = min(1.0, (bottom - top) / image.height + 2 * _TRIM_MARGIN)
    share = max(across, along * ratio, math.sqrt(ratio) / _TRIM_LIMIT)
    columns = _shown(left, right_end, image.width, share)
    rows = _shown(top, bottom, image.height, share / ratio)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    shown = image.resize((columns.size, rows.size), Image.Resampling.BICUBIC, box=box)
    whole = Image.new("RGB", image.size, colour)
    whole.paste(shown, ((image.width - columns.size) // 2, (image.height - rows.size) // 2))
    return whole


def _slopes(image: Image.Image) -> tuple[_Slopes, _Slopes] | None:
    """Of luma, down and to the right, on a small copy; None where it is a line."""
    factor = math.ceil(max(image.size) / _SIDE)
    luma = np.asarray(image.convert("L").reduce(factor), np.float64)
    if min(luma.shape) < 2:
        return None
    down: _Slopes = np.gradient(luma, axis=0)
    right: _Slopes = np.gradient(luma, axis=1)
    return down, right


def _stretch(along: _Slopes, across: _Slopes) -> float:
    """How much the axis of the first squared slopes must be stretched; 1 where it is the longer.

    Half a step decides, where no picture of equal edges lies: the order of summing does not show.
    """

    def enough(steps: int) -> bool:
        flatter = along / (1 + (steps + 0.5) * _SQUEEZE_STEP) ** 2
        contours = (flatter - across) / np.sqrt(flatter + across)
        return bool(contours.sum() <= 0)

    steps = bisect.bisect_left(range(_MOST_STEPS), True, key=enough)
    return 1.0 if steps < _FEWEST_STEPS else 1 + steps * _SQUEEZE_STEP


@final
class _Shown(NamedTuple):
    """The part of a side that is shown, and the pixels it is shown in."""

    start: float
    stop: float
    size: int


def _shown(first: int, last: int, side: int, share: float) -> _Shown:
    """A share of a side around its content; all of it, smaller, where the share is above 1."""
    if share > 1:
        return _Shown(0, side, max(1, round(side / share)))
    start = min(max((first + last) / 2 - share * side / 2, 0.0), side * (1 - share))
    return _Shown(start, start + share * side, side)


def _edge_colour(image: Image.Image) -> tuple[int, ...]:
    return tuple(edge_colour(np.asarray(image)).tolist())


def _content(image: Image.Image, colour: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is not of the edge's colour; all where nothing else is.

    By Pillow, whose loops over single bytes take a tenth of numpy's time over pixels.
    """
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
