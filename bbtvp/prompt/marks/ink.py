"""Lines, dots and labels as sparse ink.

Ink says where on the canvas it lies, how dense it is, and which patch gives its colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.prompt.layer import Box, Size
from bbtvp.prompt.marks.glyphs import Coverage, drawn

TILE = 512
"""Endpoints that cut an image into tiles of this many pixels would see a line on the cut twice, as
two halves.
"""
PATCHES = 32
"""Patches along each side of the canvas, over each of which luminance is averaged before black or
white ink is chosen.
"""

_LUMA = np.array([77, 150, 29], np.int32)
"""Rec. 601 in 256ths: whole numbers, so that a tie is broken alike everywhere."""


@final
class Label(NamedTuple):
    """A text of capital height `cap`, its box centred on (x, y).

    In pixels from the left and the top edge of the canvas.
    """

    text: str
    cap: int
    x: float
    y: float


@final
@dataclass(frozen=True)
class Ink:
    """The inked pixels, as (k,) arrays.

    Flat pixel, coverage 1..255, and patch (row * count + column) of each.
    """

    pixels: NDArray[np.intp]
    cover: NDArray[np.uint16]
    patch: NDArray[np.intp]

    def blend(self, canvas: Pixels, colors: NDArray[np.uint16]) -> None:
        """Over the canvas, in place. colors: (patches, 3), or (1, 3) for one colour."""
        if not self.pixels.size:
            return
        flat = canvas.reshape(-1, 3)
        cover = self.cover[:, None]
        mixed = flat[self.pixels] * (255 - cover)
        mixed += (colors if len(colors) == 1 else colors[self.patch]) * cover
        mixed += 128
        mixed += (
            mixed >> 8
        )  # with this, >> 8 is the division by 255, rounded to nearest, and all fits 16 bits
        mixed >>= 8
        flat[self.pixels] = mixed


def patches(canvas: Pixels) -> NDArray[np.uint16]:
    """(patches, 3): black (0) for patches of mean luma 128 or more, white (255) for darker ones."""
    image = Image.fromarray(canvas)
    counts = _patch_counts(Size(*image.size))
    means = np.asarray(image.resize(counts, Image.Resampling.BOX), np.int32)
    luma = (means.reshape(-1, 3) @ _LUMA) >> 8
    return np.where(luma >= 128, 0, 255).astype(np.uint16)[:, None].repeat(3, axis=1)


def _patch_counts(canvas: Size) -> Size:
    """Patches across and down."""
    return Size(min(PATCHES, canvas.width), min(PATCHES, canvas.height))


def strip(start: int, size: int, at: float, thick: int) -> tuple[int, int]:
    """The pixels [first, end) of a line `thick` pixels wide at `at`, within [start, start + size).

    In whole pixels, for a blurred line is a fainter one; and moved, by less than its own width, off
    a tile's edge.
    """
    first = math.floor(at - thick / 2 + 0.5)
    edge = (first + thick - 1) // TILE * TILE
    if first < edge:
        first = edge - thick if edge - thick >= start else edge
    first = min(max(first, start), max(start, start + size - thick))
    return first, min(first + thick, start + size)


def lines(
    canvas: Size,
    box: Box,
    rows: Iterable[tuple[int, int]],
    columns: Iterable[tuple[int, int]],
    cover: int,
) -> Ink:
    """Lines across (rows) and down (columns) the box."""
    map_ = _blank(canvas)
    for first, end in rows:
        map_[first:end, box.left : box.right] = cover
    for first, end in columns:
        map_[box.top : box.bottom, first:end] = cover
    return _from_map(map_)


def dots(
    canvas: Size, centres: Iterable[tuple[tuple[int, int], tuple[int, int]]], cover: int
) -> Ink:
    """Antialiased discs that fill the squares given as pixel ranges (columns, rows)."""
    map_ = _blank(canvas)
    for (left, right), (top, bottom) in centres:
        disc = _disc(right - left, bottom - top)
        map_[top:bottom, left:right] = np.rint(disc * cover)
    return _from_map(map_)


def _disc(width: int, height: int) -> NDArray[np.float64]:
    """(height, width): share of each pixel that the disc covers, to first order."""
    x = np.arange(width) + 0.5 - width / 2
    y = np.arange(height) + 0.5 - height / 2
    far = np.hypot(x[None, :], y[:, None])
    disc: NDArray[np.float64] = np.clip(min(width, height) / 2 + 0.5 - far, 0, 1)
    return disc


def labels(canvas: Size, texts: Iterable[Label], within: Box) -> Ink:
    """Text, within this box and nowhere else.

    Each label takes one colour, that of the patch under its centre.
    """
    map_ = _blank(canvas)
    owner = np.zeros(map_.shape, np.intp)
    counts = _patch_counts(canvas)
    for label in texts:
        cover = drawn(label.text, label.cap)
        box, shape = _landed(cover, label, within)
        where = slice(box.top, box.bottom), slice(box.left, box.right)
        map_[where] = np.maximum(map_[where], shape)
        column, row = (
            min(max(int(at), 0), side - 1) * count // side
            for at, side, count in zip((label.x, label.y), canvas, counts, strict=True)
        )
        owner[where] = row * counts.width + column
    ink = _from_map(map_)
    return Ink(ink.pixels, ink.cover, owner.reshape(-1)[ink.pixels])


def _landed(cover: Coverage, label: Label, within: Box) -> tuple[Box, Coverage]:
    """Where the label lies, kept within the box, and what of it."""
    height, width = cover.shape
    left = min(
        max(math.floor(label.x - width / 2 + 0.5), within.left),
        max(within.left, within.right - width),
    )
    top = min(
        max(math.floor(label.y - height / 2 + 0.5), within.top),
        max(within.top, within.bottom - height),
    )
    box = Box(left, top, min(left + width, within.right), min(top + height, within.bottom))
    return box, cover[: box.bottom - top, : box.right - left]


def _blank(canvas: Size) -> Coverage:
    return np.zeros((canvas.height, canvas.width), np.uint8)


def _from_map(map_: Coverage) -> Ink:
    height, width = map_.shape
    counts = _patch_counts(Size(width, height))
    pixels = np.flatnonzero(map_)
    rows, columns = np.divmod(pixels, width)
    patch = rows * counts.height // height * counts.width + columns * counts.width // width
    return Ink(pixels, map_.reshape(-1)[pixels].astype(np.uint16), patch)
