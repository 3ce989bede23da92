"""Pictures inside a bundle: PNG that holds pixels and nothing else."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias, final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BundleError
from bbtvp.prompt.bundle.manifest import AGAIN
from bbtvp.prompt.image import DAMAGED
from bbtvp.prompt.layer import MAX_CANVAS

Mode: TypeAlias = Literal["RGB", "RGBA"]

_START = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">2L5B")
_COLOUR_TYPES = {"RGB": 2, "RGBA": 6}
_MOST_CHUNKS = 1 << 16
_PARTS = (b"IHDR", b"IDAT", b"IEND")
"""All that is needed for pixels of 8 bits; every other chunk may hold anything."""


@final
class PngSize(NamedTuple):
    """Pixels across and down of a picture in a bundle."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return self.width * self.height


def checked_png(data: bytes, name: str, mode: Mode) -> PngSize:
    """The size of a PNG of 8 bits that holds pixels and nothing else, from its header.

    Nothing is decoded. BundleError for any other file, and for a side over `MAX_CANVAS`.
    """
    chunks = list(islice(_chunks(data, name), _MOST_CHUNKS))
    kinds = [kind for kind, _ in chunks]
    for kind in kinds:
        if kind not in _PARTS:
            raise BundleError(
                f"{name} holds more than pixels (a chunk {kind.decode('latin-1')!r}); {AGAIN}"
            )
    middle = kinds[1:-1]
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or set(middle) != {b"IDAT"}:
        raise BundleError(f"{name} is not a PNG of header, pixels and end; {AGAIN}")
    header = chunks[0][1]
    if len(header) != _HEADER.size or chunks[-1][1]:
        raise BundleError(f"{name} is not a PNG of header, pixels and end; {AGAIN}")
    width, height, *form = _HEADER.unpack(header)
    if form != [8, _COLOUR_TYPES[mode], 0, 0, 0]:
        raise BundleError(f"{name} is not {mode} of 8 bits, without interlacing; {AGAIN}")
    if not (1 <= width <= MAX_CANVAS and 1 <= height <= MAX_CANVAS):
        raise BundleError(f"{name} is of {width} x {height} px, over {MAX_CANVAS}; {AGAIN}")
    return PngSize(width, height)


def hidden_bytes(data: bytes, name: str, mode: Mode) -> int:
    """Bytes of a picture that `checked_png` accepts and no pixel needs, behind its pixels.

    BundleError as of `checked_png`, and for pixels that cannot be unpacked.
    """
    size = checked_png(data, name, mode)
    packed = b"".join(part for kind, part in _chunks(data, name) if kind == b"IDAT")
    needed = size.height * (1 + len(mode) * size.width)
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, needed + 1)
    except zlib.error as error:
        raise BundleError(f"{name} cannot be decoded; {AGAIN}") from error
    return len(unpacker.unused_data) + len(unpacker.unconsumed_tail) + len(unpacked) - needed


def decoded(data: bytes, name: str, mode: Mode) -> Pixels:
    """(H, W, 3 or 4) uint8: the pixels of a PNG that `checked_png` accepts.

    BundleError for any other.
    """
    size = checked_png(data, name, mode)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if (image.mode, image.size) != (mode, tuple(size)):
                raise BundleError(f"{name} is not {mode} of {size}; {AGAIN}")
            return np.array(image)
    except DAMAGED as error:
        raise BundleError(f"{name} cannot be decoded; {AGAIN}") from error


def png_of(pixels: Pixels) -> bytes:
    """A PNG of (H, W, 3 or 4) uint8, and of nothing else; equal bytes where Pillow has one zlib."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def plain(data: bytes, name: str) -> bytes:
    """An RGB picture without what is not pixels; the same bytes where it holds nothing else.

    BundleError for a picture that cannot be decoded.
    """
    try:
        checked_png(data, name, "RGB")
    except BundleError:
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                return png_of(np.array(image.convert("RGB")))
        except DAMAGED as error:
            raise BundleError(f"{name} cannot be decoded; {AGAIN}") from error
    return data


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the content of each chunk, up to the end of the file."""
    if not data.startswith(_START):
        raise BundleError(f"{name} is no PNG; {AGAIN}")
    at = len(_START)
    while at < len(data):
        if at + 12 > len(data):
            raise BundleError(f"{name} is cut off, or goes on after its end; {AGAIN}")
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if at + 12 + length > len(data):
            raise BundleError(f"{name} is cut off, or goes on after its end; {AGAIN}")
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length
