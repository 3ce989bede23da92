"""Which pictures of a canvas an image processor's output holds, from the output's numbers alone.

Each number shows a place of the canvas. Places are known from three phases of a cosine along each
axis, whatever the layout of the output and its normalisation (phase-shifted fringes: Srinivasan,
Liu and Halioua, Applied Optics 23, 1984). Numbers of one column get the same code, and so do those
of one row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbtvp.models.preprocessing import CanvasRegion, InputPicture

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Integers = NDArray[np.int64]

PHASES = 3
"""Number of phases, equally spaced."""
_SAME_SCALE = 1.06
"""Pictures whose scales differ by less than this factor are pieces of one picture."""
_NEAR = 16
"""Most columns that can look like a neighbour where a picture is enlarged."""
_SMALL = 0.02
"""Pieces of less than this share of the numbers are no pictures."""
_RARE = 0.25
"""A line is one that at least this share of the numbers of a usual line show."""
_UNEVEN = 1.03
"""A picture with more columns than this times its inner spacing tells is mirrored at its rim."""


class Axis(NamedTuple):
    """What numbers of the output show of one axis of the canvas, which has `size` pixels.

    places: complex numbers whose angles are the places, once around for the whole axis. codes:
    equal for numbers that show the same line of the canvas.
    """

    size: int
    places: Complexes
    codes: Integers


class _Stretch(NamedTuple):
    """The part of an axis that a picture shows, from `low` to `high`, in `total` lines.

    scale: lines per pixel of the canvas.
    """

    low: float
    high: float
    total: int
    scale: float


class _Picture(NamedTuple):
    """A picture as the output holds it, before tiles are put together."""

    across: _Stretch
    down: _Stretch

    @property
    def scale(self) -> float:
        return math.sqrt(self.across.scale * self.down.scale)


def place(phases: Sequence[NDArray[Any]]) -> Complexes:
    """Return the places that numbers show, from what `PHASES` cosines made of them.

    The amplitude of a result is the cosine's in the output, 0 for what shows no pixel.
    """
    found = np.zeros(phases[0].size, np.complex128)
    for phase, values in enumerate(phases):
        found += values.reshape(-1) * np.exp(-2j * math.pi * phase / len(phases))
    return found


def position(places: Complexes, size: int) -> Floats:
    """Return places in pixels, in [0, size)."""
    return np.angle(places) / (2 * math.pi) % 1 * size


def lines(runs: Sequence[Floats]) -> Integers:
    """Return a code for each number; equal ones had equal values in every run."""
    codes = np.zeros(runs[0].size, np.int64)
    for values in runs:
        different, which = np.unique(values, return_inverse=True)
        spread = float(np.ptp(different)) or 1.0
        # Values that differ by rounding errors only are the same.
        levels = np.cumsum(np.diff(different, prepend=different[0]) > 1e-5 * spread)
        codes = np.unique(codes * len(different) + levels[which], return_inverse=True)[1]
    return codes


def views(
    across: Axis, down: Axis, groups: Integers, numbers: Integers
) -> tuple[InputPicture, ...]:
    """Return the pictures in an output; the first shows most of the canvas, and that finest.

    groups: for each number, the piece of the output that it is in. numbers: how many numbers each
    piece has that show a pixel; the axes may hold a sample of them. Tiles of one scale are put
    together.
    """
    found = list(_pictures(across, down, groups, numbers))
    found.sort(key=lambda picture: -picture.scale)
    some: list[InputPicture] = []
    while found:
        finest = found[0].scale
        pieces = [picture for picture in found if picture.scale * _SAME_SCALE >= finest]
        found = found[len(pieces) :]
        some.append(_joined(pieces))
    return tuple(sorted(some, key=lambda view: -round(10 * _area(view.box) / _area(some[0].box))))


def _pictures(across: Axis, down: Axis, groups: Integers, numbers: Integers) -> Iterator[_Picture]:
    order = np.argsort(groups, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        whole = int(numbers[groups[part[0]]])
        picture = _picture(across, down, part, whole)
        if picture is not None and _is_full(picture, whole):
            yield picture
            continue
        for piece in _apart(across, down, part):
            if len(piece) < _SMALL * len(part):
                continue
            size = round(whole * len(piece) / len(part))
            picture = _picture(across, down, piece, size)
            if picture is not None and _is_full(picture, size):
                yield picture


def _is_full(picture: _Picture, numbers: int) -> bool:
    """Whether a picture has a number for each crossing of a column and a row."""
    return numbers > 0.97 * picture.across.total * picture.down.total


def _apart(across: Axis, down: Axis, part: Integers) -> list[Integers]:
    """Split numbers so that no two pieces share a column or a row."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    columns = np.unique(across.codes[part], return_inverse=True)[1]
    rows = np.unique(down.codes[part], return_inverse=True)[1] + columns.max() + 1
    size = int(rows.max()) + 1
    graph = coo_array((np.ones(len(part)), (columns, rows)), shape=(size, size))
    label = connected_components(graph, directed=False)[1][columns]
    return [part[label == which] for which in np.unique(label)]


def _picture(across: Axis, down: Axis, part: Integers, numbers: int) -> _Picture | None:
    found = [_stretch(axis, part) for axis in (across, down)]
    wide, high = found
    if wide is None or high is None:
        return None
    # Where a picture is enlarged, columns at the rim can look alike. The number of numbers is a
    # multiple of width x height, and so tells how many there are.
    for columns in range(wide.total, wide.total + _NEAR + 1):
        for rows in range(high.total, high.total + _NEAR + 1):
            close = abs(columns - wide.total - (rows - high.total)) <= _NEAR
            if close and numbers % (columns * rows) == 0:
                return _Picture(wide._replace(total=columns), high._replace(total=rows))
    return _Picture(wide, high)


def _stretch(axis: Axis, part: Integers) -> _Stretch | None:
    """Return what some numbers show of an axis; None if that is a single line."""
    which = np.unique(axis.codes[part], return_inverse=True)[1]
    places = axis.places[part]
    total = np.bincount(which, places.real) + 1j * np.bincount(which, places.imag)
    # Beside padding, the few numbers that mix with it have codes of their own.
    often = np.bincount(which)
    at = np.sort(position(total[often > _RARE * np.median(often[which])], axis.size))
    count = len(at)
    if count < 2:
        return None
    # Places lie on a circle. The largest gap is what is not shown, unless all gaps are alike.
    gaps = np.diff(at, append=at[0] + axis.size)
    if gaps.max() > 2 * np.median(gaps) + 2:
        after = (int(gaps.argmax()) + 1) % count
        at = np.concatenate([at[after:], at[:after] + axis.size])
    middle = np.arange(count // 4, count - count // 4)
    fitted = np.polyfit(middle, at[middle], 1) if len(middle) > 1 else (at[1] - at[0], at[0])
    step = max(float(fitted[0]), 1e-6)
    start = float(fitted[1])
    low = start - step / 2
    high = start + step * (count - 0.5)
    if count * step > _UNEVEN * (at[-1] - at[0] + step):
        low = at[0] - step / 2
        high = at[-1] + step / 2
        count = round((high - low) / step)
    if low > axis.size - max(1.0, step):
        low -= axis.size
        high -= axis.size
    edge = 0.75 + 0.25 * max(1.0, step)
    low = 0.0 if low < edge else float(low)
    high = float(axis.size) if high > axis.size - edge else float(high)
    return _Stretch(low, high, count, 1 / step)


def _joined(pieces: Sequence[_Picture]) -> InputPicture:
    """Put the tiles of one scale together."""
    across = _union([piece.across for piece in pieces])
    down = _union([piece.down for piece in pieces])
    box = CanvasRegion(*(round(edge) for edge in (across.low, down.low, across.high, down.high)))
    places = {
        tuple(round(edge) for edge in (*piece.across[:2], *piece.down[:2])) for piece in pieces
    }
    return InputPicture(
        width=across.total,
        height=down.total,
        tiles=len(places),
        tile=(
            max(piece.across.total for piece in pieces),
            max(piece.down.total for piece in pieces),
        ),
        box=box,
        scale=(across.scale, down.scale),
    )


def _union(stretches: Sequence[_Stretch]) -> _Stretch:
    """Return what tiles show of an axis together."""
    low = min(stretch.low for stretch in stretches)
    high = max(stretch.high for stretch in stretches)
    largest = max(stretch.total for stretch in stretches)
    count = (high - low) * float(np.median([stretch.scale for stretch in stretches]))
    whole = round(count / largest) * largest
    lines_seen = whole if abs(whole - count) < 0.01 * count else round(count)
    return _Stretch(low, high, lines_seen, lines_seen / (high - low))


def _area(box: CanvasRegion) -> int:
    return max(1, (box.right - box.left) * (box.bottom - box.top))
