"""What tokens cost: dated prices that you can edit, bounds for a cap, and estimates before a run.

    Prices.load().need("openai", "gpt-6-luna").usd(900, 16)
    estimate("openai", "gpt-6-luna", 1000, canvas=512, text_characters=200, max_tokens=16)

A price is looked up in three places, in this order: your own file (`--prices FILE` or
BBTVP_PRICES), which may be a copy of LiteLLM's JSON table; the shipped `prices.toml`, whose rows
correct the next; and the table of the package genai-prices, which others keep up to date. Vendors
do not return the price of a reply, so a model without a price has none, and a run with a cap on
money does not start.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias, final

from pydantic import AliasChoices, Field, model_validator

from bbtvp.core import clock
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.images import Size, input_tokens
from bbtvp.endpoint.limits import Limits, read_table
from bbtvp.endpoint.price_sources import ListedPrice, library_price, litellm_prices
from bbtvp.endpoint.resizing import StrictModel

SHIPPED = Path(__file__).with_name("prices.toml")
NonEmpty: TypeAlias = Annotated[str, Field(min_length=1)]
Day: TypeAlias = date


@final
class Price(StrictModel):
    """The price of models of one service, in US dollars per million input and output tokens.

    model: names or patterns (fnmatch). batch: the share of the price that the batch interface
    charges, 1 where no discount is known. date: when the price was read at `source`, None for a
    table that does not date its rows. since, valid_until: the first and last day on which it holds.
    """

    service: NonEmpty
    model: list[NonEmpty] = Field(min_length=1)
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    batch: float = Field(default=1.0, gt=0, le=1)
    date: Day | None
    source: NonEmpty
    since: Day | None = None
    valid_until: Day | None = Field(
        default=None, validation_alias=AliasChoices("valid_until", "until")
    )

    @model_validator(mode="before")
    @classmethod
    def _one_name_is_a_list(cls, row: object) -> object:
        if isinstance(row, dict) and isinstance(row.get("model"), str):
            return row | {"model": [row["model"]]}
        return row

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Price:
        if self.since and self.valid_until and self.valid_until < self.since:
            raise ValueError(
                f"valid_until {self.valid_until} is before since {self.since}; exchange them"
            )
        return self

    def usd(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float:
        """Return the US dollars for a number of tokens."""
        dollars = (self.input * input_tokens + self.output * output_tokens) / 1_000_000
        return dollars * self.batch if batch else dollars

    def holds(self, today: Day) -> bool:
        """Whether the price holds on a day."""
        return (self.since or today) <= today <= (self.valid_until or today)

    def fit(self, model: str) -> tuple[bool, int] | None:
        """Return how narrowly this row names a model; None if it does not match.

        Larger tuples are narrower.
        """
        names = [name for name in self.model if name == model or fnmatchcase(model, name)]
        return max(((name == model, len(name)) for name in names), default=None)

    def __str__(self) -> str:
        when = f", {self.date}" if self.date else ""
        until = f", until {self.valid_until}" if self.valid_until else ""
        return (
            f"${self.input:g} in, ${self.output:g} out per million tokens "
            f"({self.service} {', '.join(self.model)}; {self.source}{when}{until})"
        )


class _PricesFile(StrictModel):
    checked: Day | None = None
    price: list[Price] = Field(default_factory=list)


@final
@dataclass(frozen=True)
class Prices:
    """Rows of prices: those of your own file, then those of the shipped file."""

    own: tuple[Price, ...]
    shipped: tuple[Price, ...]
    path: Path | None = None

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """Load your file (`path`, or BBTVP_PRICES) over the shipped one.

        A file whose name ends in .json has LiteLLM's form. Raises UsageError for a file that cannot
        be used.
        """
        own = os.environ.get("BBTVP_PRICES")
        return _loaded(path or (Path(own) if own else None))

    def price(self, service: str, model: str, today: Day | None = None) -> Price | None:
        """Return the price of a model, None if there is none.

        Your rows come before shipped ones, and those before the table of genai-prices; an exact
        name before a pattern, and a long pattern before a short one. A model that your file names
        only in rows that have ended has no price: see `ended`.
        """
        day = today or clock.today()
        found = _narrowest(self.own, service, model, day)
        if found is not None or self.ended(service, model, day):
            return found
        found = _narrowest(self.shipped, service, model, day)
        if found is not None:
            return found
        listed = library_price(service, model, day)
        return _price_of(listed) if listed else None

    def ended(self, service: str, model: str, today: Day | None = None) -> str | None:
        """Return what to do about a model whose rows in your file have all ended, else None."""
        day = today or clock.today()
        if _narrowest(self.own, service, model, day) is not None:
            return None
        until = _ended(self.own, service, model, day)
        if until is None:
            return None
        return (
            f"{self.path}: the price of {service}/{model} ended on {until} (valid_until); "
            "write a row that holds today, or delete this one"
        )

    def need(self, service: str, model: str, today: Day | None = None) -> Price:
        """Return the price of a model.

        Raises UsageError if there is none: it gives the lines to add to a price file, or names the
        row of yours that has ended.
        """
        day = today or clock.today()
        found = self.price(service, model, day)
        if found is None:
            raise UsageError(
                self.ended(service, model, day)
                or _unpriced(service, model, day, _ended(self.shipped, service, model, day))
            )
        return found


def _narrowest(rows: Sequence[Price], service: str, model: str, day: Day) -> Price | None:
    found = [
        (fit, row)
        for row in rows
        if row.service == service and row.holds(day) and (fit := row.fit(model))
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _ended(rows: Sequence[Price], service: str, model: str, day: Day) -> Day | None:
    """Return the last day of the latest price of a model that has ended, None if none has."""
    last = (row.valid_until for row in rows if row.service == service and row.fit(model))
    return max((until for until in last if until and until < day), default=None)


def _unpriced(service: str, model: str, day: Day, ended: Day | None) -> str:
    """Return the error message for a model without a price.

    Its lines are not valid TOML until the numbers are filled in, so that no price is 0 by
    oversight.
    """
    known = f" (the shipped one ended on {ended})" if ended else ""
    return f"""\
no price is known for {service}/{model}{known}; get newer ones (pip install -U genai-prices), \
or write it into a file (--prices FILE or BBTVP_PRICES):
[[price]]
service = "{service}"
model = "{model}"
input = …   # US dollars per million tokens
output = …
date = {day}
source = "where you read it\""""


def _price_of(listed: ListedPrice) -> Price:
    """A row from another table. It names one model, and matches no other."""
    return Price(
        service=listed.service,
        model=[listed.model],
        input=listed.input,
        output=listed.output,
        batch=listed.batch,
        date=None,
        source=listed.source,
    )


@lru_cache(maxsize=8)
def _loaded(path: Path | None) -> Prices:
    shipped = tuple(read_table(SHIPPED, _PricesFile).price)
    if path is None:
        return Prices((), shipped)
    if path.suffix == ".json":
        return Prices(tuple(map(_price_of, litellm_prices(path))), shipped, path)
    return Prices(tuple(read_table(path, _PricesFile).price), shipped, path)


# -- before a run ----------------------------------------------------------------------------------
class Estimate(NamedTuple):
    """What a run can use at most.

    usd_bound: None without a price. seconds: at the rate limit, None without one.
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
        if self.seconds is not None:
            parts.append(f"{duration(self.seconds)} at the rate limit")
        return ", ".join(parts)


def estimate(
    service: str,
    model: str,
    queries: int,
    *,
    canvas: Size,
    text_characters: int,
    max_tokens: int,
    rpm: int | None = None,
    batch: bool = False,
    singly: int = 0,
    context: Sequence[Size] = (),
    prices: Prices | None = None,
    limits: Limits | None = None,
) -> Estimate:
    """Return bounds for `queries` image queries.

    model: its name; "@" and a level of detail after it tells how images are sent. canvas: its side,
    or (width, height), in pixels. text_characters: length of the question and its labels.
    max_tokens: of the longest reply, reasoning included. rpm: requests per minute, None without a
    limit; a batch has none. singly: how many queries of a batch are sent one by one before it.
    context: the sizes of the images that every query shows before its own; their texts count among
    the characters.
    Retries are not counted, since a failed attempt normally costs nothing.
    """
    asked = input_tokens(service, model, canvas, text_characters, limits=limits)
    asked += sum(input_tokens(service, model, size, 0, limits=limits) for size in context)
    alone = min(queries, singly) if batch else queries
    rest = queries - alone
    price = (prices or Prices.load()).price(service, model.partition("@")[0])
    usd = None
    if price:
        usd = price.usd(alone * asked, alone * max_tokens) + price.usd(
            rest * asked, rest * max_tokens, batch=True
        )
    seconds = alone * 60 / rpm if rpm and alone else None
    return Estimate(queries, queries * asked, queries * max_tokens, usd, seconds)


def dollars(usd: float) -> str:
    """Format an amount, rounded up to the cent, or to two digits if it is below one dollar."""
    digits = 2 if usd >= 1 or usd == 0 else 1 - math.floor(math.log10(usd))
    return f"${math.ceil(usd * 10**digits - 1e-6) / 10**digits:,.{digits}f}"


def duration(seconds: float) -> str:
    """Format a duration as "40 s", "12 min" or "3 h 20 min", rounded up."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
