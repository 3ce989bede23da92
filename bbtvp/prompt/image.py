"""From any image file or Pillow image to (H, W, 3) uint8 sRGB pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import DataError

MAX_PIXELS = 64_000_000

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
"""Formats that Pillow decodes by itself. Others are refused: EPS, for one, would start an outside
interpreter.
"""

DAMAGED: tuple[type[Exception], ...] = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
    ),
    *(struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning),
)
"""What Pillow's decoders raise on damaged files."""


def to_rgb(image: Image.Image) -> Pixels:
    """(H, W, 3) uint8 sRGB, 0-255, of an image of any mode; the image itself is not changed.

    EXIF rotation is applied. Transparency is composited on white. 16-bit greyscale keeps its upper
    8 bits. The modes I and F (32 bits) declare no range: the smallest value becomes black and the
    largest white, a constant image mid grey. Colour profiles are ignored. Of an animation the
    current picture counts. DataError for an empty, damaged or inconvertible image.
    """
    if not (image.width and image.height):
        raise DataError(
            f"an image of {image.width} x {image.height} px holds no pixels; leave it out"
        )
    try:
        return np.array(_flattened(ImageOps.exif_transpose(image)))
    except DAMAGED as error:
        raise DataError(
            f"cannot be decoded, mode {image.mode} ({_line(error)}); save it as PNG again"
        ) from error


def open_image(path: Path | str) -> Pixels:
    """`to_rgb` of an image file of up to 64 megapixels.

    DataError, one line with the path, for any other file.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path, f"{image.width} x {image.height} px")
            return to_rgb(image)
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, "an enormous image") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: {_unidentified(Path(path))}") from error
    except DAMAGED as error:
        raise DataError(
            f"{path}: cannot be read ({_line(error)}); check the file and its permissions"
        ) from error


def _flattened(image: Image.Image) -> Image.Image:
    """The image in mode RGB."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretched(np.asarray(image, np.float64))).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _stretched(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    low = float(values.min())
    high = float(values.max())
    if not np.isfinite([low, high]).all():
        raise DataError("a float image holds values that are not finite; replace them first")
    if low == high:
        return np.full(values.shape, 128, np.uint8)
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)


def _unidentified(path: Path) -> str:
    if path.stat().st_size == 0:
        return "the file is empty; get it again"
    return f"not an image that can be read; convert it to PNG (known: {', '.join(FORMATS)})"


def _too_large(path: Path | str, what: str) -> DataError:
    return DataError(
        f"{path}: {what} is over {MAX_PIXELS // 1_000_000} megapixels; shrink it first"
    )


def _line(error: BaseException) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__
