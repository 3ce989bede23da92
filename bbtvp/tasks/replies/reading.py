"""From a reply to its answer, in three steps: strip thoughts, find the statement, match labels.

The steps are described, with examples, in docs/replies.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import regex

from bbtvp.tasks.replies.answers import Answer, whole_answer
from bbtvp.tasks.replies.claims import Claims
from bbtvp.tasks.replies.clauses import Clauses, complete, sentences
from bbtvp.tasks.replies.escapes import original_place, unescaped
from bbtvp.tasks.replies.folding import number
from bbtvp.tasks.replies.languages import Span, leading, pattern
from bbtvp.tasks.replies.markup import bold, without_marks
from bbtvp.tasks.replies.matching import Labels, table
from bbtvp.tasks.replies.polar import none_there, polar_lead
from bbtvp.tasks.replies.statements import Statement, marked, worded
from bbtvp.tasks.replies.thoughts import visible

ReplyStatus: TypeAlias = Literal["answered", "unparsed", "refused", "cut"]
"""What became of a reply: it gives an answer; it names no single label; the model declines in
words; it ended at the limit of tokens before its answer.
"""

UNPARSED = ""
"""The prediction of a reply that names no single label: wrong, and counted as unparsed. A failed
query is None.
"""


class ReadReply(NamedTuple):
    """A reply, read: the answer that it gives, or None, and what became of it."""

    answer: str | None
    status: ReplyStatus


LONGEST = 6000
"""Characters up to which a visible reply is read whole."""

_BEGINNING = 1000
_ENDING = 3000


def read_reply(
    text: str, labels: Sequence[str] | None, *, cut: bool = False, whole: bool = False
) -> ReadReply:
    """The answer that a reply gives: one of the labels, or its final answer if there are none.

    cut: the reply ended at the limit of tokens. Then only what is finished counts: a reply that is
    a label and no more, a leading "Yes,", a whole sentence, a closed tag. whole: a free answer is
    all that the reply says, for a metric that finds its answer there.

    >>> read_reply("It might be red. Answer: blue", ("red", "blue"))
    ReadReply(answer='blue', status='answered')
    >>> read_reply("<think>It might be red, but", ("red", "blue"), cut=True)
    ReadReply(answer=None, status='cut')
    """
    shown = visible(unescaped(text))
    if shown.cut:
        return ReadReply(None, "cut")
    if labels is None:
        return _read_whole(shown.text, cut) if whole else _read_free(shown.text, cut=cut)
    found = _find(shown.text, table(tuple(labels)), cut=cut)
    if found is not None:
        return ReadReply(found.label, "answered")
    return ReadReply(None, _status(shown.text, cut=cut))


def _status(shown: str, *, cut: bool) -> ReplyStatus:
    said = shown.strip()
    if len(said) > LONGEST:
        said = f"{said[:_BEGINNING]}\n{said[_ending(said) :]}"
    bare = without_marks(said)
    if pattern("refusals").search(bare) or pattern("disclaimers").search(bare):
        return "refused"
    return "cut" if cut else "unparsed"


def prediction(reply: str | None, labels: Sequence[str] | None) -> str | None:
    """A reply as the metrics take it.

    None for a failed query; the label named, or UNPARSED; the final answer if answers are free.
    """
    if reply is None:
        return None
    return read_reply(reply, labels).answer or UNPARSED


def parse_label(text: str, labels: Sequence[str]) -> str | None:
    """The label that a reply gives as its answer, or None; see docs/replies.md.

    >>> parse_label("The image does not show any dog.", ("cat", "dog"))
    >>> parse_label("It's not a dog, it's a cat.", ("cat", "dog"))
    'cat'
    """
    return read_reply(text, labels).answer


def answer_span(text: str, labels: Sequence[str]) -> Span | None:
    """Start and end, in `text`, of the words that give the answer which `parse_label` reads.

    None where it reads none.
    """
    shown = visible(unescaped(text))
    found = None if shown.cut else _find(shown.text, table(tuple(labels)), cut=False)
    if found is None:
        return None
    place = original_place(text)
    return place(found.start), place(found.end)


# -- the final statement ---------------------------------------------------------------------------
def _find(shown: str, labels: Labels, *, cut: bool) -> Answer | None:
    """The answer in the visible part of a reply."""
    said = shown.lstrip()
    before = len(shown) - len(said)
    find = _find_in_short if len(said) <= LONGEST else _find_in_long
    found = find(said, labels, cut=cut)
    return found and Answer(found.label, found.start + before, found.end + before)


def _find_in_short(shown: str, labels: Labels, *, cut: bool) -> Answer | None:
    bare = without_marks(shown)
    whole = whole_answer(shown, labels)
    if whole is None and not cut and bare != shown:
        whole = whole_answer(bare, labels)
    if whole is not None:
        return whole
    claims, statement = _final(shown, bare, labels, cut=cut)
    if statement is not None:
        return _stated(shown, claims, statement)
    if pattern("refusals").search(bare):
        return None
    if labels.polar and leading("not_leads").match(bare):
        return None
    return polar_lead(bare, labels) or claims.plain() or none_there(bare, labels)


def _find_in_long(shown: str, labels: Labels, *, cut: bool) -> Answer | None:
    """The answer that a long reply states near its end, or else in its beginning.

    What stands between is not read, so that labels in sentences do not count.
    """
    ending = _ending(shown)
    for start, end in ((ending, len(shown)), (0, _BEGINNING)):
        part = shown[start:end]
        claims, statement = _final(part, without_marks(part), labels, cut=cut or start == 0)
        if statement is not None:
            found = _stated(part, claims, statement)
            return found and Answer(found.label, found.start + start, found.end + start)
    return polar_lead(without_marks(shown[:_BEGINNING]), labels)


def _final(shown: str, bare: str, labels: Labels, *, cut: bool) -> tuple[Claims, Statement | None]:
    """What a text says of the labels, and its last statement that counts. bare: without marks."""
    end = complete(bare) if cut else len(bare)
    claims = Claims(bare[:end], labels, bold(shown[:end]))
    stated = [one for one in marked(shown, labels.is_label) if one.closed or not cut]
    return claims, claims.last([*stated, *worded(bare[:end])])


def _ending(text: str) -> int:
    """Where the ending of a long text begins, at a line or sentence if one is near."""
    place = len(text) - _ENDING
    found = regex.compile(r"[\n.。]\s").search(text, place, place + _ENDING // 2)
    return found.end() if found else place


def _stated(shown: str, claims: Claims, statement: Statement) -> Answer | None:
    if statement.form == "marked":
        found = _read_part(shown, claims.labels, statement)
    else:
        found = claims.stated(statement)
    return found or claims.option(statement)


def _read_part(shown: str, labels: Labels, part: Statement) -> Answer | None:
    """The answer in a part of a reply that states it, in JSON, a tag or a box."""
    text = shown[part.start : part.end]
    truth = {"true": "yes", "false": "no"}.get(text.strip().casefold())
    if truth and truth in labels.polar and labels.whole(text) is None:
        return Answer(labels.polar[truth], part.start, part.end)
    inner = _find(text, labels, cut=False)
    if inner is None:
        return None
    return Answer(inner.label, inner.start + part.start, inner.end + part.start)


# -- free answers ----------------------------------------------------------------------------------
def _read_free(shown: str, *, cut: bool) -> ReadReply:
    """The stated final answer of a reply, a concluding sentence with one number, or all it says."""
    whole = shown.strip()
    said = whole if len(whole) <= LONGEST else whole[_ending(whole) :]
    bare = without_marks(said)
    end = complete(bare) if cut else len(bare)
    clauses = Clauses(bare[:end])
    stated = [one for one in marked(said, bool) if one.closed or not cut]
    stated += [one for one in worded(bare[:end]) if _states(one, clauses)]
    for statement in sorted(stated, reverse=True):
        source = said if statement.form == "marked" else bare
        answer = _trimmed(source[statement.start : statement.end])
        if answer:
            return ReadReply(answer, "answered")
    parts = sentences(bare[:end])
    if len(parts) > 1 and leading("conclusions").match(bare, parts[-1].start):
        last = bare[parts[-1].start : parts[-1].end]
        if number(last) is not None:
            return ReadReply(_trimmed(last), "answered")
    status = _status(shown, cut=cut)
    if cut or status == "refused" or not whole:
        return ReadReply(None, status)
    return ReadReply(whole, "answered")


def _read_whole(shown: str, cut: bool) -> ReadReply:
    status = _status(shown, cut=cut)
    if cut or status == "refused" or not shown.strip():
        return ReadReply(None, status)
    return ReadReply(shown.strip(), "answered")


def _states(statement: Statement, clauses: Clauses) -> bool:
    clause = clauses.at(statement.at)
    apart = clause.denied or clause.doubted or clause.asked
    return statement.form == "key" or (statement.form == "sentence" and not apart)


def _trimmed(text: str) -> str:
    """A stated answer without quotes, marks of layout and a last full stop."""
    bare = " ".join(without_marks(text).split())
    return regex.sub(
        r"^[\s\"'\u201c\u300c:]+|[\s\"'\u201d\u300d]+$|(?<=\w)[.。]$", "", bare
    ).strip()
