"""Whether words that are found in a text stand for themselves, or in something longer."""

from __future__ import annotations

from functools import cache

import regex

from bbtvp.tasks.replies.folding import UNSPACED, TextToken, fold
from bbtvp.tasks.replies.languages import Span, entries, leading, pattern, words
from bbtvp.tasks.replies.texts import Text

_NEUTRAL = regex.compile(r"[=[\p{So}--°]]", regex.VERSION1)
_COMPARING = frozenset("<>≤≥≠±√≈")
_SCALING = frozenset("%‰°")
_HYPHEN_BEFORE = regex.compile(r"(?:[\p{L}\p{N}][-\u2010\u2011]|\d\s?[-\u2010\u2011\u2013]\s?|_)$")
_HYPHEN_AFTER = regex.compile(
    r"(?:[-\u2010\u2011](?!colou?red|farben)[\p{L}\p{N}]|\s?[-\u2010\u2011\u2013]\s?\d|_)",
)


def bounded(read: Text, first: int, last: int) -> bool:
    """Whether tokens `first` to `last` stand for themselves, not inside something longer."""
    text = read.text
    start = read.tokens[first].start
    end = read.tokens[last - 1].end
    numeric = read.tokens[last - 1].kind == "number"
    before = read.tokens[first - 1] if first else None
    after = read.tokens[last] if last < len(read.tokens) else None
    if before and _changes_before(before, start, numeric):
        return False
    if after and _changes_after(after, end, numeric):
        return False
    if after and after.start == end and read.tokens[last - 1].kind == "sign":  # C++17
        return after.kind == "char"
    if _HYPHEN_BEFORE.search(text, max(0, start - 4), start):
        return numeric and text[start] == "-"
    if _HYPHEN_AFTER.match(text, end):
        return False
    return _bounded_unspaced(text, start, end)


def _changes_before(sign: TextToken, start: int, numeric: bool) -> bool:
    if sign.kind != "sign" or _NEUTRAL.fullmatch(sign.text):
        return False
    if numeric and regex.fullmatch(r"\p{Sc}|\+", sign.text):
        return False
    return sign.end == start or (numeric and sign.text in _COMPARING)


def _changes_after(token: TextToken, end: int, numeric: bool) -> bool:
    adjacent = token.start == end
    if token.kind == "word":
        other_unit = adjacent and token.text not in _words("units")
        return numeric and (other_unit or token.text in _words("percent"))
    if token.kind != "sign" or _NEUTRAL.fullmatch(token.text):
        return False
    return adjacent or (numeric and (token.text in _SCALING or token.text.startswith("^")))


@cache
def _words(key: str) -> frozenset[str]:
    return frozenset(entries(key))


_HAN = regex.compile(r"[\p{Han}\u3005]")
_HIRAGANA = regex.compile(r"\p{Hiragana}")
_KATAKANA = regex.compile(r"[\p{Katakana}\u30fc]")


def _bounded_unspaced(text: str, start: int, end: int) -> bool:
    """As `bounded`, for scripts without spaces: neighbours must be words that stand there."""
    first = text[start]
    last = text[end - 1]
    long = end - start > 1
    if start and UNSPACED.match(first) and not _begins(text, start, long):
        return False
    return not (end < len(text) and UNSPACED.match(last)) or _ends(text, end, long)


def _begins(text: str, start: int, long: bool) -> bool:
    first = text[start]
    before = text[start - 1]
    if not UNSPACED.match(before):
        return True
    if before in entries("prefixes"):
        return False
    if _KATAKANA.match(first):
        return not _KATAKANA.match(before)
    if _HAN.match(first) and (_HIRAGANA.match(before) or long):
        return True
    return words("@before@$").search(text, max(0, start - 4), start) is not None


def _ends(text: str, end: int, long: bool) -> bool:
    last = text[end - 1]
    after = text[end]
    if not UNSPACED.match(after):
        return True
    if pattern("not_after").match(text, end):
        return False
    if _HAN.match(last) and _HAN.match(after) and long:
        return True
    return pattern("after").match(text, end) is not None


def stands_alone(text: str, place: Span) -> bool:
    """Whether a yes or no in a sentence is a word of its own, not "no" before a noun."""
    start, end = place
    if UNSPACED.match(text[start]):
        return False
    rest = text[end:]
    if regex.match(r"[.]\s*\d", rest):  # No. 5
        return False
    if regex.match(r"\s*(?:$|[.,;:!…)\]\"'\n]|[-–—]\s)", rest):
        return True
    if leading("reasons").match(rest):
        return True
    return fold(text[start:end]) not in lexicon("no") and not rest.startswith("-")


@cache
def lexicon(side: str) -> frozenset[str]:
    """The words, folded, that say yes or no; `side` is which."""
    return frozenset(fold(word) for word in entries(side))
