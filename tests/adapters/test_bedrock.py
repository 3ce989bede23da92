"""Bedrock's Converse operation: bodies, signatures and replies, against botocore's service model
and boto3's wire.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import botocore.auth
import botocore.session
import pytest
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.validate import ParamValidator

from bbtvp.adapters import bedrock
from bbtvp.adapters.bedrock import Bearer, Converse, SigV4
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.endpoint.access import without_keys
from bbtvp.endpoint.forced import schema
from bbtvp.endpoint.provider import ApiFeatures, Json
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

MODEL = "us.anthropic.claude-sonnet-4-6-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x-v1:0"
ACCESS = "AKIATEST"
SECRET = "secret/with+signs"
SESSION = "session=="
PLAIN = ApiFeatures(temperature=None)
FORCED = ApiFeatures(temperature=0.0, forced=True)
BEARER = Bearer("bedrock-api-key-1234")

REPLY: Json = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "stripes?"}}},
                {"text": '{"answer": '},
                {"text": '"checks"}'},
            ],
        }
    },
    "stopReason": "end_turn",
    "usage": {"inputTokens": 61, "outputTokens": 19, "totalTokens": 87, "cacheReadInputTokens": 7},
    "metrics": {"latencyMs": 321},
}


@pytest.fixture(scope="module")
def operation() -> Any:
    """Converse, as botocore's service model has it."""
    return (
        botocore.session.get_session()
        .get_service_model("bedrock-runtime")
        .operation_model("Converse")
    )


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No AWS settings from outside; the file of credentials that may be written."""
    for name in [
        *bedrock.REGIONS,
        *Converse.at.url_variables,
        bedrock.TOKEN,
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time for every signature."""
    moment = datetime(2026, 11, 25, 12, tzinfo=UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: moment)


@pytest.fixture
def client() -> Iterator[Any]:
    """Makes boto3 clients for a base URL."""
    made: list[Any] = []

    def make(url: str) -> Any:
        keys = {
            "aws_access_key_id": ACCESS,
            "aws_secret_access_key": SECRET,
            "aws_session_token": SESSION,
        }
        once = Config(retries={"total_max_attempts": 1})
        made.append(
            boto3.client(
                "bedrock-runtime", region_name="eu-west-1", endpoint_url=url, config=once, **keys
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def signed(base: str, model: str = MODEL, **options: Any) -> Converse:
    return Converse(
        model, SigV4(Credentials(ACCESS, SECRET, SESSION), "eu-west-1"), base, **options
    )


def body_of(features: ApiFeatures = PLAIN, **fields: Any) -> Json:
    asked = request(**fields)
    return Converse(MODEL, BEARER, "https://x").body(asked, parts_of(asked), features)


def accepts(body: Json, operation: Any) -> bool:
    """Whether botocore takes the body, its images as bytes."""
    params = copy.deepcopy(body) | {"modelId": MODEL}
    for message in params["messages"]:
        for block in message["content"]:
            if isinstance(block.get("image", {}).get("source", {}).get("bytes"), str):
                block["image"]["source"]["bytes"] = base64.b64decode(
                    block["image"]["source"]["bytes"]
                )
    return not ParamValidator().validate(params, operation.input_shape).has_errors()


# -- bodies ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("effort", [None, "low"])
def test_bodies_are_valid_for_the_service_model(operation: Any, effort: str | None) -> None:
    formats = operation.service_model.shape_for("ImageFormat").enum
    for features in (PLAIN, FORCED):
        for kind in ("png", "jpeg", "webp"):
            asked = request()
            body = Converse(MODEL, BEARER, "https://x", effort=effort).body(
                asked, parts_of(asked, kind), features
            )
            assert accepts(body, operation)
            assert (
                body["messages"][0]["content"][0]["image"]["format"] in formats
            )  # which the validator does not check


def test_the_service_model_refuses_what_is_wrong(operation: Any) -> None:
    """Negative controls: a validator that accepts everything proves nothing."""
    good = body_of(FORCED)

    def but(change: Any) -> Json:
        bad = copy.deepcopy(good)
        change(bad)
        return bad

    image = lambda body: body["messages"][0]["content"][0]["image"]  # noqa: E731
    form = lambda body: body["outputConfig"]["textFormat"]  # noqa: E731
    assert accepts(good, operation)
    for change in (
        lambda body: body.update(seed=1),
        lambda body: body["inferenceConfig"].update(logprobs=3),
        lambda body: body["inferenceConfig"].update(maxTokens="16"),
        lambda body: image(body).pop("format"),
        lambda body: image(body)["source"].update(data="x"),
        lambda body: body["messages"][0]["content"][0].update(type="image"),
        lambda body: body["messages"][0].pop("role"),
        lambda body: form(body).pop("structure"),
        lambda body: form(body)["structure"]["jsonSchema"].update(schema={"type": "object"}),
        lambda body: form(body).update(jsonSchema="{}"),
    ):
        assert not accepts(but(change), operation)


def test_several_images_go_in_order_each_before_its_text(operation: Any) -> None:
    asked = example_request()
    body = Converse(MODEL, BEARER, "https://x").body(asked, parts_of(asked), PLAIN)
    assert accepts(body, operation)
    (message,) = body["messages"]
    shown = [block["image"] for block in message["content"] if "image" in block]
    assert [image["source"]["bytes"] for image in shown] == files_of(asked)
    texts = [block.get("text") for block in message["content"]]
    assert texts == [None, "Answer: rows", None, None, QUESTION]


def test_the_image_stands_before_the_text_and_is_the_file_itself() -> None:
    image, text = body_of()["messages"][0]["content"]
    assert base64.b64decode(image["image"]["source"]["bytes"]) == parts_of(request())[-1].image.data
    assert text == {"text": QUESTION}


def test_nothing_is_sent_that_was_not_asked_for(operation: Any) -> None:
    assert (
        body_of()
        == body_of(ApiFeatures(temperature=None, seed=3, top=5, samples=2))
        == body_of(FORCED, labels=None) | {"inferenceConfig": {"maxTokens": 16}}
    )
    forced = body_of(FORCED)
    assert forced["inferenceConfig"] == {"maxTokens": 32, "temperature": 0.0}
    form = forced["outputConfig"]["textFormat"]
    assert form["type"] in operation.service_model.shape_for("OutputFormatType").enum
    assert json.loads(form["structure"]["jsonSchema"]["schema"]) == schema(LABELS)


# -- the wire --------------------------------------------------------------------------------------
@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize("model", [MODEL, ARN])
def test_boto3_sends_the_same_request_with_the_same_signature(client: Any, model: str) -> None:
    asked = request()
    image = {"format": "png", "source": {"bytes": parts_of(asked)[-1].image.data}}
    definition = {"name": "answer", "schema": json.dumps(schema(LABELS))}
    with recorder(REPLY) as server:
        reply = client(server.url).converse(
            modelId=model,
            messages=[{"role": "user", "content": [{"image": image}, {"text": QUESTION}]}],
            inferenceConfig={"maxTokens": 32, "temperature": 0.0},
            outputConfig={
                "textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}
            },
        )
        api = signed(server.url, model)
    theirs = server.asked[0]
    ours = asked_by(api.http_request(compact(api.body(asked, parts_of(asked), FORCED))))
    assert (ours.method, ours.path, ours.json) == (theirs.method, theirs.path, theirs.json)
    assert reply["output"]["message"]["content"][1:] == [
        {"text": '{"answer": '},
        {"text": '"checks"}'},
    ]
    # Over the very same bytes, since boto3 puts spaces into its JSON.
    again = asked_by(api.http_request(theirs.body)).headers
    assert again.items() <= theirs.headers.items() and again["x-amz-security-token"] == SESSION
    assert again["authorization"] != ours.headers["authorization"]


def verified(asked: Asked, region: str) -> bool:
    """Whether the signature holds for what arrived, computed from AWS's description of version 4
    alone.
    """
    fields = dict(
        part.split("=", 1) for part in asked.headers["authorization"].split(" ", 1)[1].split(", ")
    )
    names = fields["SignedHeaders"].split(";")
    day, *scope = fields["Credential"].split("/")[1:]
    assert scope == [region, "bedrock", "aws4_request"]
    canonical = [asked.method, quote(asked.path, safe="/~"), ""]
    canonical += [f"{name}:{asked.headers[name].strip()}" for name in names]
    canonical += ["", ";".join(names), hashlib.sha256(asked.body).hexdigest()]
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    text = "\n".join(
        ["AWS4-HMAC-SHA256", asked.headers["x-amz-date"], "/".join([day, *scope]), digest]
    )
    key = f"AWS4{SECRET}".encode()
    for part in (day, *scope, text):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(key.hex(), fields["Signature"])


@pytest.mark.parametrize("model", [MODEL, ARN])
def test_an_endpoint_asks_with_a_signature_that_holds_for_what_arrives(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    with recorder(REPLY) as server:
        endpoint = bedrock.load(model, region="eu-west-1", base_url=server.url, store=False)
        outcomes = endpoint.query([request(labels=None), request(labels=None, red=200)])
    assert [outcome.text for outcome in outcomes] == ["checks", "checks"]  # type: ignore[union-attr]
    assert len({asked.body for asked in server.asked}) == 2
    for arrived in server.asked:
        assert verified(arrived, "eu-west-1")
        assert not verified(
            Asked(arrived.method, arrived.path, arrived.headers, arrived.body + b" "), "eu-west-1"
        )


def test_every_attempt_is_signed_anew_with_the_keys_of_its_time() -> None:
    issued = iter(range(1, 9))

    def renew() -> dict[str, str]:
        number = next(issued)
        soon = datetime.now(UTC) + timedelta(seconds=1 if number == 1 else 9000)
        return {
            "access_key": f"AKIA{number}",
            "secret_key": SECRET,
            "token": f"t{number}=",
            "expiry_time": soon.isoformat(),
        }

    credentials = RefreshableCredentials.create_from_metadata(renew(), renew, "test")
    api = Converse(MODEL, SigV4(credentials, "eu-west-1"), "https://x.example")
    tokens = [asked_by(api.http_request(b"{}")).headers["x-amz-security-token"] for _ in range(2)]
    assert tokens == ["t2=", "t2="]  # the first had a second to live
    assert (
        api.error(403, {"message": "canonical: x-amz-security-token:t2="})[1]
        == "canonical: x-amz-security-token:…"
    )


def test_keys_that_cannot_be_renewed_end_the_run() -> None:
    def renew() -> dict[str, str]:
        raise CredentialRetrievalError(provider="test", error_msg="expired")

    past = {
        "access_key": "A",
        "secret_key": "s",
        "token": "t",
        "expiry_time": "2026-01-01T00:00:00Z",
    }
    credentials = RefreshableCredentials.create_from_metadata(past, renew, "test")
    with pytest.raises(ModelError, match="cannot be renewed"):
        Converse(MODEL, SigV4(credentials, "eu-west-1"), "https://x.example").http_request(b"{}")


def test_a_bedrock_key_is_a_bearer_token() -> None:
    assert asked_by(Converse(MODEL, BEARER, "https://x.example/").http_request(b"{}")) == Asked(
        "POST",
        "/model/us.anthropic.claude-sonnet-4-6-v1%3A0/converse",
        {"content-type": "application/json", "authorization": "Bearer bedrock-api-key-1234"},
        b"{}",
    )


# -- replies ---------------------------------------------------------------------------------------
def test_a_reply_is_read(operation: Any) -> None:
    check = ParamValidator()
    assert not check.validate(REPLY, operation.output_shape).has_errors()
    assert check.validate(
        REPLY | {"usage": {"input_tokens": 3}}, operation.output_shape
    ).has_errors()
    parsed = Converse(MODEL, BEARER, "https://x").parse(REPLY)
    assert parsed.thought
    assert (
        parsed.texts == ("checks",)
        and parsed.refusal is None
        and not parsed.truncated
        and parsed.tokens == ()
    )
    assert (parsed.input_tokens, parsed.output_tokens, parsed.model) == (68, 19, "")
    routed = REPLY | {"trace": {"promptRouter": {"invokedModelId": MODEL}}}
    assert not check.validate(routed, operation.output_shape).has_errors()
    assert Converse(MODEL, BEARER, "https://x").parse(routed).model == MODEL


@pytest.mark.parametrize("count", [True, 1.5, "3", [3], -1])
def test_what_is_no_count_is_no_usage(count: object) -> None:
    usage = REPLY["usage"] | {"outputTokens": count}
    parsed = Converse(MODEL, BEARER, "https://x").parse(REPLY | {"usage": usage})
    assert parsed.output_tokens is None and parsed.texts


def test_every_way_to_stop_is_an_answer_a_refusal_or_an_empty_reply(operation: Any) -> None:
    known = set(operation.service_model.shape_for("StopReason").enum)
    for reason in known:
        parsed = Converse(MODEL, BEARER, "https://x").parse(REPLY | {"stopReason": reason})
        assert parsed.refusal == (
            reason if reason in ("guardrail_intervened", "content_filtered") else None
        )
        answered = reason in (
            "end_turn",
            "stop_sequence",
            "tool_use",
            "max_tokens",
            "model_context_window_exceeded",
        )
        assert parsed.texts == (("checks",) if answered else ())
        assert parsed.truncated == (reason in ("max_tokens", "model_context_window_exceeded"))
        assert bool(parsed.failure) == (not answered and not parsed.refusal)


def test_replies_of_another_kind_are_refused_in_the_three_ways() -> None:
    read, refused = survives(Converse(MODEL, BEARER, "https://x"), REPLY)
    assert read > 50 and refused > 50


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (
            {"message": "The provided model identifier is invalid."},
            ("", "The provided model identifier is invalid."),
        ),
        ({"Message": "not authorized"}, ("", "not authorized")),
        (
            {"__type": "com.amazon.coral.service#ThrottlingException", "message": "m"},
            ("ThrottlingException", "m"),
        ),
        ({"__type": "ValidationException"}, ("ValidationException", "")),
        ({"message": "signed with bedrock-api-key-1234"}, ("", "signed with …")),
    ],
)
def test_errors_are_told_in_the_vendors_words_but_never_with_a_key(
    reply: Json, told: tuple[str, str]
) -> None:
    assert Converse(MODEL, BEARER, "https://x").error(400, reply) == told


# -- loading ---------------------------------------------------------------------------------------
def test_a_bedrock_key_needs_no_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bedrock.TOKEN, "bedrock-api-key-1234")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.setitem(sys.modules, name, None)
    endpoint: Any = bedrock.load(MODEL, store=False)
    wire = endpoint.api.http_request(b"{}")
    assert (
        wire.url
        == "https://bedrock-runtime.eu-west-3.amazonaws.com/model/us.anthropic.claude-sonnet-4-6-v1%3A0/converse"
    )
    assert wire.headers["Authorization"] == "Bearer bedrock-api-key-1234"
    assert "bedrock-api-key" not in repr(wire) + repr(endpoint.api)
    monkeypatch.delenv(bedrock.TOKEN)
    with pytest.raises(UsageError, match=r"pip install 'bbtvp\[bedrock\]'"):
        bedrock.load(MODEL, store=False)


def test_a_plan_needs_no_credentials(nobody: Path) -> None:
    with without_keys():
        model = Converse.load(MODEL, region="eu-west-3")
    assert model.missing_key == bedrock.TOKEN
    with pytest.raises(UsageError, match="no AWS credentials"):
        Converse.load(MODEL, region="eu-west-3")


def test_credentials_of_the_environment_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    endpoint: Any = bedrock.load(MODEL, store=False)
    wire = endpoint.api.http_request(b"{}")
    assert (
        "us-west-2.amazonaws.com" in wire.url
        and "/us-west-2/bedrock/" in wire.headers["Authorization"]
    )
    assert {SECRET, SESSION} <= set(endpoint._context.secrets)
    given: Any = bedrock.load(
        MODEL, region="us-east-1", base_url="http://127.0.0.1:9/", store=False
    )
    assert given.api.url.startswith("http://127.0.0.1:9/model/")
    assert "/us-east-1/bedrock/" in given.api.http_request(b"{}").headers["Authorization"]


def test_a_profile_brings_credentials_and_region(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nobody / "credentials").write_text(
        f"[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = {SECRET}\n"
    )
    (nobody / "config").write_text("[profile work]\nregion = ap-south-1\n")
    monkeypatch.setenv(bedrock.TOKEN, "unused")  # what is asked for by name comes first
    endpoint: Any = bedrock.load(MODEL, profile="work", store=False)
    signature = endpoint.api.http_request(b"{}").headers["Authorization"]
    assert "Credential=AKIAWORK/" in signature and "/ap-south-1/bedrock/" in signature
    with pytest.raises(UsageError, match="home"):
        bedrock.load(MODEL, profile="home", store=False)
    with pytest.raises(UsageError, match="home"):
        bedrock.load(MODEL, profile="home", region="us-east-1", store=False)


def test_loading_says_what_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="export AWS_REGION=us-east-1"):
        bedrock.load(MODEL)
    with pytest.raises(UsageError, match=f"export {bedrock.TOKEN}="):
        bedrock.load(MODEL, region="us-east-1")
    monkeypatch.setenv(bedrock.TOKEN, "k")
    for options in (
        {"region": "evil.example/"},
        {"region": 3},
        {"base_url": "ftp://x"},
        {"tempreature": 1},
    ):
        with pytest.raises(UsageError):
            bedrock.load(MODEL, store=False, **{"region": "us-east-1", **options})
