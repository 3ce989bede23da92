"""Marks over the image: rows, columns, a grid or dots, and the characters that name their parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.prompt.layer import Box, Geometry, Group, Insets, Paint, PaintLayer, chosen, soft
from bbtvp.prompt.marks import naming
from bbtvp.prompt.marks.glyphs import drawn, fitting
from bbtvp.prompt.marks.ink import Ink, Label, dots, labels, lines, patches, strip

LAYOUTS = ("none", "rows", "columns", "grid", "dots")
ANCHORS = ("none", "digits", "letters", "symbols")
PLACES = ("margin", "cell", "corners")
INKS = ("luminance", "red", "black")
_GROUPS = {"layout": LAYOUTS, "anchors": ANCHORS, "place": PLACES, "ink": INKS}
_COLORS = {"red": (255, 0, 0), "black": (0, 0, 0)}

_MIDDLE = 5
_DIVISION_STEP = 1.5
_DIVISION_LIMIT = 3.49
"""divisions = round(5 + soft(z)): 2..8."""
_ALPHA = 0.6
_ALPHA_STEP = 0.25
_ALPHA_LIMIT = 0.4
_LOW = 1 / 40
_HIGH = 1 / 14
_HEIGHT_STEP = 0.3
_MARGIN = 0.06
_MARGIN_STEP = 0.04
_MARGIN_LIMIT = 0.06

_THIN = 1 / 250
_DOT = 1 / 120
_LEAST_CAP = 6
_LEAST_DOT = 3
"""Pixels below which a label or a dot is a smudge; a cell that is too small for it still shrinks
it.
"""
_MOST_MARGIN = 4
"""No margin takes more than a quarter of the canvas."""
_MOST_PHASE = 0.25
_KEPT = 16
"""Placements whose ink a painter keeps: a task's images have few."""


@final
class Look(NamedTuple):
    """What the variables stand for. Lengths are shares of the canvas' shorter side."""

    layout: str
    divisions: int
    anchors: str
    place: str
    ink: str
    alpha: float
    label_height: float
    margin: float

    @property
    def named(self) -> naming.Named:
        """What of it a sentence may name."""
        return naming.Named(self.layout, self.divisions, self.anchors, self.place)


_VARIABLES = (
    *(f"layout_{name}" for name in LAYOUTS),
    "divisions",
    *(f"anchors_{name}" for name in ANCHORS),
    *(f"place_{name}" for name in PLACES),
    *(f"ink_{name}" for name in INKS),
    "alpha",
    "label_height",
    "margin",
)


@final
@dataclass(frozen=True)
class Marks(PaintLayer):
    """Partition and anchors, the same over every image of a task.

    After VISER, Grounding IDs, Scaffold and Mark-Grid.

    The variables, 19 in z for eight choices; a categorical one is a group of which the largest is
    chosen:

    - layout: none, rows, columns, grid (of divisions x divisions cells), dots (a dot in the middle
      of such cells);
    - divisions: whole, 2..8, 5 at z = 0;
    - anchors: none, digits, letters, symbols (# $ @ & % + * =), a different one for each part, see
      `naming`;
    - place: margin (rows are named on the left, columns at the top), cell (rows at their left end,
      columns at their top, cells in the middle, dots at their lower right), corners (the four of
      each part);
    - ink: black or white by the local luminance, red, black;
    - alpha of lines and dots: 0.2..1; label height, of a capital letter: 1/40..1/14, in log;
      margin: 0..0.12.

    z = 0 chooses layout none: not a bit is changed, and no other variable counts. With marks, the
    margin is there only if anchors stand in it; it is white, along the left and the top edge, and
    at least as wide as its labels. The image is placed in what is left, so that nothing covers it
    and it is resampled once. Lines and dots partition the image itself, not the canvas. Lengths are
    shares of the canvas' shorter side: thickness 1/250 (3 px at 768, at least 1), dots 1/120 (at
    least 3 px), labels at least 6 px unless their cell is smaller: all labels shrink together until
    each fits.

    `phase`: shift of all lines and dots, as a share of a division, -0.25..0.25. Not searched: fixed
    heights always cut the same content, so a held-out check with another phase shows whether luck
    did it. Whatever the phase, no line and no dot lies across a multiple of 512 px, where tiles are
    cut: it is moved aside, by less than its own width.
    """

    phase: float = 0.0

    kind: ClassVar[str] = "marks"
    order: ClassVar[int] = 50

    def __post_init__(self) -> None:
        if not abs(self.phase) <= _MOST_PHASE:
            raise UsageError(
                f"phase is {self.phase}; give a share of a division, "
                f"-{_MOST_PHASE} to {_MOST_PHASE}"
            )

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return _VARIABLES

    def choices(self, geometry: Geometry) -> tuple[Group, ...]:
        return tuple(
            (_VARIABLES.index(f"{name}_{options[0]}"), len(options))
            for name, options in _GROUPS.items()
        )

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float | str]:
        return dict(self.look(z)._asdict())

    def look(self, z: Vector) -> Look:
        """What z stands for."""
        at = dict(zip(_VARIABLES, z.tolist(), strict=True))
        choice = {
            name: chosen(options, [at[f"{name}_{o}"] for o in options])
            for name, options in _GROUPS.items()
        }
        reach = math.log(_HIGH / _LOW) / 2
        return Look(
            layout=choice["layout"],
            divisions=round(_MIDDLE + soft(at["divisions"], _DIVISION_STEP, _DIVISION_LIMIT)),
            anchors=choice["anchors"],
            place=choice["place"],
            ink=choice["ink"],
            alpha=_ALPHA + soft(at["alpha"], _ALPHA_STEP, _ALPHA_LIMIT),
            label_height=math.sqrt(_LOW * _HIGH)
            * math.exp(soft(at["label_height"], _HEIGHT_STEP, reach)),
            margin=_MARGIN + soft(at["margin"], _MARGIN_STEP, _MARGIN_LIMIT),
        )

    def start(self, divisions: int = 5, **choices: str) -> Vector:
        """A z of these choices, all else at its middle: `start(3, layout="rows")`.

        UsageError for a choice or a number of divisions that is not known.
        """
        z = np.zeros(len(_VARIABLES))
        for name, option in choices.items():
            if option not in _GROUPS.get(name, ()):
                raise unknown(f"choice of {name}", option, _GROUPS.get(name, ()))
            z[_VARIABLES.index(f"{name}_{option}")] = 1.0
        if not 2 <= divisions <= 8:
            raise UsageError(f"{divisions} divisions; give 2 to 8")
        share = (divisions - _MIDDLE) / _DIVISION_LIMIT
        z[_VARIABLES.index("divisions")] = _DIVISION_LIMIT / _DIVISION_STEP * math.atanh(share)
        return z

    def insets(self, z: Vector, geometry: Geometry) -> Insets:
        margin = self._margin(self.look(z), geometry.side)
        return Insets(left=margin, top=margin)

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        look = self.look(z)
        margin = self._margin(look, geometry.side)
        kept: dict[Box, tuple[Ink, Ink]] = {}

        def paint(canvas: Pixels, box: Box) -> None:
            if look.layout == "none":
                return
            if box not in kept:
                if len(kept) >= _KEPT:
                    kept.clear()
                kept[box] = self._drawn(look, geometry, box, margin)
            canvas[:, :margin] = 255
            canvas[:margin] = 255
            colors = (
                patches(canvas)
                if look.ink == "luminance"
                else np.array([_COLORS[look.ink]], np.uint16)
            )
            for ink in kept[box]:
                ink.blend(canvas, colors)

        return paint

    def _margin(self, look: Look, side: int) -> int:
        """Width of the white strips in pixels; 0 without anchors in them."""
        if "none" in (look.layout, look.anchors) or look.place != "margin":
            return 0
        cap = _cap(look, side)
        names = [name for axis in naming.axes(look.named) for name in axis]
        needed = max(size for name in names for size in drawn(name, cap).shape) + 2 * _pad(cap)
        return int(min(max(round(look.margin * side), needed), side // _MOST_MARGIN))

    def _drawn(self, look: Look, geometry: Geometry, box: Box, margin: int) -> tuple[Ink, Ink]:
        """The lines or dots, and the labels, for an image in this box."""
        side = geometry.side
        canvas = geometry.canvas
        cells = _Cells(look, self.phase, side, box)
        cover = round(255 * look.alpha)
        if look.layout == "dots":
            places = [(x, y) for y in cells.middles(1) for x in cells.middles(0)]
            marks = dots(canvas, places, cover)
        else:
            marks = lines(canvas, box, cells.cuts(1), cells.cuts(0), cover)
        within = Box(0, 0, *canvas) if look.place == "margin" else box
        return marks, labels(canvas, _placed(look, cells, _cap(look, side), margin), within)


def _cap(look: Look, side: int) -> int:
    return max(_LEAST_CAP, round(look.label_height * side))


def _pad(cap: int) -> int:
    return max(1, round(cap / 4))


@final
class _Cells:
    """The parts of a box.

    Axis 0 runs across (columns), axis 1 down (rows); an axis without division has one part.
    """

    def __init__(self, look: Look, phase: float, side: int, box: Box) -> None:
        self.thick = max(1, round(side * _THIN))
        self.dot = max(_LEAST_DOT, round(side * _DOT))
        self._starts = (box.left, box.top)
        self._sizes = (box.right - box.left, box.bottom - box.top)
        self.counts = tuple(
            1 if look.layout == alone else look.divisions for alone in ("rows", "columns")
        )
        self._phase = phase

    def _at(self, axis: int, part: float) -> float:
        return self._starts[axis] + part * self._sizes[axis] / self.counts[axis]

    def cuts(self, axis: int) -> list[tuple[int, int]]:
        """The pixels of each line between two parts."""
        places = (self._at(axis, part + self._phase) for part in range(1, self.counts[axis]))
        return [strip(self._starts[axis], self._sizes[axis], at, self.thick) for at in places]

    def middles(self, axis: int) -> list[tuple[int, int]]:
        """The pixels of each dot."""
        places = (self._at(axis, part + 0.5 + self._phase) for part in range(self.counts[axis]))
        return [strip(self._starts[axis], self._sizes[axis], at, self.dot) for at in places]

    def spans(self, axis: int, *, dotted: bool) -> list[tuple[float, float]]:
        """First and last coordinate of each part, clear of the lines.

        Of a dot's part, what lies beyond the dot.
        """
        if dotted:
            last = self._starts[axis] + self._sizes[axis]
            half = self._sizes[axis] / self.counts[axis] / 2
            return [
                (float(end), min(end - self.dot / 2 + half, last)) for _, end in self.middles(axis)
            ]
        cuts = self.cuts(axis)
        firsts = [self._starts[axis], *(end for _, end in cuts)]
        ends = [*(first for first, _ in cuts), self._starts[axis] + self._sizes[axis]]
        return [(float(first), float(end)) for first, end in zip(firsts, ends, strict=True)]


def _placed(look: Look, cells: _Cells, cap: int, margin: int) -> list[Label]:
    """The labels, all of one size: the largest, up to `cap`, at which each fits into its part."""
    if look.anchors == "none":
        return []
    if look.place == "margin":
        return _in_margin(look, cells, cap, margin)
    dotted = look.layout == "dots" and look.place == "cell"
    across = cells.spans(0, dotted=dotted)
    down = cells.spans(1, dotted=dotted)
    share = 0.36 if look.place == "corners" else 0.85
    texts = naming.parts(look.named)
    width, height = (
        int(share * min(end - first for first, end in spans)) for spans in (across, down)
    )
    cap = min(fitting(text, cap, width, height) for text in texts)
    placed = []
    for at, text in enumerate(texts):
        row, column = divmod(at, len(across))
        rows, columns = drawn(text, cap).shape
        pad = _pad(cap)
        left = across[column][0] + pad + columns / 2
        right = across[column][1] - pad - columns / 2
        top = down[row][0] + pad + rows / 2
        bottom = down[row][1] - pad - rows / 2
        x = sum(across[column]) / 2
        y = sum(down[row]) / 2
        if look.place == "corners":
            placed += [Label(text, cap, x, y) for y in (top, bottom) for x in (left, right)]
        elif dotted:
            placed.append(
                Label(text, cap, across[column][0] + columns / 2, down[row][0] + rows / 2)
            )
        else:
            placed.append(
                Label(
                    text,
                    cap,
                    left if look.layout == "rows" else x,
                    top if look.layout == "columns" else y,
                )
            )
    return placed


def _in_margin(look: Look, cells: _Cells, cap: int, margin: int) -> list[Label]:
    """Names of columns in the strip at the top, of rows in the strip on the left.

    Each stands beside the middle of its part.
    """
    room = max(1, margin - 2)
    columns, rows = naming.axes(look.named)
    across = cells.spans(0, dotted=False)
    down = cells.spans(1, dotted=False)
    narrow, low = (int(0.85 * min(end - first for first, end in spans)) for spans in (across, down))
    caps = [fitting(name, cap, narrow, room) for name in columns] + [
        fitting(name, cap, room, low) for name in rows
    ]
    cap = min(caps)
    if look.layout == "dots":
        across, down = ([(float(a), float(b)) for a, b in cells.middles(axis)] for axis in (0, 1))
    top = [
        Label(name, cap, (a + b) / 2, margin / 2)
        for name, (a, b) in zip(columns, across, strict=False)
    ]
    left = [
        Label(name, cap, margin / 2, (a + b) / 2) for name, (a, b) in zip(rows, down, strict=False)
    ]
    return top + left
