"""The pixels around the image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, TypeAlias, final, get_args

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.prompt.basis import (
    CHANNELS,
    adjoint,
    border,
    bounded,
    check_basis,
    check_shared,
    extremes,
    place_names,
    spread,
    touched,
    wave_names,
    waves,
)
from bbtvp.prompt.layer import Box, Derivative, Geometry, Levels, Paint, PaintLayer

Basis: TypeAlias = Literal["pixels", "blocks", "dct", "color"]


@final
@dataclass(frozen=True)
class Frame(PaintLayer):
    """A border whose every value is in gamut.

    colour = 255 * sigmoid(logit(init) + amplitude * basis @ z)

    `basis`:

    - "color": one colour, 3 variables;
    - "dct": the `size` lowest frequencies of the canvas' two-dimensional DCT-II for each channel, 3
      * size variables (72 by default), each of mean square 1 over the canvas;
    - "blocks": the canvas in `size` x `size` equal tiles of one colour each (nearest neighbour, no
      blending), three variables per tile in use: those that some placement of the space can show
      around a square image;
    - "pixels": each channel of each pixel outside the inside square, for a fixed placement only
      (69,840 variables for TVP's canvas of 224 and image of 164). Bars beside an image that is not
      square keep the initial colour.

    "blocks" and "pixels" need a canvas that all images share (a space of shape "square").

    `init`: the initial grey, 0..1, shown exactly at z = 0 (rounded to the nearest of 256 levels).
    `amplitude`: standard deviation of the logit for z ~ N(0, 1). `size` counts for "dct" and
    "blocks" only: 1..1024, and no tile below a pixel.

    TVP (arXiv 2404.11207) *adds* its frame to black padding, unclamped: about 48 % of its values
    lie outside the gamut and are lost once it is sent as an image. Here no z leaves 0..255.
    """

    basis: Basis = "dct"
    size: int = 24
    init: float = 0.5
    amplitude: float = 1.5

    kind: ClassVar[str] = "frame"
    order: ClassVar[int] = 20
    fine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_basis("frame", self.basis, get_args(Basis), self.size)
        if not 0 <= self.init <= 1:
            raise UsageError(f"init is {self.init}; give a grey from 0 (black) to 1 (white)")
        if not 0 < self.amplitude <= 100:
            raise UsageError(
                f"amplitude is {self.amplitude}; give a number above 0 and at most 100, such as 1.5"
            )

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        if self.basis == "color":
            return CHANNELS
        if self.basis == "dct":
            return wave_names(self.size, geometry.side)
        check_shared("frame", self.basis, geometry)
        if self.basis == "blocks":
            return place_names(np.argwhere(self._tiles_in_use(geometry)))
        if not geometry.fixed:
            raise UsageError(
                'a frame of basis "pixels" needs a fixed placement; take "dct", '
                "or search no placement"
            )
        return place_names(np.argwhere(border(geometry)))

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float]:
        """The colour, or the frame's mean colour, in levels 0-255.

        For "dct" the coefficients of the logit.
        """
        if self.basis == "dct":
            return dict(zip(self.names(geometry), (self._dct_scale * z).tolist(), strict=True))
        field = self.field(z, geometry)
        shown = field[0, :1] if self.basis == "color" else field[border(geometry)]
        means = shown.mean(axis=0).tolist() if len(shown) else [float(self._initial)] * 3
        return dict(zip(CHANNELS, means, strict=True))

    def field(self, z: Vector, geometry: Geometry) -> Pixels:
        """(height, width, 3): what the frame shows wherever no image covers it."""
        z = bounded(z)
        shape = (geometry.height, geometry.width, 3)
        if not z.any():  # while coarser layers are searched, every candidate comes this way
            return np.broadcast_to(np.uint8(self._initial), shape)
        if self.basis == "color":
            return np.broadcast_to(self._levels(self.amplitude * z), shape)
        if self.basis == "dct":
            drawn = np.empty(shape, np.uint8)
            planes = waves(z, self.size, geometry)
            for channel in range(len(CHANNELS)):
                drawn[..., channel] = self._levels(next(planes), self._dct_scale)
            return drawn
        levels = self._levels(self.amplitude * z).reshape(-1, 3)
        if self.basis == "blocks":
            coarse = np.full((self.size, self.size, 3), self._initial, np.uint8)
            coarse[self._tiles_in_use(geometry)] = levels
            return spread(coarse, geometry)
        field = np.full(shape, self._initial, np.uint8)
        field[border(geometry)] = levels
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

    def shows_in(self, box: Box, geometry: Geometry) -> bool:
        return box != Box(0, 0, *geometry.canvas)

    def surround(self, z: Vector, geometry: Geometry) -> Pixels:
        return self.field(z, geometry)

    def derivative(self, z: Vector, geometry: Geometry) -> Derivative:
        """d level / d (basis z) = a · 255 s (1 − s), times the share of the frame that shows.

        The level v = 255 s is rounded, so 255 s (1 − s) = v (255 − v) / 255 is exact to half a
        level. It is 0 where the frame is black or white for good, and under the image or a mark.
        """
        names = self.names(geometry)
        level = self.field(z, geometry).astype(np.float32)
        slope = level * (255 - level) * np.float32(self.amplitude / 255)
        ends = extremes(self.basis, len(names))

        def shown(render: Callable[[Vector], Pixels]) -> Levels:
            upper, lower = (render(end).astype(np.float32) for end in ends)
            return np.asarray(slope * ((upper - lower) / 255), np.float32)

        return Derivative(shown, partial(adjoint, self.basis, self.size, names, geometry))

    @property
    def _initial(self) -> int:
        return math.floor(self.init * 255 + 0.5)

    @property
    def _dct_scale(self) -> float:
        return self.amplitude / math.sqrt(self.size)

    def _levels(self, logits: NDArray[np.float64], scale: float = 1.0) -> Pixels:
        """Offsets from the initial logit, times the scale, to uint8. Uses up the offsets.

        The start is a whole level, so that a sum that is 0 but for rounding cannot tip a pixel to
        its neighbour; black and white start a quarter of a level inside, where their logit is
        finite.
        """
        start = min(max(self._initial, 0.25), 254.75) / 255
        value = logits  # in place: fresh arrays of this size cost more than the arithmetic
        value *= scale
        value += math.log(start / (1 - start))
        value *= 0.5
        np.tanh(value, out=value)
        value *= 127.5  # 255 * sigmoid(x) = 127.5 * (1 + tanh(x / 2))
        value += 128
        return value.astype(np.uint8)

    def _tiles_in_use(self, geometry: Geometry) -> NDArray[np.bool_]:
        return touched(self.size, border(geometry))
