"""Azure OpenAI: both schemes of addresses, against what the SDK sends, and the content filter."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from bbtvp.adapters.azure import Azure, load, url_of
from bbtvp.adapters.compatible import form_of
from bbtvp.adapters.openai_options import Options
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.provider import ApiFeatures, Json
from tests.adapters.recording import (
    QUESTION,
    asked_by,
    compact,
    conforms,
    parts_of,
    recorder,
    request,
)

KEY = "azure-not-a-real-key"
DATED = "2024-10-21"
SEVERE = {
    "hate": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": True, "severity": "high"},
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://res.openai.azure.com/")
    for name in ("AZURE_OPENAI_AD_TOKEN", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


def loaded(name: str = "my-4.1", **options: Any) -> Azure:
    made = load(name, store=False, **options).api  # type: ignore[attr-defined]
    assert isinstance(made, Azure)
    return made


def client(url: str, version: str | None) -> openai.OpenAI:
    """The SDK's client for either scheme. For the new one, Microsoft shows the plain client."""
    http = httpx.Client(trust_env=False)
    if version is None:
        return openai.OpenAI(
            base_url=f"{url}/openai/v1/", api_key=KEY, max_retries=0, http_client=http
        )
    return openai.AzureOpenAI(
        azure_endpoint=url, api_version=version, api_key=KEY, max_retries=0, http_client=http
    )


def ask_chat(made: openai.OpenAI, url: str, tokens: dict[str, Any]) -> None:
    content: list[Any] = [
        {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
        {"type": "text", "text": QUESTION},
    ]
    made.chat.completions.create(
        model="my-4.1", messages=[{"role": "user", "content": content}], temperature=0.0, **tokens
    )


def ask_responses(made: openai.OpenAI, url: str) -> None:
    image = {"type": "input_image", "image_url": url, "detail": "high"}
    text = {"type": "input_text", "text": QUESTION}
    content: list[Any] = [image, text]
    made.responses.create(
        model="my-4.1",
        input=[{"role": "user", "content": content}],
        temperature=0.0,
        max_output_tokens=16,
        store=False,
        stream=False,
    )


@pytest.mark.parametrize(
    ("version", "api", "path"),
    [
        (None, "chat", "/openai/v1/chat/completions"),
        (DATED, "chat", f"/openai/deployments/my-4.1/chat/completions?api-version={DATED}"),
        (None, "responses", "/openai/v1/responses"),
        ("2025-04-01-preview", "responses", "/openai/responses?api-version=2025-04-01-preview"),
    ],
)
def test_what_is_sent_is_what_the_sdk_sends(version: str | None, api: str, path: str) -> None:
    asked = request()
    with recorder() as server:
        ours = loaded(api=api, api_version=version, base_url=server.url)
        body = ours.body(asked, parts_of(asked), ApiFeatures())
        with client(server.url, version) as sdk:
            if api == "chat":
                field = "max_tokens" if version else "max_completion_tokens"
                ask_chat(sdk, body["messages"][0]["content"][0]["image_url"]["url"], {field: 16})
            else:
                ask_responses(sdk, body["input"][0]["content"][0]["image_url"])
        theirs = server.asked[0]
    sent = asked_by(ours.http_request(compact(body)))
    assert (sent.method, sent.path) == (theirs.method, theirs.path) == ("POST", path)
    assert sent.json == theirs.json
    assert sent.headers == {"api-key": KEY, "content-type": "application/json"}
    if version:
        assert {name: theirs.headers[name] for name in sent.headers} == sent.headers
        assert "authorization" not in theirs.headers
    if api == "chat":
        conforms(CompletionCreateParamsNonStreaming, body)


@pytest.mark.parametrize(
    "resource",
    [
        "https://res.openai.azure.com",
        "https://res.openai.azure.com/openai",
        "https://res.openai.azure.com/openai/v1",
    ],
)
def test_the_address_may_have_its_path_already(resource: str) -> None:
    form = form_of("chat", Options("dep"))
    assert url_of(resource, form, None) == "https://res.openai.azure.com/openai/v1/chat/completions"


def test_a_deployment_name_is_quoted_in_an_address() -> None:
    form = form_of("chat", Options("my dep/2"))
    assert "/deployments/my%20dep%2F2/chat" in url_of("https://r.example", form, DATED)


def test_the_field_for_the_longest_reply_depends_on_version_and_model() -> None:
    def field(name: str, **options: Any) -> str:
        body = loaded(name, **options).body(
            request(), parts_of(request()), ApiFeatures(temperature=None)
        )
        return next(key for key in body if "tokens" in key)

    assert field("my-4.1") == "max_completion_tokens"
    assert field("my-4.1", api_version=DATED) == "max_tokens"
    assert (
        field("my-4.1", api_version=DATED, token_field="max_completion_tokens")
        == "max_completion_tokens"
    )
    assert field("o4-mini", api_version=DATED) == "max_completion_tokens"
    assert field("my-thinker", api_version=DATED, reasoning=True) == "max_completion_tokens"


def test_a_deployment_may_hide_what_its_model_is() -> None:
    assert loaded("my-thinker").top == 20
    assert (
        loaded("my-thinker", reasoning=True).top,
        loaded("my-thinker", reasoning=True).can_sample,
    ) == (0, False)


@pytest.mark.parametrize(
    ("unset", "message"),
    [
        ("AZURE_OPENAI_API_KEY", r"azure/dep needs a key: export AZURE_OPENAI_API_KEY=…"),
        (
            "AZURE_OPENAI_ENDPOINT",
            r"azure/dep needs an address: export AZURE_OPENAI_ENDPOINT=https://my-resource",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, unset: str, message: str
) -> None:
    monkeypatch.delenv(unset)
    with pytest.raises(UsageError, match=message):
        load("dep")


@pytest.mark.parametrize("version", [20241021, "latest", True])
def test_a_version_is_a_date(version: Any) -> None:
    with pytest.raises(UsageError, match="api_version must be a date, such as 2024-10-21"):
        load("dep", api_version=version)


# -- the content filter ----------------------------------------------------------------------------
def reply(results: Json, finish: str = "stop", content: str | None = "rows") -> Json:
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    made = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "gpt-4.1-2025-04-14",
        "choices": [choice | {"content_filter_results": results}],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
        "usage": {"prompt_tokens": 262, "completion_tokens": 2, "total_tokens": 264},
    }
    ChatCompletion.model_validate(made)
    return made


def test_a_reply_that_the_filter_let_pass_is_an_answer() -> None:
    passed = {name: verdict | {"filtered": False} for name, verdict in SEVERE.items()}
    parsed = loaded().parse(reply(passed))
    assert (parsed.texts, parsed.refusal, parsed.model) == (("rows",), None, "gpt-4.1-2025-04-14")


def test_a_reply_that_the_filter_cut_off_is_a_refusal_with_its_reason() -> None:
    parsed = loaded().parse(reply(SEVERE, "content_filter", None))
    assert (parsed.texts, parsed.refusal) == (("",), "content filter: violence (high)")
    odd = {"protected_material_text": {"detected": True, "filtered": True}, "error": None}
    assert (
        loaded().parse(reply(odd, "content_filter")).refusal
        == "content filter: protected material text"
    )


def test_a_question_that_the_filter_objects_to_has_its_own_code() -> None:
    refused = {
        "error": {
            "message": "The response was filtered due to the prompt.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": SEVERE},
        }
    }
    code, message = loaded().error(400, refused)
    assert code == "content_filter"
    assert (
        message == "content filter: violence (high); The response was filtered due to the prompt."
    )
    refused["error"]["code"] = "400"
    assert loaded().error(400, refused)[0] == "content_filter"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"error": {"code": "DeploymentNotFound", "message": "no such"}},
            ("DeploymentNotFound", "no such"),
        ),
        (
            {"error": {"code": "429", "message": "slow down", "innererror": "x"}},
            ("429", "slow down"),
        ),
        ({"statusCode": 401, "message": "Access denied"}, ("", "Access denied")),
        ({"error": "odd"}, ("", "odd")),
        ({}, ("", "")),
    ],
)
def test_other_errors_are_as_everywhere(given: Json, expected: tuple[str, str]) -> None:
    assert loaded().error(400, given) == expected


def test_batches_are_not_offered() -> None:
    assert loaded().batch is None


def test_the_key_shows_in_nothing_but_the_headers() -> None:
    made = loaded()
    wire = made.http_request(compact(made.body(request(), parts_of(request()), ApiFeatures())))
    assert not any(KEY in text for text in (repr(made), repr(wire), wire.url, wire.body.decode()))
