"""Bases for patterns over the canvas, and the arithmetic of adding one.

All layers that paint patterns share them.

A basis turns a layer's slice of z into three planes. `pixels`: each value is a variable. `blocks`:
the canvas in equal tiles, nearest neighbour. `dct`: the lowest frequencies of the two-dimensional
DCT-II. All variables stand in the order place, then channel (red, green, blue).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import TypeVar, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.prompt.layer import MAX_VARIABLES, Geometry, Levels, centred

_Level = TypeVar("_Level", bound=np.generic)

CHANNELS = ("red", "green", "blue")
MAX_SIZE = 1024
"""Coefficients per channel, or tiles per side."""
MAX_Z = 1e6
"""Every bounded map is saturated far below this; a bound keeps sums of basis functions finite."""
_FAR = 1e5
"""A z at which every bounded map has reached its end."""


def check_basis(layer: str, basis: str, known: Sequence[str], size: int) -> None:
    """UsageError unless the layer has this basis, and the size is 1 to MAX_SIZE."""
    if basis not in known:
        raise unknown(f"{layer} basis", basis, known)
    if not 1 <= size <= MAX_SIZE:
        raise UsageError(
            f"{layer} size is {size}; give 1 to {MAX_SIZE} frequencies, or tiles a side"
        )


def check_shared(layer: str, basis: str, geometry: Geometry) -> None:
    """UsageError unless all images have one canvas."""
    if not geometry.shared:
        raise UsageError(
            f'a {layer} of basis "{basis}" needs one canvas for all pictures; take "dct", '
            'or a space of shape "square" that searches no size'
        )


def bounded(z: Vector) -> Vector:
    """z within -MAX_Z..MAX_Z."""
    return np.clip(z, -MAX_Z, MAX_Z)


def place_names(places: NDArray[np.int64]) -> tuple[str, ...]:
    """`red_3_7` …: one name per (row, column) and channel, in the order of the variables.

    UsageError for more than `MAX_VARIABLES`.
    """
    if len(places) * len(CHANNELS) > MAX_VARIABLES:
        raise UsageError(
            f"a pattern of {len(places) * len(CHANNELS)} variables; at most {MAX_VARIABLES}: "
            "take a smaller canvas, or the basis dct"
        )
    return tuple(
        f"{channel}_{row}_{column}" for row, column in places.tolist() for channel in CHANNELS
    )


# -- low frequencies -------------------------------------------------------------------------------
@cache
def lowest(size: int) -> tuple[tuple[int, int], ...]:
    """The `size` lowest (vertical, horizontal) frequencies (u, v), by u + v.

    Of equal sums the more isotropic comes first.
    """
    reach = math.ceil(math.sqrt(2 * size)) + 1
    pairs = [(u, v) for u in range(reach) for v in range(reach)]
    return tuple(sorted(pairs, key=lambda pair: (sum(pair), max(pair), pair))[:size])


def wave_names(size: int, side: int) -> tuple[str, ...]:
    """One name per frequency and channel.

    UsageError if a canvas of `side` pixels does not hold them.
    """
    highest = max(max(pair) for pair in lowest(size))
    if highest >= side:
        raise UsageError(f"a canvas of {side} px holds no frequency {highest}; give a smaller size")
    return place_names(np.array(lowest(size)))


def waves(z: Vector, size: int, geometry: Geometry) -> Iterator[NDArray[np.float64]]:
    """A plane (height, width) for red, green and blue each, one at a time to save memory.

    They are sums of the basis functions, each of mean square 1 over the canvas. A canvas that is
    not square stretches them. One of fewer pixels than frequencies cannot hold all of them, and
    shows the higher ones as lower ones.
    """
    frequencies = np.array(lowest(size)).T
    count = int(frequencies.max()) + 1
    down, across = (_cosines(side, count) for side in (geometry.height, geometry.width))
    for values in z.reshape(-1, 3).T:
        table = np.zeros((count, count))
        table[frequencies[0], frequencies[1]] = values
        yield down @ table @ across.T


@lru_cache(maxsize=16)
def _cosines(side: int, count: int) -> NDArray[np.float64]:
    """(side, count): the first DCT-II basis functions, orthogonal, of unit mean square."""
    phase = np.pi * (np.arange(side)[:, None] + 0.5) * np.arange(count) / side
    cosines: NDArray[np.float64] = np.cos(phase) * np.where(
        np.arange(count) == 0, 1.0, math.sqrt(2)
    )
    cosines.flags.writeable = False
    return cosines


# -- the border, and tiles -------------------------------------------------------------------------
@lru_cache(maxsize=16)
def border(geometry: Geometry) -> NDArray[np.bool_]:
    """(height, width): True where a frame can be seen around an image of the canvas' shape.

    With a fixed placement, that is all around the image.
    """
    mask = np.ones((geometry.height, geometry.width), np.bool_)
    hidden = centred(geometry.covered, geometry.canvas)
    mask[hidden.top : hidden.bottom, hidden.left : hidden.right] = False
    mask.flags.writeable = False
    return mask


def check_tiles(count: int, side: int) -> int:
    """The count itself. UsageError if a canvas of `side` pixels has no room for so many."""
    if count > side:
        raise UsageError(
            f"a canvas of {side} px holds no {count} tiles a side; give a smaller size"
        )
    return count


def touched(count: int, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(count, count): the tiles with a True pixel of the mask. UsageError as of `check_tiles`."""
    check_tiles(count, min(mask.shape))
    down, across = (_edges(count, side) for side in mask.shape)
    rows = np.logical_or.reduceat(mask, down, axis=0)
    found: NDArray[np.bool_] = np.logical_or.reduceat(rows, across, axis=1)
    return found


def spread(tiles: NDArray[_Level], geometry: Geometry) -> NDArray[_Level]:
    """(count, count, 3) to (height, width, 3), nearest neighbour: every pixel shows its tile."""
    rows, columns = (_tile_of(len(tiles), side) for side in (geometry.height, geometry.width))
    return tiles[rows][:, columns]


def _edges(count: int, side: int) -> NDArray[np.intp]:
    """(count,): the first pixel of each tile, equal to within a pixel."""
    return np.arange(count) * side // count


def _tile_of(count: int, side: int) -> NDArray[np.intp]:
    """(side,): the tile that a row or column of pixels lies in."""
    return np.searchsorted(_edges(count, side), np.arange(side), side="right") - 1


# -- derivatives -----------------------------------------------------------------------------------
def extremes(basis: str, count: int) -> tuple[Vector, Vector]:
    """(count,) each: variables that drive a bounded pattern to its upper and to its lower end.

    Every pixel is at the end. Where an image rendered with the one equals an image rendered with
    the other, the pattern is hidden.
    """
    upper = np.full(count, _FAR)
    if basis == "dct":
        upper[len(CHANNELS) :] = 0.0  # the frequency 0, 0 comes first and fills the canvas
    return upper, np.where(upper == 0, 0.0, -upper)


def adjoint(
    basis: str, size: int, names: Sequence[str], geometry: Geometry, weighted: Levels
) -> Matrix:
    """(r, m, variables) from (r, m, height, width, 3): the transpose of a basis.

    basis, size: as in `Frame` and `Overlay`. names: of the variables, as the layer gives them.
    """
    if basis == "color":
        return np.asarray(weighted.sum(axis=(2, 3), dtype=np.float64))
    channel, first, second = _places(tuple(names))
    if basis == "pixels":
        return np.asarray(weighted[:, :, first, second, channel], np.float64)
    if basis == "blocks":
        starts, ends = (_edges(size, side) for side in (geometry.height, geometry.width))
        rows = np.add.reduceat(weighted, starts, axis=2, dtype=np.float64)
        return np.asarray(np.add.reduceat(rows, ends, axis=3)[:, :, first, second, channel])
    count = int(max(first.max(), second.max())) + 1
    down, across = (_cosines(side, count) for side in (geometry.height, geometry.width))
    table = np.einsum(
        "yu,rmyxc,xv->rmcuv", down, weighted.astype(np.float64), across, optimize=True
    )
    return np.asarray(table[:, :, channel, first, second]) / math.sqrt(size)


@lru_cache(maxsize=8)
def _places(
    names: tuple[str, ...],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Channel, row and column (of a pixel, tile or frequency) of each variable, by its name."""
    parts = [name.split("_") for name in names]
    channel = np.array([CHANNELS.index(part[0]) for part in parts])
    first = np.array([int(part[1]) for part in parts])
    second = np.array([int(part[2]) for part in parts])
    return channel, first, second


# -- adding a pattern ------------------------------------------------------------------------------
@final
class Pattern:
    """An additive pattern in whole levels, −255 to 255.

    It is split into what it adds and what it takes away.
    """

    def __init__(self, levels: NDArray[np.int16]) -> None:
        """levels: (height, width, 3)."""
        self.up = np.empty(levels.shape, np.uint8)
        self.down = np.empty(levels.shape, np.uint8)
        np.clip(levels, 0, 255, out=self.up, casting="unsafe")
        np.clip(-levels, 0, 255, out=self.down, casting="unsafe")

    def add_to(self, canvas: Pixels) -> None:
        """Add it in place, clipped to 0..255.

        8-bit arithmetic is several times faster here than wider integers.
        """
        add_clipped(canvas, self.up, self.down)


def add_clipped(canvas: Pixels, up: Pixels, down: Pixels) -> None:
    """canvas + up - down in place, clipped to 0..255, where no pixel has both."""
    up = np.minimum(~canvas, up)
    canvas -= np.minimum(canvas, down)
    canvas += up
