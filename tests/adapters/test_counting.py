"""The free calls that count tokens: what is sent is what each official SDK sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import boto3
import openai
import pytest
from google import genai
from google.genai import types

from bbtvp.adapters.anthropic import Messages
from bbtvp.adapters.bedrock import Bearer, Converse
from bbtvp.adapters.compatible import form_of
from bbtvp.adapters.gemini import GenerateContent
from bbtvp.adapters.openai import OpenAI
from bbtvp.adapters.openai_options import Options
from bbtvp.endpoint.counting import read_count
from bbtvp.endpoint.provider import HttpRequest, ProviderApi
from tests.adapters.recording import Asked, access, asked_by, parts_of, recorder, request

KEY = "a-key"


def openai_api(base: str, api: str = "chat") -> OpenAI:
    options = Options("gpt-6-luna", detail="high")
    return OpenAI(access("openai/gpt-6-luna", base, KEY), form_of(api, options))


def counting(api: ProviderApi) -> HttpRequest:
    asked = request(labels=None)
    found = api.count_request(asked, parts_of(asked))
    assert found is not None
    return found


def sent_by(ask: Callable[[str], object], answer: dict[str, Any]) -> Asked:
    with recorder(answer) as server:
        ask(server.url)
        return server.asked[0]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_openai(api: str) -> None:
    ours = asked_by(counting(openai_api("http://127.0.0.1:1/v1", api)))
    content = ours.json["input"]

    def ask(url: str) -> object:
        client = openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0)
        return client.responses.input_tokens.count(model="gpt-6-luna", input=content)

    theirs = sent_by(ask, {"object": "response.input_tokens", "input_tokens": 308})
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert ours.json == theirs.json
    assert content[0]["content"][0]["detail"] == "high"


def test_anthropic() -> None:
    api = Messages("claude-haiku-5-5", KEY, "http://127.0.0.1:1")
    ours = asked_by(counting(api))

    def ask(url: str) -> object:
        client = anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0)
        messages = ours.json["messages"]
        return client.messages.count_tokens(model="claude-haiku-5-5", messages=messages)

    theirs = sent_by(ask, {"input_tokens": 361})
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert ours.json == theirs.json


def test_anthropic_is_asked_not_to_scale_an_image_down() -> None:
    api = Messages("claude-haiku-5-5", KEY, "http://127.0.0.1:1")
    asked = request(labels=None)
    found = api.whole_request(asked, parts_of(asked))
    image = asked_by(found).json["messages"][0]["content"][0]
    assert image["transformations"] == {"oversized_image": "error"}
    assert found.url.endswith("/v1/messages/count_tokens")


def test_gemini() -> None:
    api = GenerateContent("gemini-4-argon", KEY, "http://127.0.0.1:1")
    ours = asked_by(counting(api))
    asked = ours.json["generateContentRequest"]
    assert asked["model"] == "models/gemini-4-argon"
    assert ours.path == "/v1beta/models/gemini-4-argon:countTokens"
    types.Content.model_validate(asked["contents"][0])

    def ask(url: str) -> object:
        options = types.HttpOptions(base_url=url, api_version="v1beta")
        client = genai.Client(api_key=KEY, http_options=options)
        return client.models.count_tokens(model="gemini-4-argon", contents="a")

    theirs = sent_by(ask, {"totalTokens": 1100})
    assert (ours.method, ours.path) == (theirs.method, theirs.path)


def test_bedrock() -> None:
    model = "us.anthropic.claude-haiku-5-5"
    api = Converse(model, Bearer(KEY), "http://127.0.0.1:1")
    asked = request(labels=None)
    ours = asked_by(counting(api))
    content = [
        {"image": {"format": "png", "source": {"bytes": parts_of(asked)[-1].image.data}}},
        {"text": asked.text},
    ]

    def ask(url: str) -> object:
        client = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        converse = {"messages": [{"role": "user", "content": content}]}
        return client.count_tokens(modelId=model, input={"converse": converse})

    theirs = sent_by(ask, {"inputTokens": 361})
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert ours.json == theirs.json


def test_counts_are_read_as_each_vendor_names_them() -> None:
    for reply in ({"input_tokens": 3}, {"totalTokens": 3}, {"inputTokens": 3}):
        assert read_count(reply) == 3
    for other in ({}, {"input_tokens": 0}, {"input_tokens": True}, {"input_tokens": "3"}):
        assert read_count(other) is None


def test_what_the_vendor_says_of_a_model_is_asked_where_each_keeps_it() -> None:
    def place(api: ProviderApi) -> str | None:
        found = api.about_request()
        return found and f"{found.method} {found.url}"

    base = "http://h"
    assert place(openai_api(f"{base}/v1")) == "GET http://h/v1/models/gpt-6-luna"
    assert place(Messages("claude-opus-5", KEY, base)) == "GET http://h/v1/models/claude-opus-5"
    gemini = GenerateContent("gemini-4-argon", KEY, base)
    assert place(gemini) == "GET http://h/v1beta/models/gemini-4-argon"
    assert place(Converse("m", Bearer(KEY), base)) is None
