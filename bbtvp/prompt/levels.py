"""Arithmetic on whole pictures in float32, in parts that stay in a processor's cache."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels

Floats: TypeAlias = NDArray[np.float32]

_BAND = 1 << 17
"""Numbers of a part of a picture that is worked on at a time."""
_FEWEST_ROWS = 16


@final
class _Memory(threading.local):
    """Float32 arrays kept from image to image.

    Memory fresh from the system costs more time than the arithmetic.

    One of each name in each thread, as large as the largest asked for; what was in it is lost.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Floats] = {}

    def floats(self, name: str, shape: tuple[int, ...]) -> Floats:
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, np.float32)
        return self._kept[name][:size].reshape(shape)


MEMORY = _Memory()


def bands(image: Pixels) -> Iterator[slice]:
    """The rows of a picture in parts whose floats stay in a processor's cache."""
    height, width = image.shape[:2]
    rows = max(_FEWEST_ROWS, _BAND // (3 * width))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def floats_of(pixels: Pixels, name: str) -> Floats:
    """The values in float32, in the memory of this name."""
    values = MEMORY.floats(name, pixels.shape)
    values[...] = pixels
    return values


def rounded(values: NDArray[np.floating]) -> Pixels:
    """Clipped and rounded to uint8; uses up the values."""
    np.clip(values, 0, 255, out=values)
    values += 0.5
    levels: Pixels = values.astype(np.uint8)
    return levels
