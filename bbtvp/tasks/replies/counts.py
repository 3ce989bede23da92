"""Labels that are numbers: number words of other languages, bounds, and numbers of lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import regex

from bbtvp.tasks.replies.languages import entries, languages, words
from bbtvp.tasks.replies.texts import Text


def enumerators(text: str, what: str) -> set[int]:
    """Where lines begin with numbers or letters of a list, as in "1. …" and "A) …"."""
    found = [
        (match.start("mark"), match["mark"])
        for match in regex.finditer(rf"^[^\w\n]*(?P<mark>{what})[.):]\s+\w", text, regex.MULTILINE)
    ]
    several = len({mark for _, mark in found}) > 1
    return {start for start, _ in found} if several else set()


_DEFINITE = r"@definite@$"
_REFERENCE = r"""@labels_before@\s*["']?$"""


def is_reference(text: str, start: int) -> bool:
    """Whether what starts there is the name of something, as in "figure 2"."""
    before = max(0, start - 20)
    return words(_REFERENCE).search(text, before, start) is not None


_THING = r"@things_before@\s*(?:\p{L}\s*(?:,|and|or|und|et|y|e)\s*)*[\"']?$"


def is_thing(text: str, start: int) -> bool:
    """Whether a letter that starts there names a thing that is no option, as in "angle B"."""
    return words(_THING).search(text, max(0, start - 40), start) is not None


def is_definite(text: str, start: int) -> bool:
    """Whether a number tells which things are meant, "the two dogs", not how many there are."""
    return words(_DEFINITE).search(text, max(0, start - 24), start) is not None


_HAN_DIGITS = {char: value for value, char in enumerate("〇一二三四五六七八九")}
_HAN_DIGITS |= {"零": 0, "两": 2, "兩": 2}


def _han_value(numeral: str) -> str | None:
    """三 → "3", 二十一 → "21"; up to 999."""
    total = 0
    digit = 0
    for char in numeral:
        scale = {"十": 10, "百": 100}.get(char)
        if scale:
            total += (digit or 1) * scale
            digit = 0
        else:
            digit = digit * 10 + _HAN_DIGITS[char]
    return str(total + digit)


@cache
def _han_counted() -> regex.Pattern[str]:
    counters = "|".join(map(regex.escape, entries("counters")))
    return regex.compile(
        rf"(?<![第〇零一二三四五六七八九十百两兩])[〇零一二三四五六七八九十百两兩]++(?=\s?(?:{counters}))"
    )


@cache
def _native() -> Mapping[str, regex.Pattern[str]]:
    """Language → its number words, longest first, as one expression with a group for each."""
    found = {}
    for language, lists in languages().items():
        listed = sorted(lists.get("numbers", ()), key=lambda pair: -len(pair[0]))
        either = "|".join(f"(?P<_{value}>{word})" for word, value in listed)
        ends = (
            r"(?!\p{L})" if lists["spaces"] else r"(?!\p{Hangul}(?<!개|마|명|장|대|입|이|예|가|는))"
        )
        if listed:
            found[language] = regex.compile(rf"(?<!\p{{L}})(?:{either}){ends}", regex.IGNORECASE)
    return found


def number_words(read: Text) -> Iterator[tuple[int, int, str]]:
    """(start, end, value) of number words that are not English."""
    for found in _han_counted().finditer(read.text):
        yield (*found.span(), _han_value(found.group()) or "")
    for language, numerals in _native().items():
        if language in read.languages or not languages()[language]["spaces"]:
            for found in numerals.finditer(read.text):
                yield (*found.span(), (found.lastgroup or "_")[1:])


def spoken_number(text: str) -> str | None:
    """The value of a text that is one number word, of whatever language."""
    bare = regex.sub(r"^\W+|\W+$", "", text)
    counted = words(r"(?P<count>\d+)\s?@counters@").fullmatch(bare)
    if counted:
        return str(int(counted["count"]))
    if regex.fullmatch("[〇零一二三四五六七八九十百两兩]+", bare):
        return _han_value(bare)
    for numerals in _native().values():
        found = numerals.fullmatch(bare)
        if found:
            return (found.lastgroup or "_")[1:]
    return None


def is_limit(text: str, start: int, end: int) -> bool:
    """Whether a number is a bound, as in "more than 3", not a count."""
    before = words(r"@bounds_before@\s*$").search(text, max(0, start - 24), start)
    return bool(before or words(r"\s*@bounds_after@").match(text, end))
