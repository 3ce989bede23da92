"""From pixels to the bytes that are sent, and what a vendor does to them.

    encode(pixels)                               exactly those pixels, as PNG
    plan("openai", "gpt-6-luna", 2000)           scaled to 1600 x 1600, 3,000 tokens
    largest_canvas("openai", "gpt-6-luna")       1600: the largest canvas that is not resampled
    shrunk("openai", "gpt-6-luna", 2000)         says so; check raises UsageError for a refusal

The vendors' rules are data: see `endpoint.limits`.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias, final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError, unknown
from bbtvp.endpoint.limits import ImageLimits, Limits
from bbtvp.endpoint.provider import EncodedImage
from bbtvp.endpoint.resizing import LikeRule, ResizeResult, ResizeStep

IMAGE_FORMATS = ("png", "jpeg", "webp")
SURVIVES = 0.75
"""A frame survives scaling down to this; below it, lines of one pixel are averaged away."""
TEXT_OVERHEAD = 100
"""Tokens allowed for the vendor's own template around the image and the question."""

Size: TypeAlias = int | tuple[int, int]
"""Side of a square in pixels, or (width, height)."""


# -- bytes -----------------------------------------------------------------------------------------
def encode(pixels: Pixels, format: str = "png", quality: int = 90) -> EncodedImage:
    """Encode (H, W, 3) uint8 pixels as a file.

    "png" keeps every pixel; "jpeg" (4:4:4) and "webp" lose some, depending on quality (1 to 100).
    The file holds no metadata, and equal pixels give equal bytes. Raises UsageError for another
    format.
    """
    if format == "png":
        return EncodedImage(_png(pixels), "image/png")
    if format not in IMAGE_FORMATS:
        raise unknown("image format", format, IMAGE_FORMATS)
    options = {"jpeg": {"subsampling": 0}, "webp": {"method": 0}}[format]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, quality=quality, **options)
    return EncodedImage(file.getvalue(), f"image/{format}")


def decoded(picture: EncodedImage) -> Pixels:
    """Decode a file to (H, W, 3) uint8 pixels, as the receiver sees them."""
    with Image.open(io.BytesIO(picture.data), formats=(picture.format,)) as image:
        return np.array(image.convert("RGB"))


def _png(pixels: Pixels) -> bytes:
    """Encode a PNG in 40 % of Pillow's time, which tries five filters on every row.

    Each row is stored as its difference from the row above (filter 2), and deflate searches for
    runs only. A photo grows by up to 9 %.
    """
    height, width, _ = pixels.shape
    flat = pixels.reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 2
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", deflate.compress(rows.data) + deflate.flush()),
        (b"IEND", b""),
    )
    signed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(signed)


# -- plans -----------------------------------------------------------------------------------------
@final
@dataclass(frozen=True)
class ImagePlan:
    """What happens to an image of `sent` (width, height) pixels on its way into a model.

    scale: pixels after per pixel before, along a side; 1 if the image is not resampled, None if not
    known. tokens: the expected number, None if not known; at_most: an upper bound. survives:
    whether a frame survives, None if not known. sources: where the rules were read.
    """

    service: str
    model: str
    sent: tuple[int, int]
    steps: tuple[ResizeStep, ...]
    scale: float | None
    tokens: int | None
    at_most: int
    warnings: tuple[str, ...]
    sources: Mapping[str, str]

    @property
    def survives(self) -> bool | None:
        return None if self.scale is None else self.scale >= SURVIVES


def plan(
    service: str,
    model: str,
    canvas: Size,
    *,
    bytes: int | None = None,
    format: str = "png",
    measured: ResizeResult | None = None,
    limits: Limits | None = None,
) -> ImagePlan:
    """Describe what a vendor does to a canvas, as far as it is documented.

    bytes: size of the file, if known. measured: what a local model's processor was seen to do,
    which no table holds, but for the tokens. This function refuses nothing: see `check`.
    """
    table = limits or Limits.load()
    known, rule = _facts(table, service, model, _pair(canvas))
    seen = replace(measured, at_most=rule.at_most) if measured else rule
    warnings = (
        *_excess(known, service, _pair(canvas), bytes, format),
        *seen.notes,
        *_resampled(seen.scale),
    )
    return ImagePlan(
        service,
        model,
        _pair(canvas),
        seen.steps,
        seen.scale,
        seen.tokens,
        seen.at_most,
        warnings,
        known.sources,
    )


def largest_canvas(service: str, model: str, *, limits: Limits | None = None) -> int | None:
    """Return the side in pixels of the largest square that is not scaled down.

    None where the rules are not documented.
    """
    table = limits or Limits.load()
    low = 1
    high = table.find(service, model).side or 8192
    if _facts(table, service, model, (low, low))[1].scale is None:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        scale = _facts(table, service, model, (middle, middle))[1].scale
        low, high = (middle, high) if scale is not None and scale >= 1 else (low, middle - 1)
    return low


def fitting_canvas(
    service: str,
    model: str,
    wanted: int,
    *,
    limits: Limits | None = None,
) -> int:
    """Return the side nearest to `wanted` pixels that passes without resampling.

    `wanted` itself where the rules are not documented.
    """
    table = limits or Limits.load()

    def scale(side: int) -> float | None:
        return _facts(table, service, model, (side, side))[1].scale

    largest = largest_canvas(service, model, limits=table)
    if largest is None:
        return min(wanted, table.find(service, model).side or wanted)
    low = min(wanted, largest)
    high = largest
    while low < high:  # the smallest that is not scaled up
        middle = (low + high) // 2
        low, high = (low, middle) if (scale(middle) or 1) <= 1 else (middle + 1, high)
    return low


def check(
    service: str,
    model: str,
    canvas: Size,
    bytes: int,
    *,
    format: str = "png",
    images: int = 1,
    limits: Limits | None = None,
) -> None:
    """Raise UsageError for an image that would be refused; `shrunk` tells of one that is resized.

    images: how many its request holds. The message names the size that is needed.
    """
    size = _pair(canvas)
    known, _ = _facts(limits or Limits.load(), service, model, size)
    for excess in _excess(known, service, size, bytes, format):
        raise UsageError(excess)
    crowd = known.crowd
    if crowd is not None and images > crowd.above and max(size) > crowd.side:
        raise UsageError(
            f"{service} refuses images over {crowd.side} px on a side in a request of more than "
            f"{crowd.above} images; use --canvas {crowd.side} or less, or show fewer images"
        )


def resized(
    service: str, model: str, canvas: Size, *, limits: Limits | None = None
) -> ResizeResult:
    """Return what the vendor's rule does to an image, and its tokens."""
    return _facts(limits or Limits.load(), service, model, _pair(canvas))[1]


def shrunk(service: str, model: str, canvas: Size, *, limits: Limits | None = None) -> str | None:
    """Return what to tell of an image that the vendor scales down; None if it does not.

    A picture that is sent as it is may be larger than what the model takes; a prompt drawn for a
    canvas should not be.
    """
    table = limits or Limits.load()
    size = _pair(canvas)
    found = resized(service, model, size, limits=table)
    if found.scale is None or found.scale >= 1:
        return None
    best = largest_canvas(service, model, limits=table)
    last = found.steps[0]
    return (
        f"{service}/{model} scales an image of {size[0]} x {size[1]} px, and a prompt with it, "
        f"to {last.width} x {last.height}; a square of {best} px passes as it is"
    )


def most_images(service: str, model: str, *, limits: Limits | None = None) -> int | None:
    """Return how many images one request may hold; None where that is not documented."""
    return (limits or Limits.load()).find(service, model).images


def check_request(
    service: str, model: str, images: int, bytes: int, *, limits: Limits | None = None
) -> None:
    """Raise UsageError for a request of too many images, or of too many bytes as it is sent."""
    known = (limits or Limits.load()).find(service, model)
    if known.images is not None and images > known.images:
        raise UsageError(
            f"{service}/{model} takes at most {known.images} images in a request, and this one "
            f"holds {images}; show fewer"
        )
    if known.request is not None and bytes > known.request:
        raise UsageError(
            f"{service} refuses requests over {known.request:,} bytes, and this one of {images} "
            f"images has {bytes:,}; show fewer images, or use a smaller --canvas"
        )


def input_tokens(
    service: str, model: str, canvas: Size, text_characters: int, *, limits: Limits | None = None
) -> int:
    """Return an upper bound on the input tokens of one image query.

    The image counts by the vendor's rule, never by the size of its file. text_characters: of the
    question and the labels; UTF-8 bytes for scripts other than Latin.
    """
    _, seen = _facts(limits or Limits.load(), service, model, _pair(canvas))
    return seen.at_most + text_tokens(text_characters) + TEXT_OVERHEAD


def text_tokens(characters: int) -> int:
    """Return an upper bound on the tokens of a text: two of its characters count as one token."""
    return math.ceil(characters / 2)


@lru_cache(maxsize=4096)
def _facts(
    limits: Limits, service: str, model: str, size: tuple[int, int]
) -> tuple[ImageLimits, ResizeResult]:
    known = limits.find(service, model)
    rule = known.resize
    if isinstance(rule, LikeRule):  # `find` leaves none
        raise TypeError(f"{service} has no rule of its own")
    return known, rule.apply(*size)


def _pair(canvas: Size) -> tuple[int, int]:
    pair = (canvas, canvas) if isinstance(canvas, int) else canvas
    if min(pair) < 1:
        raise UsageError(f"a canvas of {pair[0]} x {pair[1]} px has no pixels; use --canvas 224")
    return pair


def _excess(
    known: ImageLimits, service: str, size: tuple[int, int], bytes: int | None, format: str
) -> Iterator[str]:
    """Yield each reason for which an image would be refused, with the size that is needed."""
    if known.formats is not None and format not in known.formats:
        yield f"{service} does not accept {format}; use one of {', '.join(known.formats)}"
    side = max(size)
    if known.side is not None and side > known.side:
        yield (
            f"{service} refuses images over {known.side} px on a side; "
            f"use --canvas {known.side} or less"
        )
    if known.bytes is not None and bytes is not None and bytes > known.bytes:
        smaller = math.floor(side * math.sqrt(known.bytes / bytes))
        cheaper = ", or -M format=jpeg" if format == "png" else ""
        yield (
            f"{service} refuses image files over {known.bytes:,} bytes, "
            f"and this one has {bytes:,}; use --canvas {smaller} or less{cheaper}"
        )


def _resampled(scale: float | None) -> Iterator[str]:
    if scale is not None and scale < 1:
        lost = "the frame is blurred" if scale >= SURVIVES else "the frame does not survive"
        yield f"scaled down to {scale:.0%} of its side: {lost}; send the size that the model takes"
    if scale is not None and scale > 1:
        yield f"scaled up to {scale:.0%} of its side: single pixels of the frame are smeared"
