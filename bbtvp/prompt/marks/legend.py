"""Names in a strip below the image, from a list that the author of the prompt fixed.

It is off unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.prompt.layer import Box, Geometry, Group, Insets, Paint, PaintLayer, chosen
from bbtvp.prompt.marks import glyphs
from bbtvp.prompt.marks.ink import Label, labels

_OPTIONS = ("none", "each")
_MOST_ENTRIES = 32
_MOST_CHARACTERS = 24
_MOST_WORDS = 3
_LEAST_CAP = 6
_PITCH = 1.9
_BETWEEN = 1.4
"""From line to line, and between two entries, in heights of a capital letter."""
_MOST_STRIP = 1 / 3
_BLACK: NDArray[np.uint16] = np.zeros((1, 3), np.uint16)


@final
@dataclass(frozen=True)
class Legend(PaintLayer):
    """Each of `entries`, black on a white strip along the bottom; the image is placed above it.

    `entries`: 1 to 32 names of classes or symbols, each at most 24 characters and three words, all
    different, of letters, digits, spaces and # $ @ & % + * = - _ . : / ( ). `height` of a capital
    letter: 1/30..1/12 of the canvas. Two variables in z, a choice: none (z = 0, nothing is drawn)
    or each. UsageError for entries that break a rule, or that take more than a third of the canvas.

    **Text in an image is an instruction channel.** Typographic text misleads a model that reads it,
    and a model that is trained to ignore text loses the text that it needs. So a legend holds:

    - never instructions: the rules above keep sentences out, but not ill will, so read a stranger's
      bundle before you use it;
    - never the true answer, and never a list that differs from image to image, which would leak
      labels;
    - never text taken from an image, a file name or metadata: the entries are fixed here, and are
      not a variable.

    A legend also makes a user's own images look like ours: a painted strip can forge it. Names
    moved from the question into pixels usually lose accuracy: keep them in the question too.
    """

    entries: tuple[str, ...]
    height: float = 1 / 24

    kind: ClassVar[str] = "legend"
    order: ClassVar[int] = 60

    def __post_init__(self) -> None:
        entries = _listed(self.entries)
        object.__setattr__(self, "entries", entries)
        if len(set(entries)) < len(entries):
            raise UsageError("a legend names something twice; give each entry once")
        for entry in entries:
            glyphs.checked(entry)
            if len(entry) > _MOST_CHARACTERS or len(entry.split()) > _MOST_WORDS:
                limits = f"{_MOST_CHARACTERS} characters and {_MOST_WORDS} words"
                raise UsageError(f"legend entry {entry!r} is no name; give at most {limits}")
        if not 1 / 30 <= self.height <= 1 / 12:
            raise UsageError(f"height is {self.height}; give a share of the canvas, 1/30 to 1/12")

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        self._check(geometry)
        return tuple(f"entries_{option}" for option in _OPTIONS)

    def choices(self, geometry: Geometry) -> tuple[Group, ...]:
        return ((0, len(_OPTIONS)),)

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float | str]:
        return {"entries": chosen(_OPTIONS, z.tolist())}

    def shown(self, z: Vector) -> bool:
        """Whether this z draws it."""
        return chosen(_OPTIONS, z.tolist()) == "each"

    def insets(self, z: Vector, geometry: Geometry) -> Insets:
        return Insets(bottom=self._laid_out(geometry)[1]) if self.shown(z) else Insets()

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        shown = self.shown(z)
        texts, strip = self._laid_out(geometry)
        top = geometry.height - strip
        where = Box(0, top, *geometry.canvas)
        ink = labels(geometry.canvas, texts, where) if shown else None

        def paint(canvas: Pixels, box: Box) -> None:
            if ink is not None:
                canvas[top:] = 255
                ink.blend(canvas, _BLACK)

        return paint

    def _laid_out(self, geometry: Geometry) -> tuple[list[Label], int]:
        """The labels and the height of their strip; all smaller where a picture is narrow."""
        width, height = geometry.canvas
        for cap in range(self._cap(geometry), 0, -1):
            lines = self._wrapped(cap, width)
            pitch = round(_PITCH * cap)
            strip = pitch * len(lines)
            if max(_widths(self.entries, cap)) > _room(cap, width) or strip > height * _MOST_STRIP:
                continue
            top = height - strip
            placed = [
                Label(text, cap, x, top + (row + 0.5) * pitch)
                for row, line in enumerate(lines)
                for text, x in line
            ]
            return placed, strip
        return [], 0

    def _check(self, geometry: Geometry) -> None:
        """UsageError if the entries do not fit in letters of the wished height."""
        cap = self._cap(geometry)
        width, height = geometry.canvas
        for entry, needed in zip(self.entries, _widths(self.entries, cap), strict=True):
            if needed > _room(cap, width):
                raise UsageError(
                    f"legend entry {entry!r} is wider than a canvas of {width} px; shorten it"
                )
        lines = self._wrapped(cap, width)
        if round(_PITCH * cap) * len(lines) > height * _MOST_STRIP:
            raise UsageError(
                f"a legend of {len(lines)} lines takes over a third of {height} px; "
                "give fewer entries"
            )

    def _cap(self, geometry: Geometry) -> int:
        return max(_LEAST_CAP, round(self.height * geometry.side))

    def _wrapped(self, cap: int, side: int) -> list[list[tuple[str, float]]]:
        """The entries of each line, with the middle of each."""
        gap = round(_BETWEEN * cap)
        lines: list[list[tuple[str, float]]] = [[]]
        at = gap / 2
        for entry, width in zip(self.entries, _widths(self.entries, cap), strict=True):
            if at + width > side - gap / 2:
                lines.append([])
                at = gap / 2
            lines[-1].append((entry, at + width / 2))
            at += width + gap
        return lines


def _widths(entries: tuple[str, ...], cap: int) -> list[int]:
    return [glyphs.drawn(entry, cap).shape[1] for entry in entries]


def _room(cap: int, side: int) -> int:
    """Pixels across that one entry may take."""
    return side - round(_BETWEEN * cap)


def _listed(entries: Iterable[str]) -> tuple[str, ...]:
    listed = tuple(entries)
    if isinstance(entries, str) or not 1 <= len(listed) <= _MOST_ENTRIES:
        raise UsageError(f"a legend of {entries!r}; give 1 to {_MOST_ENTRIES} names, as a tuple")
    return listed
