"""Stripes across a whole picture: moiré, shadows of blinds, scan lines and flicker, taken off."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.prompt.blur import wide_blur
from bbtvp.prompt.levels import bands

_Integers: TypeAlias = NDArray[np.int64]

_SIDE = 128
"""Longest side in pixels of the copy on which stripes are read."""
_SOFT = 1.0
"""Standard deviation in pixels of the blur that hides finer patterns from the direction."""
_BITS = 12
"""Of the fraction of a sine, so that all is done in whole numbers."""
_ONE_PIXEL = 1 << 24
"""Above all levels of a copy together: sums of it and of levels are told apart, and exact."""
_STEP = 5
"""Degrees between the directions that are tried first; then each degree about the best one."""
_PARTS = 4
"""Each line is cut into so many parts; the first and the last must agree."""
_LEFT = (3, 4)
"""Stripes of one end must leave less than this share of the deviations at the other end."""
_LIGHT = (3, 4)
"""Share of the pixels whose lines are no lighter than the level that all lines get."""


def destriped(image: Image.Image) -> Image.Image:
    """Each line along the stripes brought to one level, by what its median lacks; RGB.

    The direction is the one whose lines differ most in their mean luma. Stripes are those that one
    end of the lines tells of the other end; where none are told the picture stays as it is. As
    lines of a satellite's scanner are matched (Horn and Woodham, Destriping Landsat MSS images by
    histogram modification, 1979), with medians in place of histograms, so that what lies on the
    stripes counts little.
    """
    factor = 1
    while factor * _SIDE < max(image.size):
        factor *= 2
    small = image.reduce(factor)
    luma = np.asarray(Image.fromarray(wide_blur(small, _SOFT)).convert("L"), np.int64)
    degrees = _direction(luma)
    if not _striped(luma, degrees):
        return image
    places = _places(luma.shape, degrees)
    first = int(places.min())
    changes = _changes(np.asarray(small), places - first)
    return Image.fromarray(_shifted(np.asarray(image), factor, degrees, (first, changes)))


def _sines(degrees: int) -> tuple[int, int]:
    """Cosine and sine in units of 2^-12."""
    angle = math.radians(degrees)
    return round(math.cos(angle) * (1 << _BITS)), round(math.sin(angle) * (1 << _BITS))


def _places(shape: tuple[int, ...], degrees: int) -> _Integers:
    """(H, W): the line of each pixel, counted along this direction from the first corner."""
    across, down = _sines(degrees)
    height, width = shape
    places: _Integers = np.arange(width) * across + np.arange(height)[:, None] * down
    return places >> _BITS


def _direction(luma: _Integers) -> int:
    """Degrees of the direction along which the means of lines differ most."""
    counted = (luma.reshape(-1) + _ONE_PIXEL).astype(np.float64)

    def spread(degrees: int) -> int:
        return _spread(counted, _places(luma.shape, degrees))

    best = max(range(0, 180, _STEP), key=spread)
    return max(range(best - _STEP + 1, best + _STEP), key=spread)


def _spread(counted: NDArray[np.float64], places: _Integers) -> int:
    """The sum of squares that the means of lines explain, each line's rounded down.

    counted: the luma of each pixel and `_ONE_PIXEL`: numpy adds it all up, exactly, in one pass.
    """
    lines = places.reshape(-1) - places.min()
    counts, sums = np.divmod(np.bincount(lines, counted).astype(np.int64), _ONE_PIXEL)
    return int((sums * sums // np.maximum(counts, 1)).sum())


def _striped(luma: _Integers, degrees: int) -> bool:
    """Whether the medians of lines at one end tell the levels at the other end."""
    levels = luma.reshape(-1)
    lines = _places(luma.shape, degrees).reshape(-1)
    lines = lines - lines.min()
    along = _places(luma.shape, degrees + 90).reshape(-1)
    along = along - along.min()
    part = along * _PARTS // (along.max() + 1)
    ends = part == 0, part == _PARTS - 1
    left = total = 0
    for told, known in (ends, ends[::-1]):
        medians, counts = _medians(levels[known], lines[known], int(lines.max()) + 1)
        shared = told & (counts[lines] > 0)
        own = levels[shared]
        left += int(np.abs(own - medians[lines[shared]]).sum())
        total += int(np.abs(own - _medians(own, np.zeros_like(own), 1)[0]).sum())
    return left * _LEFT[1] < total * _LEFT[0]


def _medians(levels: _Integers, lines: _Integers, count: int) -> tuple[_Integers, _Integers]:
    """(count,) each: the lower median level of each line, 0 without pixels, and its pixels."""
    histograms = np.bincount(lines * 256 + levels, minlength=count * 256).reshape(count, 256)
    sums = histograms.cumsum(axis=1)
    totals = sums[:, -1]
    return (sums * 2 >= totals[:, None]).argmax(axis=1), totals


def _changes(pixels: Pixels, lines: _Integers) -> NDArray[np.int16]:
    """(lines, 3): what each channel of a line lacks to the level that most lines reach."""
    count = int(lines.max()) + 1
    changes = np.empty((count, 3), np.int16)
    for channel in range(3):
        levels = pixels[..., channel].reshape(-1).astype(np.int64)
        medians, totals = _medians(levels, lines.reshape(-1), count)
        sums = np.bincount(medians, totals, minlength=256).cumsum()
        target = int((sums * _LIGHT[1] >= sums[-1] * _LIGHT[0]).argmax())
        changes[:, channel] = target - medians
    return changes


def _shifted(
    pixels: Pixels, factor: int, degrees: int, found: tuple[int, NDArray[np.int16]]
) -> Pixels:
    """The picture with the change of its line added to each pixel.

    found: the first line, and the changes from it on, of a copy reduced by `factor`, a power of 2.
    """
    first, changes = found
    across, down = _sines(degrees)
    height, width = pixels.shape[:2]
    columns = ((2 * np.arange(width) + 1 - factor) * across).astype(np.int32)
    rows = ((2 * np.arange(height) + 1 - factor) * down).astype(np.int32)[:, None]
    bits = _BITS + factor.bit_length()  # a pixel of the copy is 2 × factor half pixels wide
    made = np.empty_like(pixels)
    for part in bands(pixels):
        lines = ((columns + rows[part]) >> bits) - first
        values = changes.take(lines, axis=0, mode="clip")
        values += pixels[part]
        made[part] = np.clip(values, 0, 255, out=values)
    return made
