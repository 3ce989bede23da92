"""A wide blur of a picture, at little cost."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from bbtvp.core.arrays import Pixels
from bbtvp.prompt.enlarge import enlarged

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
    return enlarged(small, image.size, factor)
