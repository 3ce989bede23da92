"""Yes and no: what a reply says that begins with one, or denies that a thing is there."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from bbtvp.tasks.replies.answers import Answer
from bbtvp.tasks.replies.clauses import sentences
from bbtvp.tasks.replies.languages import Span, leading, pattern, words
from bbtvp.tasks.replies.matching import Labels


def polar_lead(text: str, labels: Labels) -> Answer | None:
    """The yes or no that a reply begins with, unless it is no answer or taken back."""
    if not labels.polar:
        return None
    for side in ("no", "yes"):
        found = words(
            rf"\W*(?:[(\[]?[A-Z][)\].:]\s+)?(?:@before_polar@\W+)*(?P<word>@{side}@)"
        ).match(text)
        if found is None or not _is_answer(text, found, side):
            continue
        first = sentences(text)[0]
        if pattern("undecided").search(text, first.start, first.end):
            return None
        if _taken_back(text[found.end() :], "yes" if side == "no" else "no"):
            return None
        return Answer(labels.polar[side], *found.span("word"))
    return _absent(text, labels)


def _is_answer(text: str, found: regex.Match[str], side: str) -> bool:
    """Whether a leading yes or no is said, not "No idea" or "Yes or no?"."""
    rest = text[found.end() :]
    if regex.match(r"\.\s*\d", rest):  # No. 5
        return False
    if regex.match(r"\s*(?:$|[,.!:;)\]\"'」』”\n。、，！：；…،؛]|[-–—]+\s|\p{So})", rest):
        return regex.match(r"\s*[\"')\]]*[?？]", rest) is None
    if not found["word"].isascii() and pattern("after_polar").match(rest):
        return regex.match(r"\w*[?？]", rest) is None
    key = "after_yes" if side == "yes" else "after_no"
    return words(rf"\s+@{key}@").match(rest) is not None


def _taken_back(rest: str, other: str) -> bool:
    """Whether a later sentence or clause is the opposite: "Yes. Wait, no."."""
    opposite = words(
        rf"(?:^|[,.!?;:。、，！？\n])\s*@{other}@\s*(?=$|[,.!?。、，！？\n])",
    )
    return opposite.search(rest) is not None


def _absent(text: str, labels: Labels) -> Answer | None:
    """No, where a reply of one sentence denies that the thing is there: "There is no dog."."""
    place = _denied_thing(text, ("no_content", "no_defect"))
    if place is None or len(sentences(text)) > 1:
        return None
    return Answer(labels.polar["no"], *place)


def none_there(text: str, labels: Labels) -> Answer | None:
    """The count 0, where a reply begins with "There are no dogs"."""
    zero = labels.numbers.get("0") if labels.counts else None
    place = None if zero is None else _denied_thing(text, ("no_content",))
    if zero is None or place is None or labels.mentions(text):
        return None
    return Answer(zero, *place)


def _denied_thing(text: str, but: Sequence[str]) -> Span | None:
    """Where a reply begins to deny that a thing is there; not for the things on the lists `but`."""
    found = leading("absent").match(text)
    if found is None:
        return None
    first = sentences(text)[0]
    after = regex.findall(r"\w+", text[found.end() : first.end])
    listed = any(pattern(key).fullmatch(word) for word in after[:4] for key in but)
    doubtful = any(pattern(key).search(text) for key in ("undecided", "doubts", "openers"))
    if doubtful or listed or (found.group().isascii() and not after):
        return None
    return found.span()
