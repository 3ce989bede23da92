r"""The overlap of one box with the true one, in the forms in which models write boxes.

A task states the form by its metric, for four numbers alone do not tell it:

    iou             x1, y1, x2, y2 from 0 to 1
    iou-1000        x1, y1, x2, y2 from 0 to 1000 (Qwen3-VL, "bbox_2d")
    iou-1000-yx     y1, x1, y2, x2 from 0 to 1000 (Gemini, "box_2d")
    iou-pixels      x1, y1, x2, y2 in pixels of the picture (Qwen2.5-VL, "bbox_2d")

The question asks for that form, and the true answer is written in it. In JSON the key says the
order: "box_2d" is y first, "bbox_2d" x first. What has no clear reading gives no box: no four
numbers, two different boxes, numbers out of the form's range, corners that are not the upper left
and the lower right.

>>> iou("[0.1, 0.1, 0.5, 0.5]", "[0.1, 0.1, 0.5, 0.3]", form=BOXES["iou"])
0.5
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, final


@final
class BoxForm(NamedTuple):
    """most: the largest coordinate, None for pixels. y_first: the order without a key of JSON."""

    most: float | None
    y_first: bool = False

    def __str__(self) -> str:
        order = "y1, x1, y2, x2" if self.y_first else "x1, y1, x2, y2"
        return f"[{order}] " + ("in pixels" if self.most is None else f"from 0 to {self.most:g}")


BOXES: Mapping[str, BoxForm] = MappingProxyType(
    {
        "iou": BoxForm(1),
        "iou-1000": BoxForm(1000),
        "iou-1000-yx": BoxForm(1000, y_first=True),
        "iou-pixels": BoxForm(None),
    }
)
"""The forms of boxes, by the metric that reads them."""


@final
class FoundBox(NamedTuple):
    """A box by its upper left and lower right corner."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def area(self) -> float:
        return max(0.0, self.x2 - self.x1) * max(0.0, self.y2 - self.y1)


_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_FOUR = re.compile(
    r"(?:[\"'](?P<key>box_2d|bbox_2d)[\"']\s*:\s*)?"
    rf"[\[(]{_NUMBER},{_NUMBER}[\]) ]*,[\[( ]*{_NUMBER},{_NUMBER}[\])]"
)
"""Four numbers in brackets, or two pairs in brackets, perhaps under a key of JSON."""

_BARE = re.compile(rf"{_NUMBER}[, ]{_NUMBER}[, ]{_NUMBER}[, ]{_NUMBER}\.?")


def iou(given: str, answer: str, *, form: BoxForm) -> float:
    """Intersection over union of the box in a reply with the true one; 0 where none is read."""
    said = read_box(given, form)
    true = read_box(answer, form)
    if said is None or true is None:
        return 0.0
    shared = FoundBox(
        max(said.x1, true.x1), max(said.y1, true.y1), min(said.x2, true.x2), min(said.y2, true.y2)
    ).area
    return shared / (said.area + true.area - shared)


def read_box(text: str, form: BoxForm) -> FoundBox | None:
    """The one box that a text gives in this form, or None; see the module."""
    found = {_box(match, form) for match in _FOUR.finditer(text)}
    bare = _BARE.fullmatch(text.strip())
    if not found and bare:
        found = {_ordered([float(one) for one in bare.groups()], form, y_first=form.y_first)}
    return found.pop() if len(found) == 1 else None


def _box(match: re.Match[str], form: BoxForm) -> FoundBox | None:
    key, *numbers = match.groups()
    y_first = form.y_first if key is None else key == "box_2d"
    return _ordered([float(one) for one in numbers], form, y_first=y_first)


def _ordered(numbers: Sequence[float], form: BoxForm, *, y_first: bool) -> FoundBox | None:
    """The box of four numbers; None where they are out of range, or enclose nothing."""
    first, second, third, fourth = numbers
    box = (
        FoundBox(second, first, fourth, third)
        if y_first
        else FoundBox(first, second, third, fourth)
    )
    inside = all(0 <= one <= (form.most or one) for one in numbers)
    return box if inside and box.x1 < box.x2 and box.y1 < box.y2 else None


def box_problem(answers: Sequence[str], *, form: BoxForm) -> str:
    """Why these answers are no boxes of this form."""
    wrong = next((answer for answer in answers if read_box(answer, form) is None), None)
    return "" if wrong is None else f"the answer {wrong!r} is no box within the picture, as {form}"


def box_misfit(answers: Sequence[str], width: int, height: int, *, form: BoxForm) -> str:
    """Why these answers are no boxes within a picture of this size in pixels.

    Only a form in pixels can leave a picture.
    """
    if form.most is not None:
        return ""
    found = {answer: read_box(answer, form) for answer in answers}
    wrong = (answer for answer, box in found.items() if box and not _lies_in(box, width, height))
    answer = next(wrong, None)
    if answer is None:
        return ""
    return f"the answer {answer!r} is no box within the picture, which has {width} x {height} px"


def _lies_in(box: FoundBox, width: int, height: int) -> bool:
    return box.x2 <= width and box.y2 <= height
