"""An additive pattern over the whole canvas."""

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
    Pattern,
    adjoint,
    bounded,
    check_basis,
    check_shared,
    check_tiles,
    extremes,
    place_names,
    spread,
    wave_names,
    waves,
)
from bbtvp.prompt.layer import Box, Derivative, Geometry, Levels, Paint, PaintLayer

OverlayBasis: TypeAlias = Literal["pixels", "blocks", "dct"]
_STEP = 0.5
"""At z ~ N(0, 1) a pixel changes by about half of the amplitude."""


@final
@dataclass(frozen=True)
class Overlay(PaintLayer):
    """Pixels plus a pattern, the same for every image.

    clip(pixel + 255 * amplitude * tanh(basis @ z / 2))

    The geometry of VP (arXiv 2203.17274) and of BlackVIP: over the image, after its tone, and over
    the frame if there is one; all of the canvas. `basis`, as in `Frame`:

    - "dct": `size` low frequencies per channel, 3 * size variables (72 by default), the sum scaled
      to mean square 1;
    - "blocks": `size` x `size` tiles of one change each, nearest neighbour, 3 * size * size
      variables;
    - "pixels": every channel of every pixel, 3 * canvas * canvas variables (150,528 at 224), as VP
      has them; for a canvas that all images share.

    `amplitude`: the largest change of a pixel as a share of the range, above 0 and at most 1; 32
    levels of 255 by default. Changes are whole levels and are clipped to 0..255; z = 0 changes no
    bit. VP's pattern is unbounded and lives in normalised space; a bound is what keeps the picture
    legible to any other model.
    """

    basis: OverlayBasis = "dct"
    size: int = 24
    amplitude: float = 32 / 255

    kind: ClassVar[str] = "overlay"
    order: ClassVar[int] = 30
    fine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_basis("overlay", self.basis, get_args(OverlayBasis), self.size)
        if not 0 < self.amplitude <= 1:
            raise UsageError(
                f"amplitude is {self.amplitude}; give a share of the range, above 0 and at most 1"
            )

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        if self.basis == "dct":
            return wave_names(self.size, geometry.side)
        if self.basis == "blocks":
            count = check_tiles(self.size, geometry.side)
            return place_names(np.argwhere(np.ones((count, count), np.bool_)))
        check_shared("overlay", self.basis, geometry)
        return place_names(np.argwhere(np.ones((geometry.height, geometry.width), np.bool_)))

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float]:
        """Mean and largest change in levels.

        For "dct" also the coefficients of the argument of tanh.
        """
        levels = self.levels(z, geometry)
        named = {
            "mean_change": float(np.abs(levels).mean()),
            "largest_change": float(np.abs(levels).max()),
        }
        if self.basis == "dct":
            named |= dict(zip(self.names(geometry), (self._scale * z).tolist(), strict=True))
        return named

    def levels(self, z: Vector, geometry: Geometry) -> NDArray[np.int16]:
        """(height, width, 3): what is added before clipping, in whole levels."""
        scaled = self._scale * bounded(z)
        if self.basis == "dct":
            changes = np.empty((geometry.height, geometry.width, len(CHANNELS)), np.int16)
            planes = waves(scaled, self.size, geometry)
            for channel in range(len(CHANNELS)):  # `enumerate` would keep the last plane alive
                changes[..., channel] = self._rounded(next(planes))
            return changes
        levels = self._rounded(scaled)
        if self.basis == "blocks":
            return spread(levels.reshape(self.size, self.size, len(CHANNELS)), geometry)
        return levels.reshape(geometry.height, geometry.width, len(CHANNELS))

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        pattern = Pattern(self.levels(z, geometry))

        def paint(canvas: Pixels, box: Box) -> None:
            pattern.add_to(canvas)

        return paint

    def derivative(self, z: Vector, geometry: Geometry) -> Derivative:
        """d level / d (basis z) = 255 A (1 − t²) / 2 with t = tanh(basis z / 2).

        It is 0 where the sum was clipped to 0..255, and where something hides the overlay.
        """
        names = self.names(geometry)
        levels = self.levels(z, geometry).astype(np.float32)
        largest = 255 * self.amplitude
        slope = np.asarray((largest - levels**2 / largest) * _STEP, np.float32)
        ends = extremes(self.basis, len(names))

        def shown(render: Callable[[Vector], Pixels]) -> Levels:
            pixels = render(z)
            upper, lower = (render(end) for end in ends)
            above = (pixels == 255) & (levels > 0)
            below = (pixels == 0) & (levels < 0)
            return np.asarray(slope * ((upper != lower) & ~above & ~below), np.float32)

        return Derivative(shown, partial(adjoint, self.basis, self.size, names, geometry))

    @property
    def _scale(self) -> float:
        return _STEP / math.sqrt(self.size) if self.basis == "dct" else _STEP

    def _rounded(self, values: NDArray[np.float64]) -> NDArray[np.int16]:
        """Uses up the values."""
        np.tanh(values, out=values)
        values *= 255 * self.amplitude
        np.rint(values, out=values)
        return values.astype(np.int16)
