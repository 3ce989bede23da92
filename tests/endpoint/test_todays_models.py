"""Models that nobody has described: what is found out by asking them, and by asking the vendor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.forced import WRAPPING
from bbtvp.endpoint.known import REPLY_TOKENS
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Budget, Model, Reply, Request, load_model
from tests.adapters.recording import Asked, Recorder, recorder

NEW = "openai/gpt-7-nova"
"""A model of which no table knows a thing."""


@final
class Thinker:
    """Chat completions of a model that thinks for 900 tokens before it answers.

    refused: fields that it answers with a 400, as OpenAI does. prompt_tokens: that it bills.
    """

    def __init__(self, refused: Mapping[str, str] = {}, *, prompt_tokens: int = 80) -> None:
        self.refused = refused
        self.prompt_tokens = prompt_tokens
        self.server: Recorder | None = None

    def __call__(self, asked: Asked) -> dict[str, Any]:
        body = asked.json
        assert self.server is not None
        for field, message in self.refused.items():
            if field in body:
                self.server.status = 400
                error = {"message": message, "param": field, "code": "unsupported_parameter"}
                return {"error": error}
        self.server.status = 200
        enough = body.get("max_completion_tokens", body.get("max_tokens", 0)) > 900
        message = {"role": "assistant", "content": "red" if enough else ""}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "stop" if enough else "length",
        }
        used = 901 if enough else body.get("max_completion_tokens", 16)
        usage = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": used,
            "completion_tokens_details": {"reasoning_tokens": min(used, 900)},
        }
        return {"model": "gpt-7-nova-1", "choices": [choice], "usage": usage}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")


def serving(thinker: Thinker) -> Iterator[Recorder]:
    with recorder(thinker) as server:
        thinker.server = server
        yield server


def ask(model: Any, **options: Any) -> Any:
    return model.query([Request(np.zeros((64, 64, 3), np.uint8), "Which colour?", **options)])[0]


def test_an_unknown_model_that_thinks_is_given_room_by_the_probe() -> None:
    for server in serving(Thinker()):
        model = load_model(NEW, base_url=server.url, store=False)
        assert isinstance(model, Endpoint)
        before = model.max_cost(Request(np.zeros((64, 64, 3), np.uint8), "Which colour?"))
        found = model.probe(Budget())
        limits = [json.loads(asked.body)["max_completion_tokens"] for asked in server.asked]
        assert limits[0] < 900 <= REPLY_TOKENS <= min(limits[1:])
        assert found is not None and found.capabilities.thinks
        reply = ask(model)
        assert isinstance(reply, Reply) and reply.text == "red"
        assert before == 0  # no price is known of it
        assert model.estimate(1, 64, 10).output_tokens == REPLY_TOKENS


def test_room_that_was_set_is_left_alone() -> None:
    for server in serving(Thinker()):
        model = load_model(NEW, base_url=server.url, store=False, max_tokens=1000)
        model.probe(Budget())
        ask(model)
        assert {json.loads(asked.body)["max_completion_tokens"] for asked in server.asked} <= {
            1000,
            1000 + WRAPPING,
        }


def test_fields_that_a_model_refuses_are_not_sent_again() -> None:
    refused = {
        "temperature": "Unsupported value: 'temperature' does not support 0.0 with this model.",
        "logprobs": "Unsupported parameter: 'logprobs' is not supported with this model.",
        "max_completion_tokens": (
            "Unsupported parameter: 'max_completion_tokens' is not supported with this model. "
            "Use 'max_tokens' instead."
        ),
    }
    for server in serving(Thinker(refused)):
        model = load_model(NEW, base_url=server.url, store=False)
        model.probe(Budget())
        asked = len(server.asked)
        reply = ask(model)
        assert isinstance(reply, Reply) and reply.text == "red"
        assert len(server.asked) == asked + 1
        body = server.asked[-1].json
        assert not refused.keys() & body.keys() and body["max_tokens"] == REPLY_TOKENS
        assert not model.capabilities.logprobs


# -- tokens of an image ----------------------------------------------------------------------------
PRICE = """\
[[price]]
service = "{service}"
model = "*"
input = 1
output = 0
date = 2026-11-30
source = "me"
"""


@final
class Counting:
    """Claude, which counts an image of any size as `tokens` at no cost."""

    def __init__(self, tokens: int | None) -> None:
        self.tokens = tokens
        self.server: Recorder | None = None

    def __call__(self, asked: Asked) -> dict[str, Any]:
        if asked.path.endswith("/count_tokens"):
            return {"input_tokens": self.tokens} if self.tokens else {"error": "no such call"}
        return {
            "content": [{"type": "text", "text": "red"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 90, "output_tokens": 2},
            "model": "claude-nova-9",
        }


def million_cost(model: Model, side: int) -> float:
    """What an image query costs at most in tokens, at a dollar for a million."""
    return 1e6 * model.max_cost(Request(np.zeros((side, side, 3), np.uint8), "?"))


def test_the_vendors_count_bounds_an_image_once_for_each_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    (tmp_path / "p.toml").write_text(PRICE.format(service="anthropic"))
    options = {"prices": str(tmp_path / "p.toml"), "store": str(tmp_path / "store")}
    with recorder(Counting(2000)) as server:
        model = load_model("anthropic/claude-nova-9", base_url=server.url, **options)
        table = million_cost(model, 512)
        model.probe(Budget(usd_cap=1.0))
        assert table < 600
        assert million_cost(model, 512) == million_cost(model, 512) == pytest.approx(2201)
        counted = [asked for asked in server.asked if asked.path.endswith("/count_tokens")]
        assert len(counted) == 2  # of the probe's image, and of this size
        again = load_model("anthropic/claude-nova-9", base_url=server.url, **options)
        again.probe(Budget(usd_cap=1.0))
        assert million_cost(again, 512) == pytest.approx(2201)
        assert counted == [a for a in server.asked if a.path.endswith("/count_tokens")]


def test_without_a_cap_on_money_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with recorder(Counting(2000)) as server:
        load_model("anthropic/claude-nova-9", base_url=server.url, store=False).probe(Budget())
        assert not any(asked.path.endswith("/count_tokens") for asked in server.asked)


def test_a_vendor_that_does_not_count_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    (tmp_path / "p.toml").write_text(PRICE.format(service="anthropic"))
    with recorder(Counting(None)) as server:
        model = load_model(
            "anthropic/claude-nova-9",
            base_url=server.url,
            store=False,
            prices=str(tmp_path / "p.toml"),
        )
        before = million_cost(model, 512)
        model.probe(Budget(usd_cap=1.0))
        assert million_cost(model, 512) == million_cost(model, 300 + 212) == before
        counted = [asked for asked in server.asked if asked.path.endswith("/count_tokens")]
        assert len(counted) == 1


@pytest.mark.parametrize(
    ("billed", "side", "least", "most"),
    [
        (80, 512, 600, 700),  # 5.2 times the area of the probe's image, and a half more
        (80, 64, 80, 130),
        (1100, 224, 1600, 1700),
        (12, 512, 10_000, 10_200),  # too few to be true: the generous bound stays
        (0, 512, 10_000, 10_200),
        (20_000, 224, 30_000, 30_100),  # more than the generous bound allows
    ],
)
def test_the_bill_for_the_probes_image_bounds_that_of_a_model_without_a_row(
    tmp_path: Path, billed: int, side: int, least: int, most: int
) -> None:
    (tmp_path / "p.toml").write_text(PRICE.format(service="openai"))
    thinker = Thinker(prompt_tokens=billed)
    for server in serving(thinker):
        model = load_model(NEW, base_url=server.url, store=False, prices=str(tmp_path / "p.toml"))
        assert 10_000 < million_cost(model, side) < 10_200
        model.probe(Budget())
        assert least <= million_cost(model, side) <= most


def test_a_bill_above_the_tables_bound_raises_it(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(PRICE.format(service="openai"))
    for billed, factor in ((100, 1.0), (800, 4.6)):
        for server in serving(Thinker(prompt_tokens=billed)):
            model = load_model(
                "openai/gpt-6-luna",
                base_url=server.url,
                store=False,
                prices=str(tmp_path / "p.toml"),
            )
            before = million_cost(model, 512)
            model.probe(Budget())
            assert million_cost(model, 512) == pytest.approx(before * factor, rel=0.05)


def test_a_price_of_yours_that_has_ended_stops_a_cap_and_is_told_without_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "p.toml"
    path.write_text(PRICE.format(service="openai") + "valid_until = 2026-11-01\n")
    for server in serving(Thinker()):
        model = load_model(NEW, base_url=server.url, store=False, prices=str(path))
        with pytest.raises(UsageError, match=r"ended on 2026-11-01 \(valid_until\)") as caught:
            model.need_price()
        assert "\n" not in str(caught.value) and not server.asked
        model.probe(Budget())
        ask(model)
        told = [r.getMessage() for r in caplog.records if "valid_until" in r.getMessage()]
        assert len(told) == 1
