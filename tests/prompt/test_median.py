"""The median filter against Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bbtvp.prompt.median import median_filtered


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 7), (64, 64), (200, 77), (41, 700)])
@pytest.mark.parametrize("levels", [2, 256])
def test_it_is_pillows_to_the_bit(size: int, shape: tuple[int, int], levels: int) -> None:
    rng = np.random.default_rng(size)
    pixels = rng.integers(0, levels, (*shape, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(size)))
    assert np.array_equal(median_filtered(pixels, size), expected)
