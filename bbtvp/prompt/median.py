"""Median filters of 3 x 3 and 5 x 5 pixels, as Pillow's, at a tenth of its time.

Of whole planes the smaller and the larger value are taken, pixel by pixel, which processors do many
at a time: columns are sorted once for all windows that share them, then what may be the median is
taken from each row of the sorted columns (Kolte, Smith and Su, "A Fast Median Filter Using
AltiVec", ICCD 1999).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, final

import numpy as np

from bbtvp.core.arrays import Pixels

_Planes: TypeAlias = list[Pixels]

_BAND = 1 << 17
"""Bytes of a part of the picture that is worked on at a time, so that all planes stay in cache."""
_FEWEST_ROWS = 8
_PIXEL = 3
"""Bytes of a pixel."""


def median_filtered(pixels: Pixels, size: int) -> Pixels:
    """(H, W, 3) uint8: the median of each pixel's `size` x `size` neighbours, 3 or 5.

    Equal to Pillow's `MedianFilter` to the bit; beyond its edges a picture goes on as at them.

    Planes are flat: a neighbour lies three bytes further on. Windows that run over the end of a row
    give the pixels of a margin, which is cut off.
    """
    reach = size // 2
    framed = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), "edge")
    height, width = pixels.shape[:2]
    line = framed[0].size
    rows = max(_FEWEST_ROWS, _BAND // line)
    found = np.empty_like(pixels)
    wide = np.empty((min(rows, height), *framed.shape[1:]), np.uint8)
    middle: Callable[[Sequence[Pixels]], Pixels] = _middle_of_3 if size == 3 else _middle_of_5
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        shifted = [framed[start + down : stop + down].reshape(-1) for down in range(size)]
        medians = middle(_sorted(shifted))
        wide.reshape(-1)[: medians.size] = medians
        found[start:stop] = wide[: stop - start, :width]
    return found


def _neighbours(plane: Pixels, count: int) -> _Planes:
    """The plane as seen from each pixel of a row of so many."""
    length = plane.size - _PIXEL * (count - 1)
    return [plane[_PIXEL * across :][:length] for across in range(count)]


def _middle_of_3(rows: Sequence[Pixels]) -> Pixels:
    """rows[i]: the i-th smallest of each column of three."""
    low, middle, high = (_neighbours(row, 3) for row in rows)
    largest = np.maximum(np.maximum(low[0], low[1]), low[2])
    smallest = np.minimum(np.minimum(high[0], high[1]), high[2])
    return _median([largest, _median(middle), smallest])


def _middle_of_5(rows: Sequence[Pixels]) -> Pixels:
    """The same for five: were the rows sorted too, 13 of the 25 values could be the median.

    Of a value in row i and column j, at least (i + 1)(j + 1) values are no larger, and at least
    (5 - i)(5 - j) no smaller. The 13 lie on three diagonals, i + j = 3, 4 and 5. Of the first only
    the largest can be the median: the values that are no smaller than it, or than another one, are
    more than twelve. Of the last it is the smallest. Three are left out on either side.
    """
    lowest, low, middle, high, highest = map(_paired, rows)
    a3, a4 = _largest_2(lowest)
    b2, b3, b4 = _largest_3(low)
    c1, c2, c3 = _middle_3(middle)
    d0, d1, d2 = _smallest_3(high)
    e0, e1 = _smallest_2(highest)
    first = np.maximum(np.maximum(a3, b2), np.maximum(c1, d0))
    last = np.minimum(np.minimum(b4, c3), np.minimum(d2, e1))
    return _median([first, last, a4, b3, c2, d1, e0])


# -- the largest, the middle and the smallest of five ----------------------------------------------
@final
class _Paired(NamedTuple):
    """Five neighbours: the smaller and the larger of two pairs, and the last."""

    small: tuple[Pixels, Pixels]
    large: tuple[Pixels, Pixels]
    last: Pixels


def _paired(plane: Pixels) -> _Paired:
    one, other = _neighbours(plane, 2)
    smaller, _, next_smaller, _ = _neighbours(np.minimum(one, other), 4)
    larger, _, next_larger, _ = _neighbours(np.maximum(one, other), 4)
    return _Paired((smaller, next_smaller), (larger, next_larger), plane[4 * _PIXEL :])


def _largest_2(five: _Paired) -> _Planes:
    """Rising, as the results of the next four."""
    second = np.maximum(np.minimum(*five.large), np.maximum(*five.small))
    first = np.maximum(*five.large)
    return [
        np.maximum(second, np.minimum(first, five.last)),
        np.maximum(first, five.last),
    ]


def _smallest_2(five: _Paired) -> _Planes:
    second = np.minimum(np.maximum(*five.small), np.minimum(*five.large))
    first = np.minimum(*five.small)
    return [
        np.minimum(first, five.last),
        np.minimum(second, np.maximum(first, five.last)),
    ]


def _largest_3(five: _Paired) -> _Planes:
    third, second = _exchanged(np.maximum(*five.small), np.minimum(*five.large))
    next_, first = _exchanged(np.maximum(*five.large), five.last)
    next_, second = _exchanged(second, next_)
    return [np.maximum(third, next_), second, first]


def _smallest_3(five: _Paired) -> _Planes:
    second, third = _exchanged(np.maximum(*five.small), np.minimum(*five.large))
    first, next_ = _exchanged(np.minimum(*five.small), five.last)
    second, next_ = _exchanged(second, next_)
    return [first, second, np.minimum(third, next_)]


def _middle_3(five: _Paired) -> _Planes:
    last = np.minimum(np.maximum(five.last, np.minimum(*five.small)), np.maximum(*five.large))
    low, high = _exchanged(np.maximum(*five.small), np.minimum(*five.large))
    low, last = _exchanged(low, last)
    return [low, *_exchanged(last, high)]


# -- networks --------------------------------------------------------------------------------------
def _exchanged(one: Pixels, other: Pixels) -> tuple[Pixels, Pixels]:
    return np.minimum(one, other), np.maximum(one, other)


def _median(planes: Sequence[Pixels]) -> Pixels:
    """The median of an odd number of planes: the smallest and the largest leave again and again."""
    values = list(planes)
    kept = values[: len(values) // 2 + 2]
    waiting = values[len(values) // 2 + 2 :]
    while len(kept) > 3:
        kept = [*_without_ends(kept), waiting.pop()]
    low, high = _exchanged(kept[0], kept[1])
    return np.maximum(low, np.minimum(high, kept[2]))


def _without_ends(planes: _Planes) -> _Planes:
    """All but the smallest and the largest value of each pixel, of four or more."""
    pairs = [_exchanged(*planes[at : at + 2]) for at in range(0, len(planes) - 1, 2)]
    odd = planes[2 * len(pairs) :]
    kept = _without([*(low for low, _ in pairs), *odd], np.minimum, np.maximum)
    high = [high for _, high in pairs]
    if odd:  # it may be the largest too, and was compared last
        high.append(kept.pop())
    return [*kept, *_without(high, np.maximum, np.minimum)]


def _without(planes: _Planes, leaves: np.ufunc, stays: np.ufunc) -> _Planes:
    """All but the smallest, or all but the largest: what leaves of two goes on to the next."""
    leaving = planes[0]
    kept = []
    for plane in planes[1:-1]:
        kept.append(stays(leaving, plane))
        leaving = leaves(leaving, plane)
    return [*kept, stays(leaving, planes[-1])]


def _sorted(planes: Sequence[Pixels]) -> _Planes:
    """Each pixel's values from the smallest to the largest: a network of exchanges."""
    found = list(planes)
    for low, high in _EXCHANGES[len(found)]:
        found[low], found[high] = _exchanged(found[low], found[high])
    return found


_EXCHANGES = {
    3: ((0, 1), (1, 2), (0, 1)),
    5: ((0, 1), (3, 4), (2, 4), (2, 3), (1, 4), (0, 3), (0, 2), (1, 3), (1, 2)),
}
"""Sorting networks of the fewest exchanges."""
