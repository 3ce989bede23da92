"""Texts as they are compared: one spelling for what reads the same, cut into tokens.

A token keeps its place in the text, so that whoever finds a label knows where it stands.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

import regex

from bbtvp.tasks.replies import numerals

Kind = Literal["word", "char", "number", "sign"]
"""word: letters between spaces. char: one character of a script without spaces. sign: a mark that
carries meaning, as the + of "C++".
"""


UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc\u3005]"
)
"""A character of a script that is written without spaces, or with particles glued to words."""


class TextToken(NamedTuple):
    """A part of a text. text: as `fold` gives it; a number in plain digits, "3.0" as "3"."""

    start: int
    end: int
    text: str
    kind: Kind


_POWER = regex.compile("[⁺⁻]?[⁰¹²³⁴-⁹]+")
_MINUS = "\u2010\u2011\u2012\u2013\u2212"
_UNSPACED = UNSPACED.pattern.strip("[]")
_TOKENS = regex.compile(
    rf"""
    (?P<number>
        (?:(?<![\p{{L}}\p{{N}}\p{{M}}).\]])[-\u2212\u2013](?=[\d.]))?
        (?:{numerals.DIGITS})
    )
    |(?P<char>[{_UNSPACED}][\p{{M}}\p{{Cf}}\uff9e\uff9f]*)
    |(?P<elided>(?<![\p{{L}}])(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|dell|nell|all|un)(?=['\u2019]\p{{L}}{{2}}))
    |(?P<word>[[\p{{L}}\p{{M}}\p{{Nl}}]--[{_UNSPACED}]](?:[[\p{{L}}\p{{M}}\p{{N}}\p{{Cf}}]--[{_UNSPACED}⁰¹²³⁴-⁹]]|['\u2019](?=\p{{L}}))*)
    |(?P<power>\^\s?\{{?[-+\u2212]?\d+\}}?|[⁺⁻]?[⁰¹²³⁴-⁹]+)
    |(?P<grade>(?<=(?<![\p{{L}}\p{{N}}])\p{{L}}{{1,3}})[-\u2212\u2013](?![\p{{L}}\p{{N}}]))
    |(?P<compared>[<>!=]=)
    |(?P<hashtag>(?<![\p{{L}}\p{{N}}+#])\#)
    |(?P<fraction>\p{{No}})
    |(?P<sign>[[\p{{Sm}}\p{{Sc}}\p{{So}}%‰°+\#&@/§]--[|~\u2044]])
    """,
    regex.VERBOSE | regex.VERSION1 | regex.IGNORECASE,
)
_NO_APOSTROPHE = {ord("'"): None, 0x2019: None}
_COMPARED = {"<=": "≤", ">=": "≥", "!=": "≠", "==": "="}
_SAME_SIGN = {"⩽": "≤", "≦": "≤", "⩾": "≥", "≧": "≥", "¢": "¢", "¥": "¥"}


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
    return "" if unicodedata.category(char) == "Cf" or char in "\ufe0e\ufe0f" else char


def unaccented(folded: str) -> str:
    """`folded` without the accents of Latin letters: "café" as "cafe"; か is not が without."""
    if folded.isascii():
        return folded
    parts = unicodedata.normalize("NFD", folded)
    bare = regex.sub(r"(?<=\p{Latin})\p{Mn}+", "", parts)
    return unicodedata.normalize("NFC", bare)


def tokens(text: str) -> list[TextToken]:
    """The tokens of `text`; marks without meaning, such as commas and quotes, are none.

    >>> [token.text for token in tokens("It's C++, not C#: 3.0 %")]
    ['its', 'c', '+', '+', 'not', 'c', '#', '3', '%']
    """
    found = [token for match in _TOKENS.finditer(text) for token in _token(match)]
    return list(_merged(found, text))


def _token(match: regex.Match[str]) -> Iterator[TextToken]:
    start, end = match.span()
    kind = match.lastgroup or ""
    raw = match.group()
    if kind == "hashtag":
        return
    if kind in ("number", "fraction"):
        yield from _numbers(raw, start)
    elif kind in ("word", "elided"):
        yield TextToken(start, end, fold(raw.translate(_NO_APOSTROPHE)), "word")
    elif kind == "char":
        yield TextToken(start, end, fold(raw), "char")
    elif kind == "power":
        yield TextToken(start, end, "^" + fold(raw).strip("^ {}"), "sign")
    elif raw == "&":
        yield TextToken(start, end, "and", "word")
    else:
        sign = _COMPARED.get(raw) or _SAME_SIGN.get(raw) or fold(raw) or raw
        yield from (TextToken(start, end, char, "sign") for char in sign if not char.isspace())


def _numbers(raw: str, start: int) -> Iterator[TextToken]:
    """The number that `raw` is, or those of a list such as "1,2,3"."""
    whole = numerals.value(raw)
    parts = [(start, raw)]
    if whole is None:
        parts = [(start + part.start(), part.group()) for part in regex.finditer(r"\d+", raw)]
    for at, part in parts:
        value = numerals.value(part)
        if value is not None and "/" in part and value == value.to_integral_value():
            yield TextToken(at, at + len(part), fold(part.replace(" ", "")), "number")
        elif value is not None:
            yield TextToken(at, at + len(part), numerals.plain(value), "number")


def _merged(found: Sequence[TextToken], text: str) -> Iterator[TextToken]:
    """The tokens with runs of English number words as numbers, and powers multiplied out.

    "twenty-one" and "10^5" become one token each.
    """
    at = 0
    while at < len(found):
        taken, token = _numeral(found, at, text)
        yield token
        at += taken


def _numeral(found: Sequence[TextToken], at: int, text: str) -> tuple[int, TextToken]:
    """How many tokens from `at` on are one number, and the token that they make."""
    first = found[at]
    if first.kind == "word" and first.text in numerals.WORDS:
        for run in range(_run(found, at, text), 0, -1):
            value = numerals.spelled([token.text for token in found[at : at + run]])
            if value is not None:
                last = found[at + run - 1]
                return run, TextToken(first.start, last.end, numerals.plain(value), "number")
    if first.kind == "number" and at + 1 < len(found):
        return _scaled(first, found[at + 1], text)
    return 1, first


_LONGEST_NUMERAL = 24
"""Words that one number has at most."""


def _run(found: Sequence[TextToken], at: int, text: str) -> int:
    """The number of tokens from `at` on that are number words, next to each other."""
    run = 1
    while at + run < len(found) and run < _LONGEST_NUMERAL:
        gap = text[found[at + run - 1].end : found[at + run].start]
        word = found[at + run].text
        joined = word == "and" and at + run + 1 < len(found) and _goes_on(found, at + run)
        if gap.strip(" -\u2010\u2011") or not (word in numerals.WORDS or joined):
            break
        run += 1
    return run


def _goes_on(found: Sequence[TextToken], at: int) -> bool:
    """Whether the "and" at `at` stands inside a number, as in "one hundred and five"."""
    return found[at - 1].text in numerals.SCALES and found[at + 1].text in numerals.WORDS


def _scaled(first: TextToken, second: TextToken, text: str) -> tuple[int, TextToken]:
    """A number and what multiplies it: a power, or a scale as in "3 million"."""
    if second.text.startswith("^") and second.start == first.end:
        try:
            value = Decimal(first.text) ** Decimal(second.text[1:])
        except (InvalidOperation, ArithmeticError):
            return 1, first
        if value.is_finite() and value.adjusted() < numerals.LARGEST:
            return 2, TextToken(first.start, second.end, numerals.plain(value), "number")
    if second.text in numerals.SCALES and not text[first.end : second.start].strip():
        value = Decimal(first.text) * numerals.SCALES[second.text]
        return 2, TextToken(first.start, second.end, numerals.plain(value), "number")
    return 1, first


def normalise(text: str) -> str:
    """`text` casefolded, without idle punctuation and articles, single-spaced; numbers in digits.

    Signs that carry meaning stay.

    >>> normalise("The Cat's hat!"), normalise("Twenty-one"), normalise("C++")
    ('cats hat', '21', 'c + +')
    """
    return " ".join(_spelled_out(without_articles(tokens(text)))) or fold(text).strip()


def _spelled_out(found: Sequence[TextToken]) -> Iterator[str]:
    """The tokens' texts; neighbours in a script without spaces as one."""
    piece = ""
    end = -1
    for token in found:
        glued = piece and token.kind == "char" and token.start == end
        if piece and not glued:
            yield piece
            piece = ""
        piece += token.text
        end = token.end if token.kind == "char" else -1
    if piece:
        yield piece


ARTICLES = frozenset({"a", "an", "the"})


def without_articles(found: Sequence[TextToken]) -> list[TextToken]:
    """The tokens without English articles, unless nothing is left; the A of "A-" is none."""
    signs = {token.start for token in found if token.kind == "sign"}
    kept = [token for token in found if token.text not in ARTICLES or token.end in signs]
    return kept or list(found)


def number(text: str) -> float | None:
    """The one number that `text` names, in digits or in English words.

    None if it names none or several.

    >>> number("There are 3, yes: three"), number("2 or 3"), number("two hundred")
    (3.0, None, 200.0)
    """
    found = {token.text for token in tokens(text) if token.kind == "number"}
    return float(found.pop()) if len(found) == 1 else None
