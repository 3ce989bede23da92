"""A label that a text gives, and where."""

from __future__ import annotations

from typing import NamedTuple

import regex

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


def letter_first(part: str, labels: Labels) -> Answer | None:
    """The letter that a statement begins with, of any case: "b)", "B: the left one"."""
    found = FIRST_LETTER.match(part)
    if found is None or not labels.letters or _LISTED.match(part, found.end()):
        return None
    label = labels.whole(found["letter"])
    return Answer(label, *found.span("letter")) if label in labels.letters else None
