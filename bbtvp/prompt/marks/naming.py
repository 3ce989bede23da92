"""What the parts of an image are called, on the image and in the sentence: one source for both.

A part's name is never ambiguous: where rows and columns are named apart, one of the two axes has
letters or symbols and the other one digits, for "(2, 3)" is read as row and column by some and as x
and y by others.
"""

from __future__ import annotations

import string
from typing import NamedTuple, final

SYMBOLS = "#$@&%+*="
_SETS = {"digits": "123456789", "letters": string.ascii_uppercase, "symbols": SYMBOLS}
_ONE_AXIS = ("rows", "columns")


@final
class Named(NamedTuple):
    """The marks as a sentence may name them: see `Marks`."""

    layout: str
    divisions: int
    anchors: str
    place: str


def axes(marks: Named) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names along the top, of columns, and along the left, of rows.

    Empty for an axis that is not divided.
    """
    names = tuple(_SETS[marks.anchors][: marks.divisions])
    if marks.layout in _ONE_AXIS:
        return ((), names) if marks.layout == "rows" else (names, ())
    other = _SETS["letters" if marks.anchors == "digits" else "digits"]
    return tuple(other[: marks.divisions]), names


def parts(marks: Named) -> tuple[str, ...]:
    """The name of each part, row by row from the top left."""
    count = marks.divisions
    if marks.layout in _ONE_AXIS:
        return tuple(_SETS[marks.anchors][:count])
    if marks.anchors == "digits":
        return tuple(str(at + 1) for at in range(count * count))
    return tuple(
        f"{row}{column + 1}" for row in _SETS[marks.anchors][:count] for column in range(count)
    )


def structure(marks: Named) -> str:
    """A sentence that says what is drawn; empty where nothing is."""
    if marks.layout == "none":
        return ""
    count = marks.divisions
    head = {
        "rows": f"Lines divide the image into {count} rows",
        "columns": f"Lines divide the image into {count} columns",
        "grid": f"Lines divide the image into {count} rows and {count} columns of cells",
        "dots": f"Dots lie over the image in {count} rows and {count} columns",
    }[marks.layout]
    aids = "They are" if marks.anchors == "none" else "Marks and labels are"
    return f"{head}{_labelled(marks)}. {aids} aids, not part of the scene."


def noun(marks: Named) -> str:
    """What one part is called."""
    return {"rows": "row", "columns": "column", "grid": "cell", "dots": "part around a dot"}.get(
        marks.layout, "part"
    )


def order(marks: Named) -> str:
    """The order in which parts are named."""
    along = {"rows": "from top to bottom", "columns": "from left to right"}
    return along.get(marks.layout, "row by row from the top left")


def _labelled(marks: Named) -> str:
    if marks.anchors == "none":
        return ""
    columns, rows = axes(marks)
    if marks.layout in _ONE_AXIS:
        edge = "left" if marks.layout == "rows" else "top"
        one = noun(marks)
        where = {
            "margin": f"in the {edge} margin",
            "cell": f"at the {edge} end of each {one}"
            if edge == "left"
            else f"at the top of each {one}",
            "corners": f"in the corners of each {one}",
        }[marks.place]
        return f", labelled {_listed(rows or columns)} {order(marks)} {where}"
    if marks.place == "margin":
        return (
            f"; rows are labelled {_listed(rows)} from top to bottom in the left margin, "
            f"columns {_listed(columns)} from left to right in the top margin"
        )
    each = "each beside its dot" if marks.layout == "dots" else "each in its cell"
    if marks.place == "corners":
        each = "each in the corners of its part"
    if marks.anchors == "digits":
        return f", numbered 1 to {marks.divisions**2} {order(marks)}, {each}"
    kind = marks.anchors.removesuffix("s")
    return (
        f", labelled by the {kind} of the row ({_listed(rows)} from top to bottom) "
        "and the number of the column "
        f"(1 to {marks.divisions} from left to right), {each}"
    )


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
