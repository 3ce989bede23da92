"""Colour evened among neighbours of equal brightness, as JPEG and noise of colour ask for."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from bbtvp.prompt.enlarge import enlarged

_Whole: TypeAlias = NDArray[np.int32]

_SIDE = 128
"""Longest side in pixels of the copy on which colours are evened."""
_REACH = 4
"""Pixels of the copy, to each side."""
_UNLIKE = 0.15
"""Neighbours whose luma differs by more than this share of the picture's range have no weight."""
_LEAST_UNLIKE = 4
"""Levels of luma, at least."""


def chroma_evened(image: Image.Image) -> Image.Image:
    """Chroma averaged over neighbours, weighted by how alike their luma is; luma is kept.

    A joint bilateral filter (Petschnigg et al. 2004, "Digital photography with flash and no-flash
    image pairs") of 9 x 9 pixels: files and sensors keep brightness better than colour, so it tells
    which pixels belong together. It works on a small copy; the picture is given the difference.
    """
    factor = math.ceil(max(image.size) / _SIDE)
    luma, *chroma = image.convert("YCbCr").split()
    small = [np.asarray(plane.reduce(factor), np.int32) for plane in (luma, *chroma)]
    evened = _evened(small[0], np.stack(small[1:]))
    mended = []
    for plane, old, new in zip(chroma, small[1:], evened, strict=True):
        change = Image.fromarray(np.clip(new - old + 128, 0, 255).astype(np.uint8))
        wide = Image.fromarray(enlarged(change, image.size, factor))
        mended.append(ImageChops.add(plane, wide, 1, -128))
    return Image.merge("YCbCr", (luma, *mended)).convert("RGB")


def _evened(luma: _Whole, chroma: _Whole) -> _Whole:
    """Weighted means in whole numbers, halves up; beyond the edges the picture goes on as there.

    luma: (H, W). chroma: (2, H, W).
    """
    limit = _limit(luma)
    height, width = luma.shape
    wide_luma = np.pad(luma, _REACH, "edge")
    wide_chroma = np.pad(chroma, ((0, 0), (_REACH, _REACH), (_REACH, _REACH)), "edge")
    weights = np.zeros_like(luma)
    sums = np.zeros_like(chroma)
    for down in range(2 * _REACH + 1):
        for right in range(2 * _REACH + 1):
            rows = slice(down, down + height)
            columns = slice(right, right + width)
            weight = np.maximum(limit - np.abs(wide_luma[rows, columns] - luma), 0)
            weights += weight
            sums += weight * wide_chroma[:, rows, columns]
    means: _Whole = (2 * sums + weights) // (2 * weights)
    return means


def _limit(luma: _Whole) -> int:
    """Levels from which two pixels are unlike: a share of the range, 1 % left out at each end."""
    levels = np.sort(luma, axis=None)
    cut = len(levels) // 100
    spread = int(levels[-1 - cut]) - int(levels[cut])
    return max(_LEAST_UNLIKE, math.floor(_UNLIKE * spread))
