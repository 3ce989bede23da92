"""From pixels to the bytes that are sent, and what a vendor does to them before its model looks.

    encode(pixels)                           exactly those pixels, as PNG
    plan("openai", "gpt-4o", 1024)           scaled to 768 x 768, cut into 4 tiles, 765 tokens
    largest_canvas("openai", "gpt-4o")       768: what passes without being resampled
    check("openai", "gpt-4o", 1024, 90_000)  UsageError: use --canvas 768

The rules are data, `limits.toml`, dated and each with its source; a file of your own (BBTVP_LIMITS)
wins over it.
"""

from __future__ import annotations

import io
import math
import os
import struct
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar, final

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field, ValidationError, model_validator

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError, unknown
from bbtvp.endpoint.dialect import Picture
from bbtvp.endpoint.resizing import Like, Processor, Rule, Seen, Step, Strict

FORMATS = ("png", "jpeg", "webp")
SURVIVES = 0.75
"""A frame survives being scaled down to this; below, what is one pixel wide is averaged away."""
TEXT_OVERHEAD = 100
"""Tokens for a vendor's own template around image and question."""
SHIPPED = Path(__file__).with_name("limits.toml")

Size: TypeAlias = int | tuple[int, int]
"""Side of a square in pixels, or (width, height)."""
M = TypeVar("M", bound=BaseModel)


# -- bytes -----------------------------------------------------------------------------------------
def encode(pixels: Pixels, format: str = "png", quality: int = 90) -> Picture:
    """(H, W, 3) uint8 as a file: "png" keeps every pixel; "jpeg" (4:4:4) and "webp" lose some, by
    quality 1 to 100.

    No metadata. Equal pixels give equal bytes. UsageError for another format.
    """
    if format == "png":
        return Picture(_png(pixels), "image/png")
    if format not in FORMATS:
        raise unknown("image format", format, FORMATS)
    options = {"jpeg": {"subsampling": 0}, "webp": {"method": 0}}[format]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, quality=quality, **options)
    return Picture(file.getvalue(), f"image/{format}")


def decoded(picture: Picture) -> Pixels:
    """(H, W, 3) uint8: what arrives at the other end."""
    with Image.open(io.BytesIO(picture.data), formats=(picture.format,)) as image:
        return np.array(image.convert("RGB"))


def _png(pixels: Pixels) -> bytes:
    """A PNG in 40 % of the time of Pillow's, which tries five filters on every row.

    Here each row is told by the one above (filter 2), and deflate looks for runs only. A photo
    grows by up to 9 %.
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


# -- the data file ---------------------------------------------------------------------------------
@final
class Row(Strict):
    """What is known of one service and of models by pattern (fnmatch); what is left out, a wider
    pattern may say.

    side: largest side in pixels. bytes: largest file, as base64 text if `base64`. images: per
    request.
    """

    service: str = Field(min_length=1)
    model: str = Field(default="*", min_length=1)
    formats: list[str] | None = None
    side: Annotated[int, Field(ge=1)] | None = None
    bytes: Annotated[int, Field(ge=1)] | None = None
    base64: bool = False
    images: Annotated[int, Field(ge=1)] | None = None
    resize: Annotated[Rule | Like, Field(discriminator="kind")] | None = None
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _each_value_has_a_source(self) -> Row:
        for name in VALUES:
            if getattr(self, name) is not None and name not in self.sources:
                raise ValueError(f'{name} has no source; add sources.{name} = "where you read it"')
        for name in self.sources:
            if name not in VALUES:
                raise ValueError(f"sources.{name} is no value of a row; one of {', '.join(VALUES)}")
        return self


VALUES = ("formats", "side", "bytes", "images", "resize")


class _File(Strict):
    checked: date | None = None
    limits: list[Row] = Field(default_factory=list)


@final
@dataclass(frozen=True)
class Known:
    """What holds for one model. `sources`: where each value was read. formats and limits are None
    where not known.
    """

    resize: Rule | Like
    sources: Mapping[str, str]
    formats: Sequence[str] | None = None
    side: int | None = None
    bytes: int | None = None
    images: int | None = None


@final
class Limits:
    """Rows of limits: the shipped ones, and before them those of a file of your own."""

    def __init__(
        self, own: Sequence[Row], shipped: Sequence[Row], checked: date | None, path: Path | None
    ) -> None:
        self.own = tuple(own)
        self.shipped = tuple(shipped)
        self.checked = checked
        self.path = path

    @classmethod
    def load(cls, path: Path | None = None) -> Limits:
        """The shipped file, under your own: `path`, or BBTVP_LIMITS. UsageError for a file that
        cannot be used.
        """
        own = os.environ.get("BBTVP_LIMITS")
        return _loaded(path or (Path(own) if own else None))

    def find(self, service: str, model: str) -> Known:
        """What is known of a model, and where from. Of two rows the narrower counts, and yours
        before a shipped one.
        """
        known = self._find(service, model)
        asked = [service]
        while isinstance(known.resize, Like):
            other = known.resize.service
            if other in asked:
                raise UsageError(
                    f"limits of {service}: {' like '.join([*asked, other])} leads nowhere; give a rule"
                )
            asked.append(other)
            lent = self._find(other, model)
            sources = {**known.sources, "resize": f"as {other}: {lent.sources['resize']}"}
            known = replace(known, resize=lent.resize, sources=sources)
        return known

    def _find(self, service: str, model: str) -> Known:
        found: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for row in self._matching(service, model):
            for name in VALUES:
                value = getattr(row, name)
                if name not in found and value is not None:
                    found[name] = value * 3 // 4 if name == "bytes" and row.base64 else value
                    sources[name] = row.sources[name]
        return Known(sources=sources, **found)

    def _matching(self, service: str, model: str) -> Iterator[Row]:
        """Rows of a model, those that count first."""
        for rows in (self.own, self.shipped):
            fits = [
                row
                for row in rows
                if row.service in (service, "*") and fnmatchcase(model, row.model)
            ]
            yield from sorted(
                fits, key=lambda row: (row.service == "*", row.model != model, -len(row.model))
            )


@lru_cache(maxsize=8)
def _loaded(path: Path | None) -> Limits:
    shipped = read_table(SHIPPED, _File)
    if path is None:
        return Limits((), shipped.limits, shipped.checked, None)
    own = read_table(path, _File)
    return Limits(own.limits, shipped.limits, own.checked, path)


def read_table(path: Path, form: type[M]) -> M:
    """A TOML file as a checked model. UsageError, one line with file and key, for a file that
    cannot be used.
    """
    try:
        return form.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        raise UsageError(_explained(path, form, error)) from error


def _explained(path: Path, form: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    where = [str(part + 1) if isinstance(part, int) else str(part) for part in first["loc"]]
    key = where[-1] if where else ""
    place = f"{path}: {' '.join(where)}" if where else str(path)
    if first["type"] == "extra_forbidden":
        return f"{place}: {unknown('key', key, _keys(form))}"
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) else ""
    return f"{place}: {message[:1].lower()}{message[1:]}{shown}"


def _keys(form: type[BaseModel]) -> set[str]:
    """All keys that may stand anywhere in a file of this form."""
    found: set[str] = set()
    waiting: list[object] = [form]
    while waiting:
        item = waiting.pop()
        if isinstance(item, type) and issubclass(item, BaseModel):
            found |= item.model_fields.keys()
            waiting += [field.annotation for field in item.model_fields.values()]
        waiting += getattr(item, "__args__", ())
    return found


# -- plans -----------------------------------------------------------------------------------------
@final
@dataclass(frozen=True)
class ImagePlan:
    """What happens to an image of (width, height) `sent` px on its way into a model.

    scale: pixels after per pixel before, of a side; 1 if not resampled, None if not known. tokens:
    as expected, None if not known; at_most: for bounds. survives: whether a frame does, None if not
    known. sources: where rules were read.
    """

    service: str
    model: str
    sent: tuple[int, int]
    steps: tuple[Step, ...]
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
    image_side: int | None = None,
    limits: Limits | None = None,
) -> ImagePlan:
    """What a vendor does to a canvas, as far as it is told. bytes: length of the file, if it is
    known.

    image_side: side of the square that a local model's processor makes. Nothing is refused here:
    see `check`.
    """
    table = limits or Limits.load()
    known, seen = _facts(table, service, model, _pair(canvas), image_side)
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


def largest_canvas(
    service: str, model: str, *, image_side: int | None = None, limits: Limits | None = None
) -> int | None:
    """Side in pixels of the largest square that is not scaled down on its way; None where the rules
    are not told.
    """
    table = limits or Limits.load()
    low = 1
    high = table.find(service, model).side or 8192
    if _facts(table, service, model, (low, low), image_side)[1].scale is None:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        scale = _facts(table, service, model, (middle, middle), image_side)[1].scale
        low, high = (middle, high) if scale is not None and scale >= 1 else (low, middle - 1)
    return low


def fitting_canvas(
    service: str,
    model: str,
    wanted: int,
    *,
    image_side: int | None = None,
    limits: Limits | None = None,
) -> int:
    """The side nearest to `wanted` pixels that passes without resampling; `wanted` where the rules
    are not told.
    """
    table = limits or Limits.load()

    def scale(side: int) -> float | None:
        return _facts(table, service, model, (side, side), image_side)[1].scale

    largest = largest_canvas(service, model, image_side=image_side, limits=table)
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
    limits: Limits | None = None,
) -> None:
    """UsageError, with the size that is needed, for an image that would be refused or scaled down
    on the way.
    """
    table = limits or Limits.load()
    size = _pair(canvas)
    known, seen = _facts(table, service, model, size, None)
    for excess in _excess(known, service, size, bytes, format):
        raise UsageError(excess)
    if seen.scale is not None and seen.scale < 1 and not isinstance(known.resize, Processor):
        best = largest_canvas(service, model, limits=table)
        last = seen.steps[0]
        raise UsageError(
            f"{service}/{model} would scale an image of {size[0]} x {size[1]} px to {last.width} x {last.height}, and "
            f"the prompt with it; use --canvas {best}"
        )


def input_tokens(
    service: str, model: str, canvas: Size, text_characters: int, *, limits: Limits | None = None
) -> int:
    """Tokens that one image query can be billed for as input, at most.

    By the vendor's rule for the image, never by the length of its file; and one for two characters
    of text. text_characters: of question and labels; UTF-8 bytes for scripts other than Latin.
    """
    _, seen = _facts(limits or Limits.load(), service, model, _pair(canvas), None)
    return seen.at_most + math.ceil(text_characters / 2) + TEXT_OVERHEAD


@lru_cache(maxsize=4096)
def _facts(
    limits: Limits, service: str, model: str, size: tuple[int, int], image_side: int | None
) -> tuple[Known, Seen]:
    known = limits.find(service, model)
    rule = known.resize
    if isinstance(rule, Like):  # `find` leaves none
        raise TypeError(f"{service} has no rule of its own")
    if image_side is not None and isinstance(rule, Processor):
        rule = rule.model_copy(update={"side": image_side})
    return known, rule.see(*size)


def _pair(canvas: Size) -> tuple[int, int]:
    pair = (canvas, canvas) if isinstance(canvas, int) else canvas
    if min(pair) < 1:
        raise UsageError(f"a canvas of {pair[0]} x {pair[1]} px holds no pixels; use --canvas 224")
    return pair


def _excess(
    known: Known, service: str, size: tuple[int, int], bytes: int | None, format: str
) -> Iterator[str]:
    """Why an image would be refused, with the size that is needed."""
    if known.formats is not None and format not in known.formats:
        yield f"{service} does not take {format}; use one of {', '.join(known.formats)}"
    side = max(size)
    if known.side is not None and side > known.side:
        yield f"{service} refuses images over {known.side} px on a side; use --canvas {known.side} or less"
    if known.bytes is not None and bytes is not None and bytes > known.bytes:
        smaller = math.floor(side * math.sqrt(known.bytes / bytes))
        cheaper = ", or -M format=jpeg" if format == "png" else ""
        yield (
            f"{service} refuses image files over {known.bytes:,} bytes, and this one has {bytes:,}; "
            f"use --canvas {smaller} or less{cheaper}"
        )


def _resampled(scale: float | None) -> Iterator[str]:
    if scale is not None and scale < 1:
        lost = "the frame is blurred" if scale >= SURVIVES else "the frame does not survive"
        yield f"scaled down to {scale:.0%} of its side: {lost}; send the size that is taken"
    if scale is not None and scale > 1:
        yield f"scaled up to {scale:.0%} of its side: single pixels of the frame are smeared"
