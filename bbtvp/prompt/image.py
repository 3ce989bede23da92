"""From any image file or Pillow image to (H, W, 3) uint8 sRGB pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import DataError, UsageError

AnyImage: TypeAlias = Image.Image | Pixels | Path | str

MAX_PIXELS = 64_000_000

FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"),
    *("TGA", "ICO", "QOI", "PCX"),
)
"""Formats that Pillow decodes by itself. Others are refused: EPS, for one, would start an outside
interpreter.
"""

_OF_PLUGINS = ("HEIF", "JXL")
"""Formats that are read too where a plug-in of Pillow was registered for them."""

_PHOTOMETRIC = 262
_BITS_PER_SAMPLE = 258
_WHITE_IS_ZERO = 0
"""Tags of TIFF 6.0, and the value of the first that makes 0 white."""

_ON_ITS_SIDE = (5, 6, 7, 8)
"""Values of EXIF's orientation by which width and height change places."""

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


@final
class ImageHeader(NamedTuple):
    """What the header of an image file says.

    width, height: in pixels, after the EXIF rotation. transparent: whether it has an alpha channel
    or a transparent colour. pictures: how many the file holds: pages, or pictures of an animation.
    """

    width: int
    height: int
    transparent: bool
    pictures: int


def image_suffixes() -> frozenset[str]:
    """The suffixes, in lower case with their dot, of the formats that can be read."""
    known = _formats()
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in known
    )


def to_rgb(image: Image.Image) -> Pixels:
    """(H, W, 3) uint8 sRGB, 0-255, of an image of any mode; the image itself is not changed.

    EXIF rotation is applied. Transparency is composited on white. Grey of up to 16 bits keeps the
    upper 8 of the bits that its file declares. Float grey is read as 0 (black) to 1 (white). A TIFF
    whose zero is white is inverted. Colour profiles are ignored. Of an animation the current
    picture counts.

    DataError for an empty, damaged or inconvertible image, and for grey whose range is not known:
    floats beyond 0 and 1, and integers of 32 bits.
    """
    return np.array(_rgb_image(image))


def any_image(image: AnyImage) -> Image.Image:
    """The same as a Pillow image of mode RGB, from an image in whatever form.

    "~" is the home folder. DataError for a file or an image that cannot be read, UsageError for
    anything that is no image.
    """
    if isinstance(image, Image.Image):
        return _rgb_image(image)
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        with _opened(path) as found:
            return _rgb_image(found)
    if not isinstance(image, np.ndarray):
        raise UsageError(
            f"an image of type {type(image).__name__}; give a path, a PIL image or (H, W, 3) uint8"
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise UsageError(
            f"pixels are {image.dtype} {image.shape}; give uint8 (H, W, 3), as from open_image"
        )
    return Image.fromarray(image)


def any_pixels(image: AnyImage) -> Pixels:
    """(H, W, 3) uint8 sRGB of an image in whatever form, as `any_image`; pixels are not checked."""
    return image if isinstance(image, np.ndarray) else np.array(any_image(image))


def open_image(path: Path | str) -> Pixels:
    """`to_rgb` of an image file of up to 64 megapixels.

    DataError, one line with the path, for any other file.
    """
    with _opened(path) as image:
        return to_rgb(image)


def decode_image(data: bytes) -> Image.Image:
    """`any_image` of the bytes of an image file of up to 64 megapixels. DataError for any other."""
    with _opened("the image", io.BytesIO(data)) as image:
        return _rgb_image(image)


def read_header(path: Path | str) -> ImageHeader:
    """What the header of an image file says; the picture is not decoded. DataError as `open_image`.

    The pictures of an MPO file count as one: the others are previews, or views for 3D screens.
    """
    with _opened(path) as image:
        pictures = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        width, height = image.size[::-1] if _lies_on_its_side(image) else image.size
        return ImageHeader(width, height, image.has_transparency_data, pictures)


def _lies_on_its_side(image: Image.Image) -> bool:
    """Whether the EXIF rotation, which is yet to be applied, exchanges width and height.

    Of TIFF Pillow gives the size after it, and no EXIF block.
    """
    if "exif" not in image.info:
        return False
    return image.getexif().get(ExifTags.Base.Orientation) in _ON_ITS_SIDE


@contextmanager
def _opened(path: Path | str, content: io.BytesIO | None = None) -> Iterator[Image.Image]:
    """The image of a file, not decoded yet; what goes wrong inside becomes a DataError.

    content: the file, if it is in memory; `path` then only names it.
    """
    try:
        with Image.open(content or path, formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path, f"{image.width} x {image.height} px")
            yield image
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, "an enormous image") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except UnidentifiedImageError as error:
        size = content.getbuffer().nbytes if content else Path(path).stat().st_size
        raise DataError(f"{path}: {_unidentified(size)}") from error
    except DAMAGED as error:
        raise DataError(
            f"{path}: cannot be read ({_line(error)}); check the file and its permissions"
        ) from error


def _formats() -> tuple[str, ...]:
    """The formats that can be read in this process."""
    Image.init()
    return tuple(name for name in (*FORMATS, *_OF_PLUGINS) if name in Image.OPEN)


def _rgb_image(image: Image.Image) -> Image.Image:
    """`to_rgb` before its pixels become an array: a new image of mode RGB."""
    if not (image.width and image.height):
        raise DataError(
            f"an image of {image.width} x {image.height} px holds no pixels; leave it out"
        )
    try:
        if image.mode.startswith("I") or image.mode == "F":
            return Image.fromarray(_grey(image)).convert("RGB")
        return _flattened(ImageOps.exif_transpose(image))
    except DAMAGED as error:
        raise DataError(
            f"cannot be decoded, mode {image.mode} ({_line(error)}); save it as PNG again"
        ) from error


def _flattened(image: Image.Image) -> Image.Image:
    """An image of 8 bits per channel in mode RGB."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W) of a grey image of more than 8 bits: mode I;16 and its kin, I, or F."""
    tags = getattr(image, "tag_v2", {})
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    turned = ImageOps.exif_transpose(image)
    values = np.asarray(turned)
    if image.mode == "F":
        shown = _of_floats(values)
        return 255 - shown if inverted else shown
    # Pillow reads PGM of more than 8 bits as mode I, and scales its stated range to 16 bits.
    if image.mode == "I" and image.format != "PPM":
        raise DataError(
            "32-bit or signed grey declares no range; save it with 8 or 16 bits, all images alike"
        )
    bits = max(8, *tags.get(_BITS_PER_SAMPLE, (16,)))
    grey: NDArray[np.uint8] = (values.astype(np.uint16) >> (bits - 8)).astype(np.uint8)
    clear = turned.info.get("transparency")
    if isinstance(clear, int):
        grey = np.where(values == clear, np.uint8(255), grey)
    return 255 - grey if inverted else grey


def _of_floats(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    low = float(values.min())
    high = float(values.max())
    if not np.isfinite([low, high]).all():
        raise DataError("a float image holds values that are not finite; replace them first")
    if low < 0 or high > 1:
        raise DataError(
            f"float grey from {low:g} to {high:g} declares no range; "
            "scale it to 0 to 1, all images alike"
        )
    return np.rint(values * 255).astype(np.uint8)


def _unidentified(size: int) -> str:
    if size == 0:
        return "the file is empty; get it again"
    return f"not an image that can be read; convert it to PNG (known: {', '.join(FORMATS)})"


def _too_large(path: Path | str, what: str) -> DataError:
    return DataError(
        f"{path}: {what} is over {MAX_PIXELS // 1_000_000} megapixels; shrink it first"
    )


def _line(error: BaseException) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__
