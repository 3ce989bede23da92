"""What a text says of the labels that it names: affirmed, denied, doubted, stated, concluded."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from bbtvp.tasks.replies.answers import (
    FIRST_LETTER,
    Answer,
    letter_first,
    lists_options,
    whole_answer,
)
from bbtvp.tasks.replies.clauses import Clauses, Sentence, sentences
from bbtvp.tasks.replies.folding import number
from bbtvp.tasks.replies.languages import Span, leading, pattern, words
from bbtvp.tasks.replies.matching import RIVAL, Labels, Mention
from bbtvp.tasks.replies.polar import polar_lead
from bbtvp.tasks.replies.statements import Statement

_HEAD = regex.compile(r"(?P<head>[^\n.!?。]{1,60}?)\s[-–—]+\s(?=\w)")


class Claims:
    """A text with the labels that it names, and what it says of each.

    strong: where it is bold. part: it is a stated answer, where "image B" names the label B.
    """

    def __init__(
        self, text: str, labels: Labels, strong: Sequence[Span] = (), *, part: bool = False
    ) -> None:
        self.part = part
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
        if lists_options(self.text, statement.start):
            return False
        clause = self.clauses.at(statement.at)
        part = self.text[statement.start : statement.end]
        inside = [one for one in self.mentions if statement.start <= one.start < statement.end]
        if statement.form != "key" and (clause.denied or clause.doubted or clause.asked):
            return statement.form == "sentence" and not inside and not clause.asked
        if self.stated(statement) is not None:
            return True
        if statement.form in ("field", "after"):
            return False
        if FIRST_LETTER.fullmatch(part.strip(" \t.)")) and not self.labels.letters:
            return self.option(statement) is not None
        return not inside or not all(self._denied(one) for one in inside)

    def stated(self, statement: Statement) -> Answer | None:
        """The answer that a statement in words gives."""
        start = statement.start
        part = self.text[start : statement.end]
        if not part.strip():
            return None
        found = (
            whole_answer(part, self.labels)
            or letter_first(part, self.labels)
            or polar_lead(part, self.labels)
        )
        if found is None:
            found = Claims(part, self.labels, part=True).plain()
        if found and statement.form == "after" and regex.search(r"\w", part[found.end :]):
            return None
        return (
            None if found is None else Answer(found.label, found.start + start, found.end + start)
        )

    def option(self, statement: Statement) -> Answer | None:
        """The label that a stated letter stands for, where the reply lists it: "(B) dog"."""
        letter = FIRST_LETTER.match(self.text, statement.start, statement.end)
        if letter is None or self.labels.letters:
            return None
        listed = (
            rf"(?<!\w)[(\[]?{letter['letter']}[)\].:]\s+(?P<option>[^\n,;]{{1,80}}?)(?=[\n,;.]|$)"
        )
        found = (self.labels.whole(one["option"]) for one in regex.finditer(listed, self.text))
        label = next((label for label in found if label), None)
        return Answer(label, *letter.span("letter")) if label else None

    def plain(self) -> Answer | None:
        """The answer of a text that states none in so many words."""
        return (
            self._unit()
            or self._named(self.mentions)
            or self._summed()
            or self._totalled()
            or self._concluded()
            or self._framed()
            or self._in_bold()
        )

    def _unit(self) -> Answer | None:
        """The label that the first or the last sentence is: "Dog. Cats have other ears."."""
        headed = self._headed()
        if headed is not None:
            return headed
        parts = [part for part in sentences(self.text) if not part.question]
        read = [
            (part, whole_answer(self.text[part.start : part.end], self.labels)) for part in parts
        ]
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

    def _headed(self) -> Answer | None:
        """The label that a text begins with, before a dash: "Cat - it has whiskers."."""
        found = _HEAD.match(self.text)
        answer = whole_answer(found["head"], self.labels) if found else None
        if found is None or answer is None or self._contradicted(answer.label, found.end()):
            return None
        offset = found.start("head")
        return Answer(answer.label, answer.start + offset, answer.end + offset)

    def _is_line(self, part: Sentence) -> bool:
        """Whether a sentence begins a line."""
        return not self.text[self.text.rfind("\n", 0, part.start) + 1 : part.start].strip()

    def _contradicted(self, label: str, start: int = 0) -> bool:
        later = [one for one in self.mentions if one.start >= start]
        denied = any(one.label == label and self._denied(one) for one in later)
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
        if len(said) > len(affirmed) and pattern("retractions").search(self.text, last.end):
            return None
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
        reference = one.reference and not self.part
        return not (reference or clause.asked or clause.aside)

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

    def _summed(self) -> Answer | None:
        """The count of the first sentence, where all other numbers are parts that add up to it."""
        if not self.labels.counts:
            return None
        said = [one for one in self.mentions if self._said(one)]
        where = [self.clauses.sentence_at(one.start) for one in said]
        if len(said) < 3 or where.count(0) != 1 or not said[0].label:
            return None
        first = said[0]
        whole, *parts = [number(self.text[one.start : one.end]) for one in said]
        if (
            self._denied(first)
            or self._doubted(first)
            or sum(part or 0.0 for part in parts) != whole
        ):
            return None
        return Answer(first.label, first.start, first.end)

    def _totalled(self) -> Answer | None:
        """The last count, where it is said to be the sum of the others: "2 and 3, so 5 in all"."""
        said = [one for one in self.mentions if self._said(one) and not self._denied(one)]
        if not self.labels.counts or len(said) < 3 or not said[-1].label:
            return None
        last = said[-1]
        *parts, whole = [number(self.text[one.start : one.end]) for one in said]
        told = pattern("totals").search(self.text, said[-2].end, last.end + 20)
        if told is None or sum(part or 0.0 for part in parts) != whole:
            return None
        return Answer(last.label, last.start, last.end)

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
