"""A label that a text gives, and where."""

from __future__ import annotations

from typing import NamedTuple

import regex

from bbtvp.tasks.replies.languages import pattern
from bbtvp.tasks.replies.matching import Labels


class Answer(NamedTuple):
    """A label and where the text gives it."""

    label: str
    start: int
    end: int


def whole_answer(text: str, labels: Labels) -> Answer | None:
    """The label that a whole text is, decorations aside."""
    label = labels.whole(text)
    if label is None:
        return None
    stripped = text.strip()
    start = text.index(stripped)
    return Answer(label, start, start + len(stripped))


FIRST_LETTER = regex.compile(
    r"[^\p{L}\p{N}]*(?:(?:la|el|le|die|der|the)\s+)?(?P<letter>\p{L})"
    r"(?=\s*(?:$|[).:;—]|[-–]\s)|,\s+(?!and|or|y|und|oder|et|ou)\p{L}{2})",
    regex.IGNORECASE,
)
"""A letter that a statement begins with, of any case."""


_LISTED = regex.compile(r"[)\]\s]*(?:,|/|&|and|or)\s*[(\[]?\p{L}(?!\p{L})")
"""What follows a letter that is one of several: ", (B)"."""


_OPTION = regex.compile(r"\s*[-*\u2022]?\s*[(\[]?(?P<letter>[A-Za-z])[)\].:]\s+\S")
_NEXT_OPTION = (
    r"(?:[^\n.]|\.(?=\d)){{0,80}}?"
    r"(?:[.,;]?\s*\n\s*[-*\u2022]?\s*|[.,;]\s*(?:and\s+|or\s+)?|\s(?:and\s+|or\s+)?)"
    r"[(\[]?{letter}[)\].:]\s+(?P<text>[^\n]*)"
)
"""The rest of an option and the beginning of the next one."""


def lists_options(text: str, start: int) -> bool:
    """Whether a list of options begins there, "A. cat  B. dog", and not an answer."""
    first = _OPTION.match(text, start)
    if first is None or first["letter"] not in "Aa":
        return False
    following = _NEXT_OPTION.format(letter=chr(ord(first["letter"]) + 1))
    found = regex.compile(following).match(text, first.end())
    if found is None:
        return False
    denied = pattern("negations").search(found["text"])
    return denied is None or not found["text"][: denied.start()].strip()


def letter_first(part: str, labels: Labels) -> Answer | None:
    """The letter that a statement begins with, of any case: "b)", "B: the left one"."""
    found = FIRST_LETTER.match(part)
    if found is None or not labels.letters or _LISTED.match(part, found.end()):
        return None
    label = labels.whole(found["letter"])
    return Answer(label, *found.span("letter")) if label in labels.letters else None
