"""Where the image lies on the canvas, and how large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.prompt.layer import Box, Geometry, Insets, Layer, checked_choice, soft

_ZOOM_STEP = 0.25
_ZOOM_LIMIT = 0.5
"""Zoom is exp(soft(z)): a quarter larger at z = 1, always within 0.61-1.65."""
_LEVELS = (math.exp(_ZOOM_LIMIT / 4), math.exp(_ZOOM_LIMIT / 2), math.exp(_ZOOM_LIMIT))
"""Zooms between 1 and the largest for which a reduced copy is kept: resizing costs what the larger
side holds.
"""
_OFFSET_STEP = 0.5
_CROP_STEP = 0.1
_CROP_LIMIT = 0.25
"""A crop shows 1 - soft(z) of the side for z > 0: 0.9 at z = 1, at least 0.75; for z <= 0 all of
it.
"""


_NO_INSETS = Insets()


@final
class View(NamedTuple):
    """How an image is placed.

    zoom: 1 = fitted into the inside square. x, y: −1 to 1, 0 = centred.
    """

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0


_VARIABLES = (*View._fields, "crop")


@final
@dataclass(frozen=True)
class Placement(Layer):
    """The source fitted (never stretched) into a centred square of the canvas.

    `inside`: side of that square as a fraction of the canvas, in (0, 1]. `search`: which of "zoom",
    "crop", "x" and "y" are variables; none by default. A zoom below 1 shrinks the image; above 1
    the inside square shows a part of it. `crop` is the gentler, one-sided kind: the share of the
    side that is shown, 0.75..1, all of it for z <= 0; it is a zoom of 1 / crop. `x` and `y` say
    where the visible part lies in the free space of the canvas and, for a zoomed image, which part
    is visible: -1 left or top, 0 centre, 1 right or bottom. The rest belongs to the frame.

    TVP's geometry (arXiv 2404.11207) is canvas 224, inside 164/224, hence a border of 30 px, and
    nothing searched.
    """

    inside: float = 1.0
    search: tuple[str, ...] = ()

    kind: ClassVar[str] = "placement"
    order: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 0 < self.inside <= 1:
            raise UsageError(
                f"inside is {self.inside}; give a fraction of the canvas, above 0 and at most 1"
            )
        object.__setattr__(
            self, "search", checked_choice("placement variable", self.search, _VARIABLES)
        )

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return self.search

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float]:
        return self.view(z)._asdict()

    def geometry(self, canvas: int) -> Geometry:
        """The inside square on a canvas of `canvas` pixels a side."""
        inside = max(1, round(canvas * self.inside))
        return Geometry(canvas, inside, not self.search, self._covered(canvas, inside))

    def view(self, z: Vector) -> View:
        """The placement that z stands for; z = 0 is the initial one."""
        at = dict(zip(self.search, z.tolist(), strict=True))
        crop = 1 - soft(max(at.get("crop", 0.0), 0.0), _CROP_STEP, _CROP_LIMIT)
        return View(
            zoom=math.exp(soft(at.get("zoom", 0.0), _ZOOM_STEP, _ZOOM_LIMIT)) / crop,
            x=soft(at.get("x", 0.0), _OFFSET_STEP, 1.0),
            y=soft(at.get("y", 0.0), _OFFSET_STEP, 1.0),
        )

    def fitted(self, pixels: Pixels, geometry: Geometry) -> tuple[Image.Image, ...]:
        """The part of placing that does not depend on z: copies, small to large.

        Any `place` starts from one of them.

        With no zoom searched there is one, of the final size. Else there are copies for a zoom of 1
        and for larger ones, none larger than the source; a source that is small already is kept as
        it is.
        """
        height, width = pixels.shape[:2]
        longest = max(height, width)
        zooms = [1.0]
        if {"zoom", "crop"} & set(self.search):
            zooms += [zoom for zoom in _LEVELS if zoom < self._largest_zoom] + [self._largest_zoom]
            sides = sorted({min(longest, math.ceil(geometry.inside * zoom)) for zoom in zooms})
        else:
            sides = [geometry.inside]
        source = Image.fromarray(pixels)
        whole = (0.0, 0.0, float(width), float(height))
        return tuple(_resized(source, _fit(width, height, side), whole) for side in sides)

    @property
    def _largest_zoom(self) -> float:
        zoom = math.exp(_ZOOM_LIMIT) if "zoom" in self.search else 1.0
        return zoom / (1 - _CROP_LIMIT) if "crop" in self.search else zoom

    def _covered(self, canvas: int, inside: int) -> int:
        """See `Geometry.covered`; where anything moves, a pixel a side is left for rounding."""
        smallest = int(inside * math.exp(-_ZOOM_LIMIT)) - 2 if "zoom" in self.search else inside
        if {"x", "y"} & set(self.search):
            smallest = 2 * smallest - canvas
        return max(0, smallest)


def place(
    copies: Sequence[Image.Image],
    view: View,
    geometry: Geometry,
    canvas: Pixels,
    insets: Insets = _NO_INSETS,
) -> Box:
    """Draw an image on the canvas as the view says, within the insets.

    copies: as `Placement.fitted` made them.

    Returns where it lies.
    """
    across = _Free.between(insets.left, insets.right, geometry)
    down = _Free.between(insets.top, insets.bottom, geometry)
    inside = min(across.inside, down.inside)
    copy = next((copy for copy in copies if max(copy.size) >= inside * view.zoom), copies[-1])
    full = _fit(copy.width, copy.height, inside * view.zoom)
    columns = _axis(full[0], copy.width, view.x, across, inside)
    rows = _axis(full[1], copy.height, view.y, down, inside)
    box = Box(columns.start, rows.start, columns.start + columns.size, rows.start + rows.size)
    source = (columns.low, rows.low, columns.high, rows.high)
    # Of several copies the one taken is hardly larger than what is shown, and needs no wider
    # filter.
    kind = Image.Resampling.BILINEAR if len(copies) > 1 else Image.Resampling.BICUBIC
    box.of(canvas)[...] = np.asarray(_resized(copy, (columns.size, rows.size), source, kind))
    return box


@final
class _Free(NamedTuple):
    """One axis of the canvas within its insets.

    First pixel, pixels, and what the inside square may take of them.
    """

    start: int
    size: int
    inside: int

    @classmethod
    def between(cls, before: int, after: int, geometry: Geometry) -> _Free:
        if not before and not after:
            return cls(0, geometry.canvas, geometry.inside)
        size = max(1, geometry.canvas - before - after)
        return cls(before, size, max(1, round(geometry.inside * size / geometry.canvas)))


@final
class _ShownPart(NamedTuple):
    """One axis: `size` canvas pixels from `start` show the source pixels low..high."""

    start: int
    size: int
    low: float
    high: float


def _axis(full: int, source: int, offset: float, free: _Free, inside: int) -> _ShownPart:
    size = min(full, inside)
    share = (1 + offset) / 2
    low = 0.0
    high = float(source)
    if size < full:
        low = (full - size) * share * source / full
        high = min(low + size * source / full, high)
    return _ShownPart(free.start + int((free.size - size) * share), size, low, high)


def _fit(width: int, height: int, side: float) -> tuple[int, int]:
    """Width and height of the largest copy within a square of `side`.

    In whole pixels, at least one each.
    """
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(
    image: Image.Image,
    size: tuple[int, int],
    source: tuple[float, float, float, float],
    kind: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """The very pixels where nothing changes."""
    if size == image.size and source == (0.0, 0.0, float(image.width), float(image.height)):
        return image
    return image.resize(size, kind, box=source)
