"""The corruptions of ImageNet-C (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261).

The constants are ImageNet-C's for images of 224 px. Lengths (radii, widths, displacements) are
scaled by the shorter side / 224, so that a picture of any size loses the same. The code needs only
numpy, scipy and Pillow. It differs from the published code in these points:

- defocus: the disk is antialiased by coverage; the published one is aliased, then blurred;
- motion, snow: ImageMagick's one-sided Gaussian is a kernel of our own, drawn by bilinear shares;
- glass: pixels are displaced by a random field, not swapped in a fixed order;
- zoom: the picture is resampled about its exact centre; the published code rounds to pixels;
- elastic: one resampling applies the affine map and the displacement, and 224 replaces the 244 of
  the published constants;
- snow, spatter, elastic: the layer or the displacement is made at 224 px and then resized;
- spatter: the edges of water drops come from the distance to the border, not from Canny's edges;
- levels are rounded; the published files truncate.

Frost is left out, because it is made from photographs of frost.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels

Levels: TypeAlias = NDArray[np.float64]
"""(H, W, 3) or (H, W) float64, 0 to 1."""

_REFERENCE = 224
"""Side in pixels for which the constants were chosen."""


class Published(NamedTuple):
    """A published corruption.

    apply: from (H, W, 3) levels, the constants of one severity and a generator, to levels.
    constants: those of severities 1 to 5.
    """

    family: str
    apply: Callable[[Levels, tuple[float, ...], np.random.Generator], Levels]
    constants: tuple[tuple[float, ...], ...]


def corrupted(kind: Published, pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """(H, W, 3) uint8 after the corruption at severity 1 to 5; the size stays."""
    levels = kind.apply(pixels / 255.0, kind.constants[severity - 1], rng)
    found: Pixels = np.rint(255 * levels.clip(0, 1)).astype(np.uint8)
    return found


# -- noise -----------------------------------------------------------------------------------------
def _gaussian_noise(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    return x + rng.normal(0, c[0], x.shape)


def _shot_noise(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    return rng.poisson(x * c[0]) / c[0]


def _impulse_noise(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    hit = rng.random(x.shape) < c[0]
    white = rng.random(x.shape) < 0.5
    return np.where(hit, white.astype(np.float64), x)


def _speckle_noise(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    return x + x * rng.normal(0, c[0], x.shape)


# -- blur ------------------------------------------------------------------------------------------
def _gaussian_blur(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    return _smoothed(x, c[0] * _scale(x))


def _defocus_blur(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    radius = c[0] * _scale(x)
    reach = math.ceil(radius)
    across = np.arange(-reach, reach + 1)
    kernel = (radius + 0.5 - np.hypot(across[:, None], across)).clip(0, 1)
    return _filtered(x, kernel)


def _glass_blur(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    sigma = c[0] * _scale(x)
    reach = c[1] * _scale(x)
    x = _smoothed(x, sigma)
    for _ in range(int(c[2])):
        rows, columns = rng.uniform(-reach, reach, (2, *x.shape[:2]))
        x = _displaced(x, rows, columns, order=0)
    return _smoothed(x, sigma)


def _motion_blur(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    return _filtered(x, _streak(c[0] * _scale(x), c[1] * _scale(x), rng.uniform(-45, 45)))


def _zoom_blur(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    zooms = np.arange(1, *c)
    return (x + sum(_zoomed(x, zoom) for zoom in zooms)) / (len(zooms) + 1)


# -- weather ---------------------------------------------------------------------------------------
def _fog(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    height, width = x.shape[:2]
    most = max(float(x.max()), 1 / 255)
    field = plasma(max(height, width), c[1], rng)[:height, :width, None]
    return (x + c[0] * field) * most / (most + c[0])


def plasma(side: int, decay: float, rng: np.random.Generator) -> Levels:
    """A plasma fractal by the diamond-square method: (n, n) levels, 0 to 1.

    n is the least power of two that is not below `side`. The fractal is periodic. Each halving of
    the step divides the noise by decay².
    """
    size = max(2, 1 << (side - 1).bit_length())
    field = np.zeros((size, size))
    step = size
    noise = 1.0
    while step >= 2:
        half = step // 2
        corners = field[::step, ::step].copy()
        right = np.roll(corners, -1, 1)
        below = np.roll(corners, -1, 0)
        draws = noise * rng.uniform(-1, 1, (3, *corners.shape))
        middle = (corners + right + below + np.roll(right, -1, 0)) / 4 + draws[0]
        top = (corners + right + middle + np.roll(middle, 1, 0)) / 4 + draws[1]
        left = (corners + below + middle + np.roll(middle, 1, 1)) / 4 + draws[2]
        field[half::step, half::step] = middle
        field[::step, half::step] = top
        field[half::step, ::step] = left
        step = half
        noise = noise / decay**2
    field -= field.min()
    found: Levels = field / field.max()
    return found


def _snow(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    flakes: Levels = _zoomed(rng.normal(c[0], c[1], _sheet(x)), c[2])
    flakes = np.where(flakes < c[3], 0.0, flakes).clip(0, 1)
    flakes = _fitted(_filtered(flakes, _streak(c[4], c[5], rng.uniform(-135, -45))), x)[..., None]
    grey: Levels = x @ np.array([0.299, 0.587, 0.114])
    x = c[6] * x + (1 - c[6]) * np.maximum(x, grey[..., None] * 1.5 + 0.5)
    return x + flakes + flakes[::-1, ::-1]


def _spatter(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    liquid = _smoothed(rng.normal(c[0], c[1], _sheet(x)), c[2])
    if c[5]:
        mud = _smoothed((liquid > c[3]).astype(np.float64), c[4])
        cover: Levels = _fitted(np.where(mud < 0.8, 0.0, mud), x)[..., None]
        brown: Levels = np.array([63, 42, 20]) / 255
        return x * (1 - cover) + cover * brown
    water: Levels = np.array([175, 238, 238]) / 255
    return x + c[4] * _fitted(_drops(liquid, c[3]), x)[..., None] * water


def _drops(liquid: Levels, threshold: float) -> Levels:
    """(H, W) 0 to 1: drops of water, lit from one side; each fades towards its border."""
    from scipy import ndimage  # type: ignore[import-untyped]

    wet = liquid >= threshold
    inside = ndimage.distance_transform_edt(np.pad(wet, 1))[1:-1, 1:-1].clip(0, 20)
    lit = ndimage.convolve(
        inside, np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="nearest"
    ).clip(0, None)
    drops = np.where(wet, liquid, 0.0) * ndimage.uniform_filter(lit, 3)
    found: Levels = drops / max(drops.max(), 1e-9)
    return found


def _brightness(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    """The value of HSV is raised; hue and saturation stay."""
    value: Levels = x.max(axis=2, keepdims=True)
    raised = (value + c[0]).clip(0, 1)
    return np.where(value > 0, x * raised / np.maximum(value, 1e-9), raised)


# -- digital ---------------------------------------------------------------------------------------
def _contrast(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    means: Levels = x.mean(axis=(0, 1), keepdims=True)
    return (x - means) * c[0] + means


def _saturate(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    """The saturation of HSV is scaled and raised.

    A grey has hue 0, as in every HSV code, so it turns red where `c[1]` is above 0.
    """
    value: Levels = x.max(axis=2, keepdims=True)
    fall = value - x
    saturation = fall.max(axis=2, keepdims=True) / np.maximum(value, 1e-9)
    wanted: Levels = (saturation * c[0] + c[1]).clip(0, 1)
    share: Levels = np.where(
        saturation > 0, fall / np.maximum(saturation, 1e-9), value * np.array([0.0, 1, 1])
    )
    return value - share * wanted


def _elastic(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    height, width = x.shape[:2]
    alpha = c[0] * min(height, width)
    sigma = c[1] * _REFERENCE
    reach = c[2] * min(height, width)
    third = min(height, width) // 3
    at = np.array([height // 2, width // 2]) + third * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = at + rng.uniform(-reach, reach, at.shape)
    # Where each pixel of the result comes from: the affine map that takes the moved points back.
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), at)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    down, right = (
        alpha * _fitted(_smoothed(rng.uniform(-1, 1, _sheet(x)), sigma, "reflect", 3.0), x)
        for _ in range(2)
    )
    source = np.stack([rows + down, columns + right, np.ones_like(rows)], axis=-1) @ back
    return _displaced(x, source[..., 0] - rows, source[..., 1] - columns, order=1)


def _pixelate(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    height, width = x.shape[:2]
    image = Image.fromarray(np.rint(255 * x).astype(np.uint8))
    small = image.resize(
        (max(1, int(width * c[0])), max(1, int(height * c[0]))), Image.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Image.Resampling.BOX)) / 255.0


def _jpeg(x: Levels, c: tuple[float, ...], rng: np.random.Generator) -> Levels:
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * x).astype(np.uint8)).save(file, "JPEG", quality=int(c[0]))
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB")) / 255.0


# -- tools -----------------------------------------------------------------------------------------
def _scale(x: Levels) -> float:
    return float(min(x.shape[:2])) / _REFERENCE


def _sheet(x: Levels) -> tuple[int, int]:
    """The picture's shape at the side of the constants, where flakes and drops are made."""
    height, width = x.shape[:2]
    return max(1, round(height / _scale(x))), max(1, round(width / _scale(x)))


def _fitted(plane: Levels, x: Levels) -> Levels:
    """A plane brought to the picture's size."""
    size = (x.shape[1], x.shape[0])
    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float64)


def _smoothed(x: Levels, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Levels:
    from scipy import ndimage

    found: Levels = ndimage.gaussian_filter(
        x, (sigma, sigma, 0)[: x.ndim], mode=mode, truncate=truncate
    )
    return found


def _filtered(x: Levels, kernel: Levels) -> Levels:
    """The convolution with a kernel of odd side, scaled to a sum of 1; edges are mirrored."""
    from scipy import signal

    reach = len(kernel) // 2
    kernel = kernel / kernel.sum()
    padded = np.pad(x, [(reach, reach)] * 2 + [(0, 0)] * (x.ndim - 2), mode="symmetric")
    found: Levels = signal.fftconvolve(
        padded, kernel if x.ndim == 2 else kernel[..., None], "valid", axes=(0, 1)
    )
    return found


def _streak(radius: float, sigma: float, degrees: float) -> Levels:
    """A kernel that drags each pixel along one direction, with Gaussian weights.

    It takes 2⌈radius⌉ + 1 steps of a pixel.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    reach = int(steps[-1]) + 1
    y = reach + steps * math.sin(math.radians(degrees))
    x = reach + steps * math.cos(math.radians(degrees))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    top = np.floor(y).astype(int)
    left = np.floor(x).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            rows = (top + down).clip(0, 2 * reach)
            columns = (left + right).clip(0, 2 * reach)
            np.add.at(kernel, (rows, columns), weights * share)
    return kernel


def _zoomed(x: Levels, zoom: float) -> Levels:
    """The middle of the picture, `zoom` times as large, in the same size."""
    height, width = x.shape[:2]
    cut = (1 - 1 / zoom) / 2
    box = (cut * width, cut * height, (1 - cut) * width, (1 - cut) * height)
    planes = []
    for plane in np.moveaxis(np.atleast_3d(x), 2, 0):
        image = Image.fromarray(plane.astype(np.float32))
        planes.append(np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box)))
    return np.stack(planes, axis=-1).astype(np.float64).reshape(x.shape)


def _displaced(x: Levels, rows: Levels, columns: Levels, order: int) -> Levels:
    """Each pixel taken from (rows, columns) px away."""
    from scipy import ndimage

    y, x_ = np.mgrid[: x.shape[0], : x.shape[1]]
    at = [y + rows, x_ + columns]
    return np.stack(
        [
            ndimage.map_coordinates(plane, at, order=order, mode="mirror")
            for plane in x.transpose(2, 0, 1)
        ],
        2,
    )


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "gaussian-noise": Published(
            "noise", _gaussian_noise, ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,))
        ),
        "shot-noise": Published("noise", _shot_noise, ((60,), (25,), (12,), (5,), (3,))),
        "impulse-noise": Published(
            "noise", _impulse_noise, ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,))
        ),
        "speckle-noise": Published(
            "noise", _speckle_noise, ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,))
        ),
        "defocus-blur": Published("blur", _defocus_blur, ((3,), (4,), (6,), (8,), (10,))),
        "gaussian-blur": Published("blur", _gaussian_blur, ((1,), (2,), (3,), (4,), (6,))),
        "glass-blur": Published(
            "blur", _glass_blur, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
        ),
        "motion-blur": Published(
            "blur", _motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
        ),
        "zoom-blur": Published(
            "blur",
            _zoom_blur,
            ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ),
        "snow": Published(
            "weather",
            _snow,
            (
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
        ),
        "fog": Published("weather", _fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
        "spatter": Published(
            "weather",
            _spatter,
            (
                (0.65, 0.3, 4, 0.69, 0.6, 0),
                (0.65, 0.3, 3, 0.68, 0.6, 0),
                (0.65, 0.3, 2, 0.68, 0.5, 0),
                (0.65, 0.3, 1, 0.65, 1.5, 1),
                (0.67, 0.4, 1, 0.65, 1.5, 1),
            ),
        ),
        "brightness": Published("weather", _brightness, ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))),
        "contrast": Published("digital", _contrast, ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,))),
        "saturate": Published(
            "digital", _saturate, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))
        ),
        "elastic": Published(
            "digital",
            _elastic,
            (
                (2, 0.7, 0.1),
                (2, 0.08, 0.2),
                (0.05, 0.01, 0.02),
                (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            ),
        ),
        "pixelate": Published("digital", _pixelate, ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,))),
        "jpeg": Published("digital", _jpeg, ((25,), (18,), (15,), (10,), (7,))),
    }
)
"""Corruptions by name, with their constants in the published order.

Lengths are in pixels of 224, those of `elastic` in shares of a side. ImageNet-C's four extra
corruptions are in the families to which they belong.
"""
