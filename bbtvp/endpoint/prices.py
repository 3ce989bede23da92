"""What tokens cost: a dated price file that you can edit, bounds for a cap, and estimates before a
run.

    Prices.load().need("openai", "gpt-4o").usd(900, 16)
    estimate("openai", "gpt-4o", 1000, 512, 200, 16, rpm=500)

Yours, as `--prices FILE` or BBTVP_PRICES, wins over the shipped one. No vendor tells the price of a
reply: a model without a row has no price, and a run with a cap on money does not start.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias, final

from pydantic import Field, model_validator

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.images import Limits, Size, input_tokens, read_table
from bbtvp.endpoint.resizing import Strict

SHIPPED = Path(__file__).with_name("prices.toml")
Name: TypeAlias = Annotated[str, Field(min_length=1)]
Day: TypeAlias = date


@final
class Price(Strict):
    """US dollars per million input and output tokens of one service, for models by name or pattern
    (fnmatch).

    batch: what is paid of that in the half-price interface, 1 where no discount is known. date:
    when the price was read there, at `source`. since, until: the days between which it holds.
    """

    service: Name
    model: list[Name] = Field(min_length=1)
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    batch: float = Field(default=1.0, gt=0, le=1)
    date: Day
    source: Name
    since: Day | None = None
    until: Day | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_name_is_a_list(cls, row: object) -> object:
        if isinstance(row, dict) and isinstance(row.get("model"), str):
            return row | {"model": [row["model"]]}
        return row

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Price:
        if self.since and self.until and self.until < self.since:
            raise ValueError(f"until {self.until} is before since {self.since}; exchange them")
        return self

    def usd(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float:
        """US dollars for so many tokens."""
        dollars = (self.input * input_tokens + self.output * output_tokens) / 1_000_000
        return dollars * self.batch if batch else dollars

    def holds(self, today: Day) -> bool:
        return (self.since or today) <= today <= (self.until or today)

    def fit(self, model: str) -> tuple[bool, int] | None:
        """How narrowly this row names a model, larger being narrower; None if it does not."""
        fits = [
            (name == model, len(name))
            for name in self.model
            if name == model or fnmatchcase(model, name)
        ]
        return max(fits, default=None)

    def __str__(self) -> str:
        return (
            f"${self.input:g} in, ${self.output:g} out per million tokens "
            f"({self.service} {', '.join(self.model)}; {self.source}, {self.date})"
        )


class _File(Strict):
    checked: Day | None = None
    price: list[Price] = Field(default_factory=list)


@final
@dataclass(frozen=True)
class Prices:
    """Rows of prices: your own, then those of the shipped file."""

    own: tuple[Price, ...]
    shipped: tuple[Price, ...]
    path: Path | None = None

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """Your file (`path`, or BBTVP_PRICES) over the shipped one. UsageError for a file that
        cannot be used.
        """
        own = os.environ.get("BBTVP_PRICES")
        return _loaded(path or (Path(own) if own else None))

    def price(self, service: str, model: str, today: Day | None = None) -> Price | None:
        """The row of a model, None if there is none.

        Yours before a shipped one, an exact name before a pattern, a long pattern before a short
        one.
        """
        day = today or datetime.now(UTC).date()
        for rows in (self.own, self.shipped):
            found = [
                (fit, row)
                for row in rows
                if row.service == service and row.holds(day) and (fit := row.fit(model))
            ]
            if found:
                return max(found, key=lambda pair: pair[0])[1]
        return None

    def need(self, service: str, model: str, today: Day | None = None) -> Price:
        """As `price`. UsageError, with what to write into a price file, if there is none."""
        found = self.price(service, model, today)
        if found is None:
            raise UsageError(_unpriced(service, model, today or datetime.now(UTC).date()))
        return found


def _unpriced(service: str, model: str, day: Day) -> str:
    """What to do about it. Pasted without numbers, these lines are no TOML: no price is ever 0 by
    oversight.
    """
    return f"""\
no price is known for {service}/{model}; write its numbers into a file and give it with --prices FILE or BBTVP_PRICES:
[[price]]
service = "{service}"
model = "{model}"
input = …   # US dollars per million tokens
output = …
date = {day}
source = "where you read it\""""


@lru_cache(maxsize=8)
def _loaded(path: Path | None) -> Prices:
    shipped = tuple(read_table(SHIPPED, _File).price)
    return Prices(tuple(read_table(path, _File).price) if path else (), shipped, path)


# -- before a run ----------------------------------------------------------------------------------
class Estimate(NamedTuple):
    """What a run can use at most. usd_bound: None without a price. seconds: at the rate limit, None
    without one.
    """

    queries: int
    input_tokens: int
    output_tokens: int
    usd_bound: float | None
    seconds: float | None

    def __str__(self) -> str:
        parts = [
            f"{self.queries:,} image queries",
            f"at most {self.input_tokens:,} tokens in and {self.output_tokens:,} out",
            "price unknown" if self.usd_bound is None else f"at most {dollars(self.usd_bound)}",
        ]
        return ", ".join(
            parts
            + ([f"{duration(self.seconds)} at the rate limit"] if self.seconds is not None else [])
        )


def estimate(
    service: str,
    model: str,
    queries: int,
    canvas: Size,
    text_characters: int,
    max_tokens: int,
    rpm: int | None,
    *,
    batch: bool = False,
    singly: int = 0,
    prices: Prices | None = None,
    limits: Limits | None = None,
) -> Estimate:
    """Bounds for `queries` image queries with a canvas of that side and a question of that length.

    max_tokens: longest reply, what a model thinks included. rpm: requests per minute, None if there
    is no limit; a batch has none. singly: of the queries of a batch, how many are sent before it
    all the same. Retries are not counted: as a rule an attempt that fails costs nothing.
    """
    asked = input_tokens(service, model, canvas, text_characters, limits=limits)
    alone = min(queries, singly) if batch else queries
    rest = queries - alone
    price = (prices or Prices.load()).price(service, model)
    usd = None
    if price:
        usd = price.usd(alone * asked, alone * max_tokens) + price.usd(
            rest * asked, rest * max_tokens, batch=True
        )
    seconds = alone * 60 / rpm if rpm and alone else None
    return Estimate(queries, queries * asked, queries * max_tokens, usd, seconds)


def dollars(usd: float) -> str:
    """Rounded up, to the cent or to two digits below one."""
    digits = 2 if usd >= 1 or usd == 0 else 1 - math.floor(math.log10(usd))
    return f"${math.ceil(usd * 10**digits - 1e-6) / 10**digits:,.{digits}f}"


def duration(seconds: float) -> str:
    """As "40 s", "12 min" or "3 h 20 min", rounded up."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
