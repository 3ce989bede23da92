"""The pixels around the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import ClassVar, Literal, TypeAlias, final, get_args

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.prompt.layer import Box, Geometry, Paint, PaintLayer

Basis: TypeAlias = Literal["pixels", "dct", "color"]
_CHANNELS = ("red", "green", "blue")
_MAX_SIZE = 1024
_MAX_Z = 1e6
"""Every sigmoid is saturated far below this; a bound keeps sums of basis functions finite."""


@final
@dataclass(frozen=True)
class Frame(PaintLayer):
    """A border whose every value is in gamut: colour = 255 * sigmoid(logit(init) + amplitude * basis @ z).

    `basis`:

    - "color": one colour, 3 variables;
    - "dct": the `size` lowest frequencies of the canvas' two-dimensional DCT-II for each channel, 3 * size variables
      (72 by default), each of mean square 1 over the canvas;
    - "pixels": each channel of each pixel outside the inside square, for a fixed placement only (69,840 variables for
      TVP's canvas of 224 and image of 164). Bars beside an image that is not square keep the initial colour.

    `init`: the initial grey, 0..1, shown exactly at z = 0 (rounded to the nearest of 256 levels). `amplitude`: standard
    deviation of the logit for z ~ N(0, 1). `size` counts for "dct" only: 1..1024.

    TVP (arXiv 2404.11207) *adds* its frame to black padding, unclamped: about 48 % of its values lie outside the gamut
    and are lost once it is sent as an image. Here no z leaves 0..255.
    """

    basis: Basis = "dct"
    size: int = 24
    init: float = 0.5
    amplitude: float = 1.5

    kind: ClassVar[str] = "frame"

    def __post_init__(self) -> None:
        if self.basis not in get_args(Basis):
            raise unknown("frame basis", self.basis, get_args(Basis))
        if not 1 <= self.size <= _MAX_SIZE:
            raise UsageError(f"a frame of size {self.size}; give 1 to {_MAX_SIZE} coefficients per channel")
        if not 0 <= self.init <= 1:
            raise UsageError(f"init is {self.init}; give a grey from 0 (black) to 1 (white)")
        if not 0 < self.amplitude <= 100:
            raise UsageError(f"amplitude is {self.amplitude}; give a number above 0 and at most 100, such as 1.5")

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        if self.basis == "color":
            return _CHANNELS
        if self.basis == "dct":
            self._check_size(geometry)
            return tuple(f"{channel}_{u}_{v}" for u, v in _lowest(self.size) for channel in _CHANNELS)
        if not geometry.fixed:
            raise UsageError('a frame of basis "pixels" needs a fixed placement; take "dct", or search no placement')
        places = np.argwhere(_border(geometry)).tolist()
        return tuple(f"{channel}_{row}_{column}" for row, column in places for channel in _CHANNELS)

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float]:
        """The colour, or the frame's mean colour ("pixels"), in levels 0-255; or the logit's coefficients ("dct")."""
        if self.basis == "dct":
            return dict(zip(self.names(geometry), (self._dct_scale * z).tolist(), strict=True))
        field = self.field(z, geometry)
        border = field[_border(geometry)] if self.basis == "pixels" else field[0, :1]
        means = border.mean(axis=0).tolist() if len(border) else [float(self._initial)] * 3
        return dict(zip(_CHANNELS, means, strict=True))

    def field(self, z: Vector, geometry: Geometry) -> Pixels:
        """(canvas, canvas, 3): what the frame shows wherever no image covers it."""
        bounded = np.clip(z, -_MAX_Z, _MAX_Z)
        side = geometry.canvas
        if self.basis == "color":
            return np.broadcast_to(self._levels(self.amplitude * bounded), (side, side, 3))
        if self.basis == "dct":
            planes = self._levels(self._dct_scale * self._waves(bounded, side))
            return np.ascontiguousarray(np.moveaxis(planes, 0, 2))
        field = np.full((side, side, 3), self._initial, np.uint8)
        field[_border(geometry)] = self._levels(self.amplitude * bounded).reshape(-1, 3)
        return field

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        field = self.field(z, geometry)

        def paint(canvas: Pixels, box: Box) -> None:
            canvas[: box.top] = field[: box.top]
            canvas[box.bottom :] = field[box.bottom :]
            rows = slice(box.top, box.bottom)
            canvas[rows, : box.left] = field[rows, : box.left]
            canvas[rows, box.right :] = field[rows, box.right :]

        return paint

    @property
    def _initial(self) -> int:
        return math.floor(self.init * 255 + 0.5)

    @property
    def _dct_scale(self) -> float:
        return self.amplitude / math.sqrt(self.size)

    def _levels(self, logits: NDArray[np.float64]) -> Pixels:
        """Offsets from the initial logit to uint8.

        The start is a whole level, so that a sum that is 0 but for rounding cannot tip a pixel to its neighbour;
        black and white start a quarter of a level inside, where their logit is finite.
        """
        start = min(max(self._initial, 0.25), 254.75) / 255
        value = logits + math.log(start / (1 - start))
        value *= 0.5  # in place from here on: fresh arrays of this size cost more than the arithmetic
        np.tanh(value, out=value)
        value *= 127.5  # 255 * sigmoid(x) = 127.5 * (1 + tanh(x / 2))
        value += 128
        return value.astype(np.uint8)

    def _waves(self, z: Vector, side: int) -> NDArray[np.float64]:
        """(3, side, side): sums of the basis functions, each of mean square 1 over the canvas."""
        frequencies = np.array(_lowest(self.size)).T
        count = int(frequencies.max()) + 1
        table = np.zeros((3, count, count))
        table[:, frequencies[0], frequencies[1]] = z.reshape(-1, 3).T
        cosines = _cosines(side, count)
        waves: NDArray[np.float64] = cosines @ table @ cosines.T
        return waves

    def _check_size(self, geometry: Geometry) -> None:
        highest = max(max(pair) for pair in _lowest(self.size))
        if highest >= geometry.canvas:
            raise UsageError(f"a canvas of {geometry.canvas} px holds no frequency {highest}; give a smaller size")


@cache
def _lowest(size: int) -> tuple[tuple[int, int], ...]:
    """The `size` lowest (vertical, horizontal) frequencies by u + v; of equal sums the more isotropic first."""
    reach = math.ceil(math.sqrt(2 * size)) + 1
    pairs = [(u, v) for u in range(reach) for v in range(reach)]
    return tuple(sorted(pairs, key=lambda pair: (sum(pair), max(pair), pair))[:size])


@lru_cache(maxsize=16)
def _cosines(side: int, count: int) -> NDArray[np.float64]:
    """(side, count): the first DCT-II basis functions, orthogonal, of unit mean square."""
    phase = np.pi * (np.arange(side)[:, None] + 0.5) * np.arange(count) / side
    cosines: NDArray[np.float64] = np.cos(phase) * np.where(np.arange(count) == 0, 1.0, math.sqrt(2))
    cosines.flags.writeable = False
    return cosines


@lru_cache(maxsize=16)
def _border(geometry: Geometry) -> NDArray[np.bool_]:
    """(canvas, canvas): True outside the inside square."""
    mask = np.ones((geometry.canvas, geometry.canvas), np.bool_)
    left, top, right, bottom = geometry.box
    mask[top:bottom, left:right] = False
    mask.flags.writeable = False
    return mask
