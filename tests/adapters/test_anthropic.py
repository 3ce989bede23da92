"""Anthropic's Messages API: bodies, replies and batches, against the types and the wire of its own
SDK.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import anthropic as sdk
import pytest
from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import BatchCreateParams
from pydantic import TypeAdapter, ValidationError

from bbtvp.adapters import anthropic
from bbtvp.adapters.anthropic import Messages
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.provider import ApiFeatures, HttpRequest, Json
from tests.adapters.damage import survives
from tests.adapters.recording import (
    LABELS,
    QUESTION,
    Asked,
    asked_by,
    compact,
    example_request,
    files_of,
    parts_of,
    recorder,
    request,
)

OLD = "2023-06-01"
KEY = "sk-ant-test-1234"
MODEL = "claude-sonnet-4-6"
PLAIN = ApiFeatures(temperature=None)
FORCED = ApiFeatures(temperature=None, forced=True)

REPLY: Json = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [
        {"type": "thinking", "thinking": "stripes?", "signature": "c2ln"},
        {"type": "text", "text": '{"answer": '},
        {"type": "text", "text": '"checks"}'},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "stop_details": None,
    "usage": {
        "input_tokens": 61,
        "output_tokens": 19,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": None,
        "service_tier": "standard",
    },
}
REFUSAL = REPLY | {
    "content": [{"type": "text", "text": "I can"}],
    "stop_reason": "refusal",
    "stop_details": {"type": "refusal", "category": "bio", "explanation": "not this"},
}
PARAMS = TypeAdapter(MessageCreateParamsNonStreaming)
BATCH = TypeAdapter(BatchCreateParams)


def exhausted(value: Any) -> Any:
    """A validated value with its lists, which are validated only as they are read."""
    if isinstance(value, dict):
        return {name: exhausted(each) for name, each in value.items()}
    return (
        value
        if isinstance(value, str | int | float | bytes | None)
        else [exhausted(each) for each in value]
    )


def accepts(body: Json, shape: TypeAdapter[Any] = PARAMS) -> bool:
    """Whether the SDK's types take the body, and drop no field of it as unknown."""
    try:
        return bool(exhausted(shape.validate_python(copy.deepcopy(body))) == body)
    except ValidationError:
        return False


def body_of(api: Messages, features: ApiFeatures = PLAIN, **fields: Any) -> Json:
    asked = request(**fields)
    return api.body(asked, parts_of(asked), features)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes SDK clients for a base URL, untouched by the environment."""
    for name in (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    made: list[sdk.Anthropic] = []

    def make(url: str) -> sdk.Anthropic:
        made.append(sdk.Anthropic(base_url=url, api_key=KEY, max_retries=0))
        return made[-1]

    yield make
    for each in made:
        each.close()


def same(ours: HttpRequest, theirs: Asked) -> None:
    """The same method, path and JSON, and all headers that we send."""
    mine = asked_by(ours)
    assert (mine.method, mine.path) == (theirs.method, theirs.path)
    assert {**mine.headers, **theirs.headers} == theirs.headers | {
        "content-type": "application/json"
    }
    assert not {"x-api-key", "authorization"} & (theirs.headers.keys() - mine.headers.keys())
    if ours.body:
        assert mine.json == theirs.json


# -- bodies ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "features"),
    [
        ({}, PLAIN),
        ({}, FORCED),
        ({"effort": "low"}, FORCED),
        ({"thinking": 1024}, PLAIN),
        ({"thinking": "disabled"}, PLAIN),
    ],
)
def test_bodies_are_valid_for_the_sdk_types(options: dict[str, Any], features: ApiFeatures) -> None:
    for kind in ("png", "jpeg", "webp"):
        asked = request(max_tokens=2048)
        body = Messages(MODEL, KEY, **options).body(asked, parts_of(asked, kind), features)
        assert accepts(body)


def test_the_types_refuse_what_is_wrong() -> None:
    """Negative controls: a validator that accepts everything proves nothing."""
    good = body_of(Messages(MODEL, KEY), FORCED)

    def but(change: Any) -> Json:
        bad = copy.deepcopy(good)
        change(bad)
        return bad

    image = lambda body: body["messages"][0]["content"][0]  # noqa: E731
    assert accepts(good)
    assert not accepts(but(lambda body: body.pop("max_tokens")))
    assert not accepts(but(lambda body: body.update(temperature=0.0)))
    assert not accepts(but(lambda body: body.update(seed=1)))
    assert not accepts(but(lambda body: image(body)["source"].update(media_type="image/bmp")))
    assert not accepts(but(lambda body: image(body)["source"].pop("data")))
    assert not accepts(but(lambda body: image(body).update(detail="high")))
    assert not accepts(but(lambda body: image(body).update(type="image_url")))
    assert not accepts(but(lambda body: body["messages"][0].update(role="human")))
    assert not accepts(but(lambda body: body["output_config"]["format"].update(type="json")))
    assert not accepts(but(lambda body: body["output_config"]["format"].pop("schema")))
    assert not accepts(but(lambda body: body.update(thinking={"type": "enabled"})))


def test_the_image_stands_before_the_text_and_is_the_file_itself() -> None:
    asked = request()
    image, text = Messages(MODEL, KEY).body(asked, parts_of(asked), PLAIN)["messages"][0]["content"]
    assert base64.b64decode(image["source"]["data"]) == parts_of(asked)[-1].image.data
    assert text == {"type": "text", "text": QUESTION}


def test_several_images_go_in_order_each_before_its_text() -> None:
    asked = example_request()
    body = Messages(MODEL, KEY).body(asked, parts_of(asked), FORCED)
    assert accepts(body)
    (message,) = body["messages"]
    kinds = ["image", "text", "image", "image", "text"]
    assert [block["type"] for block in message["content"]] == kinds
    images = [block["source"] for block in message["content"] if block["type"] == "image"]
    assert [image["data"] for image in images] == files_of(asked)
    texts = [block["text"] for block in message["content"] if block["type"] == "text"]
    assert texts == ["Answer: rows", QUESTION]


def test_labels_are_forced_by_a_schema_with_room_for_its_wrapping() -> None:
    plain, forced = (body_of(Messages(MODEL, KEY), features) for features in (PLAIN, FORCED))
    assert forced["output_config"]["format"]["schema"]["properties"]["answer"]["enum"] == list(
        LABELS
    )
    assert "output_config" not in plain and forced["max_tokens"] > plain["max_tokens"] == 16
    assert "output_config" not in body_of(Messages(MODEL, KEY), FORCED, labels=None)


def test_only_the_old_version_has_a_temperature_and_none_has_a_seed() -> None:
    asked = ApiFeatures(temperature=0.5, seed=3, top=5, samples=2)
    new = Messages(MODEL, KEY)
    old = Messages(MODEL, KEY, version=OLD)
    assert (new.can_sample, old.can_sample) == (False, True)
    assert body_of(new, asked) == body_of(new, PLAIN)
    assert body_of(old, asked) == body_of(old, PLAIN) | {"temperature": 0.5}
    assert "temperature" not in body_of(old, PLAIN)


def test_thinking_leaves_room_for_an_answer() -> None:
    api = Messages(MODEL, KEY, thinking=2048)
    with pytest.raises(UsageError, match="max_tokens=3072"):
        body_of(api, max_tokens=2048)
    assert body_of(api, max_tokens=3000)["thinking"] == {
        "type": "enabled",
        "budget_tokens": 2048,
    }


# -- the wire --------------------------------------------------------------------------------------
def test_the_sdk_sends_the_same_request(client: Any) -> None:
    asked = request()
    data = base64.b64encode(parts_of(asked)[-1].image.data).decode()
    answer = {"type": "string", "enum": list(LABELS)}
    schema = {
        "type": "object",
        "properties": {"answer": answer},
        "required": ["answer"],
        "additionalProperties": False,
    }
    with recorder(REPLY) as server:
        message = client(server.url).messages.create(
            model=MODEL,
            max_tokens=32,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": data},
                        },
                        {"type": "text", "text": QUESTION},
                    ],
                }
            ],
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
        api = Messages(MODEL, KEY, server.url)
    same(api.http_request(compact(api.body(asked, parts_of(asked), FORCED))), server.asked[0])
    assert (
        "".join(block.text for block in message.content if block.type == "text")
        == '{"answer": "checks"}'
    )


def test_the_old_version_sends_the_key_as_it_used_to() -> None:
    new, old = (
        asked_by(Messages(MODEL, KEY, version=each).http_request(b"{}")).headers
        for each in (anthropic.CHANGED, OLD)
    )
    assert (new["authorization"], old["x-api-key"]) == (f"Bearer {KEY}", KEY)
    assert "x-api-key" not in new and "authorization" not in old
    assert (new["anthropic-version"], old["anthropic-version"]) == ("2026-10-21", OLD)


@pytest.mark.parametrize(
    "base", ["https://proxy.example", "https://proxy.example/", "https://proxy.example/v1"]
)
def test_a_base_url_may_end_as_it_likes(base: str) -> None:
    assert Messages(MODEL, KEY, base).url == "https://proxy.example/v1/messages"


# -- replies ---------------------------------------------------------------------------------------
def test_a_reply_is_read() -> None:
    Message.model_validate(REPLY)
    parsed = Messages(MODEL, KEY).parse(REPLY)
    assert parsed.thought
    plain = REPLY | {"content": REPLY["content"][1:]}
    assert not Messages(MODEL, KEY).parse(plain).thought
    hidden = REPLY | {"content": [{"type": "redacted_thinking", "data": "x"}, *plain["content"]]}
    assert Messages(MODEL, KEY).parse(hidden).thought
    assert (
        parsed.texts == ("checks",)
        and parsed.refusal is None
        and not parsed.truncated
        and parsed.tokens == ()
    )
    assert (parsed.input_tokens, parsed.output_tokens, parsed.model) == (68, 19, MODEL)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        (
            {"type": "refusal", "category": "bio", "explanation": "not this"},
            "refusal: bio: not this",
        ),
        ({"type": "refusal", "category": None, "explanation": None}, "refusal"),
        (None, "refusal"),
    ],
)
def test_a_refusal_is_told_with_its_reason_and_no_text(details: Json | None, reason: str) -> None:
    reply = REFUSAL | {"stop_details": details}
    Message.model_validate(reply)
    parsed = Messages(MODEL, KEY).parse(reply)
    assert (parsed.refusal, parsed.texts, parsed.output_tokens) == (reason, (), 19)


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
def test_a_reply_that_was_cut_says_so(reason: str) -> None:
    reply = REPLY | {"stop_reason": reason, "content": [REPLY["content"][0]]}
    Message.model_validate(reply)
    parsed = Messages(MODEL, KEY).parse(reply)
    assert parsed.truncated and parsed.texts == ()


@pytest.mark.parametrize("reply", [REPLY, REFUSAL], ids=["reply", "refusal"])
def test_replies_of_another_kind_are_refused_in_the_three_ways(reply: Json) -> None:
    read, refused = survives(Messages(MODEL, KEY), reply)
    assert read > 100 and refused > 25


def test_an_error_of_status_200_is_no_answer() -> None:
    with pytest.raises(ValueError, match="overloaded"):
        Messages(MODEL, KEY).parse(
            {"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}
        )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"type": "rate_limit_error", "message": "m"}, "rate_limit_error"),
        (
            {
                "type": "rate_limit_error",
                "message": "m",
                "details": {"error_code": "contract_spend_limit_reached"},
            },
            "contract_spend_limit_reached",
        ),
        ({"type": "api_error", "message": "m", "details": ["odd"]}, "api_error"),
    ],
)
def test_errors_are_told_in_the_vendors_words(error: Json, code: str) -> None:
    assert Messages(MODEL, KEY).error(429, {"type": "error", "error": error}) == (code, "m")


def test_the_error_code_is_where_the_sdk_looks_for_it(client: Any) -> None:
    details = {"error_code": "contract_spend_limit_reached"}
    reply = {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "m", "details": details},
    }
    with recorder(reply) as server:
        server.status = 429
        with pytest.raises(sdk.RateLimitError) as raised:
            client(server.url).messages.create(
                model=MODEL, max_tokens=1, messages=[{"role": "user", "content": "?"}]
            )
    assert raised.value.error_code == Messages(MODEL, KEY).error(429, reply)[0]


# -- batches ---------------------------------------------------------------------------------------
COUNTS = {"canceled": 0, "errored": 0, "expired": 0, "processing": 2, "succeeded": 0}
STATE: Json = {
    "id": "msgbatch_01",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": COUNTS,
    "created_at": "2026-11-20T10:00:00Z",
    "expires_at": "2026-11-21T10:00:00Z",
    "results_url": None,
}
ERRORED = {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}
RESULTS: list[Json] = [
    {"custom_id": "b", "result": {"type": "errored", "error": ERRORED}},
    {"custom_id": "a", "result": {"type": "succeeded", "message": REPLY}},
    {"custom_id": "c", "result": {"type": "expired"}},
    {"custom_id": "d", "result": {"type": "canceled"}},
]


def test_a_batch_is_handed_in_as_the_sdk_does_it(client: Any) -> None:
    with recorder(STATE) as server:
        api = Messages(MODEL, KEY, server.url)
        bodies = {name: body_of(api, FORCED, red=red) for name, red in (("a", 0), ("b", 200))}
        requests = [{"custom_id": name, "params": body} for name, body in bodies.items()]
        theirs = client(server.url).messages.batches.create(requests=requests)
    exchanges = api.batch.submit({name: compact(body) for name, body in bodies.items()})
    same(next(exchanges), server.asked[0])
    assert accepts(server.asked[0].json, BATCH)
    with pytest.raises(StopIteration) as ended:
        exchanges.send(STATE)  # type: ignore[attr-defined]
    assert ended.value.value == theirs.id == "msgbatch_01"


def test_the_state_of_a_batch_is_read_and_asked_as_the_sdk_does_it(client: Any) -> None:
    done = STATE | {"processing_status": "ended", "results_url": "https://elsewhere.example/steal"}
    with recorder(lambda asked: done if asked.method == "GET" else STATE) as server:
        api = Messages(MODEL, KEY, server.url)
        batches = client(server.url).messages.batches
        batches.retrieve("msgbatch_01")
    same(api.batch.status("msgbatch_01"), server.asked[0])
    for state in (STATE, done):
        MessageBatch.model_validate(state)
    assert api.batch.read_status(STATE) == (False, "in_progress", None)
    assert api.batch.read_status(done) == (True, "ended", "msgbatch_01")


def test_results_are_read_by_their_identifiers(client: Any) -> None:
    for result in RESULTS:
        MessageBatchIndividualResponse.model_validate(result)
    lines = "\n".join(json.dumps(result) for result in RESULTS) + "\n"

    def answer(asked: Asked) -> Any:
        return lines if asked.path.endswith("/results") else done

    with recorder(answer) as server:
        done = STATE | {"processing_status": "ended"}
        done["results_url"] = f"{server.url}/v1/messages/batches/msgbatch_01/results"
        api = Messages(MODEL, KEY, server.url)
        theirs = [
            each.custom_id for each in client(server.url).messages.batches.results("msgbatch_01")
        ]
    (wire,) = api.batch.results("msgbatch_01")
    same(wire, server.asked[-1])
    read = list(api.batch.read_results([lines.encode()]))
    assert [(name, status) for name, status, _ in read] == [
        ("b", 400),
        ("a", 200),
        ("c", 408),
        ("d", 408),
    ]
    assert [name for name, _, _ in read] == theirs
    assert api.parse(read[1][2]).texts == ("checks",)
    assert api.error(400, read[0][2]) == ("invalid_request_error", "too long")
    assert api.error(408, read[2][2])[0] == "expired"


def test_results_are_fetched_from_our_own_host_whatever_the_reply_says() -> None:
    batch = Messages(MODEL, KEY).batch
    done = STATE | {
        "processing_status": "ended",
        "results_url": "https://elsewhere.example/x",
        "id": "../../etc?x",
    }
    (wire,) = batch.results(batch.read_status(done)[2] or "")
    assert wire.url == "https://api.anthropic.com/v1/messages/batches/..%2F..%2Fetc%3Fx/results"


# -- loading ---------------------------------------------------------------------------------------
def test_loading_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9/")
    endpoint: Any = anthropic.load(MODEL, thinking=2000, store=False)
    assert (
        endpoint.api.url == "http://127.0.0.1:9/v1/messages"
        and endpoint.api.spec == f"anthropic/{MODEL}"
    )
    assert endpoint.settings.max_tokens == 2000 + anthropic.ROOM
    given: Any = anthropic.load(
        MODEL, base_url="http://127.0.0.1:8", api_version=OLD, max_tokens=99, store=False
    )
    assert given.api.url == "http://127.0.0.1:8/v1/messages" and given.api.can_sample
    assert given.settings.max_tokens == 99
    assert anthropic.load(MODEL, thinking="disabled", store=False).settings.max_tokens is None  # type: ignore[attr-defined]
    assert asked_by(given.api.http_request(b"")).headers["x-api-key"] == KEY
    assert KEY not in repr(endpoint.api) + repr(given.api.http_request(b""))


def test_an_endpoint_asks_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)

    def answer(asked: Asked) -> Json:
        tokens = len(asked.body) if "output_config" in asked.json else 1
        return REPLY | {"usage": {"input_tokens": tokens, "output_tokens": 2}}

    with recorder(answer) as server:
        endpoint = anthropic.load(MODEL, base_url=server.url, store=False)
        outcomes = endpoint.query(
            [request(labels=None), request(forced=True), request(labels=None, red=200)]
        )
    assert [outcome.text for outcome in outcomes] == ["checks"] * 3  # type: ignore[union-attr]
    assert [outcome.usage.input_tokens > 1 for outcome in outcomes] == [False, True, False]
    assert len({each.body for each in server.asked}) == 3 and all(
        accepts(each.json) for each in server.asked
    )


def test_loading_says_what_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(UsageError, match="export ANTHROPIC_API_KEY="):
        anthropic.load(MODEL)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    for options in (
        {"api_version": "latest"},
        {"api_version": 2023},
        {"effort": "hard"},
        {"thinking": "deeply"},
        {"thinking": 5},
        {"thinking": True},
        {"base_url": "ftp://x"},
        {"tempreature": 1},
    ):
        with pytest.raises(UsageError):
            anthropic.load(MODEL, store=False, **options)
