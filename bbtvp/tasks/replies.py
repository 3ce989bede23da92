"""From a model's free text to an answer: the one label that a reply names, or none.

A reply that does not name exactly one label is unparsed: it is counted and shown, never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

UNPARSED = ""
"""The prediction of a reply that names no single label: wrong, and counted as unparsed. A failed
query is None.
"""

_ARTICLES = frozenset({"a", "an", "the"})
_WORDS = (
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    (
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ),
)
_ONES = {word: value for value, word in enumerate((*_WORDS[0], *_WORDS[1]))}
_TENS = {
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
}
_NEGATIONS = frozenset(
    {"not", "no", "never", "without", "nor", "neither", "isnt", "arent", "wasnt", "werent"}
)
_SCALES = frozenset({"hundred", "thousand", "million", "point"})
"""After a number these make it another number: "one hundred" is not "one"."""

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_MARK = re.compile(r"(?P<numeric>(?<=\d)\.(?=\d)|(?<![\w.])-(?=\d))|[^\w\s]|_")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_POWER = re.compile("[⁰¹²³⁴-⁹]+")
_MINUS = "\u2010\u2011\u2012\u2013\u2212"
_INVISIBLE = "\ufe0e\ufe0f"
_STATED = re.compile(r"\banswer\s*(?:\bis\b|:|=)", re.IGNORECASE)


def normalise(text: str, *, numbers: bool = True) -> str:
    """`text` casefolded, without punctuation and articles, single-spaced.

    "The Cat's hat!" becomes "cats hat".

    With `numbers`, number words up to ninety-nine become digits, so "three" and "3" are the same
    answer. A decimal point and a minus sign stay; a text that is nothing but marks or articles
    ("+", "A") keeps them.
    """
    composed = unicodedata.normalize("NFKC", text)
    # Casefolding can undo the composed form, hence twice.
    folded = unicodedata.normalize("NFKC", composed.casefold()).replace("\u2212", "-")
    words = _MARK.sub(_without_mark, _THOUSANDS.sub("", folded)).split()
    words = [word for word in words if word not in _ARTICLES] or words
    return " ".join(_with_digits(words) if numbers else words) or folded.strip()


def fold(text: str) -> str:
    """`text` as labels are compared with it: one spelling for what looks the same.

    Compatible forms are composed (NFKC), case is folded, every decimal digit is an ASCII one, a
    minus sign is a hyphen, invisible characters are gone. A power keeps its sign: "10⁵" is "10^5".

    >>> fold("STRAßE №٣")
    'strasse no3'
    """
    if text.isascii():
        return text.lower()
    powers = _POWER.sub(lambda found: "^" + found.group(), text)
    composed = unicodedata.normalize("NFKC", powers)
    # Casefolding can undo the composed form, hence twice.
    folded = unicodedata.normalize("NFKC", composed.casefold())
    return "".join(map(_plain, folded))


def _plain(char: str) -> str:
    if char.isascii() or char.isalpha():
        return char
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char in _MINUS:
        return "-"
    return "" if unicodedata.category(char) == "Cf" or char in _INVISIBLE else char


def answer_span(text: str, labels: Sequence[str]) -> tuple[int, int] | None:
    """Start and end, in `text`, of the words that give the answer which `parse_label` reads.

    None where it reads none.
    """
    label = parse_label(text, labels)
    if label is None:
        return None
    found = list(re.finditer(re.escape(label.strip()), text, re.IGNORECASE))
    return found[-1].span() if found else None


def _without_mark(match: re.Match[str]) -> str:
    mark = match.group()
    # Category M: vowel signs and accents, not punctuation.
    if match["numeric"] or unicodedata.category(mark).startswith("M"):
        return mark
    return "" if mark in "'\u2019" else " "


def _with_digits(words: Sequence[str]) -> list[str]:
    digits: list[str] = []
    pending = 0  # the tens of "twenty-one", waiting for its unit
    for word in words:
        unit = _ONES.get(word)
        if pending and unit is not None and 0 < unit < 10:
            digits[-1] = str(pending + unit)
        else:
            value = _TENS.get(word, unit)
            digits.append(word if value is None else str(value))
        pending = _TENS.get(word, 0)
    return digits


def number(text: str) -> float | None:
    """The one number that `text` names, in digits or in words up to ninety-nine.

    None if it names none or several.
    """
    words = normalise(text).split()
    if not _SCALES.isdisjoint(words):
        return None
    found = {float(word) for word in words if _NUMBER.fullmatch(word)}
    return found.pop() if len(found) == 1 else None


ReplyStatus: TypeAlias = Literal["answered", "unparsed", "refused", "cut"]
"""What became of a reply: it gives an answer; it names no single label; the model declines in
words; it ended at the limit of tokens before its answer.
"""


class ReadReply(NamedTuple):
    """A reply, read: the answer that it gives, or None, and what became of it."""

    answer: str | None
    status: ReplyStatus


def read_reply(text: str, labels: Sequence[str] | None, *, cut: bool = False) -> ReadReply:
    """The answer that a reply gives: one of the labels, or its final answer if there are none.

    cut: the reply ended at the limit of tokens.
    """
    answer = text if labels is None else parse_label(text, labels)
    if answer is not None:
        return ReadReply(answer, "answered")
    return ReadReply(None, "cut" if cut else "unparsed")


def prediction(reply: str | None, labels: Sequence[str] | None) -> str | None:
    """A reply as the metrics take it.

    None for a failed query; the label named, or UNPARSED; the final answer if answers are free.
    """
    if reply is None:
        return None
    return read_reply(reply, labels).answer or UNPARSED


def parse_label(text: str, labels: Sequence[str]) -> str | None:
    """The label that a free-text reply names, or None where it names none or more than one.

    In this order: the whole reply is a label; what follows a stated "answer is" or "answer:" names
    one label; the whole reply does. A leading yes or no decides between yes and no. A label counts
    as a whole word or phrase, not inside a longer label ("red" in "red square"), and not straight
    after a negation ("not red"). Single-letter labels (A, B, C) count in their own case only, and
    an "A" or "I" before a word is that word's article or a pronoun. Writing without spaces between
    words is matched by whole replies only.
    """
    table = _table(tuple(labels))
    whole = table.equal_to(text)
    if whole:
        return whole.pop() if len(whole) == 1 else None
    stated = list(_STATED.finditer(text))
    for part in [text[stated[-1].end() :], text] if stated else [text]:
        named = table.named_in(part)
        if len(named) == 1:
            return named.pop()
    return None


class _Phrase(NamedTuple):
    label: str
    words: list[str]


class _Span(NamedTuple):
    start: int
    end: int
    label: str

    def inside(self, other: _Span) -> bool:
        shorter = self.end - self.start < other.end - other.start
        return shorter and other.start <= self.start and self.end <= other.end


class _Table:
    """Labels prepared for matching: normalised once, found by their first word."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.texts = {label: normalise(label) for label in labels}
        self.letters = all(len(label) == 1 and label.isalpha() for label in labels)
        self.by_first: dict[str, list[_Phrase]] = defaultdict(list)
        for label, text in self.texts.items():
            self.by_first[text.split(" ", 1)[0]].append(_Phrase(label, text.split()))
        self.negations = _NEGATIONS.difference(self.texts.values())
        by_text = {text: label for label, text in self.texts.items()}
        self.polar = by_text if by_text.keys() == {"yes", "no"} else {}

    def equal_to(self, text: str) -> set[str]:
        """Labels that the whole text is; the plain spelling first: "C++" is not also "C"."""
        plain = {
            label for label in self.labels if label.strip().casefold() == text.strip().casefold()
        }
        return plain or {label for label, known in self.texts.items() if known == normalise(text)}

    def named_in(self, text: str) -> set[str]:
        if self.letters:
            return {label for label in self.labels if _has_letter(text, label)}
        words = normalise(text).split()
        if words and words[0] in self.polar:
            return {self.polar[words[0]]}
        spans = list(self._spans(words))
        outer = [span for span in spans if not any(span.inside(other) for other in spans)]
        return {span.label for span in outer if self._affirmed(span, words)}

    def _spans(self, words: list[str]) -> Iterable[_Span]:
        for start, word in enumerate(words):
            for phrase in self.by_first.get(word, ()):
                end = start + len(phrase.words)
                if words[start:end] == phrase.words:
                    yield _Span(start, end, phrase.label)

    def _affirmed(self, span: _Span, words: list[str]) -> bool:
        negated = span.start > 0 and words[span.start - 1] in self.negations
        scaled = (
            span.end < len(words) and words[span.end] in _SCALES and words[span.end - 1].isdigit()
        )
        return not negated and not scaled


@lru_cache(maxsize=256)
def _table(labels: tuple[str, ...]) -> _Table:
    return _Table(labels)


def _has_letter(text: str, letter: str) -> bool:
    word_follows = r"(?!\s+[^\W\d_])" if letter in "AIai" else ""
    return (
        re.search(rf"(?<![\w'\u2019]){re.escape(letter)}(?![\w'\u2019]){word_follows}", text)
        is not None
    )
