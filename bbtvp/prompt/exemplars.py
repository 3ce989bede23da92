"""Examples that go with every image: training images with their answers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, final, get_args

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.digest import digest
from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.shown import Shown
from bbtvp.prompt.image import DAMAGED
from bbtvp.prompt.layer import (
    BACKGROUND,
    MAX_CANVAS,
    Box,
    Geometry,
    Group,
    Insets,
    Layer,
    Paint,
    PaintLayer,
    Size,
    chosen,
)
from bbtvp.prompt.marks import glyphs
from bbtvp.prompt.marks.ink import Label, labels

ExemplarForm: TypeAlias = Literal["images", "strip"]
ExemplarPlace: TypeAlias = Literal["right", "below"]

PREFIX = "exemplar-"
"""How the names of the pictures begin in a bundle; the digest of the pixels and .png follow."""
MOST_EXEMPLARS = 64
"""In all sets together."""
MOST_PIXELS = 25_000_000
"""Of the pictures of one set together."""

_NONE = "none"
_STRIP = 1 / 4
"""The strip's share of the canvas."""
_LEAST_THUMB = 12
_LEAST_CAP = 5
"""Pixels below which a picture, and a capital letter of its caption, cannot be told."""
_CAPTION = 1 / 5
"""The caption's share of a cell's height."""
_GAP = 2
_LONGEST_CAPTION = 100
_MOST_SETS = 10_000


@final
@dataclass(frozen=True)
class Exemplar:
    """One example.

    picture: digest of its pixels, 16 hexadecimal digits. text: what follows it as an image of its
    own, such as the question and its answer. caption: what is written below it in a strip.
    """

    picture: str
    text: str
    caption: str

    @property
    def file(self) -> str:
        """The name of its picture in a bundle."""
        return f"{PREFIX}{self.picture}.png"


@final
@dataclass(frozen=True)
class Exemplars(PaintLayer):
    """Up to k examples, as images before the question's own or as a strip on its canvas.

    exemplars: the candidates. sets: places among them; z chooses one set or none, and z = 0 is
    none. form: "images" for a model that takes several in a request (`Shown`), "strip" for one that
    takes one: small pictures with captions, at the `place` "right" or "below"; not on the left,
    which models describe first. pictures: the files of the pictures, PNG, by name. Those of the
    chosen set are part of a bundle, which then **holds data of the task**.

    UsageError for a set that is empty or names no candidate, a picture that is missing or altered,
    or a canvas on which a strip would be too small to be told.
    """

    exemplars: tuple[Exemplar, ...]
    sets: tuple[tuple[int, ...], ...]
    form: ExemplarForm = "images"
    place: ExemplarPlace = "right"
    pictures: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    kind: ClassVar[str] = "exemplars"
    order: ClassVar[int] = 65

    def __post_init__(self) -> None:
        if self.form not in get_args(ExemplarForm):
            raise unknown("form of exemplars", self.form, get_args(ExemplarForm))
        if self.place not in get_args(ExemplarPlace):
            raise unknown("place of exemplars", self.place, get_args(ExemplarPlace))
        if not self.sets or not all(self.sets):
            raise UsageError("a set of exemplars is empty; give each set at least one")
        if len(self.exemplars) > MOST_EXEMPLARS:
            raise UsageError(f"{len(self.exemplars)} exemplars; give at most {MOST_EXEMPLARS}")
        if len(self.sets) > _MOST_SETS:
            raise UsageError(f"{len(self.sets)} sets of exemplars; give at most {_MOST_SETS}")
        for one in self.sets:
            _check_set(one, len(self.exemplars))
        if self.form == "strip":
            for exemplar in self.exemplars:
                _check_caption(exemplar.caption)

    @classmethod
    def of(
        cls,
        shown: Iterable[tuple[Pixels, str, str]],
        sets: Iterable[Sequence[int]],
        *,
        side: int = MAX_CANVAS,
        form: ExemplarForm = "images",
        place: ExemplarPlace = "right",
    ) -> Exemplars:
        """Exemplars of (pixels, text, caption), each with no side over `side` pixels."""
        made = []
        pictures = {}
        sizes = {}
        for pixels, text, caption in shown:
            small = _shrunk(pixels, side)
            exemplar = Exemplar(_mark(small), text, caption)
            made.append(exemplar)
            pictures[exemplar.file] = _png(small)
            sizes[exemplar.file] = small.shape[0] * small.shape[1]
        layer = cls(tuple(made), tuple(map(tuple, sets)), form, place, pictures)
        layer._check_pixels(sizes)
        return layer

    @property
    def alters_image(self) -> bool:
        return self.form == "strip"

    @property
    def most(self) -> int:
        """How many exemplars the largest set has."""
        return max(map(len, self.sets))

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        if self.form == "strip":
            self._check_strip(geometry)
        return tuple(f"set_{name}" for name in self._options)

    def choices(self, geometry: Geometry) -> tuple[Group, ...]:
        return ((0, len(self._options)),)

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float | str]:
        found = self.chosen(z)
        answers = ", ".join(exemplar.caption for exemplar in found)
        return {"set": chosen(self._options, z.tolist()), "images": len(found), "answers": answers}

    def starts(self, layers: Mapping[str, Layer]) -> list[dict[str, Vector]]:
        """Each set once."""
        return [{self.kind: self.start(number)} for number in range(len(self.sets))]

    def start(self, number: int) -> Vector:
        """A z that chooses the set of this number, from 0."""
        z = np.zeros(len(self._options))
        z[number + 1] = 1.0
        return z

    def chosen(self, z: Vector) -> tuple[Exemplar, ...]:
        """The exemplars of the set that z chooses, () for none."""
        number = self._options.index(chosen(self._options, z.tolist()))
        return tuple(self.exemplars[place] for place in self.sets[number - 1]) if number else ()

    def context(self, z: Vector, geometry: Geometry) -> tuple[Shown, ...]:
        if self.form == "strip":
            return ()
        return tuple(Shown(self.pixels(one), one.text) for one in self.chosen(z))

    def insets(self, z: Vector, geometry: Geometry) -> Insets:
        if self.form != "strip" or not self.chosen(z):
            return Insets()
        strip = self._strip(geometry)
        return Insets(right=strip.width) if self.place == "right" else Insets(bottom=strip.height)

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        found = self.chosen(z) if self.form == "strip" else ()
        drawn = self._drawn(found, geometry) if found else None

        def paint(canvas: Pixels, box: Box) -> None:
            if drawn is not None:
                canvas[-drawn.shape[0] :, -drawn.shape[1] :] = drawn

        return paint

    def files(self, z: Vector) -> dict[str, bytes]:
        return {one.file: self._file(one) for one in self.chosen(z)}

    def with_files(self, files: Mapping[str, bytes]) -> Exemplars:
        known = {one.file: one.picture for one in self.exemplars}
        layer = replace(
            self, pictures={name: data for name, data in files.items() if name in known}
        )
        sizes = {}
        for name, data in layer.pictures.items():
            pixels = _pixels(name, data)
            if _mark(pixels) != known[name]:
                raise UsageError(f"{name} is not the picture that the exemplar names")
            sizes[name] = pixels.shape[0] * pixels.shape[1]
        layer._check_pixels(sizes)
        return layer

    def without_data(self) -> Exemplars:
        grey = {
            one.file: _png(np.full_like(self.pixels(one), BACKGROUND))
            for one in self.exemplars
            if one.file in self.pictures
        }
        return replace(self, pictures=grey)

    def pixels(self, exemplar: Exemplar) -> Pixels:
        """(H, W, 3) uint8 pixels of an exemplar. UsageError where its picture is not here."""
        return _pixels(exemplar.file, self._file(exemplar))

    def shows(self, picture: Pixels) -> bool:
        """Whether an exemplar is this (H, W, 3) picture, made as small as the exemplar is."""
        here = (one for one in self.exemplars if one.file in self.pictures)
        sizes = {max(self.pixels(one).shape[:2]) for one in here}
        marks = {_mark(_shrunk(picture, side)) for side in sizes}
        return any(one.picture in marks for one in self.exemplars)

    def config(self) -> dict[str, Any]:
        return {name: value for name, value in super().config().items() if name != "pictures"}

    @property
    def _options(self) -> tuple[str, ...]:
        return (_NONE, *(str(number + 1) for number in range(len(self.sets))))

    def _file(self, exemplar: Exemplar) -> bytes:
        found = self.pictures.get(exemplar.file)
        if found is None:
            raise UsageError(f"the exemplar {exemplar.file} has no picture here")
        return found

    def _check_pixels(self, sizes: Mapping[str, int]) -> None:
        """Raise UsageError if a set shows too many pixels. sizes: of pictures, by file name."""
        for one in self.sets:
            pixels = sum(sizes.get(self.exemplars[place].file, 0) for place in one)
            if pixels > MOST_PIXELS:
                raise UsageError(
                    f"the exemplars of a set have {pixels} pixels, over {MOST_PIXELS}; "
                    "give fewer or smaller ones"
                )

    # -- the strip ---------------------------------------------------------------------------------
    def _check_strip(self, geometry: Geometry) -> None:
        """Raise UsageError for canvases on which a strip cannot be told."""
        if not geometry.shared:
            raise UsageError("a strip of exemplars needs one canvas for all images; give --canvas")
        for one in self.sets:
            cell = self._cell(len(one), geometry)
            for place in one:
                self._caption(self.exemplars[place].caption, cell, 0, 0)

    def _strip(self, geometry: Geometry) -> Size:
        if self.place == "right":
            return Size(round(geometry.width * _STRIP), geometry.height)
        return Size(geometry.width, round(geometry.height * _STRIP))

    def _cell(self, count: int, geometry: Geometry) -> _StripCell:
        """How the strip is divided for so many exemplars."""
        strip = self._strip(geometry)
        width, height = strip
        if self.place == "right":
            height //= count
        else:
            width //= count
        cap = max(_LEAST_CAP, round(height * _CAPTION / 2))
        thumb = min(width - 2 * _GAP, height - 2 * cap - 2 * _GAP)
        if thumb < _LEAST_THUMB:
            raise UsageError(
                f"a strip of {count} exemplars is too small on a canvas of {geometry.width} x "
                f"{geometry.height} px; use a larger --canvas, or fewer --exemplars"
            )
        return _StripCell(Size(width, height), thumb, cap)

    def _drawn(self, found: Sequence[Exemplar], geometry: Geometry) -> Pixels:
        """(height, width, 3): the strip, black captions below the pictures on white."""
        strip = self._strip(geometry)
        cell = self._cell(len(found), geometry)
        canvas = np.full((strip.height, strip.width, 3), 255, np.uint8)
        texts = []
        for number, exemplar in enumerate(found):
            left, top = (
                (0, number * cell.size.height)
                if self.place == "right"
                else (number * cell.size.width, 0)
            )
            small = _shrunk(self.pixels(exemplar), cell.thumb)
            height, width = small.shape[:2]
            x = left + (cell.size.width - width) // 2
            y = top + _GAP
            canvas[y : y + height, x : x + width] = small
            texts.append(self._caption(exemplar.caption, cell, left, y + height))
        _write(canvas, texts)
        return canvas

    @staticmethod
    def _caption(text: str, cell: _StripCell, left: int, below: int) -> Label:
        cap = glyphs.fitting(text, cell.cap, cell.size.width - _GAP, 2 * cell.cap)
        if cap < _LEAST_CAP:
            raise UsageError(
                f"the caption {text!r} is too wide for a strip of {cell.size.width} px; use a "
                "larger --canvas, or leave out --exemplars"
            )
        return Label(text, cap, left + cell.size.width / 2, below + cell.cap)


def _pixels(name: str, data: bytes) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if max(image.size) > MAX_CANVAS:
                raise UsageError(f"{name} has a side over {MAX_CANVAS} px")
            return np.array(image.convert("RGB"))
    except DAMAGED as error:
        raise UsageError(f"{name} cannot be decoded") from error


def _check_set(places: Sequence[int], count: int) -> None:
    if len(set(places)) < len(places):
        raise UsageError("a set of exemplars names one twice; name each once")
    if not all(0 <= place < count for place in places):
        raise UsageError(f"the set {places!s:.80} names no exemplar of {count}")


def _check_caption(caption: str) -> None:
    if len(caption) > _LONGEST_CAPTION:
        raise UsageError(
            f"the caption {caption!r:.40}… has {len(caption)} characters; "
            f"give at most {_LONGEST_CAPTION}"
        )
    glyphs.checked(caption)


class _StripCell(NamedTuple):
    """A part of the strip: its size, the side of its picture, the height of a capital letter."""

    size: Size
    thumb: int
    cap: int


def _write(canvas: Pixels, texts: Sequence[Label]) -> None:
    height, width = canvas.shape[:2]
    ink = labels(Size(width, height), texts, Box(0, 0, width, height))
    ink.blend(canvas, np.zeros((1, 3), np.uint16))


def _shrunk(pixels: Pixels, side: int) -> Pixels:
    """The pixels with no side over `side`; smaller ones as they are."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _mark(pixels: Pixels) -> str:
    return digest(str(pixels.shape).encode(), pixels.tobytes())[:16]


def _png(pixels: Pixels) -> bytes:
    """The pixels as a file that holds nothing else."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
