"""The layer `lamp`: light from the middle of the canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.prompt import PaintLayer
from bbtvp.prompt.layer import Box, Geometry, Paint, soft


@final
@dataclass(frozen=True)
class Lamp(PaintLayer):
    """Pixels times light · (1 − fall · r²), r from 0 in the middle to 1 in a corner.

    Two variables: light = exp(soft(z)) with `reach` as its largest logarithm, and fall = soft(z),
    −0.8 to 0.8. z = 0 changes no bit.
    """

    reach: float = 1.5

    kind: ClassVar[str] = "lamp"

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return ("light", "fall")

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float]:
        return {
            "light": math.exp(soft(z[0], 0.5, self.reach)),
            "fall": soft(z[1], 0.2, 0.8),
        }

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        params = self.params(z, geometry)
        across, down = (np.linspace(-1, 1, side) for side in geometry.canvas)
        radius = (down[:, None] ** 2 + across**2) / 2
        factor = params["light"] * (1 - params["fall"] * radius[..., None])

        def paint(canvas: Pixels, box: Box) -> None:
            canvas[...] = np.rint(canvas * factor).clip(0, 255)

        return paint
