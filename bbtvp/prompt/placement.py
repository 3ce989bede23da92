"""Where the image lies on the canvas, and how large; and how large the canvas is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.prompt.layer import (
    Box,
    Geometry,
    Group,
    Insets,
    Layer,
    Size,
    checked_choice,
    chosen,
    soft,
)

Shape: TypeAlias = Literal["square", "picture"]

_ZOOM_STEP = 0.25
_ZOOM_LIMIT = 0.5
"""Zoom is exp(soft(z)): a quarter larger at z = 1, always within 0.61-1.65. Shrinking is the half
below 1: exp(-soft(z)) for z > 0.
"""
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
SIZES = {"1": 1.0, "1/2": 1 / 2, "1/3": 1 / 3, "1/4": 1 / 4, "2": 2.0, "3": 3.0}
"""The sizes that can be sent, as multiples of the size at z = 0."""
_SENT: Mapping[str, Mapping[str, float]] = {
    "size": SIZES,
    "enlarge": {name: SIZES[name] for name in ("1", "2")},
}
"""Variables that choose the size that is sent, and from what."""

_NO_INSETS = Insets()


@final
class View(NamedTuple):
    """How an image is placed.

    zoom: 1 = fitted into the inside rectangle. x, y: −1 to 1, 0 = centred. size: of the canvas, a
    multiple of its size at z = 0.
    """

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0
    size: float = 1.0


_VARIABLES = (*View._fields, "crop", "shrink", "enlarge")


@final
@dataclass(frozen=True)
class Placement(Layer):
    """The source fitted (never stretched) into a centred rectangle of the canvas.

    `inside`: the sides of that rectangle as a fraction of the canvas', in (0, 1]. `search`: which
    of "zoom", "shrink", "crop", "x", "y", "size" and "enlarge" are variables; none by default. A
    zoom below 1 shrinks the image; above 1 the inside rectangle shows a part of it. `shrink` and
    `crop` are its one-sided kinds, 1 for z <= 0: a zoom of 0.61..1, and the share of the side that
    is shown, 0.75..1, a zoom of 1 / crop. `x` and `y` say where the visible part lies in the free
    space of the canvas and, for a zoomed image, which part is visible: -1 left or top, 0 centre, 1
    right or bottom. The rest belongs to the frame. `size` chooses one of `SIZES`: the canvas that
    is sent is so many times the usual one, never more than the space's limit; six variables in z, a
    choice. `enlarge` is the same with the sizes 1 and 2 alone; a space has one of the two at most.

    `reduce`: the picture is first averaged over squares of whole pixels (`Image.reduce`), as large
    as leaves it no smaller than wanted, and then resampled once: a third of the time for a photo.
    Without it the picture is resampled by Pillow's bicubic filter to one of a few sizes, and from
    that one again where a zoom is searched.

    TVP's geometry (arXiv 2404.11207) is canvas 224, inside 164/224, hence a border of 30 px, and
    nothing searched.
    """

    inside: float = 1.0
    search: tuple[str, ...] = ()
    reduce: bool = False

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
        if set(_SENT) <= set(self.search):
            raise UsageError(
                'size and enlarge both choose the size that is sent; leave "enlarge" out of search'
            )

    def config(self) -> dict[str, Any]:
        """As of every layer; that nothing is reduced, as in early bundles, is not said."""
        config = super().config()
        if not self.reduce:
            del config["reduce"]
        return config

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return self.variables

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float | str]:
        named: dict[str, float | str] = dict(self.view(z)._asdict())
        del named["size"]
        if self.sizes:
            named["size"] = self._size(z)
        return named

    def choices(self, geometry: Geometry) -> tuple[Group, ...]:
        if not self.sizes:
            return ()
        return ((self.size_places.start, len(self.sizes)),)

    def starts(self, layers: Mapping[str, Layer]) -> list[dict[str, Vector]]:
        """Each of `SIZES` but the usual one; an enlargement is one of the `looks`."""
        if "size" not in self.search:
            return []
        return [{self.kind: self.start(size)} for size in list(SIZES)[1:]]

    def start(self, size: str) -> Vector:
        """A z that sends this size, all else at its middle. UsageError if it is not searched."""
        checked_choice("size", (size,), self.sizes or SIZES)
        z = np.zeros(len(self.variables))
        z[self.size_places.start + list(self.sizes).index(size)] = 1.0
        return z

    @property
    def sizes(self) -> Mapping[str, float]:
        """The sizes that z chooses from, as multiples of the usual one; none if it chooses none."""
        return next((_SENT[name] for name in self.search if name in _SENT), {})

    def at(self, values: Mapping[str, float]) -> Vector:
        """A z with these values of its variables, all others 0."""
        return np.array([values.get(name, 0.0) for name in self.variables])

    def geometry(self, canvas: Size, *, shape: Shape = "square") -> Geometry:
        """The inside rectangle on a canvas of this size."""
        inside = Size(*(max(1, round(side * self.inside)) for side in canvas))
        covered = Size(*map(self._covered, canvas, inside))
        shared = shape == "square" and not self.sizes
        return Geometry(canvas, inside, not self.search, covered, shared, shape == "picture")

    def view(self, z: Vector) -> View:
        """The placement that z stands for; z = 0 is the initial one."""
        at = dict(zip(self.variables, z.tolist(), strict=True))
        crop = 1 - soft(max(at.get("crop", 0.0), 0.0), _CROP_STEP, _CROP_LIMIT)
        logarithm = soft(at.get("zoom", 0.0), _ZOOM_STEP, _ZOOM_LIMIT)
        logarithm -= soft(max(at.get("shrink", 0.0), 0.0), _ZOOM_STEP, _ZOOM_LIMIT)
        return View(
            zoom=math.exp(logarithm) / crop,
            x=soft(at.get("x", 0.0), _OFFSET_STEP, 1.0),
            y=soft(at.get("y", 0.0), _OFFSET_STEP, 1.0),
            size=SIZES[self._size(z)],
        )

    def fitted(self, source: Image.Image, geometry: Geometry) -> tuple[Copy, ...]:
        """The part of placing that does not depend on z: copies, small to large.

        Any `place` starts from one of them, which is made when it is first asked for.

        With no zoom searched there is one, of the final size. Else there are copies for a zoom of 1
        and for larger ones, none larger than the source; a source that is small already is kept as
        it is.
        """
        if {"zoom", "crop"} & set(self.search):
            longest = max(source.size)
            zooms = [1.0, *(zoom for zoom in _LEVELS if zoom < self._largest_zoom)]
            zooms.append(self._largest_zoom)
            wanted = {min(longest, math.ceil(geometry.inside.longer * zoom)) for zoom in zooms}
            sizes = [fit(source.width, source.height, side) for side in sorted(wanted)]
        elif geometry.own_shape:
            sizes = [geometry.inside]
        else:
            sizes = [fit(source.width, source.height, geometry.inside.longer)]
        made: dict[Extent, Copy] = {}
        copies = (self._copy(source, Size(*size)) for size in sizes)
        return tuple(made.setdefault(copy.size, copy) for copy in copies)

    def _copy(self, source: Image.Image, size: Size) -> Copy:
        if self.reduce:
            factor = max(1, min(*source.size, max(source.size) // size.longer))
            exact = Extent(source.width / factor, source.height / factor)
            return Copy(exact, lambda: source if factor == 1 else source.reduce(factor))
        whole = (0.0, 0.0, float(source.width), float(source.height))
        return Copy(Extent(*size), partial(_resized, source, size, whole))

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of its variables in z, of a choice one for each option."""
        expanded = {name: tuple(f"{name}_{one}" for one in sizes) for name, sizes in _SENT.items()}
        return tuple(name for chosen in self.search for name in expanded.get(chosen, (chosen,)))

    @property
    def size_places(self) -> slice:
        """The places of the size among this layer's variables. UsageError if it has none."""
        variable = next((name for name in self.search if name in _SENT), None)
        if variable is None:
            raise UsageError('this placement searches no size; give search=("size",)')
        first = self.variables.index(f"{variable}_{next(iter(SIZES))}")
        return slice(first, first + len(self.sizes))

    def _size(self, z: Vector) -> str:
        """The name of the chosen size."""
        if not self.sizes:
            return next(iter(SIZES))
        return chosen(list(self.sizes), z[self.size_places].tolist())

    @property
    def _largest_zoom(self) -> float:
        zoom = math.exp(_ZOOM_LIMIT) if "zoom" in self.search else 1.0
        return zoom / (1 - _CROP_LIMIT) if "crop" in self.search else zoom

    def _covered(self, canvas: int, inside: int) -> int:
        """See `Geometry.covered`; where anything moves, a pixel a side is left for rounding."""
        smallest = inside
        for _ in {"zoom", "shrink"} & set(self.search):
            smallest = int(smallest * math.exp(-_ZOOM_LIMIT)) - 2
        if {"x", "y"} & set(self.search):
            smallest = 2 * smallest - canvas
        return max(0, smallest)


@final
class Extent(NamedTuple):
    """Pixels across and down, of which the last of a reduced picture may be a part."""

    width: float
    height: float

    @property
    def longer(self) -> float:
        """The longer side."""
        return max(self)


@final
class Copy:
    """An image to place, at one size, and its pixels: each made once it is asked for."""

    def __init__(self, size: Extent, make: Callable[[], Image.Image]) -> None:
        self.size = size
        self._make = make

    @cached_property
    def image(self) -> Image.Image:
        """The picture at this copy's size; a part of a pixel takes a whole one."""
        return self._make()

    def settled(self) -> Copy:
        """The same copy, made now, and without its source."""
        image = self.image
        return Copy(self.size, lambda: image)

    @cached_property
    def pixels(self) -> Pixels:
        """(H, W, 3) uint8."""
        return np.asarray(self.image)

    def shown(
        self,
        size: tuple[int, int],
        part: tuple[float, float, float, float],
        kind: Image.Resampling,
    ) -> Pixels:
        """Its pixels within these edges, at a size; the very pixels if nothing changes."""
        resized = _resized(self.image, size, part, kind)
        return self.pixels if resized is self.image else np.asarray(resized)


def place(
    copies: Sequence[Copy],
    view: View,
    geometry: Geometry,
    canvas: Pixels,
    insets: Insets = _NO_INSETS,
) -> Box:
    """Draw an image on the canvas as the view says, within the insets.

    copies: as `Placement.fitted` made them.

    Returns where it lies.
    """
    across = _Free.between(insets.left, insets.right, geometry.width, geometry.inside.width)
    down = _Free.between(insets.top, insets.bottom, geometry.height, geometry.inside.height)
    inside = _fitted(geometry.canvas, across.inside, down.inside)
    longest = inside.longer * view.zoom
    copy = next((copy for copy in copies if copy.size.longer >= longest), copies[-1])
    if geometry.own_shape:  # the very shape of the canvas, to the pixel
        full = _fitted(geometry.canvas, inside.width * view.zoom, inside.height * view.zoom)
    else:
        full = fit(*copy.size, longest)
    columns = _axis(full.width, copy.size.width, view.x, across, inside.width)
    rows = _axis(full.height, copy.size.height, view.y, down, inside.height)
    box = Box(columns.start, rows.start, columns.start + columns.size, rows.start + rows.size)
    source = (columns.low, rows.low, columns.high, rows.high)
    # Of several copies the one taken is hardly larger than what is shown, and needs no wider
    # filter.
    kind = Image.Resampling.BILINEAR if len(copies) > 1 else Image.Resampling.BICUBIC
    box.of(canvas)[...] = copy.shown((columns.size, rows.size), source, kind)
    return box


@final
class _Free(NamedTuple):
    """One axis of the canvas within its insets.

    First pixel, pixels, and what the inside rectangle may take of them.
    """

    start: int
    size: int
    inside: int

    @classmethod
    def between(cls, before: int, after: int, canvas: int, inside: int) -> _Free:
        if not before and not after:
            return cls(0, canvas, inside)
        size = max(1, canvas - before - after)
        return cls(before, size, max(1, round(inside * size / canvas)))


@final
class _ShownPart(NamedTuple):
    """One axis: `size` canvas pixels from `start` show the source pixels low..high."""

    start: int
    size: int
    low: float
    high: float


def _axis(full: int, source: float, offset: float, free: _Free, inside: int) -> _ShownPart:
    size = min(full, inside)
    share = (1 + offset) / 2
    low = 0.0
    high = source
    if size < full:
        low = (full - size) * share * source / full
        high = min(low + size * source / full, high)
    return _ShownPart(free.start + int((free.size - size) * share), size, low, high)


def fit(width: float, height: float, side: float) -> Size:
    """Width and height of the largest copy within a square of `side`.

    In whole pixels, at least one each.
    """
    return _scaled(width, height, side / max(width, height))


def _fitted(shape: Size, width: float, height: float) -> Size:
    """The largest copy of a rectangle within another one."""
    return _scaled(*shape, min(width / shape.width, height / shape.height))


def _scaled(width: float, height: float, scale: float) -> Size:
    return Size(max(1, round(width * scale)), max(1, round(height * scale)))


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
