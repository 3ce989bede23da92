"""Contrast, brightness, gamma, saturation, clarity and sharpness of the image inside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.prompt.blur import wide_blur
from bbtvp.prompt.layer import Box, Geometry, Paint, PaintLayer, checked_choice, soft
from bbtvp.prompt.levels import MEMORY, Floats, bands, floats_of, rounded

_EVERY = np.arange(256, dtype=np.uint8)
_LEVELS = _EVERY / 255
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601 weights, as in Pillow's greyscale."""
_CLARITY_RADIUS = 1 / 32
"""Standard deviation of the blur that clarity works against, as a share of the canvas' shorter
side: details that wide. The shorter side, since a strip cut from a photo shows things as large.
"""
_BLUR_TAPS = 4
"""Four sums of neighbours per axis = the binomial kernel 1 4 6 4 1, a blur of one pixel."""
_MARGIN = _BLUR_TAPS // 2
"""Pixels on each side that the blur reaches."""


@final
class _Range(NamedTuple):
    step: float
    limit: float
    exponential: bool


_RANGES = {
    "brightness": _Range(0.15, 0.5, exponential=False),
    "contrast": _Range(0.6, 3.0, exponential=True),
    "gamma": _Range(0.4, 2.0, exponential=True),
    "saturation": _Range(0.6, 3.0, exponential=True),
    "sharpness": _Range(0.6, 2.0, exponential=True),
    "clarity": _Range(0.6, 2.0, exponential=True),
}


@final
@dataclass(frozen=True)
class Tone(PaintLayer):
    """A tone curve, saturation and sharpness, applied to the placed image only: never to the frame.

    With v in 0..1, in this order:

    - clarity: v <- wide + clarity * (v - wide), where wide is a Gaussian blur of 1/32 of the
      canvas' shorter side: above 1 it brings out what a lens out of focus has blurred, below 1 it
      calms noise; rounded to uint8;
    - curve: v <- clip(mean + contrast * (v - mean) + brightness, 0, 1) ** gamma, where the mean is
      that of all channels of this image: a picture washed out to one side is stretched around its
      own level, not around mid grey;
    - saturation: v <- luma + saturation * (v - luma);
    - sharpness: v <- blur + sharpness * (v - blur): above 1 an unsharp mask, below 1 a blur of
      about one pixel.

    All but the curve extrapolate from a degenerate image (Haeberli and Voorhies, "Image Processing
    by Interpolation and Extrapolation", 1994). Brightness is within -0.5..0.5. Contrast and
    saturation are exp(0.6 z) near 0: 1.8 at z = 1, 5 and 1/5 at z = 3 and -3, at most 20; gamma,
    sharpness and clarity are within 0.14..7.4. Neutral is brightness 0 and 1 for the others. Floats
    are rounded to uint8 at the end (and after clarity); z = 0 changes no bit.
    """

    variables: tuple[str, ...] = ("brightness", "contrast", "gamma")

    kind: ClassVar[str] = "tone"
    order: ClassVar[int] = 10

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "variables", checked_choice("tone variable", self.variables, _RANGES)
        )
        if not self.variables:
            raise UsageError("a tone without variables does nothing; leave the layer out")

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return self.variables

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float]:
        return {
            name: _value(_RANGES[name], at)
            for name, at in zip(self.variables, z.tolist(), strict=True)
        }

    def at(self, values: Mapping[str, float]) -> Vector:
        """A z with these values of its variables, all others 0."""
        return np.array([values.get(name, 0.0) for name in self.variables])

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        values = self.params(z, geometry)
        saturation = values.get("saturation", 1.0)
        sharpness = values.get("sharpness", 1.0)
        clarity = values.get("clarity", 1.0)
        radius = geometry.side * _CLARITY_RADIUS

        def paint(canvas: Pixels, box: Box) -> None:
            inside = box.of(canvas)
            image = _clarified(np.ascontiguousarray(inside), clarity, radius)
            curve = _curve(values, float(image.sum(dtype=np.uint32)) / image.size / 255) * 255
            if saturation == sharpness == 1:
                _map(rounded(curve), image, inside)
                return
            margin = 0 if sharpness == 1 else _MARGIN
            framed = _framed(image, margin)
            for rows in bands(image):
                band = framed[rows.start : rows.stop + 2 * margin]
                toned = _saturated(_looked_up(curve, band), saturation)
                finished = rounded(_sharpened(toned, sharpness))
                height, width = finished.shape[:2]
                inside[rows] = finished[margin : height - margin, margin : width - margin]

        return paint


def _value(span: _Range, z: float) -> float:
    bounded = soft(z, span.step, span.limit)
    return math.exp(bounded) if span.exponential else bounded


def _curve(values: dict[str, float], mean: float) -> NDArray[np.float64]:
    """The 256 levels after contrast, brightness and gamma, in 0..1."""
    curve = mean + values.get("contrast", 1.0) * (_LEVELS - mean) + values.get("brightness", 0.0)
    result: NDArray[np.float64] = np.clip(curve, 0, 1) ** values.get("gamma", 1.0)
    return result


def _map(levels: Pixels, image: Pixels, inside: Pixels) -> None:
    """Each level replaced by that of a table of 256, two at a time: half as many look-ups.

    inside: where it is written, of the image's shape.
    """
    if np.array_equal(levels, _EVERY):
        inside[...] = image
        return
    table = (levels.astype("<u2")[:, None] << 8 | levels).reshape(-1)
    for rows in bands(image):
        flat = image[rows].reshape(-1)
        pairs = flat[: len(flat) // 2 * 2].view("<u2")
        mapped = np.empty_like(flat)
        table.take(pairs, out=mapped[: 2 * len(pairs)].view("<u2"), mode="wrap")
        mapped[2 * len(pairs) :] = levels[flat[2 * len(pairs) :]]
        inside[rows] = mapped.reshape(inside[rows].shape)


def _looked_up(curve: NDArray[np.float64], image: Pixels) -> Floats:
    result = MEMORY.floats("toned", image.shape)
    curve.astype(np.float32).take(
        image, out=result, mode="wrap"
    )  # no level is beyond the curve: the cheapest mode
    return result


def _saturated(image: Floats, gain: float) -> Floats:
    if gain == 1:
        return image
    matrix = gain * np.eye(3, dtype=np.float32) + (1 - gain) * _LUMA[:, None]
    result = MEMORY.floats("saturated", image.shape)
    np.matmul(image.reshape(-1, 3), matrix.astype(np.float32), out=result.reshape(-1, 3))
    return result


# -- clarity ---------------------------------------------------------------------------------------
def _clarified(image: Pixels, gain: float, radius: float) -> Pixels:
    """By Pillow's blur, in whole levels: at this width a level more or less does not show."""
    if gain == 1:
        return image
    blurred = wide_blur(Image.fromarray(image), radius)
    clarified = np.empty_like(image)
    for rows in bands(image):
        wide = floats_of(blurred[rows], "wide")
        result = floats_of(image[rows], "toned")
        result -= wide
        result *= np.float32(gain)
        result += wide
        clarified[rows] = rounded(result)
    return clarified


# -- sharpness -------------------------------------------------------------------------------------
def _framed(image: Pixels, margin: int) -> Pixels:
    """The picture with so many more pixels on each side, all like the outermost.

    `np.pad` takes five times as long.
    """
    if not margin:
        return image
    height, width = image.shape[:2]
    framed = np.empty((height + 2 * margin, width + 2 * margin, 3), np.uint8)
    middle = framed[margin:-margin]
    middle[:, margin:-margin] = image
    middle[:, :margin] = image[:, :1]
    middle[:, -margin:] = image[:, -1:]
    framed[:margin] = middle[0]
    framed[-margin:] = middle[-1]
    return framed


def _sharpened(image: Floats, gain: float) -> Floats:
    """In place, for an image framed by `_MARGIN`; what is left in the margins means nothing."""
    if gain == 1:
        return image
    blurred = _blurred(image)
    blurred *= np.float32((1 - gain) * 4.0**-_BLUR_TAPS)
    start = _MARGIN * (image[0].size + 3)
    centre = image.reshape(-1)[start : start + blurred.size]
    centre *= np.float32(gain)
    centre += blurred
    return image


def _blurred(image: Floats) -> Floats:
    """A binomial blur, times 4 ** `_BLUR_TAPS`, of a framed image.

    Flat, in rows as long as the image's.

    Each pass adds to every value the one a row, or a pixel, further on, along the flat image. What
    runs over the end of a row falls into its right margin.
    """
    now = image.reshape(-1)
    spare = MEMORY.floats("blurred", now.shape)
    other = MEMORY.floats("blurring", now.shape)
    for shift in (image[0].size,) * _BLUR_TAPS + (3,) * _BLUR_TAPS:
        now = np.add(now[:-shift], now[shift:], out=spare[: now.size - shift])
        spare, other = other, spare
    return now
