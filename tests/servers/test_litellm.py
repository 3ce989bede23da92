"""LiteLLM's proxy, which translates: OpenAI's and Anthropic's routes before one and the same
miniature.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from bbtvp import load_model
from bbtvp.models import Model, QueryFailed
from tests.servers.servers import Server
from tests.servers.support import KEY, asking, endpoint, pictures, replies, texts

pytestmark = pytest.mark.slow
ROUTES = ["openai-api", "openai", "anthropic 2026-10-21", "anthropic 2023-06-01"]
WRONG_KEY = "sk-wrong-fedcba9876543210"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LITELLM_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, KEY)


def model_by(route: str, server: Server) -> Model:
    provider, _, version = route.partition(" ")
    if provider == "anthropic":
        return endpoint("anthropic/llava", server.url, api_version=version)
    return endpoint(
        {"openai": "openai/llava"}.get(provider, "openai-api/litellm/llava"), f"{server.url}/v1"
    )


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_gives_the_answers_of_the_local_adapter(route: str, litellm: Server) -> None:
    requests = asking(pictures(12))
    here = load_model("zoo/llava")
    there = model_by(route, litellm)
    written = texts(there, requests)
    assert written == texts(here, requests)
    assert len(set(written)) >= 5
    assert {reply.usage[:3] for reply in replies(there, requests[:2])} == {
        (60, 2, 1)
    }  # 49 of them are the image


@pytest.mark.parametrize("route", ROUTES)
def test_the_length_of_the_question_shows_in_the_bill(route: str, litellm: Server) -> None:
    (request,) = asking(pictures(1))
    asked = [request, replace(request, text=f"{request.text} {request.text}")]
    there, here = (
        replies(model, asked) for model in (model_by(route, litellm), load_model("zoo/llava"))
    )
    assert there[0].usage.input_tokens < there[1].usage.input_tokens
    assert [reply.usage.input_tokens for reply in there] == [
        reply.usage.input_tokens for reply in here
    ]


@pytest.mark.parametrize("route", ROUTES)
def test_a_wrong_key_gives_no_answer_and_is_not_shown(
    route: str, litellm: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a database, the proxy answers 400 to it, not 401."""
    for variable in ("LITELLM_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, WRONG_KEY)
    model = model_by(route, litellm)
    outcomes = model.query(asking(pictures(3)))
    assert all(
        isinstance(outcome, QueryFailed) and "No connected db" in outcome.reason
        for outcome in outcomes
    )
    assert WRONG_KEY not in f"{outcomes} {model!r}"
