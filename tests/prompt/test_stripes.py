"""Stripes are taken off wherever they run, and pictures without any stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.prompt.stripes import destriped


def scene(size: int, light: int = 200) -> Pixels:
    """A page with a dark square off its middle."""
    page = np.full((size, size, 3), light, np.uint8)
    page[size // 4 : size // 2, size // 3 : size * 2 // 3] = (160, 40, 60)
    return page


def across(size: int, degrees: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(size, size): how far each pixel lies along a direction, as a share of the side."""
    rows, columns = np.mgrid[:size, :size] / size
    angle = np.deg2rad(degrees)
    return columns * np.cos(angle) + rows * np.sin(angle)  # type: ignore[no-any-return]


def mended(pixels: Pixels) -> Pixels:
    return np.asarray(destriped(Image.fromarray(pixels)))


def unevenness(pixels: Pixels) -> float:
    """Mean deviation of the page below the square from its own mean."""
    page = pixels[len(pixels) * 5 // 8 :].astype(float)
    return float(np.abs(page - page.mean(axis=(0, 1))).mean())


@pytest.mark.parametrize("degrees", [0, 23, 90, 117, 171])
@pytest.mark.parametrize("size", [64, 200, 500])
def test_dark_bands_get_the_light_of_the_rest(degrees: float, size: int) -> None:
    lit = scene(size)
    bands = np.where(np.sin(across(size, degrees) * 2 * np.pi * 3.3) < -0.4, 0.4, 1.0)
    shaded = (lit * bands[..., None]).astype(np.uint8)
    cleaned = mended(shaded)
    assert unevenness(cleaned) < unevenness(shaded) / 3
    assert np.abs(cleaned.astype(int) - lit).mean() < np.abs(shaded.astype(int) - lit).mean() / 3


@pytest.mark.parametrize("degrees", [15, 80, 140])
@pytest.mark.parametrize("size", [64, 300])
def test_coloured_waves_go_off_in_each_channel(degrees: float, size: int) -> None:
    phases = across(size, degrees)[..., None] * 2 * np.pi * 6 + np.array([0, 1, 2])
    waved = np.clip(scene(size, 180) + 40 * np.sin(phases), 0, 255).astype(np.uint8)
    cleaned = mended(waved)
    assert unevenness(cleaned) < unevenness(waved) / 3


@pytest.mark.parametrize("size", [16, 64, 300])
def test_pictures_without_stripes_stay_as_they_are(size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    even = np.full((size, size, 3), 90, np.uint8)
    stroke = np.full((size, size, 3), 230, np.uint8)
    stroke[size // 5 : size * 4 // 5, size * 2 // 5 : size * 3 // 5] = 20
    for picture in (noise, even, stroke, scene(size)):
        assert np.array_equal(mended(picture), picture)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 2), (5, 2000)])
def test_narrow_pictures_keep_their_shape(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert mended(picture).shape == picture.shape
