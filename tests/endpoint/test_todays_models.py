"""Models that nobody has described: what is found out by asking them, and by asking the vendor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
import pytest

from bbtvp.endpoint.forced import WRAPPING
from bbtvp.endpoint.known import REPLY_TOKENS
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Budget, Reply, Request, load_model
from tests.adapters.recording import Asked, Recorder, recorder

NEW = "openai/gpt-7-nova"
"""A model of which no table knows a thing."""


@final
class Thinker:
    """Chat completions of a model that thinks for 900 tokens before it answers.

    refused: fields that it answers with a 400, as OpenAI does.
    """

    def __init__(self, refused: Mapping[str, str] = {}) -> None:
        self.refused = refused
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
            "prompt_tokens": 80,
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
