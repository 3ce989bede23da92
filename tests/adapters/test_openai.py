"""OpenAI: what is sent, against the SDK's types and against the bytes that the SDK itself sends."""

from __future__ import annotations

import base64
import copy
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from PIL import Image
from pydantic import ValidationError

from bbtvp.adapters.compatible import form_of
from bbtvp.adapters.openai import OpenAI, load
from bbtvp.adapters.openai_options import Options
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.provider import ApiFeatures, HttpRequest
from tests.adapters.recording import (
    LABELS,
    QUESTION,
    Asked,
    access,
    asked_by,
    compact,
    conforms,
    example_request,
    files_of,
    parts_of,
    recorder,
    request,
)

KEY = "sk-not-a-real-key"
PLAIN = ApiFeatures(temperature=None)
ALL = ApiFeatures(top=5, forced=True, temperature=0.0, seed=7, samples=2)
KINDS = {"chat": CompletionCreateParamsNonStreaming, "responses": ResponseCreateParamsNonStreaming}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": list(LABELS)}},
    "required": ["answer"],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key, and none of the variables of whoever runs the tests."""
    for name in ("BASE_URL", "API_BASE", "ORG_ID", "PROJECT_ID", "ADMIN_KEY"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def openai_api(api: str = "chat", base: str = "http://127.0.0.1:1/v1", **options: Any) -> OpenAI:
    form = form_of(api, Options("gpt-4.1", **options))
    return OpenAI(access("openai/gpt-4.1", base, KEY), form)


def body(api: str, features: ApiFeatures, **options: Any) -> dict[str, Any]:
    asked = request()
    made: dict[str, Any] = json.loads(
        compact(openai_api(api, **options).body(asked, parts_of(asked), features))
    )
    return made


# -- types -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "features", [PLAIN, ApiFeatures(), ALL, ApiFeatures(top=20), ApiFeatures(forced=True, seed=0)]
)
@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("options", [{}, {"detail": "high", "reasoning_effort": "low"}])
def test_bodies_are_of_the_sdks_types(
    api: str, features: ApiFeatures, options: dict[str, Any]
) -> None:
    conforms(KINDS[api], body(api, features, **options))


def _spoil(*path: Any, value: Any) -> Callable[[Any], None]:
    def spoil(made: Any) -> None:
        for step in path[:-1]:
            made = made[step]
        made[path[-1]] = value

    return spoil


def _drop(*path: Any) -> Callable[[Any], None]:
    def drop(made: Any) -> None:
        for step in path[:-1]:
            made = made[step]
        del made[path[-1]]

    return drop


CHAT_IMAGE = ("messages", 0, "content", 0)
RESPONSES_IMAGE = ("input", 0, "content", 0)


@pytest.mark.parametrize(
    ("api", "spoil"),
    [
        ("chat", _spoil(*CHAT_IMAGE, "image_url", "detail", value="original")),
        ("chat", _spoil(*CHAT_IMAGE, "image_url", value="data:image/png;base64,AA")),
        ("chat", _spoil(*CHAT_IMAGE, "type", value="input_image")),
        ("chat", _drop(*CHAT_IMAGE, "image_url", "url")),
        ("chat", _drop("messages")),
        ("chat", _spoil("top_logprobs", value="many")),
        ("chat", _spoil("max_output_tokens", value=16)),
        ("chat", _drop("response_format", "json_schema", "name")),
        ("responses", _spoil(*RESPONSES_IMAGE, "detail", value="best")),
        ("responses", _drop(*RESPONSES_IMAGE, "detail")),
        (
            "responses",
            _spoil(*RESPONSES_IMAGE, "image_url", value={"url": "data:image/png;base64,AA"}),
        ),
        ("responses", _spoil("seed", value=7)),
        ("responses", _spoil("n", value=2)),
        ("responses", _spoil("include", value=["message.logprobs"])),
        ("responses", _drop("text", "format", "schema")),
    ],
)
def test_the_types_refuse_what_is_wrong(api: str, spoil: Callable[[Any], None]) -> None:
    made = body(api, ALL, detail="high")
    conforms(KINDS[api], made)
    spoil(made)
    with pytest.raises((ValidationError, KeyError)):
        conforms(KINDS[api], made)


# -- bytes -----------------------------------------------------------------------------------------
def sdk(url: str) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=url, api_key=KEY, max_retries=0, http_client=httpx.Client(trust_env=False)
    )


def url_of_image() -> str:
    return f"data:image/png;base64,{base64.b64encode(parts_of(request())[-1].image.data).decode()}"


def asked_of_chat(url: str) -> None:
    content = [
        {"type": "image_url", "image_url": {"url": url_of_image(), "detail": "high"}},
        {"type": "text", "text": QUESTION},
    ]
    with sdk(url) as client:
        client.chat.completions.create(
            model="gpt-4.1",
            messages=[{"role": "user", "content": content}],  # type: ignore[typeddict-item]
            max_completion_tokens=32,
            temperature=0.0,
            seed=7,
            n=2,
            logprobs=True,
            top_logprobs=5,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
            },
        )


def asked_of_responses(url: str) -> None:
    with sdk(url) as client:
        client.responses.create(
            model="gpt-4.1",
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_image", "image_url": url_of_image(), "detail": "high"},
                        {"type": "input_text", "text": QUESTION},
                    ],
                }
            ],
            max_output_tokens=32,
            temperature=0.0,
            store=False,
            stream=False,
            top_logprobs=5,
            include=["message.output_text.logprobs"],
            text={
                "format": {
                    "type": "json_schema",
                    "name": "answer",
                    "strict": True,
                    "schema": SCHEMA,
                }
            },
        )


def same(ours: Asked, theirs: Asked, *headers: str) -> None:
    """Method, path, body and the named headers are equal."""
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert ours.json == theirs.json
    assert {name: ours.headers.get(name) for name in headers} == {
        name: theirs.headers.get(name) for name in headers
    }


@pytest.mark.parametrize(
    ("api", "ask"), [("chat", asked_of_chat), ("responses", asked_of_responses)]
)
@pytest.mark.parametrize("account", [{}, {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-2"}])
def test_what_is_sent_is_what_the_sdk_sends(
    monkeypatch: pytest.MonkeyPatch, api: str, ask: Callable[[str], None], account: dict[str, str]
) -> None:
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    with recorder() as server:
        ask(f"{server.url}/v1")
        ours = openai_api(api, f"{server.url}/v1", detail="high")
        asked = request()
        sent = asked_by(ours.http_request(compact(ours.body(asked, parts_of(asked), ALL))))
        same(
            sent,
            server.asked[0],
            "authorization",
            "content-type",
            "openai-organization",
            "openai-project",
        )
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert len(sent.headers) == 2 + len(account)


def test_the_image_comes_first_and_keeps_its_pixels() -> None:
    asked = request(red=90)
    chat = openai_api().body(asked, parts_of(asked), PLAIN)["messages"][0]["content"]
    responses = openai_api("responses").body(asked, parts_of(asked), PLAIN)["input"][0]["content"]
    assert [part["type"] for part in (*chat, *responses)] == [
        "image_url",
        "text",
        "input_image",
        "input_text",
    ]
    for url in (chat[0]["image_url"]["url"], responses[0]["image_url"]):
        media, _, data = url.partition(";base64,")
        assert media == "data:image/png"
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), asked.image
        )


def asked_of_chat_with_examples(url: str) -> None:
    first, second, own = (f"data:image/png;base64,{data}" for data in files_of(example_request()))
    content = [
        {"type": "image_url", "image_url": {"url": first, "detail": "high"}},
        {"type": "text", "text": "Answer: rows"},
        {"type": "image_url", "image_url": {"url": second, "detail": "high"}},
        {"type": "image_url", "image_url": {"url": own, "detail": "high"}},
        {"type": "text", "text": QUESTION},
    ]
    with sdk(url) as client:
        client.chat.completions.create(
            model="gpt-4.1",
            messages=[{"role": "user", "content": content}],  # type: ignore[typeddict-item]
            max_completion_tokens=16,
        )


def asked_of_responses_with_examples(url: str) -> None:
    first, second, own = (f"data:image/png;base64,{data}" for data in files_of(example_request()))
    content: Any = [
        {"type": "input_image", "image_url": first, "detail": "high"},
        {"type": "input_text", "text": "Answer: rows"},
        {"type": "input_image", "image_url": second, "detail": "high"},
        {"type": "input_image", "image_url": own, "detail": "high"},
        {"type": "input_text", "text": QUESTION},
    ]
    with sdk(url) as client:
        client.responses.create(
            model="gpt-4.1",
            input=[{"role": "user", "content": content}],
            max_output_tokens=16,
            store=False,
            stream=False,
        )


@pytest.mark.parametrize(
    ("api", "ask"),
    [("chat", asked_of_chat_with_examples), ("responses", asked_of_responses_with_examples)],
)
def test_several_images_are_sent_as_the_sdk_sends_them(
    api: str, ask: Callable[[str], None]
) -> None:
    asked = example_request()
    with recorder() as server:
        ask(f"{server.url}/v1")
        ours = openai_api(api, f"{server.url}/v1", detail="high")
        sent = asked_by(ours.http_request(compact(ours.body(asked, parts_of(asked), PLAIN))))
        same(sent, server.asked[0], "content-type")


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    assert body("chat", PLAIN).keys() == {"model", "messages", "max_completion_tokens"}
    assert body("responses", PLAIN).keys() == {
        "model",
        "input",
        "max_output_tokens",
        "store",
        "stream",
    }
    assert "detail" not in body("chat", PLAIN)["messages"][0]["content"][0]["image_url"]
    assert body("responses", PLAIN)["input"][0]["content"][0]["detail"] == "auto"


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_labels_are_forced_only_where_there_are_labels(api: str) -> None:
    asked = request(labels=None)
    made = openai_api(api).body(asked, parts_of(asked), ApiFeatures(forced=True))
    assert not made.keys() & {"response_format", "text"}


def test_a_forced_label_has_room_for_its_wrapping() -> None:
    assert body("chat", ApiFeatures(forced=True))["max_completion_tokens"] == 32
    assert body("chat", PLAIN)["max_completion_tokens"] == 16


def test_responses_allow_no_fewer_than_16_tokens() -> None:
    asked = request(max_tokens=1)
    assert openai_api("responses").body(asked, parts_of(asked), PLAIN)["max_output_tokens"] == 16
    assert openai_api().body(asked, parts_of(asked), PLAIN)["max_completion_tokens"] == 1


def test_extra_fields_are_added_and_win() -> None:
    options: dict[str, Any] = {"extra": '{"service_tier": "flex", "temperature": 1}'}
    asked = Options.taken_from(options, "gpt-4.1")
    made = OpenAI(access("openai/x", "http://127.0.0.1:1/v1", KEY), form_of("chat", asked)).body(
        request(), parts_of(request()), ApiFeatures()
    )
    assert (made["service_tier"], made["temperature"], options) == ("flex", 1, {})


# -- what it can do --------------------------------------------------------------------------------
def offers(api: str, model: str, **options: Any) -> tuple[int, bool, bool, bool]:
    made = OpenAI(
        access(f"openai/{model}", "http://127.0.0.1:1/v1", KEY),
        form_of(api, Options(model, **options)),
    )
    return made.top, made.can_sample, made.can_seed, made.can_repeat


def test_chat_has_a_seed_and_samples_and_responses_have_none() -> None:
    assert offers("chat", "gpt-4.1-mini") == (20, True, True, True)
    assert offers("responses", "gpt-4.1-mini") == (20, True, False, False)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    "model",
    ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-6-astra", "gpt-6-luna"],
)
def test_models_that_think_have_no_temperature_and_show_no_tokens(api: str, model: str) -> None:
    assert offers(api, model)[:2] == (0, False)
    assert offers(api, model, reasoning=False)[:2] == (20, True)
    assert offers(api, model, reasoning_effort="none")[:2] == (20, True)


@pytest.mark.parametrize(
    "model",
    ["gpt-4o", "gpt-4.1", "gpt-5-chat-latest", "omni-1", "chatgpt-4o-latest", "gpt-5.1", "gpt-5.4"],
)
def test_other_models_have_both(model: str) -> None:
    assert offers("chat", model)[:2] == (20, True)
    assert offers("chat", model, reasoning=True)[:2] == (0, False)


def test_effort_goes_where_each_form_wants_it() -> None:
    assert body("chat", PLAIN, reasoning_effort="low")["reasoning_effort"] == "low"
    assert body("responses", PLAIN, reasoning_effort="low")["reasoning"] == {"effort": "low"}


def test_a_model_that_thinks_gets_tokens_for_it() -> None:
    options: dict[str, Any] = {"rpm": 5}
    Options.taken_from(options, "gpt-5-mini")
    assert options == {"rpm": 5, "max_tokens": 2048}
    options = {"max_tokens": 99}
    Options.taken_from(options, "gpt-5-mini")
    assert options == {"max_tokens": 99}
    options = {}
    Options.taken_from(options, "gpt-4.1")
    assert options == {}


def test_whether_labels_are_forced_is_the_endpoints_affair() -> None:
    options: dict[str, Any] = {"forced": False}
    assert Options.taken_from(options, "gpt-4.1").forced == "schema"
    assert options == {"forced": False}


# -- loading ---------------------------------------------------------------------------------------
def test_the_address_is_given_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def where(**options: Any) -> str:
        return str(load("gpt-4.1", store=False, **options).api.url)  # type: ignore[attr-defined]

    assert where() == "https://api.openai.com/v1/chat/completions"
    assert where(api="responses") == "https://api.openai.com/v1/responses"
    monkeypatch.setenv("OPENAI_API_BASE", "https://old.example/v1/")
    assert where() == "https://old.example/v1/chat/completions"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://new.example/v1")
    assert where() == "https://new.example/v1/chat/completions"
    assert where(base_url="https://given.example/v1") == "https://given.example/v1/chat/completions"


def test_a_missing_key_names_the_variable_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UsageError, match=r"openai/gpt-4\.1 needs a key: export OPENAI_API_KEY=…"):
        load("gpt-4.1")
    with pytest.raises(UsageError, match="export MY_KEY=…"):
        load("gpt-4.1", key_env="MY_KEY")


def test_a_key_loses_the_line_break_it_was_copied_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    made = load("gpt-4.1", store=False).api  # type: ignore[attr-defined]
    assert made.headers(b"")["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("value", [f"{KEY}\nX-Other: 1", f"{KEY}–", f"Bearer {KEY}"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(UsageError) as caught:
        load("gpt-4.1")
    assert "OPENAI_API_KEY" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"api": "assistants"}, "unknown api 'assistants'"),
        ({"detail": "best"}, "unknown detail 'best'"),
        ({"detail": "original"}, "add -M api=responses"),
        ({"api": "responses", "forced": "choice"}, "leave out -M api=responses"),
        ({"forced": "please"}, "unknown way to force labels"),
        ({"reasoning": "perhaps"}, "reasoning must be true or false"),
        ({"extra": "top_k=1"}, "extra must be a JSON object"),
        ({"extra": "[1]"}, "extra must be a JSON object"),
        (
            {"base_url": "api.openai.com/v1"},
            "must look like https://api.openai.com/v1, got 'api.openai.com/v1'",
        ),
        ({"base_url": "https://api.openai.com/v1?key=1"}, "must look like"),
        ({"base_url": "https://me:secret@api.openai.com/v1"}, "holds a user or a password"),
        ({"rmp": 5}, "rmp"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as caught:
        load("gpt-4.1", **options)
    assert "secret" not in str(caught.value)


def test_the_key_shows_in_nothing_but_the_headers() -> None:
    made = openai_api()
    wire: HttpRequest = made.http_request(compact(made.body(request(), parts_of(request()), ALL)))
    shown = [
        repr(made),
        repr(made.form),
        repr(wire),
        wire.url,
        wire.body.decode(),
        repr(made.batch),
    ]
    assert not any(KEY in text for text in shown)
    assert KEY in wire.headers["Authorization"]


def test_a_copy_of_a_body_shares_nothing_with_the_next() -> None:
    made = openai_api()
    asked = request()
    first = made.body(asked, parts_of(asked), ALL)
    kept = copy.deepcopy(first)
    first["messages"][0]["content"].clear()
    first["response_format"]["json_schema"]["schema"]["properties"].clear()
    assert made.body(asked, parts_of(asked), ALL) == kept
