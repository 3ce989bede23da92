"""From a reply to its answer, in three steps: strip thoughts, find the statement, match labels.

The steps are described, with examples, in docs/replies.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import regex

from bbtvp.tasks.replies.clauses import Clauses, Sentence, complete, sentences
from bbtvp.tasks.replies.languages import Span, leading, pattern, words
from bbtvp.tasks.replies.markup import bold, without_marks
from bbtvp.tasks.replies.matching import RIVAL, Labels, Mention, table
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


class Answer(NamedTuple):
    """A label and where the text gives it."""

    label: str
    start: int
    end: int


def read_reply(text: str, labels: Sequence[str] | None, *, cut: bool = False) -> ReadReply:
    """The answer that a reply gives: one of the labels, or its final answer if there are none.

    cut: the reply ended at the limit of tokens. Then only what is finished counts: a reply that is
    a label and no more, a leading "Yes,", a whole sentence, a closed tag.

    >>> read_reply("It might be red. Answer: blue", ("red", "blue"))
    ReadReply(answer='blue', status='answered')
    >>> read_reply("<think>It might be red, but", ("red", "blue"), cut=True)
    ReadReply(answer=None, status='cut')
    """
    shown = visible(text)
    if shown.cut:
        return ReadReply(None, "cut")
    if labels is None:
        return _read_free(shown.text, cut=cut)
    found = _find(shown.text, table(tuple(labels)), cut=cut)
    if found is not None:
        return ReadReply(found.label, "answered")
    return ReadReply(None, _status(shown.text, cut=cut))


def _status(shown: str, *, cut: bool) -> ReplyStatus:
    if pattern("refusals").search(without_marks(shown)):
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
    shown = visible(text)
    found = None if shown.cut else _find(shown.text, table(tuple(labels)), cut=False)
    return None if found is None else (found.start, found.end)


# -- the final statement ---------------------------------------------------------------------------
def _find(shown: str, labels: Labels, *, cut: bool) -> Answer | None:
    """The answer in the visible part of a reply."""
    bare = without_marks(shown)
    whole = _whole(shown, labels) or (None if cut else _whole(bare, labels))
    if whole is not None:
        return whole
    end = complete(bare) if cut else len(bare)
    reading = _Reading(bare[:end], labels, bold(shown[:end]))
    stated = [one for one in marked(shown, labels.is_label) if one.closed or not cut]
    statement = reading.last([*stated, *worded(bare[:end])])
    if statement is not None:
        return _stated(shown, reading, statement)
    if pattern("refusals").search(bare):
        return None
    return _polar_lead(bare, labels) or reading.plain() or _none_there(bare, labels)


def _stated(shown: str, reading: _Reading, statement: Statement) -> Answer | None:
    if statement.form == "marked":
        return _read_part(shown, reading.labels, statement)
    return reading.stated(statement)


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


def _whole(text: str, labels: Labels) -> Answer | None:
    label = labels.whole(text)
    if label is None:
        return None
    stripped = text.strip()
    start = text.index(stripped)
    return Answer(label, start, start + len(stripped))


# -- yes and no ------------------------------------------------------------------------------------
def _polar_lead(text: str, labels: Labels) -> Answer | None:
    """The yes or no that a reply begins with, unless it is no answer or taken back."""
    if not labels.polar or leading("not_leads").match(text):
        return None
    for side in ("no", "yes"):
        found = words(rf"\W*(?:[(\[]?[A-Z][)\].:]\s+)?(?:@before_polar@\W+)*(?P<word>@{side}@)").match(text)
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
    if regex.match(r"\s*(?:$|[,.!:;)\]\"'\n。、，！：；…]|[-–—]+\s|\p{So})", rest):
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


def _none_there(text: str, labels: Labels) -> Answer | None:
    """The count 0, where a reply begins with "There are no dogs"."""
    zero = labels.numbers.get("0") if labels.counts else None
    place = None if zero is None else _denied_thing(text, ("no_content",))
    if zero is None or place is None or labels.mentions(text):
        return None
    return Answer(zero, *place)


def _denied_thing(text: str, but: Sequence[str]) -> Span | None:
    """Where a reply begins to deny that a thing is there, unless the thing is on a list in `but`."""
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


# -- sentences -------------------------------------------------------------------------------------
class _Reading:
    """A text with the labels that it names, and what it says of each."""

    def __init__(self, text: str, labels: Labels, strong: Sequence[Span] = ()) -> None:
        self.text = text
        self.labels = labels
        self.strong = strong
        self.mentions = labels.mentions(text)
        self.clauses = Clauses(text, [(one.start, one.end) for one in self.mentions if one.label])

    def last(self, statements: Sequence[Statement]) -> Statement | None:
        """The last statement that counts."""
        for statement in sorted(statements, reverse=True):
            if statement.form == "marked" or self._counts(statement):
                return statement
        return None

    def _counts(self, statement: Statement) -> bool:
        """Whether a statement in words says something of the labels, undenied."""
        clause = self.clauses.at(statement.at)
        if statement.form != "key" and (clause.denied or clause.doubted or clause.asked):
            return False
        if self.stated(statement) is not None:
            return True
        if statement.form in ("field", "after"):
            return False
        part = self.text[statement.start : statement.end]
        if _FIRST_LETTER.fullmatch(part.strip(" \t.)")) and not self.labels.letters:
            return False
        inside = [one for one in self.mentions if statement.start <= one.start < statement.end]
        return not inside or not all(self._denied(one) for one in inside)

    def stated(self, statement: Statement) -> Answer | None:
        """The answer that a statement in words gives."""
        start = statement.start
        part = self.text[start : statement.end]
        if not part.strip():
            return None
        found = (
            _whole(part, self.labels)
            or _letter_first(part, self.labels)
            or _polar_lead(part, self.labels)
        )
        if found is None and statement.form != "after":
            found = _Reading(part, self.labels).plain()
        return (
            None if found is None else Answer(found.label, found.start + start, found.end + start)
        )

    def plain(self) -> Answer | None:
        """The answer of a text that states none in so many words."""
        return (
            self._unit()
            or self._named(self.mentions)
            or self._concluded()
            or self._framed()
            or self._in_bold()
        )

    def _unit(self) -> Answer | None:
        """The label that the first or the last sentence is: "Dog. Cats have other ears."."""
        parts = [part for part in sentences(self.text) if not part.question]
        read = [(part, _whole(self.text[part.start : part.end], self.labels)) for part in parts]
        found = [(i, answer) for i, (_, answer) in enumerate(read) if answer]
        if not found or len({answer.label for _, answer in found}) > 1:
            return None
        at, answer = found[-1]
        offset = parts[at].start
        ruled = self.labels.counts or not self._is_line(parts[at])
        if found[0][0] != 0 and (at != len(parts) - 1 or (ruled and self._other(answer.label))):
            return None
        if self._contradicted(answer.label) or (self.labels.counts and self._other(answer.label)):
            return None
        return Answer(answer.label, answer.start + offset, answer.end + offset)

    def _is_line(self, part: Sentence) -> bool:
        """Whether a sentence begins a line."""
        return not self.text[self.text.rfind("\n", 0, part.start) + 1 : part.start].strip()

    def _contradicted(self, label: str) -> bool:
        denied = any(one.label == label and self._denied(one) for one in self.mentions)
        return denied or (self._other(label) and bool(pattern("corrections").search(self.text)))

    def _other(self, label: str) -> bool:
        """Whether another label is named and neither denied nor asked about."""
        return any(
            one.label != label and self._said(one) and not self._denied(one)
            for one in self.mentions
        )

    def _named(self, mentions: Sequence[Mention]) -> Answer | None:
        """The one label that is named and affirmed."""
        said = [one for one in mentions if self._said(one)]
        affirmed = [one for one in said if not self._denied(one) and not self._doubted(one)]
        labels = {one.label for one in affirmed}
        if len(labels) != 1 or RIVAL in labels:
            return None
        last = affirmed[-1]
        for one in said:
            later = one.start > last.start
            if one.label == last.label and self._denied(one):
                return None
            if one.label != last.label and self._rivals(one, later=later):
                return None
        return Answer(last.label, last.start, last.end)

    def _rivals(self, one: Mention, *, later: bool) -> bool:
        """Whether a mention of another label leaves the answer open."""
        if self._denied(one):
            letter = one.label in self.labels.letters
            return letter and not self._directly_denied(one)
        return later and self._doubted(one)

    def _said(self, one: Mention) -> bool:
        clause = self.clauses.at(one.start)
        return not (one.reference or clause.asked or clause.aside)

    def _denied(self, one: Mention) -> bool:
        return self.clauses.at(one.start).denied

    def _doubted(self, one: Mention) -> bool:
        if self.clauses.at(one.start).doubted:
            return True
        return self._beside(one, r"\s*,?\s*@alternatives@", r"@alternatives@\s*(?:\w+\s+){0,2}$")

    def _directly_denied(self, one: Mention) -> bool:
        """Whether a letter itself is denied, not something about it: "not B", "B is wrong"."""
        return self._beside(
            one,
            r"\W*(?:(?:is|was|are|can|does|would|seems)\s+)?@negations@",
            r"@negations@\s+(?:\w+\s+)?\W*$",
        )

    def _beside(self, one: Mention, after: str, before: str) -> bool:
        """Whether an expression matches straight after or straight before a mention."""
        start = max(0, one.start - 30)
        return bool(
            words(after).match(self.text, one.end)
            or words(before).search(self.text, start, one.start)
        )

    def _concluded(self) -> Answer | None:
        """The label of a last sentence that concludes: "So it is a cat."."""
        parts = sentences(self.text)
        if len(parts) < 2 or not leading("conclusions").match(self.text, parts[-1].start):
            return None
        return self._named([one for one in self.mentions if one.start >= parts[-1].start])

    def _framed(self) -> Answer | None:
        """The one label of the first sentence, where the last that names any says it again."""
        named: dict[int, list[Mention]] = {}
        for one in self.mentions:
            if self._said(one):
                named.setdefault(self.clauses.sentence_at(one.start), []).append(one)
        if 0 not in named or len(named) < 2 or pattern("corrections").search(self.text):
            return None
        first = self._named(named[0])
        last = self._named(named[max(named)])
        return last if first and last and first.label == last.label else None

    def _in_bold(self) -> Answer | None:
        if pattern("corrections").search(self.text):
            return None
        return self._named(
            [
                one
                for one in self.mentions
                if any(start <= one.start and one.end <= end for start, end in self.strong)
            ]
        )


_FIRST_LETTER = regex.compile(r"[^\p{L}\p{N}]*(?P<letter>\p{L})(?=\s*(?:$|[).:;—]|[-–]\s))")


def _letter_first(part: str, labels: Labels) -> Answer | None:
    """The letter that a statement begins with, of any case: "b)", "B: the left one"."""
    found = _FIRST_LETTER.match(part)
    if found is None or not labels.letters:
        return None
    label = labels.whole(found["letter"])
    return Answer(label, *found.span("letter")) if label in labels.letters else None


# -- free answers ----------------------------------------------------------------------------------
def _read_free(shown: str, *, cut: bool) -> ReadReply:
    """The stated final answer of a reply, or else all that it says."""
    bare = without_marks(shown)
    end = complete(bare) if cut else len(bare)
    stated = [one for one in marked(shown, bool) if one.closed or not cut]
    stated += [one for one in worded(bare[:end]) if one.form in ("key", "sentence")]
    for statement in sorted(stated, reverse=True):
        source = shown if statement.form == "marked" else bare
        answer = _trimmed(source[statement.start : statement.end])
        if answer:
            return ReadReply(answer, "answered")
    if pattern("refusals").search(bare):
        return ReadReply(None, "refused")
    answer = shown[:end].strip()
    return ReadReply(answer, "answered") if answer else ReadReply(None, _status(shown, cut=cut))


def _trimmed(text: str) -> str:
    """A stated answer without quotes, marks of layout and a last full stop."""
    bare = " ".join(without_marks(text).split())
    return regex.sub(
        r"^[\s\"'\u201c\u300c:]+|[\s\"'\u201d\u300d]+$|(?<=\w)[.。]$", "", bare
    ).strip()
