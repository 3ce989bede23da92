"""Prices that others keep: the table of the package genai-prices, and LiteLLM's JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from bbtvp.core.errors import UsageError

_LIBRARY = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "gemini": "google",
    "bedrock": "aws",
}
"""Our services by the names that genai-prices has for them."""

_LITELLM = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "azure": "azure",
}
"""LiteLLM's providers, and our services."""

_AZURE_REGIONS = {"us": "us", "eu": "eu", "apac": "apac", "global": "", "global-standard": ""}
_MILLION = 1_000_000


class ListedPrice(NamedTuple):
    """A price as others list it, in US dollars per million tokens.

    batch: the share of the price that the batch interface charges.
    """

    service: str
    model: str
    input: float
    output: float
    batch: float
    source: str


def library_price(service: str, model: str, day: date) -> ListedPrice | None:
    """Return the price of a model on a day from the table of genai-prices, None if it has none.

    The table comes with the installed package; nothing is fetched. A price by prompt length counts
    for short prompts, which image queries are.
    """
    if service not in _LIBRARY:
        return None
    from genai_prices.data_snapshot import find_provider_by_id, get_snapshot

    providers = get_snapshot().providers
    provider = find_provider_by_id(providers, _LIBRARY[service])
    found = provider and provider.find_model(model, all_providers=providers)
    if not found:
        return None
    when = datetime.combine(day, time(12), UTC)
    plain = _rates(found.get_prices(when))
    if plain is None:
        return None
    half = _rates(found.get_prices(when, {"processing": "batch"})) or plain
    share = max((less / full for less, full in zip(half, plain, strict=True) if full), default=1.0)
    return ListedPrice(service, model, *plain, min(share, 1.0), _library_name())


def _rates(prices: Any) -> tuple[float, float] | None:
    """Return (input, output) per million tokens; None if one of them is not given."""
    given = (getattr(prices, name, None) for name in ("input_mtok", "output_mtok"))
    rates = [None if rate is None else float(getattr(rate, "base", rate)) for rate in given]
    if rates[0] is None or rates[1] is None:
        return None
    return rates[0], rates[1]


@lru_cache(maxsize=1)
def _library_name() -> str:
    return f"genai-prices {version('genai-prices')}"


def litellm_prices(path: Path) -> Iterator[ListedPrice]:
    """Yield the prices of a file of LiteLLM's form, `model_prices_and_context_window.json`.

    Rows of services that bbtvp does not know, and rows without a price per token, are left out.
    Raises UsageError for a file that is not of this form.
    """
    try:
        table = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    rows = table.items() if isinstance(table, dict) else ()
    listed = [_litellm_row(name, row, path) for name, row in rows if isinstance(row, dict)]
    found = [price for price in listed if price]
    if not found:
        raise UsageError(
            f"{path}: no row has litellm_provider, input_cost_per_token and output_cost_per_token; "
            "give LiteLLM's model_prices_and_context_window.json, or a file of [[price]] rows"
        )
    yield from found


def _litellm_row(name: str, row: Mapping[str, Any], path: Path) -> ListedPrice | None:
    service = _LITELLM.get(str(row.get("litellm_provider")))
    asked = _per_million(row.get("input_cost_per_token"))
    answered = _per_million(row.get("output_cost_per_token"))
    if service is None or asked is None or answered is None:
        return None
    halves = [
        (_per_million(row.get(f"{side}_cost_per_token_batches")), full)
        for side, full in (("input", asked), ("output", answered))
    ]
    shares = [half / full if half and full else 1.0 for half, full in halves]
    model = _litellm_model(service, name)
    source = f"LiteLLM's table ({path.name})"
    return ListedPrice(service, model, asked, answered, min(1.0, max(shares)), source)


def _litellm_model(service: str, name: str) -> str:
    """Return the vendor's name of a model from LiteLLM's key, such as "azure/eu/gpt-6-luna"."""
    bare = name.removeprefix(f"{service}/")
    if service != "azure":
        return bare
    region, slash, rest = bare.partition("/")
    if not slash or region not in _AZURE_REGIONS:
        return bare
    return f"{_AZURE_REGIONS[region]}/{rest}".removeprefix("/")


def _per_million(rate: object) -> float | None:
    """Return dollars per million tokens, None for what is no price.

    Prices per token come with an error of rounding: 3.9999999e-07 is 0.4 per million.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        return None
    return round(rate * _MILLION, 6) if math.isfinite(rate) and rate >= 0 else None
