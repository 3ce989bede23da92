"""The vision models that vendors offered on 30 November 2026: each starts, is priced and bounded.

`models_2026_11.csv` was made on that day. Names and prices (US dollars per million tokens) are of
LiteLLM 1.110.2's table: its vision rows of five vendors that had not ended, without those that name
a region of Azure, since no deployment is called so. tokens: of a square image of `side` pixels, by
the published rule that `limits.toml` cites; empty where none was found.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from bbtvp.endpoint.images import TEXT_OVERHEAD
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Request, load_model

TABLE = Path(__file__).with_name("models_2026_11.csv")
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AZURE_OPENAI_API_KEY")
DEARER = 1.25
"""A regional price where the table has the global one, or the dearer of two pages."""


class Listed(NamedTuple):
    """A row of the table."""

    service: str
    model: str
    input: float
    output: float
    side: int | None
    tokens: int | None

    @property
    def spec(self) -> str:
        return f"{self.service}/{self.model}"


def listed() -> list[Listed]:
    with TABLE.open(encoding="utf-8") as file:
        return [
            Listed(
                row["service"],
                row["model"],
                float(row["input"]),
                float(row["output"]),
                int(row["side"]) if row["side"] else None,
                int(row["tokens"]) if row["tokens"] else None,
            )
            for row in csv.DictReader(file)
        ]


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "k")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "k")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("BBTVP_PRICES", raising=False)
    monkeypatch.delenv("BBTVP_LIMITS", raising=False)


def loaded(row: Listed) -> Endpoint:
    model = load_model(row.spec, store=False)
    assert isinstance(model, Endpoint)
    return model


def test_the_list_is_long_and_names_nothing_twice() -> None:
    rows = listed()
    assert len(rows) == len({row.spec for row in rows}) > 350
    assert {row.service for row in rows} == {"openai", "azure", "anthropic", "gemini", "bedrock"}
    assert sum(row.tokens is not None for row in rows) > 300


services = pytest.mark.parametrize("service", ["openai", "azure", "anthropic", "gemini", "bedrock"])


def failing(service: str, holds: Callable[[Listed, Endpoint], bool]) -> list[str]:
    """The models of a service of which something does not hold."""
    rows = [row for row in listed() if row.service == service]
    return [row.spec for row in rows if not holds(row, loaded(row))]


@services
def test_each_starts_and_has_a_price(service: str) -> None:
    request = Request(np.zeros((512, 512, 3), np.uint8), "Which colour is it?")

    def priced(row: Listed, model: Endpoint) -> bool:
        model.need_price()
        bound = model.estimate(1, 512, 20)
        least = (row.input * bound.input_tokens + row.output * bound.output_tokens) / 1e6
        if bound.usd_bound is None or model.max_cost(request) < 0.99 * bound.usd_bound:
            return False
        return least * (1 - 1e-9) <= bound.usd_bound <= least * DEARER

    assert failing(service, priced) == []


@services
def test_each_bound_is_near_the_published_count(service: str) -> None:
    def near(row: Listed, model: Endpoint) -> bool:
        if row.side is None or row.tokens is None:
            return True
        bound = model.estimate(1, row.side, 0).input_tokens - TEXT_OVERHEAD
        return row.tokens <= bound <= 1.5 * row.tokens

    assert failing(service, near) == []


@services
def test_a_search_of_512_px_finds_a_canvas(service: str) -> None:
    assert failing(service, lambda row, model: 384 <= model.fitting_canvas(512) <= 896) == []
