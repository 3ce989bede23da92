"""Wordings: texts that are put around a question, which stays as it is.

A wording is a prefix, a suffix or both. {question} marks the place of the question, once; a text
without it goes before the question. All other braces are literal.

>>> Wording("short", "Question: {question} Short answer:").around("Which {thing}?")
'Question: Which {thing}? Short answer:'
>>> Wording("careful", "Look carefully.").around("Which {thing}?")
'Look carefully. Which {thing}?'
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import final

from bbtvp.core.errors import UsageError

PLACE = "{question}"
"""Stands for the question in the text of a wording."""

LONGEST = 2000
"""Characters of the longest wording: many labels with their definitions fit in."""

MOST_TOKENS = 4096
"""The most tokens that a wording may want for its answer."""

_NAME_WORDS = 5
_NAME_LENGTH = 40


@final
@dataclass(frozen=True)
class Wording:
    """A text around a question, by name.

    text: with `PLACE` once, or without it for a text that goes before the question. reply_tokens:
    what its answer needs; 0 where it is as short as without the wording. source: where it was
    published, in words. UsageError for a text that is empty, too long, or holds `PLACE` twice.
    """

    name: str
    text: str
    reply_tokens: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError(f"the wording {self.text!r:.60} has an empty name; give it one")
        if not self.text.replace(PLACE, "").strip():
            raise UsageError(f"the wording {self.name!r} is empty; write a text, or leave it out")
        if self.text.count(PLACE) > 1:
            raise UsageError(f"the wording {self.name!r} holds {PLACE} twice; write it once")
        if len(self.text) > LONGEST:
            raise UsageError(
                f"the wording {self.name!r} has {len(self.text)} characters; give at most {LONGEST}"
            )
        if not 0 <= self.reply_tokens <= MOST_TOKENS:
            raise UsageError(
                f"the wording {self.name!r} wants {self.reply_tokens} tokens for its answer; "
                f"give 0 to {MOST_TOKENS}"
            )
        if _has_surrogate(self.name + self.text):
            raise UsageError(f"the wording {self.text!r:.60} is not Unicode text; correct it")

    @classmethod
    def of_text(cls, text: str, taken: Collection[str] = ()) -> Wording:
        """A wording named by its first words, other than the names that are taken."""
        words = re.findall(r"\w+", text.replace(PLACE, ""))
        stem = "-".join(words[:_NAME_WORDS]).lower()[:_NAME_LENGTH] or "wording"
        name = stem
        number = 2
        while name in taken:
            name = f"{stem}-{number}"
            number += 1
        return cls(name, text.strip())

    def around(self, question: str) -> str:
        """The question with this text around it."""
        return put_around(self.text, question)


def put_around(text: str, question: str) -> str:
    """The question in its place in `text`; after it and a space, where the text has no place."""
    before, place, after = text.partition(PLACE)
    return f"{before}{question}{after}" if place else f"{text} {question}"


@lru_cache
def bundled() -> Mapping[str, Wording]:
    """The published forms that come with the package, by name, each with its source."""
    source = files("bbtvp.prompt").joinpath("wordings.toml").read_text("utf-8")
    found = [Wording(**entry) for entry in tomllib.loads(source)["wording"]]
    return MappingProxyType({wording.name: wording for wording in found})


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
