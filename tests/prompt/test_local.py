"""What is pale, dim or veiled in a part of a picture gets the whole range there."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.prompt.local import locally_stretched


def chequered(size: int) -> Pixels:
    """Black and white fields, four a side."""
    rows, columns = np.mgrid[:size, :size] * 8 // size
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)


def mended(pixels: Pixels) -> Pixels:
    return np.asarray(locally_stretched(Image.fromarray(pixels)))


def distance(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("size", [64, 100, 500])
def test_a_veil_over_a_part_becomes_thinner(size: int) -> None:
    rows, columns = np.mgrid[:size, :size] / size
    veil = np.exp(-((rows - 0.3) ** 2 + (columns - 0.6) ** 2) / 0.2)[..., None] * 0.7
    clear = chequered(size)
    veiled = (clear * (1 - veil) + 255 * veil).astype(np.uint8)
    assert distance(mended(veiled), clear) < distance(veiled, clear) * 0.75


@pytest.mark.parametrize("size", [64, 300])
def test_a_pale_picture_gets_the_whole_range(size: int) -> None:
    clear = chequered(size)
    pale = (clear * 0.3 + 120).astype(np.uint8)
    assert distance(mended(pale), clear) < 10


@pytest.mark.parametrize("size", [16, 64, 300])
def test_the_whole_range_stays_and_noise_is_not_stretched_without_limit(size: int) -> None:
    clear = chequered(size)
    assert distance(mended(clear), clear) < 8
    noise = np.random.default_rng(0).integers(100, 106, (size, size, 3), np.uint8)
    assert mended(noise).std() < 6 * noise.std()


def test_a_colour_keeps_its_order_of_channels() -> None:
    picture = chequered(64)
    picture[20:40, 20:40] = (200, 120, 60)
    inside = mended(picture)[25:35, 25:35].astype(int)
    assert (inside[..., 0] > inside[..., 1]).all()
    assert (inside[..., 1] > inside[..., 2]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 2), (5, 2000)])
def test_lines_of_pixels_keep_their_shape(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert mended(picture).shape == picture.shape
