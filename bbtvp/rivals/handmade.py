"""Preprocessing by hand: ten minutes of Pillow, and the best of a short list on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import ClassVar, final

import numpy as np
from PIL import Image, ImageFilter

from bbtvp.core.arrays import Pixels
from bbtvp.prompt import PromptSpace, Restore
from bbtvp.prompt.layer import Box
from bbtvp.rivals.procedure import HandPrompt, OneQuery, unchanged
from bbtvp.rivals.rival import Rival, Tuned, Tuning, TuningCost, best_on_validation

_LARGEST = 2048
"""Pixels of the longer side up to which an image is doubled."""


def _restored(operation: str) -> Callable[[Pixels], Pixels]:
    """An operation of the layer Restore, on the whole picture."""
    layer = Restore((operation,))
    paint = layer.painter(layer.start(operation), PromptSpace((layer,)).geometry)

    def edit(image: Pixels) -> Pixels:
        found = image.copy()
        height, width = image.shape[:2]
        paint(found, Box(0, 0, width, height))
        return found

    return edit


def _doubled(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    if 2 * max(width, height) > _LARGEST:
        return image
    size = (2 * width, 2 * height)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _sharpened(image: Pixels) -> Pixels:
    sharp = ImageFilter.UnsharpMask(radius=2, percent=150, threshold=2)
    return np.asarray(Image.fromarray(image).filter(sharp))


def _doubled_and_sharpened(image: Pixels) -> Pixels:
    return _sharpened(_doubled(image))


_PILLOW: Mapping[str, Callable[[Pixels], Pixels]] = {
    "as it is": unchanged,
    "autocontrast": _restored("autocontrast"),
    "equalize": _restored("equalize"),
    "x2": _doubled,
    "sharpen": _sharpened,
    "x2 and sharpen": _doubled_and_sharpened,
}

BY_HAND: Mapping[str, Callable[[Pixels], Pixels]] = MappingProxyType(
    {**_PILLOW, **({"CLAHE": _restored("clahe")} if find_spec("cv2") else {})}
)
"""The fixed list, each from (H, W, 3) uint8 to such pixels. CLAHE needs OpenCV."""

_ENOUGH = 100
"""Validation images that are asked about."""


@final
@dataclass(frozen=True)
class HandMade(Rival):
    """The best of `BY_HAND` on validation; of equally good ones the first, so the image as it is.

    images: at most so many validation images for each of the list.
    """

    name: ClassVar[str] = "hand-made"
    seeded: ClassVar[bool] = True
    about: ClassVar[str] = "the best of autocontrast, equalize, x2, sharpen, CLAHE on validation"

    images: int = _ENOUGH

    def most_queries(self, tuning: Tuning) -> int:
        return len(BY_HAND) * min(self.images, len(tuning.task.validation))

    def prepare(self, tuning: Tuning) -> Tuned:
        tried = {name: OneQuery(HandPrompt(edit)) for name, edit in BY_HAND.items()}
        best, asked = best_on_validation(tuning, tried, self.images)
        return Tuned(tried[best], TuningCost.of(tuning.model, asked), note=best)
