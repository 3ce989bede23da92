"""From the gradient by rendered pixels to the gradient by z.

    dJ/dz_j = Σ_pixels G · d render(z) / dz_j

A layer with its own derivative (`Layer.derivative`) takes one pass, whatever its variables:

    Frame    colour = 255 s,  s = sigmoid(logit + a · basis z):
             d/dz = 255 s (1 − s) · a · basis
    Overlay  added  = 255 A t,  t = tanh(b · basis z), then clipped:
             d/dz = 255 A (1 − t²) · b · basis, and 0 where it is clipped

Any other layer goes by central differences of the *rendered* pixels. They see whatever the whole
composition does with a variable, at two renders for each variable and image: a `Coordinator` of
2,667 variables takes seconds per image.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import final

import numpy as np

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.prompt import Layer, Prepared, PromptSpace, Renderer
from bbtvp.prompt.layer import Derivative, Geometry, Levels

STEP = 0.25
"""Half the distance of a central difference, in units of z: large enough to survive the rounding to
8 bits.
"""


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
    """(r, d) gradients at z, from r gradients by the pixels of n rendered images.

    cotangents: (r, n, height, width, 3), per level (0-255). The images' canvases are of one size.

    Summed over the images; with `per_image` (r, n, d). kinds: the layers whose variables count, all
    by default; their variables come in the order of `space.embed`. A categorical variable has
    gradient 0. UsageError for wrong shapes or an unknown layer.
    """
    geometry = _geometry(space, z, images)
    shape = (len(images), geometry.height, geometry.width, 3)
    if cotangents.ndim != 5 or cotangents.shape[1:] != shape:
        raise UsageError(
            f"gradients by pixels have shape {cotangents.shape}; give (rows, "
            f"{', '.join(map(str, shape))})"
        )
    if not (math.isfinite(step) and step > 0):
        raise UsageError(
            f"a difference step of {step}; give a finite number above 0, such as {STEP}"
        )
    for kind in kinds or ():
        if kind not in space.slices:
            raise unknown("layer", kind, space.slices)
    parts: list[Matrix] = [np.zeros((len(cotangents), len(images) if per_image else 1, 0))]
    for layer in space.layers:
        if kinds is not None and layer.kind not in kinds:
            continue
        pulled = _LayerPullback(space, layer, z, images)
        derivative = layer.derivative(z[space.slices[layer.kind]], geometry)
        if derivative is None:
            found = pulled.by_differences(cotangents, step)
        else:
            found = pulled.by_derivative(derivative, cotangents, per_image=per_image)
        parts.append(found if per_image else found.sum(axis=1, keepdims=True))
    joined = np.concatenate(parts, axis=2)
    return joined if per_image else joined[:, 0]


def _geometry(space: PromptSpace, z: Vector, images: Sequence[Prepared]) -> Geometry:
    """The canvas of all the images. UsageError if they have several, or for a wrong z."""
    render = space.renderer(z)
    found = {render.geometry(image) for image in images} or {space.geometry}
    if len(found) > 1:
        raise UsageError("gradients over canvases of several sizes; give those of each size apart")
    return found.pop()


@final
class _LayerPullback:
    """The gradient by one layer's variables, at z, over some images."""

    def __init__(
        self, space: PromptSpace, layer: Layer, z: Vector, images: Sequence[Prepared]
    ) -> None:
        self._space = space
        self._layer = layer
        self._z = z
        self._images = images
        self._where = space.slices[layer.kind]
        self._renderers: dict[bytes, Renderer] = {}

    def by_differences(self, cotangents: Levels, step: float) -> Matrix:
        """(r, n, variables of the layer): G · (render(z + h e) − render(z − h e)) / 2h."""
        found = np.zeros((*cotangents.shape[:2], self._where.stop - self._where.start))
        flat = cotangents.reshape(*cotangents.shape[:2], -1)
        groups = self._layer.choices(self._space.geometry)
        categorical = {first + i for first, count in groups for i in range(count)}
        for index in range(found.shape[2]):
            if index in categorical:
                continue
            shift = np.zeros(self._space.dim)
            shift[self._where.start + index] = step
            above = self._space.renderer(self._z + shift)
            below = self._space.renderer(self._z - shift)
            for i, image in enumerate(self._images):
                change = np.subtract(above(image), below(image), dtype=np.float32)
                found[:, i, index] = flat[:, i] @ change.ravel()
        return found / (2 * step)

    def by_derivative(
        self, derivative: Derivative, cotangents: Levels, *, per_image: bool
    ) -> Matrix:
        """(r, n or 1, variables of the layer), in one pass whatever the number of variables."""
        slopes = [derivative.slope(partial(self._rendered, image)) for image in self._images]
        if per_image:
            weighted = [cotangents[:, i : i + 1] * slope for i, slope in enumerate(slopes)]
            return np.concatenate([derivative.adjoint(one) for one in weighted], axis=1)
        total = np.zeros((len(cotangents), 1, *cotangents.shape[2:]), np.float32)
        for i, slope in enumerate(slopes):
            total[:, 0] += cotangents[:, i] * slope
        return derivative.adjoint(total)

    def _rendered(self, image: Prepared, part: Vector) -> Pixels:
        """The image with other variables of this layer; their renderer is made once."""
        key = part.tobytes()
        if key not in self._renderers:
            z = self._z.copy()
            z[self._where] = part
            self._renderers[key] = self._space.renderer(z)
        return self._renderers[key](image)
