"""Sentences and clauses of a reply, and what each does to a label that it names.

A label counts as an answer only in a clause that neither denies nor doubts. "It is not red", "I see
no red", "red is wrong" deny; "it might be red", "if it is red", "red or blue" and a question doubt.
A denial reaches over a comma, as in "no dog, cat or bird", until a clause turns round ("but a fox")
or begins anew ("it is a fox").
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import regex

from bbtvp.tasks.replies.languages import Span, leading, pattern, spans, words

_ABBREVIATIONS = r"(?<!\b(?:e\.g|i\.e|vs|approx|mr|mrs|ms|dr|st|etc|cf|fig|ca|z\.b|bzw|ex))"
_END = regex.compile(
    rf"{_ABBREVIATIONS}[.]+(?!(?<=\bno[.])\s*\d)(?=[\s\"')\]\u201d\u300d]|$)[\"')\]\u201d]*"
    r"|[!?]+[\"')\]\u201d]*(?=\s|$)|[。！？!?．]+[」』”)]*|[\n\u2028;；।؟…]+|\.{3,}",
    regex.IGNORECASE,
)
_QUESTION = regex.compile(
    r"[?？؟][\"')\]\u201d」]*\s*$|(?<!(?:くらい|ぐらい)でしょう)か。\s*$"
    r"|吗[。]?\s*$|까[.]?\s*$"
)
_ITEM = regex.compile(
    r"(?!.*(?:\b(?:is|are|was|it's|ist|sind|est|es|fits|yes|no|correct|right)\b|[はが是有]|です|ます|입니다))"
    r"\W*(?:[\w'-]+\s+){0,2}[\w'-]+\W*",
    regex.IGNORECASE,
)
_COMMA = r"[,、，،:：(（\[]|[)）\]](?!(?<=[(（\[]\s*\w\s*[)）\]])\s+@after_letter@)|\s[-–—]+\s|—"
"""Marks that part clauses; the brackets of "(B) is wrong" do not."""


class Clause(NamedTuple):
    """A part of a sentence. denied, doubted: what it does to a label in it.

    asked: it is a question. aside: it compares or concedes, "unlike a dog", "while a dog barks".
    """

    start: int
    end: int
    denied: bool
    doubted: bool
    asked: bool
    aside: bool


class Sentence(NamedTuple):
    """start and end without the end mark. question: it asks."""

    start: int
    end: int
    question: bool


def sentences(text: str) -> list[Sentence]:
    """The sentences and lines of `text`, empty ones left out."""
    found = []
    start = 0
    for mark in [*_END.finditer(text), None]:
        end = mark.start() if mark else len(text)
        stop = mark.end() if mark else len(text)
        if text[start:end].strip():
            asks = _QUESTION.search(text[start:stop]) is not None
            found.append(Sentence(start, end, asks))
        start = stop
    return found


def complete(text: str) -> int:
    """The place where the last finished sentence of a reply ends that was cut off; 0 if none.

    A full stop after a digit at the very end may be a decimal point: the sentence is unfinished.
    """
    ends = [found.end() for found in _END.finditer(text)]
    if ends and regex.search(r"\d[.]\s*\Z", text[: ends[-1]]) and not text[ends[-1] :].strip():
        ends.pop()
    return ends[-1] if ends else 0


_SPLIT = rf"(?P<mark>{_COMMA})|(?P<opener>@openers@)|(?P<after>@after_openers@)"


class Clauses:
    """The clauses of a text, each with what it does to labels.

    shields: parts of the text whose words are no denial or doubt: labels such as "not red".
    """

    def __init__(self, text: str, shields: Sequence[Span] = ()) -> None:
        bare = text
        for start, end in (*spans("not_negations", text), *shields):
            bare = bare[:start] + "\x00" * (end - start) + bare[end:]
        self._text = text
        self._whole = [*spans("not_negations", text), *spans("negations", bare)]
        self._denials = [found.start() for found in pattern("negations").finditer(bare)]
        self._doubts = [found.start() for found in pattern("doubts").finditer(bare)]
        self._undecided = [found.start() for found in pattern("undecided").finditer(bare)]
        self._sentences = sentences(text)
        self._clauses = [clause for sentence in self._sentences for clause in self._of(sentence)]
        self._starts = [clause.start for clause in self._clauses]

    def at(self, place: int) -> Clause:
        """The clause at a place of the text."""
        return self._clauses[max(0, bisect_right(self._starts, place) - 1)]

    def sentence_at(self, place: int) -> int:
        """The number of the sentence at a place of the text, from 0."""
        return max(0, bisect_right([one.start for one in self._sentences], place) - 1)

    def _of(self, sentence: Sentence) -> Iterable[Clause]:
        """The clauses of one sentence."""
        undecided = (
            _within(self._undecided, sentence.start, sentence.end)
            or leading("conditionals").match(self._text, sentence.start, sentence.end) is not None
        )
        parts = self._parts(sentence)
        denied = [_within(self._denials, start, end) for start, end in parts]
        doubted = [_within(self._doubts, start, end) for start, end in parts]
        for i, (start, end) in enumerate(parts):
            if i and not self._fresh(start, end, parts[i - 1]):
                denied[i] |= denied[i - 1]
                doubted[i] |= doubted[i - 1]
        for i in range(len(parts) - 2, -1, -1):
            start, end = parts[i + 1]
            if self._is_listed(parts[i]) and not self._turns(start, end):
                denied[i] |= denied[i + 1]
                doubted[i] |= doubted[i + 1]
        for (start, end), no, maybe in zip(parts, denied, doubted, strict=True):
            aside = leading("asides").match(self._text, start, end) is not None
            aside |= words(r"@asides_end@\W*$").search(self._text, start, end) is not None
            yield Clause(start, end, no, maybe or undecided, sentence.question, aside)

    def _parts(self, sentence: Sentence) -> list[Span]:
        cuts = [sentence.start]
        for found in words(_SPLIT).finditer(self._text, sentence.start, sentence.end):
            at = found.start() if found["opener"] else found.end()
            if not any(start < at < end for start, end in self._whole):
                cuts.append(at)
        cuts.append(sentence.end)
        pairs = pairwise(cuts)
        return [(a, b) for a, b in pairs if regex.search(r"\w", self._text[a:b])]

    def _fresh(self, start: int, end: int, before: Span) -> bool:
        """Whether a clause begins anew, so that it takes nothing over from the one before."""
        turned = list(pattern("after_openers").finditer(self._text, before[0], start))
        if turned and not regex.search(r"\w", self._text[turned[-1].end() : start]):
            return True
        return leading("fresh").match(self._text, start, end) is not None

    def _turns(self, start: int, end: int) -> bool:
        """Whether a clause cannot speak of what was listed before it: "a dog, not a cat"."""
        denials = [place for place in self._denials if start <= place < end]
        early = bool(denials) and len(self._text[start : denials[0]].split()) <= 1
        apart = leading("openers").match(self._text, start, end) is not None
        return early or apart or self._fresh(start, end, (start, start))

    def _is_listed(self, part: Span) -> bool:
        """Whether a clause is no more than an item of a list."""
        return _ITEM.fullmatch(self._text, *part) is not None


def _within(places: Sequence[int], start: int, end: int) -> bool:
    after = bisect_right(places, start - 1)
    return after < len(places) and places[after] < end
