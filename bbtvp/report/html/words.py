"""The sentences of a page in each language, and how its numbers are written."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, final

from bbtvp.core.errors import unknown
from bbtvp.report import figures
from bbtvp.verify.messages import fill

LANGUAGES = ("en", "ja")
"""For a new language, add a column to `words.toml` and its name here."""
NONE = "–"
"""Written where there is no figure."""


@final
class Words:
    """Gives the sentences of the catalogue in one language.

    Called with a key and the values that the sentence names. KeyError for a key that is not there.
    graded: of a run with graded scores, where the sentence KEY_graded stands for KEY if it is
    there.
    """

    def __init__(self, language: str, *, graded: bool = False) -> None:
        if language not in LANGUAGES:
            raise unknown("language", language, LANGUAGES)
        self.language = language
        self._graded = graded
        self._said = {key: row[language] for key, row in catalogue()["words"].items()}
        self._messages = {key: row.get(language) for key, row in catalogue()["messages"].items()}

    def __call__(self, key: str, **values: Any) -> str:
        other = f"{key}_graded"
        chosen = other if self._graded and other in self._said else key
        return str(self._said[chosen].format(**values))

    def message(self, message: Mapping[str, Any]) -> str:
        """A message of a proof. One that only a newer version knows stays English."""
        template = self._messages.get(message["code"])
        return str(message["text"]) if template is None else fill(template, message["values"])


@cache
def catalogue() -> Mapping[str, Any]:
    """The content of `words.toml`.

    It is {"words": {key: {language: sentence}}, "messages": {code: {language: template}}}.
    """
    return tomllib.loads((files("bbtvp.report.html") / "words.toml").read_text("utf-8"))


# -- figures, the same in every language -----------------------------------------------------------
def percent(share: float | None) -> str:
    """A share, 0 to 1, in percent."""
    return NONE if share is None else figures.share(share)


def points(change: float | None) -> str:
    """A difference of shares, −1 to 1, in points."""
    return NONE if change is None else figures.points(change)


def interval(bounds: Sequence[float] | None) -> str:
    """The ends of an interval, two differences of shares, in points."""
    return NONE if bounds is None else figures.interval(bounds)


def p_value(p: float | None) -> str:
    """A p-value to four places."""
    return NONE if p is None else figures.p_value(p)


def plain(value: Any) -> str:
    """A setting as it stands in a configuration."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return NONE if value is None or value == "" else str(value)
