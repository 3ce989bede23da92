"""A margin in the picture's own colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.prompt.layer import Box, Geometry, Paint, PaintLayer
from bbtvp.prompt.pose import edge_colour


@final
@dataclass(frozen=True)
class Margin(PaintLayer):
    """What lies around the placed image takes the median colour of the image's edge; no variable.

    Mid grey around a picture is a contrast of its own: a reader that splits a page into ink and
    paper by one threshold may see the margin as the ink. A frame covers it.
    """

    kind: ClassVar[str] = "margin"
    order: ClassVar[int] = 15

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return ()

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float | str]:
        return {}

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        return _paint


def _paint(canvas: Pixels, box: Box) -> None:
    image = box.of(canvas)
    if image.shape == canvas.shape:
        return
    line = np.tile(edge_colour(image), (canvas.shape[1], 1))  # copied faster than single pixels
    canvas[: box.top] = line
    canvas[box.bottom :] = line
    canvas[box.top : box.bottom, : box.left] = line[: box.left]
    canvas[box.top : box.bottom, box.right :] = line[box.right :]
