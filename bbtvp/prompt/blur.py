"""A wide blur of a picture, at little cost."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from bbtvp.core.arrays import Pixels

_FINEST = 1.5
"""Standard deviation in pixels, at least, that a blur keeps on a reduced picture."""


def wide_blur(image: Image.Image, radius: float) -> Pixels:
    """(H, W, 3): a Gaussian blur of `radius` pixels, its standard deviation, of an RGB picture.

    A wide one is made on a reduced picture, which shows no less and costs a quarter.
    """
    factor = int(radius // _FINEST)
    if factor < 2:
        return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))
    small = image.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor))
    if not factor & (factor - 1):
        return _enlarged(small, image.size, factor)
    box = (0.0, 0.0, image.width / factor, image.height / factor)
    return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR, box=box))


def _enlarged(small: Image.Image, size: tuple[int, int], factor: int) -> Pixels:
    """What Pillow's BILINEAR resize makes of a picture reduced by a power of two.

    Equal to the bit, in half the time.

    Pillow widens the picture; what makes it taller is exact in 16 bits, for the weights are odd
    shares of twice the factor.
    """
    (width, height) = size
    parts = 2 * factor
    widened = small.resize(
        (width, small.height), Image.Resampling.BILINEAR, box=(0, 0, width / factor, small.height)
    )
    rows = np.asarray(widened, np.uint16)
    rows = np.concatenate([rows[:1], rows, rows[-1:]])
    large = np.empty((height, width, 3), np.uint8)
    for first in range(min(factor, height)):
        lines = large[first::factor]
        above, share = divmod(2 * first + 1 + factor, parts)
        values = rows[above : above + len(lines)] * (parts - share)
        values += rows[above + 1 : above + 1 + len(lines)] * share
        values += factor  # a half, for rounding
        values //= parts
        lines[...] = values
    return large
