"""How vendors' models behave, and when they end: a dated data file that users can override.

    KnownModels.load().find("openai", "gpt-6-luna").thinks
    check_lifetime("openai", "o4-mini", "https://api.openai.com/v1")   # raises UsageError

The shipped file is `models.toml`; each of its rows names its source and its date. It is the
fallback: what a probe finds, and what the vendor itself answers, counts first. A file of your own
(BBTVP_MODELS) takes precedence, value by value.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, final
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from bbtvp.core import clock
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.limits import read_table
from bbtvp.endpoint.resizing import StrictModel

_log = logging.getLogger("bbtvp")

SHIPPED = Path(__file__).with_name("models.toml")
SOON = timedelta(days=60)
"""How long before its end a model is said to end."""

REPLY_TOKENS = 2048
"""Tokens of the longest reply of a model that thinks, where nothing else is known."""

_HOSTS = {
    "openai": "openai.com",
    "anthropic": "anthropic.com",
    "gemini": "googleapis.com",
    "bedrock": "amazonaws.com",
}
"""Where the vendors serve their models themselves. Elsewhere a model may live on, and what a name
stands for at Azure is up to its owner.
"""

_VALUES = ("thinks", "reply_tokens", "levels", "ignored", "shutdown")
Name: TypeAlias = Annotated[str, Field(min_length=1)]
Day: TypeAlias = date
Thinks: TypeAlias = Literal["always", "by default", "when told", "never"]


@final
class KnownModelRow(StrictModel):
    """What is known of the models of some services that match some patterns (fnmatch).

    A value that is left out may come from a wider pattern. For the values see `models.toml`.
    """

    service: list[Name] = Field(min_length=1)
    model: list[Name] = Field(min_length=1)
    thinks: Thinks | None = None
    reply_tokens: Annotated[int, Field(ge=1)] | None = None
    levels: list[Name] | None = None
    ignored: list[Name] | None = None
    shutdown: Day | None = None
    successor: str = ""
    date: Day
    valid_until: Day | None = None
    source: Name
    confidence: Literal["vendor", "third party", "assumed"]

    @model_validator(mode="before")
    @classmethod
    def _one_name_is_a_list(cls, row: object) -> object:
        if not isinstance(row, dict):
            return row
        single = {name: [row[name]] for name in ("service", "model") if _is_text(row.get(name))}
        return row | single

    def fit(self, service: str, model: str) -> tuple[bool, int] | None:
        """Return how narrowly this row names a model; None if it does not. Larger is narrower."""
        if service not in self.service:
            return None
        names = [name for name in self.model if fnmatchcase(model, name)]
        return max((("*" not in name, _letters(name)) for name in names), default=None)


def _letters(pattern: str) -> int:
    """Return how many letters a pattern gives; a set such as "[12]" is none."""
    return len(re.sub(r"\[[^]]*\]|[*?]", "", pattern))


class _ModelsFile(StrictModel):
    checked: date | None = None
    model: list[KnownModelRow] = Field(default_factory=list)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


@final
@dataclass(frozen=True)
class KnownModel:
    """What is known of one model, None or empty where nothing is.

    sources: where each value was read, by its name.
    """

    thinks: Thinks | None = None
    reply_tokens: int | None = None
    levels: Sequence[str] = ()
    ignored: Sequence[str] = ()
    shutdown: Day | None = None
    successor: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)

    def lifetime(self, today: Day | None = None) -> str | None:
        """Return a line about the model's end, None if it is more than `SOON` away."""
        day = today or clock.today()
        if self.shutdown is None or self.shutdown - day > SOON:
            return None
        instead = f"; use {self.successor} instead" if self.successor else ""
        if self.over(day):
            return f"the vendor shut this model down on {self.shutdown}{instead}"
        return f"the vendor shuts this model down on {self.shutdown}{instead}"

    def over(self, today: Day | None = None) -> bool:
        """Whether the day on which the model is shut down has passed."""
        day = today or clock.today()
        return self.shutdown is not None and self.shutdown < day


@final
@dataclass(frozen=True)
class KnownModels:
    """Rows about models: those of a file of your own, then the shipped ones."""

    own: tuple[KnownModelRow, ...]
    shipped: tuple[KnownModelRow, ...]

    @classmethod
    def load(cls) -> KnownModels:
        """Load the shipped file, and over it your own (BBTVP_MODELS).

        Raises UsageError for a file that cannot be used.
        """
        own = os.environ.get("BBTVP_MODELS")
        return _loaded(Path(own) if own else None)

    def find(self, service: str, model: str) -> KnownModel:
        """Return what is known of a model: of each value, what the narrowest row says."""
        found: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for row in self._matching(service, model):
            for name in _VALUES:
                value = getattr(row, name)
                if name not in found and value is not None:
                    found[name] = value
                    sources[name] = f"{row.source}, {row.date} ({row.confidence})"
                    if name == "shutdown":
                        found["successor"] = row.successor
        return KnownModel(sources=sources, **found)

    def _matching(self, service: str, model: str) -> Iterator[KnownModelRow]:
        today = clock.today()
        for rows in (self.own, self.shipped):
            fits = [
                (fit, row)
                for row in rows
                if (fit := row.fit(service, model)) and (row.valid_until or today) >= today
            ]
            yield from (row for _, row in sorted(fits, key=lambda pair: pair[0], reverse=True))


@lru_cache(maxsize=8)
def _loaded(path: Path | None) -> KnownModels:
    own = tuple(read_table(path, _ModelsFile).model) if path else ()
    return KnownModels(own, tuple(read_table(SHIPPED, _ModelsFile).model))


def known(service: str, model: str) -> KnownModel:
    """Return what the data files know of a model."""
    today = clock.today()
    return _found(os.environ.get("BBTVP_MODELS"), service, model, today)


@lru_cache(maxsize=256)
def _found(own: str | None, service: str, model: str, today: Day) -> KnownModel:
    """Kept, since every request asks for it. own, today: what the answer depends on besides."""
    return KnownModels.load().find(service, model)


def reply_tokens(service: str, model: str) -> int:
    """Return the tokens to allow a model that thinks for its thoughts and its answer."""
    return known(service, model).reply_tokens or REPLY_TOKENS


def check_lifetime(service: str, model: str, url: str) -> None:
    """Tell the user about a model that ends soon, and refuse one that has ended.

    url: where requests go. Under another address than the vendor's own the model may live on, and
    its end is only told. Raises UsageError for a model past its end.
    """
    found = known(service, model)
    line = found.lifetime()
    if line is None:
        return
    host = urlsplit(url).hostname or ""
    if found.over() and f".{host}".endswith(f".{_HOSTS.get(service, 'invalid')}"):
        raise UsageError(
            f"{service}/{model}: {line} ({found.sources['shutdown']}; if that is wrong, "
            "write a row of your own into a file: BBTVP_MODELS)"
        )
    _tell(f"{service}/{model}: {line}")


@lru_cache(maxsize=256)
def _tell(line: str) -> None:
    """Show a line once for each process."""
    _log.warning("%s", line)
