"""From the gradient by rendered pixels to the gradient by z.

    dJ/dz_j = Σ_pixels G · d render(z) / dz_j

Two layers may have tens of thousands of variables and are differentiated by hand, in one pass
whatever their number:

    Frame    colour = 255 s,  s = sigmoid(logit + a · basis z):      d/dz = 255 s (1 − s) · a · basis
    Overlay  added  = 255 A t,  t = tanh(b · basis z), then clipped: d/dz = 255 A (1 − t²) · b · basis, 0 where clipped

Any other layer goes by central differences of the *rendered* pixels, which see whatever the whole
composition does with a variable, at two renders for each variable and image (a `Coordinator` of
2,667 variables: seconds per image).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.prompt import Frame, Layer, Prepared, PromptSpace
from bbtvp.prompt.basis import CHANNELS, tiles
from bbtvp.prompt.layer import Geometry
from bbtvp.prompt.overlay import Overlay

Levels: TypeAlias = NDArray[np.float32]
"""(…, canvas, canvas, 3) float32, in levels 0-255 or per level."""

STEP = 0.25
"""Half the distance of a central difference, in units of z: large enough to survive the rounding to
8 bits.
"""
_FAR = 1e5
"""A z at which every bounded map has reached its end."""
_OVERLAY_STEP = 0.5
"""b of an overlay, before the root of its size."""


def pullback(
    space: PromptSpace,
    z: Vector,
    images: Sequence[Prepared],
    cotangents: Levels,
    *,
    kinds: Collection[str] | None = None,
    step: float = STEP,
    per_image: bool = False,
) -> Matrix:
    """(r, d) for cotangents (r, n, canvas, canvas, 3): r gradients by the levels (0-255) of n
    rendered images, at z.

    Summed over the images; with `per_image` (r, n, d). kinds: the layers whose variables count, all
    by default; their variables come in the order of `space.embed`. A categorical variable has
    gradient 0. UsageError for wrong shapes or an unknown layer.
    """
    shape = (len(images), space.canvas, space.canvas, 3)
    if cotangents.ndim != 5 or cotangents.shape[1:] != shape:
        raise UsageError(
            f"gradients by pixels have shape {cotangents.shape}; give (rows, {', '.join(map(str, shape))})"
        )
    if np.shape(z) != (space.dim,):
        raise UsageError(f"z has shape {np.shape(z)}; give ({space.dim},), one value per variable")
    if not (math.isfinite(step) and step > 0):
        raise UsageError(
            f"a difference step of {step}; give a finite number above 0, such as {STEP}"
        )
    for kind in kinds or ():
        if kind not in space.slices:
            raise unknown("layer", kind, space.slices)
    parts: list[Matrix] = [np.zeros((len(cotangents), len(images) if per_image else 1, 0))]
    for layer in space.layers:
        if kinds is None or layer.kind in kinds:
            if isinstance(layer, Frame | Overlay):
                found = _by_hand(space, layer, z, images, cotangents, per_image)
            else:
                found = _by_differences(space, layer, z, images, cotangents, step)
            parts.append(found if per_image else found.sum(axis=1, keepdims=True))
    joined = np.concatenate(parts, axis=2)
    return joined if per_image else joined[:, 0]


def _by_differences(
    space: PromptSpace,
    layer: Layer,
    z: Vector,
    images: Sequence[Prepared],
    cotangents: Levels,
    step: float,
) -> Matrix:
    """(r, n, variables of the layer): G · (render(z + h e) − render(z − h e)) / 2h for each image."""
    where = space.slices[layer.kind]
    found = np.zeros((*cotangents.shape[:2], where.stop - where.start))
    flat = cotangents.reshape(*cotangents.shape[:2], -1)
    categorical = {
        first + i for first, count in layer.choices(space.geometry) for i in range(count)
    }
    for index in range(found.shape[2]):
        if index in categorical:
            continue
        shift = np.zeros(space.dim)
        shift[where.start + index] = step
        above = space.renderer(z + shift)
        below = space.renderer(z - shift)
        for i, image in enumerate(images):
            change = np.subtract(above(image), below(image), dtype=np.float32)
            found[:, i, index] = flat[:, i] @ change.ravel()
    return found / (2 * step)


def _by_hand(
    space: PromptSpace,
    layer: Frame | Overlay,
    z: Vector,
    images: Sequence[Prepared],
    cotangents: Levels,
    per_image: bool,
) -> Matrix:
    """(r, n or 1, variables of the layer)."""
    if isinstance(layer, Frame):
        each = _frame_slopes(space, layer, z, images)
    else:
        each = _overlay_slopes(space, layer, z, images)
    if per_image:
        weighted = [cotangents[:, i : i + 1] * slope for i, slope in enumerate(each)]
        return np.concatenate(
            [_basis_adjoint(layer, space.geometry, one) for one in weighted], axis=1
        )
    total = np.zeros((len(cotangents), 1, *cotangents.shape[2:]), np.float32)
    for i, slope in enumerate(each):
        total[:, 0] += cotangents[:, i] * slope
    return _basis_adjoint(layer, space.geometry, total)


def _ends(
    space: PromptSpace, layer: Layer, z: Vector
) -> Callable[[Prepared], tuple[Levels, Levels]]:
    """An image with the layer at its upper and at its lower end in every pixel: where they agree,
    it does not show.
    """
    where = space.slices[layer.kind]
    ends = np.stack([z, z])
    if isinstance(layer, Frame | Overlay) and layer.basis == "dct":
        ends[:, where] = 0.0
        constant = slice(where.start, where.start + len(CHANNELS))  # the frequency 0, 0 comes first
        ends[:, constant] = [[_FAR], [-_FAR]]
    else:
        ends[:, where] = [[_FAR], [-_FAR]]
    upper, lower = (space.renderer(end) for end in ends)
    return lambda image: (upper(image).astype(np.float32), lower(image).astype(np.float32))


def _frame_slopes(
    space: PromptSpace, layer: Frame, z: Vector, images: Sequence[Prepared]
) -> list[Levels]:
    """Per image (canvas, canvas, 3): d level / d (basis z).

    255 s (1 − s) is taken at the rounded level v = 255 s: v (255 − v) / 255, exact to half a level,
    and 0 where the frame is black or white for good. It counts by the share of the frame that
    shows: none under the image or a mark.
    """
    level = layer.field(z[space.slices[layer.kind]], space.geometry).astype(np.float32)
    slope = level * (255 - level) * np.float32(layer.amplitude / 255)
    ends = _ends(space, layer, z)
    return [
        np.asarray(slope * ((upper - lower) / 255), np.float32)
        for upper, lower in map(ends, images)
    ]


def _overlay_slopes(
    space: PromptSpace, layer: Overlay, z: Vector, images: Sequence[Prepared]
) -> list[Levels]:
    """Per image (canvas, canvas, 3): d level / d (basis z), by hand as for a frame; 0 where clipped
    or hidden.
    """
    levels = layer.levels(z[space.slices[layer.kind]], space.geometry).astype(np.float32)
    largest = 255 * layer.amplitude
    slope = np.asarray((largest - levels**2 / largest) * _OVERLAY_STEP, np.float32)
    render = space.renderer(z)
    ends = _ends(space, layer, z)
    found = []
    for image in images:
        pixels = render(image)
        (upper, lower) = ends(image)
        free = (
            (upper != lower) & ~((pixels == 255) & (levels > 0)) & ~((pixels == 0) & (levels < 0))
        )
        found.append(slope * free)
    return found


def _basis_adjoint(layer: Frame | Overlay, geometry: Geometry, weighted: Levels) -> Matrix:
    """(r, m, variables) from (r, m, canvas, canvas, 3): basisᵀ."""
    if layer.basis == "color":
        return np.asarray(weighted.sum(axis=(2, 3), dtype=np.float64))
    channel, first, second = _places(layer, geometry)
    if layer.basis == "pixels":
        return np.asarray(weighted[:, :, first, second, channel], np.float64)
    if layer.basis == "blocks":
        starts = tiles(layer.size, geometry.canvas).starts
        rows = np.add.reduceat(weighted, starts, axis=2, dtype=np.float64)
        return np.asarray(np.add.reduceat(rows, starts, axis=3)[:, :, first, second, channel])
    cosines = _cosines(geometry.canvas, int(max(first.max(), second.max())) + 1)
    table = np.einsum(
        "yu,rmyxc,xv->rmcuv", cosines, weighted.astype(np.float64), cosines, optimize=True
    )
    return np.asarray(table[:, :, channel, first, second]) / math.sqrt(layer.size)


@lru_cache(maxsize=8)
def _places(
    layer: Frame | Overlay, geometry: Geometry
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Channel, then (row, column) of the pixel or tile, or the two frequencies, of each variable:
    as its name says.
    """
    parts = [name.split("_") for name in layer.names(geometry)]
    channel = np.array([CHANNELS.index(part[0]) for part in parts])
    return (
        channel,
        np.array([int(part[1]) for part in parts]),
        np.array([int(part[2]) for part in parts]),
    )


@lru_cache(maxsize=8)
def _cosines(side: int, count: int) -> Matrix:
    """(side, count): the DCT-II basis of these layers, of unit mean square."""
    phase = np.pi * (np.arange(side)[:, None] + 0.5) * np.arange(count) / side
    return np.asarray(np.cos(phase) * np.where(np.arange(count) == 0, 1.0, math.sqrt(2)))
