"""Prices: which row counts, what it comes to, and what is said when there is none."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.images import input_tokens
from bbtvp.endpoint.prices import SHIPPED, Estimate, Prices, dollars, duration, estimate

TODAY = date(2026, 11, 30)
COUNTS = st.integers(0, 10**7)


def row(**values: object) -> str:
    """A row of a price file, as TOML; None leaves a key out."""
    facts: dict[str, object] = {
        "service": "'x'",
        "model": "'m'",
        "input": 1,
        "output": 2,
        "date": TODAY,
        "source": "'me'",
    }
    return "[[price]]\n" + "".join(
        f"{key} = {value}\n" for key, value in (facts | values).items() if value is not None
    )


def load(folder: Path, *rows: str) -> Prices:
    path = folder / "prices.toml"
    path.write_text("".join(rows))
    return Prices.load(path)


# -- which row -------------------------------------------------------------------------------------
def test_exact_beats_pattern_and_a_long_pattern_beats_a_short_one(tmp_path: Path) -> None:
    patterns = ["*", "gpt-4*", "gpt-4o-*", "gpt-4o-mini"]
    prices = load(tmp_path, *[row(model=f"'{name}'", input=i) for i, name in enumerate(patterns)])
    asked = ["claude", "gpt-4.1", "gpt-4o-2024", "gpt-4o-mini"]
    assert [prices.need("x", model).input for model in asked] == [0, 1, 2, 3]
    assert prices.price("y", "gpt-4o-mini") is None


def test_an_exact_name_beats_a_longer_pattern(tmp_path: Path) -> None:
    prices = load(tmp_path, row(model="'gpt-4[o]'", input=1), row(model="['z', 'gpt-4o']", input=2))
    assert prices.need("x", "gpt-4o").input == 2


def test_names_are_told_apart_by_case(tmp_path: Path) -> None:
    assert load(tmp_path, row(model="'GPT-*'")).price("x", "gpt-4o") is None


def test_a_file_of_your_own_wins_over_a_narrower_shipped_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Prices.load().need("openai", "gpt-4o")
    own = load(tmp_path, row(service="'openai'", model="'gpt-*'", input=99))
    assert own.need("openai", "gpt-4o").input == 99 != shipped.input
    assert (
        own.price("anthropic", "claude-opus-4-5")
        == Prices.load().price("anthropic", "claude-opus-4-5")
        is not None
    )
    monkeypatch.setenv("BBTVP_PRICES", str(tmp_path / "prices.toml"))
    assert Prices.load().need("openai", "gpt-4o").input == 99


def test_a_price_holds_between_its_days() -> None:
    model = ("gemini", "gemini-3.8-flash")
    now, later = (Prices.load().need(*model, day) for day in (date(2026, 12, 31), date(2027, 1, 1)))
    assert (now.input, later.input) == (0.75, 1.5)


def test_an_ended_price_is_no_price(tmp_path: Path) -> None:
    prices = load(tmp_path, row(until=TODAY))
    assert prices.price("x", "m", TODAY) is not None
    assert prices.price("x", "m", date(2026, 12, 1)) is None
    assert prices.ended("x", "m", TODAY) is None
    with pytest.raises(UsageError, match=r"ended on 2026-11-30.*write a row that holds today"):
        prices.need("x", "m", date(2026, 12, 1))


def test_your_ended_row_does_not_give_way_to_the_shipped_price(tmp_path: Path) -> None:
    mine = row(service="'openai'", model="'gpt-6-luna'", input=9, valid_until="2026-11-01")
    own = load(tmp_path, mine)
    assert Prices.load().price("openai", "gpt-6-luna", TODAY) is not None
    assert own.price("openai", "gpt-6-luna", TODAY) is None
    ended = own.ended("openai", "gpt-6-luna", TODAY)
    assert ended is not None and "\n" not in ended and "ended on 2026-11-01" in ended
    (tmp_path / "both").mkdir()
    both = load(tmp_path / "both", mine, row(service="'openai'", model="'gpt-6-*'", input=7))
    assert both.need("openai", "gpt-6-luna", TODAY).input == 7


# -- tables that others keep -----------------------------------------------------------------------
def test_a_model_of_today_has_a_price_without_a_row_of_ours() -> None:
    luna = Prices.load().need("openai", "gpt-6-luna", TODAY)
    assert (luna.input, luna.output, luna.batch) == (0.1, 0.5, 0.5)
    assert luna.source.startswith("genai-prices ") and luna.date is None
    assert luna not in Prices.load().shipped


def test_a_shipped_row_corrects_the_table_until_it_ends() -> None:
    model = ("bedrock", "eu.amazon.nova-2-lite-v1:0")
    ours, theirs = (Prices.load().need(*model, day) for day in (TODAY, date(2027, 6, 1)))
    assert (ours.input, theirs.input) == (0.429, 0.33)
    assert ours in Prices.load().shipped and theirs.source.startswith("genai-prices ")


def litellm(folder: Path, **rows: object) -> Prices:
    path = folder / "model_prices_and_context_window.json"
    path.write_text(json.dumps(rows))
    return Prices.load(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prices.toml", row(model="'m'", input=3)),
        (
            "prices.json",
            json.dumps(
                {
                    "m": {
                        "litellm_provider": "openai",
                        "input_cost_per_token": 3e-06,
                        "output_cost_per_token": 3e-06,
                    }
                }
            ),
        ),
    ],
)
def test_a_price_file_may_begin_with_a_byte_order_mark(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, "utf-8-sig")
    (found,) = Prices.load(tmp_path / name).own
    assert (found.model, found.input) == (["m"], 3)


def test_a_file_of_litellms_form_is_a_price_file(tmp_path: Path) -> None:
    cheap = {"input_cost_per_token": 3.9999999e-07, "output_cost_per_token": 1.6e-06}
    half = {"input_cost_per_token_batches": 2e-07, "output_cost_per_token_batches": 8e-07}
    prices = litellm(
        tmp_path,
        sample_spec={"litellm_provider": "one of them", "input_cost_per_token": 0.0},
        **{
            "gpt-7": {"litellm_provider": "openai"} | cheap | half,
            "gemini/gemini-9": {"litellm_provider": "gemini"} | cheap,
            "azure/eu/gpt-7": {"litellm_provider": "azure"} | cheap,
            "azure/global/gpt-7": {"litellm_provider": "azure"} | cheap,
            "us.openai.gpt-7": {"litellm_provider": "bedrock_converse"} | cheap,
            "cohere/x": {"litellm_provider": "cohere"} | cheap,
            "whisper-9": {"litellm_provider": "openai", "input_cost_per_second": 1},
        },
    )
    found = prices.need("openai", "gpt-7", TODAY)
    assert (found.input, found.output) == (pytest.approx(0.4), 1.6)
    assert found.batch == pytest.approx(0.5)
    assert "LiteLLM's table (model_prices_and_context_window.json)" in str(found)
    for model in (
        ("gemini", "gemini-9"),
        ("azure", "eu/gpt-7"),
        ("azure", "gpt-7"),
        ("bedrock", "us.openai.gpt-7"),
    ):
        assert prices.need(*model, TODAY).batch == 1
    assert prices.price("openai", "whisper-9", TODAY) is None
    assert prices.price("openai", "gpt-6-luna", TODAY) is not None  # from the table beneath


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "no row has litellm_provider"),
        ("{}", "no row has litellm_provider"),
        ('{"a": {"litellm_provider": "openai", "input_cost_per_token": "1"}}', "no row has"),
        (
            '{"a": {"litellm_provider": "openai", "input_cost_per_token": NaN}}',
            "no row has",
        ),
    ],
)
def test_another_json_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "prices.json").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        Prices.load(tmp_path / "prices.json")
    assert "\n" not in str(caught.value)


# -- money -----------------------------------------------------------------------------------------
def test_dollars_are_tokens_times_price(tmp_path: Path) -> None:
    price = load(tmp_path, row(input=2.5, output=10, batch=0.5)).need("x", "m")
    assert price.usd(1_000_000, 0) == 2.5
    assert price.usd(900, 16) == pytest.approx(900 * 2.5e-6 + 16 * 10e-6)
    assert price.usd(900, 16, batch=True) == price.usd(900, 16) / 2


def test_without_a_known_discount_a_batch_costs_the_same(tmp_path: Path) -> None:
    price = load(tmp_path, row()).need("x", "m")
    assert price.usd(10, 10, batch=True) == price.usd(10, 10)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_more_tokens_never_cost_less(a: int, b: int, more_in: int, more_out: int) -> None:
    price = Prices.load().need("openai", "gpt-4o")
    assert 0 <= price.usd(a, b) <= price.usd(a + more_in, b + more_out)


def test_a_missing_price_says_what_to_write_and_that_is_refused_without_numbers(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="no price is known for openai/gpt-99") as caught:
        Prices.load().need("openai", "gpt-99", TODAY)
    lines = str(caught.value).split("\n", 1)[1]
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(lines)
    filled = load(tmp_path, lines.replace("…", "3", 1).replace("…", "4", 1)).need(
        "openai", "gpt-99"
    )
    assert (filled.input, filled.output, filled.date) == (3, 4, TODAY)


# -- files -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[price]", r"prices.toml: not TOML: .*line 1"),
        (row(inptu=3), r"prices.toml: price 1 inptu: unknown key 'inptu'; did you mean input"),
        ("prices = []", r"prices.toml: prices: unknown key 'prices'; did you mean price"),
        (
            row() + row(input=-1),
            r"prices.toml: price 2 input: input should be greater than or equal to 0, got -1",
        ),
        (row(output="nan"), r"price 1 output: input should be a finite number"),
        (row(output="inf"), r"price 1 output: input should be a finite number"),
        (row(input="true"), r"price 1 input: input should be a valid number, got True"),
        (row(input="'2'"), r"price 1 input: input should be a valid number, got '2'"),
        (row(output=None), r"price 1 output: field required"),
        (row(model=None), r"price 1 model: field required"),
        (row(model="[]"), r"price 1 model: list should have at least 1 item"),
        (row(model="['']"), r"price 1 model 1: string should have at least 1 character"),
        (row(source=None), r"price 1 source: field required"),
        (row(date=None), r"price 1 date: field required"),
        (row(date="'last week'"), r"price 1 date: input should be a valid date, got 'last week'"),
        (row(date="2026-13-01"), r"not TOML"),
        (row(date="12:30:00"), r"price 1 date: input should be a valid date"),
        (
            row(since="2027-01-02", until="2027-01-01"),
            r"price 1: valid_until 2027-01-01 is before since 2027-01-02",
        ),
        (row(batch=0), r"price 1 batch: input should be greater than 0, got 0"),
        (row(batch=50), r"price 1 batch: input should be less than or equal to 1, got 50"),
    ],
)
def test_a_bad_file_is_refused_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none.toml: cannot be read \(No such file"):
        Prices.load(tmp_path / "none.toml")


def test_each_shipped_row_is_dated_sourced_and_marked_as_unverified() -> None:
    for price in Prices.load().shipped:
        assert price.date is not None and price.date <= TODAY
        assert price.source.endswith(", unverified") or price.service in ("hf", "zoo")
        assert price.valid_until or price.since or price.service in ("hf", "zoo")
    assert "CHECK IT BEFORE YOU RELY ON IT" in SHIPPED.read_text()


def test_only_this_machine_and_gemma_are_free() -> None:
    assert {
        price.service for price in Prices.load().shipped if not (price.input and price.output)
    } == {"hf", "zoo", "gemini"}
    assert Prices.load().price("openai-api", "llava") is None


def test_a_model_that_nobody_priced_has_no_price() -> None:
    for model in ("gpt-99", "gpt-6", "gpt-6-sol-mini", "gpt-6.2-sol", "gpt-4o-next", "o9"):
        assert Prices.load().price("openai", model) is None, model
    for model in ("claude-opus-6", "claude-sonnet-5-9", "gpt-6-luna"):
        assert Prices.load().price("anthropic", model) is None, model
    assert Prices.load().price("gemini", "gemini-4-neon") is None
    assert Prices.load().price("bedrock", "us.anthropic.claude-opus-5-7") is None
    assert Prices.load().price("azure", "production") is None


def test_no_two_shipped_rows_name_a_model_at_once() -> None:
    seen: set[tuple[str, str, date | None]] = set()
    for price in Prices.load().shipped:
        for model in price.model:
            assert (price.service, model, price.since) not in seen
            seen.add((price.service, model, price.since))


# -- estimates -------------------------------------------------------------------------------------
def test_an_estimate_is_a_bound_of_its_parts() -> None:
    found = estimate(
        "openai", "gpt-4o", 1000, canvas=512, text_characters=200, max_tokens=16, rpm=500
    )
    assert found.input_tokens == 1000 * input_tokens("openai", "gpt-4o", 512, 200)
    assert found.output_tokens == 16_000
    assert found.usd_bound == pytest.approx(found.input_tokens * 2.5e-6 + 0.16)
    assert found.seconds == 120


def test_half_price_has_no_rate_limit() -> None:
    question: dict[str, int] = {"canvas": 224, "text_characters": 50, "max_tokens": 16, "rpm": 60}
    whole, half = (
        estimate("openai", "gpt-4o", 100, batch=batch, **question) for batch in (False, True)
    )
    assert half.usd_bound == pytest.approx((whole.usd_bound or 0) / 2)
    assert (whole.seconds, half.seconds) == (100, None)


def test_without_a_price_the_rest_is_still_told() -> None:
    found = estimate("openai-api", "llava", 10, canvas=224, text_characters=50, max_tokens=16)
    assert found.usd_bound is None and found.seconds is None
    assert str(found).endswith(", price unknown")


def test_an_estimate_is_one_line() -> None:
    line = str(Estimate(1000, 965_000, 16_000, 2.5725, 120))
    assert line == (
        "1,000 image queries, at most 965,000 tokens in and 16,000 out, at most $2.58, 2 min at "
        "the rate limit"
    )


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0.00"),
        (0.00123, "$0.0013"),
        (0.1, "$0.10"),
        (1, "$1.00"),
        (1.231, "$1.24"),
        (1234.5, "$1,234.50"),
    ],
)
def test_dollars_are_rounded_up(usd: float, text: str) -> None:
    assert dollars(usd) == text


@given(st.floats(1e-9, 1e6))
def test_a_bound_is_never_shown_below_itself(usd: float) -> None:
    assert float(dollars(usd).strip("$").replace(",", "")) >= usd * (1 - 1e-6) - 1e-8


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (40, "40 s"), (91, "2 min"), (5300, "89 min"), (7300, "2 h 2 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
