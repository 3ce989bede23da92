"""The words by which replies are read, from `languages.toml`.

All languages count in every reply: models mix them, and a word of one is seldom a word of another.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import regex

Found: TypeAlias = regex.Match[str] | None
Span: TypeAlias = tuple[int, int]
"""Start and end of a part of a text, as a slice takes them."""

_WORD = r"[\p{L}\p{M}\p{N}]"


@cache
def languages() -> dict[str, dict[str, Any]]:
    """Language → list name → its entries."""
    source = files("bbtvp.tasks.replies") / "languages.toml"
    return tomllib.loads(source.read_text("utf-8"))


def entries(key: str) -> list[Any]:
    """All entries of the list `key`, of all languages."""
    return [entry for listed in languages().values() for entry in listed.get(key, ())]


class WordPattern:
    """An expression over lists of words.

    template: a verbose regular expression; `@KEY@` in it stands for the list KEY of all languages.
    Words of a language with spaces match as whole words only. Case does not matter.
    """

    def __init__(self, template: str) -> None:
        self._all = _compiled(template, ascii_only=False)
        self._ascii = _compiled(template, ascii_only=True)

    def _in(self, text: str) -> regex.Pattern[str]:
        # Fewer words to try, in most replies.
        return self._ascii if text.isascii() else self._all

    def match(self, text: str, start: int = 0, end: int | None = None) -> Found:
        return self._in(text).match(text, start, len(text) if end is None else end)

    def search(self, text: str, start: int = 0, end: int | None = None) -> Found:
        return self._in(text).search(text, start, len(text) if end is None else end)

    def fullmatch(self, text: str) -> Found:
        return self._in(text).fullmatch(text)

    def finditer(
        self, text: str, start: int = 0, end: int | None = None
    ) -> Iterator[regex.Match[str]]:
        return self._in(text).finditer(text, start, len(text) if end is None else end)


def _compiled(template: str, *, ascii_only: bool) -> regex.Pattern[str]:
    source = regex.sub(
        "@(\\w+)@", lambda found: _alternation(found[1], ascii_only=ascii_only), template
    )
    flags = regex.IGNORECASE | regex.MULTILINE | regex.VERBOSE | regex.VERSION1
    return regex.compile(source, flags)


def _alternation(key: str, *, ascii_only: bool) -> str:
    """The list `key` of all languages as one group; what nothing matches if it is empty."""
    parts = []
    for language in languages().values():
        listed = [entry for entry in language.get(key, ()) if entry.isascii() or not ascii_only]
        if not listed:
            continue
        either = "|".join(_verbatim(entry) for entry in listed)
        whole = rf"(?<!{_WORD})(?:{either})(?!{_WORD})" if language["spaces"] else either
        parts.append(whole)
    return f"(?:{'|'.join(parts) or '(?!)'})"


def _verbatim(entry: str) -> str:
    """An entry as it stands in a verbose expression."""
    return regex.sub(r"(?<!\\)([ #])", r"\\\1", entry)


@cache
def words(template: str) -> WordPattern:
    """See `WordPattern`; compiled once."""
    return WordPattern(template)


@cache
def pattern(key: str) -> WordPattern:
    """The words of the list `key`."""
    return WordPattern(f"@{key}@")


@cache
def leading(key: str) -> WordPattern:
    """As `pattern`, with anything but letters and digits before the words."""
    return WordPattern(rf"(?:(?!{_WORD})[^\n])*@{key}@")


def spans(key: str, text: str) -> list[Span]:
    """Where the words of the list `key` stand in `text`."""
    return [found.span() for found in pattern(key).finditer(text)]


def blank(text: str, start: int, end: int) -> str:
    """`text` with spaces from `start` to `end`: gone for the reader, all other places unmoved."""
    return text[:start] + " " * (end - start) + text[end:]


@cache
def _function_words() -> dict[str, frozenset[str]]:
    return {
        language: frozenset(listed["function_words"])
        for language, listed in languages().items()
        if "function_words" in listed
    }


def spoken(said: frozenset[str]) -> frozenset[str]:
    """The languages whose commonest words are among the folded words `said`."""
    return frozenset(
        language for language, common in _function_words().items() if not common.isdisjoint(said)
    )
