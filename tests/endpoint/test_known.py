"""How models behave and when they end: which row counts, and what is said and refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core import clock
from bbtvp.core.errors import UsageError
from bbtvp.endpoint import known as module
from bbtvp.endpoint.known import KnownModels, check_lifetime, known, reply_tokens
from bbtvp.models import Budget, Request, load_model

TODAY = date(2026, 11, 30)
OPENAI = "https://api.openai.com/v1/chat/completions"


@pytest.fixture(autouse=True)
def _tell_again() -> Iterator[None]:
    module._tell.cache_clear()
    yield
    module._tell.cache_clear()


def row(days: int, **values: str) -> str:
    facts = {
        "service": "'openai'",
        "model": "'gpt-9*'",
        "shutdown": str(clock.today() + timedelta(days)),
        "successor": "'gpt-10'",
        "date": "2026-11-30",
        "source": "'me'",
        "confidence": "'assumed'",
    }
    return "[[model]]\n" + "".join(
        f"{name} = {value}\n" for name, value in (facts | values).items()
    )


@pytest.mark.parametrize(
    ("service", "model", "thinks"),
    [
        ("openai", "gpt-6-luna", "by default"),
        ("openai", "gpt-6-astra", "always"),
        ("openai", "gpt-6.1-sol", "always"),
        ("openai", "gpt-5.4-2026-03-05", "when told"),
        ("openai", "gpt-5.4-pro", "always"),
        ("openai", "gpt-5-chat-latest", "never"),
        ("azure", "gpt-6.1-terra", "by default"),
        ("anthropic", "claude-opus-5", "by default"),
        ("anthropic", "claude-opus-5-5", "always"),
        ("bedrock", "eu.anthropic.claude-fable-5-1", "always"),
        ("bedrock", "us.anthropic.claude-sonnet-4-6", "when told"),
        ("gemini", "gemini-4-argon", "always"),
        ("gemini", "gemini-2.5-flash-lite", "when told"),
        ("openai", "gpt-99", None),
        ("openai-api", "gpt-6-luna", None),
    ],
)
def test_the_narrowest_row_counts(service: str, model: str, thinks: str | None) -> None:
    assert known(service, model).thinks == thinks


def test_a_model_that_thinks_gets_the_room_that_is_advised() -> None:
    assert reply_tokens("gemini", "gemini-4-hydrogen") == 32_768
    assert reply_tokens("openai", "gpt-6-luna") == reply_tokens("openai", "gpt-99") == 2048


def test_a_row_of_your_own_wins_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "models.toml"
    monkeypatch.setenv("BBTVP_MODELS", str(path))
    path.write_text(row(500, model="'gpt-6*'", thinks="'never'"))
    assert known("openai", "gpt-6-luna").thinks == "never"
    other = tmp_path / "ended.toml"
    monkeypatch.setenv("BBTVP_MODELS", str(other))
    other.write_text(row(500, model="'gpt-6*'", thinks="'never'", valid_until="2026-11-01"))
    assert known("openai", "gpt-6-luna").thinks == "by default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (row(1, thinks="'sometimes'"), "thinks"),
        (row(1, confidence="'sure'"), "confidence"),
        (row(1, shutdwon="2026-01-01"), "unknown key 'shutdwon'; did you mean shutdown"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)
    monkeypatch.setenv("BBTVP_MODELS", str(path))
    with pytest.raises(UsageError, match=message) as caught:
        KnownModels.load()
    assert "\n" not in str(caught.value)


def test_each_shipped_row_says_something_and_is_dated() -> None:
    for each in KnownModels.load().shipped:
        assert each.date <= TODAY
        assert each.thinks or each.shutdown
        assert "assumed" in each.source or each.confidence != "assumed"


# -- the end of a model ----------------------------------------------------------------------------
@pytest.mark.parametrize(("days", "told"), [(61, False), (60, True), (0, True), (-1, True)])
def test_an_end_is_told_sixty_days_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, told: bool
) -> None:
    path = tmp_path / f"{days}.toml"
    path.write_text(row(days))
    monkeypatch.setenv("BBTVP_MODELS", str(path))
    line = known("openai", "gpt-9-sol").lifetime()
    assert (line is not None) is told
    if line:
        assert "use gpt-10 instead" in line and "\n" not in line
    assert known("openai", "gpt-9-sol").over() is (days < 0)


def test_a_model_past_its_end_is_refused_at_the_vendor_before_any_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    model = load_model("openai/o4-mini", store=False)
    attempts = (
        lambda: model.probe(Budget()),
        lambda: model.query([Request(np.zeros((8, 8, 3), np.uint8), "What?")]),
        lambda: model.estimate(10, 224, 50),  # type: ignore[attr-defined]
    )
    for attempt in attempts:
        with pytest.raises(UsageError, match="shut this model down on 2026-10-23; use gpt-6-luna"):
            attempt()


def test_at_another_address_and_at_azure_it_is_only_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_lifetime("openai", "o4-mini", "http://127.0.0.1:8000/v1")
    check_lifetime("openai", "o4-mini", "http://127.0.0.1:8000/v1")
    check_lifetime("azure", "o3", "https://mine.openai.azure.com/openai/v1")
    check_lifetime("openai", "gpt-6-luna", OPENAI)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "openai/o4-mini",
        "azure/o3",
    ]


def test_an_address_that_only_looks_like_the_vendors_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_lifetime("openai", "o4-mini", "https://notopenai.com/v1")
    check_lifetime("openai", "o4-mini", "fleet:mine/chat/completions")
    assert len(caplog.records) == 1
    with pytest.raises(UsageError):
        check_lifetime("openai", "o4-mini", "https://eu.api.openai.com/v1")
