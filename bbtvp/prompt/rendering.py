"""From a picture and a z to uint8 pixels: the canvas that a picture gets, and what is drawn on it.

A space of shape "square" has one canvas for all pictures; of shape "picture" each has its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt.layer import (
    BACKGROUND,
    Box,
    Geometry,
    Insets,
    LayerPart,
    Paint,
    PaintLayer,
    Size,
)
from bbtvp.prompt.placement import Copy, Placement, Shape, View, fit, place

_MOST_PIXELS = 100_000_000
"""Of all images that are kept prepared: up to 700 MB."""
_KEPT = 16
"""Canvases whose painters a renderer keeps: most tasks have pictures of few shapes."""


@final
class Canvases(NamedTuple):
    """Which canvas each picture gets. side: of the square, or the most of any picture's."""

    placement: Placement
    side: int
    shape: Shape

    def geometry(self, picture: Size, size: float = 1.0) -> Geometry:
        """What layers draw on for a picture of this size, sent at a multiple of the usual size.

        Of shape "picture", a picture keeps its own pixels as long as no side exceeds the limit.
        """
        usual = min(self.side, picture.longer) if self.shape == "picture" else self.side
        side = min(self.side, max(1, round(usual * size)))
        canvas = fit(*picture, side) if self.shape == "picture" else Size(side, side)
        return self.placement.geometry(canvas, shape=self.shape)

    @property
    def nominal(self) -> Geometry:
        """The canvas of a large square picture, to which layers are bound."""
        return self.geometry(Size(self.side, self.side))


@final
class Prepared:
    """An image after the work that no z changes.

    Opaque: `PromptSpace.prepare` makes it, and only a space of equal canvases can use it.
    """

    def __init__(
        self, source: Image.Image, canvases: Canvases | None, *, once: bool = False
    ) -> None:
        """canvases: None for the identity, which sends the image as it is.

        once: it is rendered once, so that only the copy that is shown needs to be made.
        """
        self.size = Size(*source.size)
        self.canvases = canvases
        self._source: Image.Image | None = source
        self._copies: dict[Geometry, tuple[Copy, ...]] = {}
        self.held = source.width * source.height
        """Pixels that it keeps at first."""
        if canvases is None or once:
            return
        geometry = canvases.geometry(self.size)
        copies = self._copies[geometry] = tuple(copy.settled() for copy in self.copies(geometry))
        if not canvases.placement.sizes:
            self._source = None  # a large picture is kept once, as small as it will be shown
            self.held = 0
        self.held += sum({copy.size: math.prod(copy.image.size) for copy in copies}.values())

    @property
    def pixels(self) -> Pixels:
        """(H, W, 3): a copy of the image itself, where it was prepared for the identity."""
        return np.array(self._source)

    def copies(self, geometry: Geometry) -> tuple[Copy, ...]:
        """The image as `place` wants it for this canvas; made once for each."""
        found = self._copies.get(geometry)
        if found is not None:
            return found
        if self._source is None or self.canvases is None:
            raise UsageError("this image was prepared for another canvas; prepare it again")
        made = self.canvases.placement.fitted(self._source, geometry)
        return self._copies.setdefault(geometry, made)


@final
class PreparedImages:
    """Images that were prepared before, as long as they do not hold too many pixels together."""

    def __init__(self, prepare: Callable[[Pixels], Prepared], most: int = _MOST_PIXELS) -> None:
        self._prepare = prepare
        self._most = most
        self._kept: dict[str, Prepared] = {}
        self._held = 0

    def get(self, name: str, pixels: Callable[[], Pixels]) -> Prepared:
        """The image of this name; it is decoded and prepared where it is not kept."""
        found = self._kept.get(name)
        if found is not None:
            return found
        made = self._prepare(pixels())
        self._kept[name] = made
        self._held += made.held
        while self._held > self._most and len(self._kept) > 1:
            self._held -= self._kept.pop(next(iter(self._kept))).held
        return made


@final
class _Drawn(NamedTuple):
    """What one z draws on one canvas."""

    insets: Insets
    paints: tuple[Paint, ...]


@final
@dataclass(frozen=True, eq=False)
class Renderer:
    """One z made ready for many images.

    Call it with (H, W, 3) uint8 pixels, or with what `PromptSpace.prepare` made of them. ready:
    prepares an image for the space. parts: the layers that paint, in their order.
    """

    ready: Callable[[Pixels | Prepared], Prepared]
    view: View
    parts: tuple[LayerPart, ...]
    _drawn: dict[Geometry, _Drawn] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, image: Pixels | Prepared) -> Pixels:
        """(height, width, 3) uint8: exactly the pixels to deploy.

        Of the identity they are the image's own, of its own size. UsageError if the image is
        neither pixels nor prepared.
        """
        prepared = self.ready(image)
        if prepared.canvases is None:
            return prepared.pixels
        geometry = self.geometry(prepared)
        canvas = np.full((geometry.height, geometry.width, 3), BACKGROUND, np.uint8)
        drawn = self._on(geometry)
        box = place(prepared.copies(geometry), self.view, geometry, canvas, drawn.insets)
        for paint in drawn.paints:
            paint(canvas, box)
        return canvas

    def geometry(self, image: Prepared) -> Geometry:
        """The canvas that the image gets."""
        if image.canvases is None:
            return Placement().geometry(image.size, shape="picture")
        return image.canvases.geometry(image.size, self.view.size)

    def box(self, image: Pixels | Prepared) -> Box:
        """Where the image lies on its canvas."""
        prepared = self.ready(image)
        geometry = self.geometry(prepared)
        if prepared.canvases is None:
            return geometry.box
        scratch = np.empty((geometry.height, geometry.width, 3), np.uint8)
        return place(prepared.copies(geometry), self.view, geometry, scratch, self.insets(geometry))

    def insets(self, geometry: Geometry) -> Insets:
        """The room that layers take beside the image on this canvas."""
        return self._on(geometry).insets

    def _on(self, geometry: Geometry) -> _Drawn:
        found = self._drawn.get(geometry)
        if found is None:
            if len(self._drawn) >= _KEPT:
                self._drawn.clear()
            found = self._drawn[geometry] = self._made(geometry)
        return found

    def _made(self, geometry: Geometry) -> _Drawn:
        insets = Insets()
        paints = []
        for layer, z in self.parts:
            if isinstance(layer, PaintLayer):
                insets = insets.joined(layer.insets(z, geometry))
                paints.append(layer.painter(z, geometry))
        return _Drawn(insets, tuple(paints))
