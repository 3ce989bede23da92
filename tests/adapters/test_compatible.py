"""Servers that speak OpenAI's language: where they are, what they are sent, and what they make of
it.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from PIL import Image

from bbtvp.adapters.compatible import HOSTED, LOCAL, CompatibleApi, load
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.provider import ApiFeatures, Json, Token
from bbtvp.models import Reply
from tests.adapters.recording import (
    LABELS,
    QUESTION,
    Asked,
    asked_by,
    compact,
    conforms,
    parts_of,
    recorder,
    request,
)

KEY = "not-a-real-key"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("SERVE", "MY_SERVER", *map(str.upper, HOSTED | LOCAL)):
        for name in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(f"{service}_{name}", raising=False)
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


def loaded(name: str, **options: Any) -> CompatibleApi:
    made = load(name, store=False, **options).api  # type: ignore[attr-defined]
    assert isinstance(made, CompatibleApi)
    return made


# -- where and who ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ollama/qwen3-vl:8b", "qwen3-vl:8b"),
        ("vllm/Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-8B-Instruct"),
        ("vllm//models/tiny-llava", "/models/tiny-llava"),
    ],
)
def test_a_model_is_all_that_follows_the_service(name: str, model: str) -> None:
    made = loaded(name)
    assert (made.spec, made.model) == (f"openai-api/{name}", model)
    assert made.body(request(), parts_of(request()), ApiFeatures())["model"] == model


@pytest.mark.parametrize("name", ["ollama", "ollama/", "/model", ""])
def test_a_service_and_a_model_are_both_needed(name: str) -> None:
    with pytest.raises(UsageError, match="openai-api/<service>/<model>"):
        load(name)


@pytest.mark.parametrize(("service", "base"), LOCAL.items())
def test_local_servers_are_looked_for_where_they_start(service: str, base: str) -> None:
    made = loaded(f"{service}/m")
    assert made.url == f"{base}/chat/completions"
    assert made.headers(b"") == {"Content-Type": "application/json"}


@pytest.mark.parametrize(("service", "base"), HOSTED.items())
def test_hosted_services_want_a_key(
    monkeypatch: pytest.MonkeyPatch, service: str, base: str
) -> None:
    variable = f"{service.upper()}_API_KEY"
    with pytest.raises(UsageError, match=f"needs a key: export {variable}=…"):
        load(f"{service}/m")
    monkeypatch.setenv(variable, KEY)
    made = loaded(f"{service}/m")
    assert made.url == f"{base}/chat/completions"
    assert made.headers(b"")["Authorization"] == f"Bearer {KEY}"


def test_any_other_service_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UsageError,
        match=r"export MY_SERVER_BASE_URL=http://127\.0\.0\.1:8000/v1 or give -M base_url=",
    ):
        load("my-server/m")
    monkeypatch.setenv("MY_SERVER_BASE_URL", "https://llm.example/v1/")
    monkeypatch.setenv("MY_SERVER_API_KEY", KEY)
    made = loaded("my-server/m")
    assert made.url == "https://llm.example/v1/chat/completions"
    assert made.headers(b"")["Authorization"] == f"Bearer {KEY}"
    assert (
        loaded("my-server/m", base_url="http://127.0.0.1:9/v1").url
        == "http://127.0.0.1:9/v1/chat/completions"
    )


# -- fleets ----------------------------------------------------------------------------------------
A = "http://127.0.0.1:8001/v1"
B = "http://127.0.0.1:8002/v1"


@pytest.mark.parametrize(
    ("given", "servers"),
    [
        (f"{A},{B}", [A, B]),
        (f" {B}/ , {A}", [B, A]),
        (f"{A},", [A]),
        (f"{A},{B},{A}/", [A, B]),
        ([A, B], [A, B]),
        ((A,), [A]),
        (A, []),
    ],
)
def test_several_addresses_are_a_fleet(
    monkeypatch: pytest.MonkeyPatch, given: Any, servers: list[str]
) -> None:
    made = loaded("vllm/m", base_url=given)
    assert made.servers == tuple(f"{server}/chat/completions" for server in servers)
    assert made.url == ("fleet:vllm/chat/completions" if servers else f"{A}/chat/completions")
    if isinstance(given, str):
        monkeypatch.setenv("VLLM_BASE_URL", given)
        assert loaded("vllm/m").servers == made.servers


@pytest.mark.parametrize(
    "given", [f"{A},127.0.0.1:8002/v1", [A, "ftp://x"], f"http://me:word@127.0.0.1,{A}"]
)
def test_each_address_of_a_fleet_is_checked(given: Any) -> None:
    with pytest.raises(UsageError, match="address of openai-api/vllm/m"):
        load("vllm/m", base_url=given)


@pytest.mark.parametrize("given", [",", [""], " , "])
def test_a_fleet_needs_a_server(given: Any) -> None:
    with pytest.raises(UsageError, match="needs an address"):
        load("vllm/m", base_url=given)


def test_a_fleet_with_a_hosted_service_wants_its_key() -> None:
    with pytest.raises(UsageError, match="needs a key: export TOGETHER_API_KEY"):
        load("together/m", base_url=[A, HOSTED["together"]])


def test_a_key_variable_that_is_named_must_be_set() -> None:
    with pytest.raises(UsageError, match="export LAB_KEY=…"):
        load("vllm/m", key_env="LAB_KEY")


def test_the_key_of_one_service_never_goes_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "openais")
    monkeypatch.setenv("OPENROUTER_API_KEY", "openrouters")
    assert "Authorization" not in loaded("vllm/m").headers(b"")


# -- what is sent ----------------------------------------------------------------------------------
def ask(url: str, data: str, **fields: Any) -> None:
    content: list[Any] = [
        {"type": "image_url", "image_url": {"url": data}},
        {"type": "text", "text": QUESTION},
    ]
    http = httpx.Client(trust_env=False)
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, http_client=http) as client:
        client.chat.completions.create(
            model="Qwen/Qwen3-VL-8B-Instruct",
            messages=[{"role": "user", "content": content}],
            **fields,
        )


@pytest.mark.parametrize(
    ("options", "features", "fields"),
    [
        ({}, ApiFeatures(temperature=None), {"max_tokens": 16}),
        (
            {},
            ApiFeatures(top=4, seed=1),
            {"max_tokens": 16, "temperature": 0.0, "seed": 1, "logprobs": True, "top_logprobs": 4},
        ),
        (
            {"forced": "choice"},
            ApiFeatures(temperature=None, forced=True),
            {"max_tokens": 16, "extra_body": {"structured_outputs": {"choice": list(LABELS)}}},
        ),
        (
            {"token_field": "max_completion_tokens"},
            ApiFeatures(temperature=None),
            {"max_completion_tokens": 16},
        ),
        (
            {"extra": {"chat_template_kwargs": {"enable_thinking": False}}},
            ApiFeatures(temperature=None),
            {"max_tokens": 16, "extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
        ),
    ],
)
def test_what_is_sent_is_what_the_sdk_sends(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    features: ApiFeatures,
    fields: dict[str, Any],
) -> None:
    monkeypatch.setenv("SERVE_API_KEY", KEY)
    asked = request()
    with recorder() as server:
        ours = loaded("serve/Qwen/Qwen3-VL-8B-Instruct", base_url=f"{server.url}/v1", **options)
        body = ours.body(asked, parts_of(asked), features)
        ask(f"{server.url}/v1", body["messages"][0]["content"][0]["image_url"]["url"], **fields)
        theirs = server.asked[0]
    sent = asked_by(ours.http_request(compact(body)))
    assert (sent.method, sent.path, sent.json) == (theirs.method, theirs.path, theirs.json)
    assert {name: theirs.headers[name] for name in sent.headers} == sent.headers
    if "extra_body" not in fields:
        conforms(CompletionCreateParamsNonStreaming, body)


def test_a_choice_has_no_wrapping_to_pay_for() -> None:
    asked = request(max_tokens=5)
    assert loaded("vllm/m").body(asked, parts_of(asked), ApiFeatures(forced=True))["max_tokens"] > 5
    assert (
        loaded("vllm/m", forced="choice").body(asked, parts_of(asked), ApiFeatures(forced=True))[
            "max_tokens"
        ]
        == 5
    )


def test_a_models_name_says_nothing_about_it_here() -> None:
    assert loaded("vllm/o1-like").top == 20
    assert loaded("vllm/o1-like", reasoning=True).top == 0


def test_responses_can_be_asked_for() -> None:
    assert loaded("vllm/m", api="responses").url.endswith("/v1/responses")


# -- what comes back -------------------------------------------------------------------------------
def reply(text: str, **fields: Any) -> Json:
    return {
        "choices": [
            {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **fields}
        ]
    }


def test_a_bare_reply_is_enough() -> None:
    parsed = loaded("ollama/m").parse(reply("rows"))
    assert (parsed.texts, parsed.tokens, parsed.input_tokens) == (("rows",), (), None)


def test_a_server_that_ignores_the_schema_is_seen_as_such() -> None:
    made = loaded("serve/m", base_url="http://127.0.0.1:9/v1")
    assert made.parse(reply("It shows rows.")).texts == ("It shows rows.",)
    assert made.parse(reply('{"answer":"rows"}')).texts == ("rows",)


def test_a_label_that_was_chosen_has_all_its_tokens() -> None:
    shown = [
        {"token": text, "logprob": -0.25, "bytes": list(text.encode()), "top_logprobs": []}
        for text in ("row", "s")
    ]
    parsed = loaded("vllm/m", forced="choice").parse(reply("rows", logprobs={"content": shown}))
    assert parsed.texts == ("rows",)
    assert parsed.tokens == (Token("row", -0.25, {"row": -0.25}), Token("s", -0.25, {"s": -0.25}))


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None}, {"content": []}, {"tokens": ["rows"]}]
)
def test_log_probabilities_that_are_not_there_are_no_error(logprobs: Any) -> None:
    assert loaded("vllm/m").parse(reply("rows", logprobs=logprobs)).tokens == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"error": {"message": "no such model", "type": "NotFoundError", "code": 404}},
            ("404", "no such model"),
        ),
        (
            {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400},
            ("", "too long"),
        ),
        ({"error": "model 'x' not found"}, ("", "model 'x' not found")),
        ({"detail": "Not Found"}, ("", "Not Found")),
    ],
)
def test_errors_in_the_words_of_each_server(given: Json, expected: tuple[str, str]) -> None:
    assert loaded("vllm/m").error(400, given) == expected


# -- all of it -------------------------------------------------------------------------------------
def reddish(asked: Asked) -> Json:
    """A reply that is read off the pixels of the image that came in."""
    url = asked.json["messages"][0]["content"][0]["image_url"]["url"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    return reply(f"{int(pixels[..., 0].min())}") | {
        "usage": {"prompt_tokens": 40, "completion_tokens": 3}
    }


def test_two_images_asked_through_the_endpoint_get_two_answers() -> None:
    images = [request(labels=None, red=red) for red in (60, 180)]
    with recorder(reddish) as server:
        model = load("serve//models/m", base_url=f"{server.url}/v1", store=False, probe=False)
        outcomes = model.query(images)
    assert [outcome.text if isinstance(outcome, Reply) else outcome for outcome in outcomes] == [
        "60",
        "180",
    ]
    assert {(outcome.usage.input_tokens, outcome.usage.output_tokens) for outcome in outcomes} == {
        (40, 3)
    }
    assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
    assert len(server.asked) == 2
