"""Numbers by value: digits in any script, English number words, fractions, powers.

Commas and full stops, where a number could be read in two ways:

- a comma before groups of three digits parts thousands: "1,234" is 1234;
- any other single comma is a decimal one: "1,5" is 1.5, and so is "0,125";
- a full stop is a decimal point, "1.234" is 1.234, unless it stands twice: "1.234.567";
- where both stand, the last one is the decimal mark: "1.234,5" and "1,234.5" are 1234.5;
- an apostrophe and a narrow or unbreakable space before three digits part thousands.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import regex

DIGITS = r"""
    \d{1,3}(?:[\u00a0\u202f\u2009'\u2019\u066c]\d{3})+(?!\d)(?:[.,\u066b]\d+)?
    |(?:\d+(?:\.\d+)?|\.\d+)[eE][-+]?\d+(?![\p{L}\p{N}])
    |\d+\s?/\s?\d+(?![\d/])
    |\d+(?:[.,\u066b\u066c]\d+)*(?:\s?[\u00bc-\u00be\u2150-\u215e])?
    |(?<![\p{L}\p{N}])[.\u066b]\d+
"""
"""A number in digits, for a verbose expression; without its sign."""

LARGEST = 400
"""Numbers with more digits than this are not multiplied out."""

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(_UNITS.split())}
_SMALL |= dict(zip(_TENS.split(), range(20, 100, 10), strict=True))
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
"""What a scale word multiplies by."""

WORDS = frozenset({*_SMALL, *SCALES})
"""English number words, folded."""


def plain(value: Decimal) -> str:
    """The one spelling of a value: no exponent, no zeros that say nothing."""
    text = format(value.normalize(), "f")
    return "0" if text == "-0" else text


@lru_cache(maxsize=4096)
def value(text: str) -> Decimal | None:
    """The value of a number in digits, of any script. None if it is none.

    >>> [str(value(text)) for text in ("1,234", "1,5", "1.234,5", "3.0", "1/2", "٣", "½")]
    ['1234', '1.5', '1234.5', '3.0', '0.5', '3', '0.5']
    """
    vulgar = regex.fullmatch(r"(.*?)\s?(\p{No})", text)
    if vulgar:
        head = value(vulgar[1]) if vulgar[1] else Decimal(0)
        return None if head is None else head + Decimal(str(unicodedata.numeric(vulgar[2])))
    try:
        top, slash, bottom = _ascii(text).partition("/")
        whole = Decimal(_pointed(top))
        return whole / Decimal(_pointed(bottom)) if slash else whole
    except (InvalidOperation, ZeroDivisionError):
        return None


def _ascii(text: str) -> str:
    """ASCII digits, commas and points; no spaces and apostrophes."""
    text = regex.sub("[-\u2212\u2013]", "-", regex.sub("[\\s\u00a0'\u2019\u066c]", "", text))
    digits = (str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
    return "".join(digits).replace("\u066b", ".").replace("\uff0e", ".").replace("\uff0c", ",")


def _pointed(text: str) -> str:
    """Digits with at most one mark, the decimal point; see the rules above."""
    commas = text.count(",")
    points = text.count(".")
    if commas and points:
        decimal = max(",.", key=text.rfind)
        other = ".,"[decimal == "."]
        return text.replace(other, "").replace(decimal, ".")
    if commas and regex.fullmatch(r"-?[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}", text):
        return text.replace(",", "")
    if points > 1 and regex.fullmatch(r"-?\d{1,3}(?:\.\d{3})+", text):
        return text.replace(".", "")
    return text.replace(",", ".")


def spelled(words: Sequence[str]) -> Decimal | None:
    """The value of number words in a row: "two hundred and five" is 205. None for "one two"."""
    total = 0
    group = 0
    last = 0
    for word in words:
        if word == "and":
            continue
        scale = SCALES.get(word)
        if scale == 100 and 0 < group < 100:
            group *= 100
        elif scale and scale > 100 and group:
            total += group * scale
            group = 0
        elif scale is None and _fits(_SMALL[word], last, group):
            group += _SMALL[word]
        else:
            return None
        last = scale or _SMALL[word]
    return Decimal(total + group)


def _fits(small: int, last: int, group: int) -> bool:
    """Whether a small number can follow: a unit after tens, anything after hundreds."""
    if group == 0:
        return True
    return last >= 100 or (20 <= last < 100 and 0 < small < 10)
