"""The Gemini API: bodies, replies and batches, against the strict types and the wire of Google's
own SDK.
"""

from __future__ import annotations

import base64
import copy
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types
from pydantic import ValidationError

from bbtvp.adapters import gemini
from bbtvp.adapters.gemini import GenerateContent
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.forced import schema
from bbtvp.endpoint.images import plan
from bbtvp.endpoint.known import REPLY_TOKENS
from bbtvp.endpoint.provider import ApiFeatures, HttpRequest, Json
from bbtvp.models import QueryFailed, Reply
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

KEY = "AIzaTest1234"
MODEL = "gemini-3.5-flash"
PLAIN = ApiFeatures(temperature=None)
FULL = ApiFeatures(top=5, forced=True, temperature=0.0, seed=3, samples=2)


def token(text: str, logprob: float) -> Json:
    return {"token": text, "logProbability": logprob, "tokenId": len(text)}


REPLY: Json = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "stripes?", "thought": True},
                    {"text": '{"answer": '},
                    {"text": '"checks"}'},
                ],
            },
            "finishReason": "STOP",
            "index": 0,
            "avgLogprobs": -0.1,
            "logprobsResult": {
                "chosenCandidates": [
                    token('{"answer": "', 0.0),
                    token("che", -0.3),
                    token("cks", -0.01),
                    token('"}', 0),
                ],
                "topCandidates": [
                    {"candidates": [token('{"answer": "', 0.0), token('{"', -9.0)]},
                    {"candidates": [token("che", -0.3), token("row", -1.5), token("row", -7.0)]},
                    {"candidates": [token("cks", -0.01)]},
                    {"candidates": [token('"}', 0), token('"', -8.0)]},
                ],
            },
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 266,
        "candidatesTokenCount": 6,
        "thoughtsTokenCount": 40,
        "totalTokenCount": 312,
        "promptTokensDetails": [
            {"modality": "IMAGE", "tokenCount": 258},
            {"modality": "TEXT", "tokenCount": 8},
        ],
    },
    "modelVersion": MODEL,
    "responseId": "r1",
}
BLOCKED: Json = {
    "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
    "usageMetadata": {"promptTokenCount": 266, "totalTokenCount": 266},
}


def ended(reason: str, **fields: Any) -> Json:
    """A reply whose only candidate stopped for this reason."""
    return {
        "candidates": [{"finishReason": reason, "index": 0, **fields}],
        "usageMetadata": {"promptTokenCount": 266},
    }


def accepts(body: Json) -> bool:
    """Whether the SDK's types, which know no other fields, take the body."""
    try:
        assert body.keys() == {"contents", "generationConfig"}
        for content in body["contents"]:
            types.Content.model_validate(content)
        types.GenerationConfig.model_validate(body["generationConfig"])
        types.GenerateContentConfig.model_validate(body["generationConfig"])
    except (ValidationError, UserWarning):  # an unknown word of an enumeration is a warning
        return False
    return True


def body_of(api: GenerateContent, features: ApiFeatures = PLAIN, **fields: Any) -> Json:
    asked = request(**fields)
    return api.body(asked, parts_of(asked), features)


def plainly(node: Any, name: str = "") -> Any:
    """JSON as sent, apart from what Google's servers take either way: mime_type or mimeType, two
    base64 alphabets.
    """
    if isinstance(node, dict):
        camel = {
            re.sub(r"_(\w)", lambda found: found[1].upper(), key): value
            for key, value in node.items()
        }
        return {key: plainly(value, key) for key, value in camel.items()}
    if isinstance(node, list):
        return [plainly(each) for each in node]
    return (
        base64.b64decode(node, altchars="-_" if "-" in node or "_" in node else None)
        if name == "data"
        else node
    )


def same(ours: HttpRequest, theirs: Asked) -> None:
    """The same method, path, key and meaning; the key in no address."""
    mine = asked_by(ours)
    assert (mine.method, mine.path) == (theirs.method, theirs.path)
    assert mine.headers["x-goog-api-key"] == theirs.headers["x-goog-api-key"] == KEY
    assert KEY not in ours.url and "authorization" not in {*mine.headers, *theirs.headers}
    if theirs.body and theirs.body != b"{}":
        assert plainly(mine.json) == plainly(theirs.json)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes SDK clients for a base URL, untouched by the environment."""
    for name in (
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GOOGLE_GENAI_USE_VERTEXAI",
        "GOOGLE_GENAI_USE_ENTERPRISE",
    ):
        monkeypatch.delenv(name, raising=False)
    made: list[genai.Client] = []

    def make(url: str) -> genai.Client:
        options = types.HttpOptions(base_url=url, api_version="v1beta")
        made.append(genai.Client(api_key=KEY, http_options=options))
        return made[-1]

    yield make
    for each in made:
        each.close()


# -- bodies ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"thinking": 0},
        {"thinking": "automatic"},
        {"thinking": "minimal"},
        {"enum": True},
        {"media_resolution": "low"},
        {"media_resolution": "ultra_high"},
    ],
    ids=str,
)
def test_bodies_are_valid_for_the_sdk_types(options: dict[str, Any]) -> None:
    api = GenerateContent(MODEL, KEY, **options)
    for features in (PLAIN, FULL):
        for kind in ("png", "jpeg", "webp"):
            asked = request()
            assert accepts(api.body(asked, parts_of(asked, kind), features))


def test_the_types_refuse_what_is_wrong() -> None:
    """Negative controls: a validator that accepts everything proves nothing."""
    good = body_of(GenerateContent(MODEL, KEY, thinking="low", media_resolution="high"), FULL)

    def but(change: Any) -> Json:
        bad = copy.deepcopy(good)
        change(bad)
        return bad

    assert accepts(good)
    part = lambda body: body["contents"][0]["parts"][0]  # noqa: E731
    config = lambda body: body["generationConfig"]  # noqa: E731
    assert not accepts(but(lambda body: part(body).update(type="image_url")))
    assert not accepts(but(lambda body: part(body)["inlineData"].update(media_type="image/png")))
    assert not accepts(but(lambda body: part(body)["inlineData"].update(data="no base64!")))
    assert not accepts(but(lambda body: body["contents"][0].update(name="user")))
    assert not accepts(but(lambda body: config(body).update(max_tokens=3)))
    assert not accepts(but(lambda body: config(body).update(logprobs=True, topLogprobs=3)))
    assert not accepts(but(lambda body: config(body).update(seed="three")))
    assert not accepts(but(lambda body: config(body).update(mediaResolution="HUGE")))
    assert not accepts(but(lambda body: config(body).update(thinkingConfig={"budget": 3})))
    assert not accepts(
        but(lambda body: config(body).update(thinkingConfig={"thinkingLevel": "DEEP"}))
    )


def test_several_images_go_in_order_each_before_its_text() -> None:
    asked = example_request()
    body = GenerateContent(MODEL, KEY).body(asked, parts_of(asked), PLAIN)
    assert accepts(body)
    (content,) = body["contents"]
    shown = [part["inlineData"]["data"] for part in content["parts"] if "inlineData" in part]
    assert shown == files_of(asked)
    texts = [part.get("text") for part in content["parts"]]
    assert texts == [None, "Answer: rows", None, None, QUESTION]


def test_the_image_stands_before_the_text_and_is_the_file_itself() -> None:
    asked = request()
    image, text = GenerateContent(MODEL, KEY).body(asked, parts_of(asked), PLAIN)["contents"][0][
        "parts"
    ]
    assert base64.b64decode(image["inlineData"]["data"]) == parts_of(asked)[-1].image.data
    assert text == {"text": QUESTION}


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    plain = body_of(GenerateContent(MODEL, KEY))["generationConfig"]
    assert plain == {"maxOutputTokens": 16}
    assert body_of(GenerateContent(MODEL, KEY), ApiFeatures(forced=True), labels=None)[
        "generationConfig"
    ] == {
        "maxOutputTokens": 16,
        "temperature": 0.0,
    }
    full = body_of(GenerateContent(MODEL, KEY), FULL)["generationConfig"]
    assert (full["seed"], full["candidateCount"], full["responseLogprobs"], full["logprobs"]) == (
        3,
        2,
        True,
        5,
    )
    assert full["responseJsonSchema"] == schema(LABELS) and full["maxOutputTokens"] > 16


def test_options_change_the_body() -> None:
    enum = body_of(GenerateContent(MODEL, KEY, enum=True), FULL)["generationConfig"]
    assert enum["responseMimeType"] == "text/x.enum" and enum["responseSchema"]["enum"] == list(
        LABELS
    )
    assert "responseJsonSchema" not in enum
    low, ultra = (
        body_of(GenerateContent(MODEL, KEY, media_resolution=each))
        for each in ("low", "ultra_high")
    )
    assert low["generationConfig"]["mediaResolution"] == "MEDIA_RESOLUTION_LOW"
    assert ultra["contents"][0]["parts"][0]["mediaResolution"] == {
        "level": "MEDIA_RESOLUTION_ULTRA_HIGH"
    }
    for given, sent in (
        (0, {"thinkingBudget": 0}),
        ("automatic", {"thinkingBudget": -1}),
        ("low", {"thinkingLevel": "LOW"}),
    ):
        assert (
            body_of(GenerateContent(MODEL, KEY, thinking=given))["generationConfig"][
                "thinkingConfig"
            ]
            == sent
        )


# -- the wire --------------------------------------------------------------------------------------
def test_the_sdk_sends_the_same_request(client: Any) -> None:
    asked = request()
    image = types.Part.from_bytes(data=parts_of(asked)[-1].image.data, mime_type="image/png")
    config = types.GenerateContentConfig(
        temperature=0.0,
        seed=3,
        max_output_tokens=32,
        candidate_count=2,
        response_logprobs=True,
        logprobs=5,
        response_mime_type="application/json",
        response_json_schema=schema(LABELS),
        media_resolution=types.MediaResolution.MEDIA_RESOLUTION_LOW,
        thinking_config=types.ThinkingConfig(thinking_budget=0),
    )
    with recorder(REPLY) as server:
        reply = client(server.url).models.generate_content(
            model=MODEL,
            contents=[
                types.Content(role="user", parts=[image, types.Part.from_text(text=QUESTION)])
            ],
            config=config,
        )
        api = GenerateContent(MODEL, KEY, server.url, thinking=0, media_resolution="low")
    same(api.http_request(compact(api.body(asked, parts_of(asked), FULL))), server.asked[0])
    assert reply.text == '{"answer": "checks"}'
    assert reply.usage_metadata.thoughts_token_count == 40


@pytest.mark.parametrize(
    "model", ["gemini-3.5-flash", "models/gemini-3.5-flash", "tunedModels/mine-7"]
)
def test_models_are_addressed_as_by_the_sdk(client: Any, model: str) -> None:
    with recorder(REPLY) as server:
        client(server.url).models.generate_content(model=model, contents="?")
        for base in (server.url, f"{server.url}/v1beta/"):
            assert (
                asked_by(GenerateContent(model, KEY, base).http_request(b"{}")).path
                == server.asked[0].path
            )


# -- replies ---------------------------------------------------------------------------------------
def test_a_reply_is_read_without_its_thoughts_which_are_billed() -> None:
    types.GenerateContentResponse.model_validate(REPLY)
    parsed = GenerateContent(MODEL, KEY).parse(REPLY)
    assert parsed.texts == ("checks",) and parsed.refusal is None and not parsed.truncated
    assert (parsed.input_tokens, parsed.output_tokens, parsed.model) == (266, 46, MODEL)


def test_tokens_begin_where_the_label_does() -> None:
    tokens = GenerateContent(MODEL, KEY).parse(REPLY).tokens
    assert [token.text for token in tokens] == ["che", "cks", '"}']
    assert [token.logprob for token in tokens] == [-0.3, -0.01, 0.0]
    assert tokens[0].top == {"che": -0.3, "row": -1.5}  # the likelier of two spelled alike


def test_alternatives_may_be_missing_but_not_in_part() -> None:
    bare = copy.deepcopy(REPLY)
    short = copy.deepcopy(REPLY)
    del bare["candidates"][0]["logprobsResult"]["topCandidates"]
    assert GenerateContent(MODEL, KEY).parse(bare).tokens[0] == ("che", -0.3, {"che": -0.3})
    del short["candidates"][0]["logprobsResult"]["topCandidates"][0]
    with pytest.raises(ValueError, match="shorter"):
        GenerateContent(MODEL, KEY).parse(short)


def test_a_thought_is_told_and_its_tokens_are_cut_off() -> None:
    reply = copy.deepcopy(REPLY)
    shown = reply["candidates"][0]["logprobsResult"]
    shown["chosenCandidates"].insert(0, token("I see stripes.", -1.0))
    shown["topCandidates"].insert(0, {"candidates": []})
    parsed = GenerateContent(MODEL, KEY).parse(reply)
    assert parsed.thought
    assert [each.text for each in parsed.tokens] == ["che", "cks", '"}']
    del reply["usageMetadata"]["thoughtsTokenCount"]
    reply["candidates"][0]["content"]["parts"] = [{"text": '{"answer": "checks"}'}]
    assert not GenerateContent(MODEL, KEY).parse(reply).thought


def test_an_alternative_of_minus_infinity_is_one() -> None:
    reply = copy.deepcopy(REPLY)
    shown = reply["candidates"][0]["logprobsResult"]["topCandidates"][1]["candidates"]
    shown[1]["logProbability"] = "-Infinity"  # as protocol buffers write it in JSON
    del shown[2]
    top = GenerateContent(MODEL, KEY).parse(reply).tokens[0].top
    assert top == {"che": -0.3, "row": -math.inf}


def test_samples_are_read_in_order_and_one_that_was_filtered_is_left_out() -> None:
    def candidate(text: str) -> Json:
        return {"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}

    reply = {"candidates": [{"finishReason": "SAFETY"}, candidate("rows"), candidate("checks")]}
    types.GenerateContentResponse.model_validate(reply)
    parsed = GenerateContent(MODEL, KEY).parse(reply)
    assert (
        parsed.texts == ("rows", "checks")
        and parsed.refusal is None
        and parsed.input_tokens is None
    )


FILTERED = (
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "ESCALATION",
    "MODEL_ARMOR",
)
ENDED = ("STOP", "MAX_TOKENS", "CONTINUATION", "FINISH_REASON_UNSPECIFIED")


@pytest.mark.parametrize("reason", FILTERED)
def test_filters_are_refusals(reason: str) -> None:
    reply = ended(reason, content={"role": "model", "parts": [{"text": "I"}]})
    assert (
        types.GenerateContentResponse.model_validate(reply).candidates[0].finish_reason.value
        == reason
    )
    parsed = GenerateContent(MODEL, KEY).parse(reply)
    assert (parsed.texts, parsed.refusal, parsed.input_tokens, parsed.output_tokens) == (
        (),
        reason,
        266,
        0,
    )
    told = GenerateContent(MODEL, KEY).parse(ended(reason, finishMessage="because"))
    assert told.refusal == f"{reason}: because"


def test_every_way_to_end_that_the_sdk_knows_was_thought_of() -> None:
    """An ending that is no answer and no refusal is a failure, whatever was written so far."""
    known = {each.value for each in types.FinishReason}
    assert {*FILTERED, *ENDED} < known
    for reason in known - {*FILTERED, *ENDED}:
        parsed = GenerateContent(MODEL, KEY).parse(
            ended(reason, content={"parts": [{"text": "I"}]})
        )
        assert (parsed.texts, parsed.refusal, parsed.truncated) == ((), None, False)
        assert parsed.failure and "not known" not in parsed.failure


def test_a_blocked_prompt_is_a_refusal_that_costs_its_input() -> None:
    types.GenerateContentResponse.model_validate(BLOCKED)
    parsed = GenerateContent(MODEL, KEY).parse(BLOCKED)
    assert parsed.refusal == "prompt blocked: PROHIBITED_CONTENT" and parsed.texts == ()
    assert (parsed.input_tokens, parsed.output_tokens) == (266, 0)


def test_a_reply_that_was_all_thought_says_that_it_was_cut() -> None:
    reply = ended("MAX_TOKENS", content={"role": "model"})
    reply["usageMetadata"]["thoughtsTokenCount"] = 16
    types.GenerateContentResponse.model_validate(reply)
    parsed = GenerateContent(MODEL, KEY).parse(reply)
    assert (
        parsed.truncated
        and parsed.texts == ()
        and parsed.refusal is None
        and parsed.output_tokens == 16
    )


def test_no_candidates_is_an_empty_reply_and_no_reply_at_all_is_an_error() -> None:
    empty = GenerateContent(MODEL, KEY).parse(
        {"candidates": [], "usageMetadata": {"promptTokenCount": 9}}
    )
    assert empty.texts == () and empty.refusal is None
    with pytest.raises(LookupError):
        GenerateContent(MODEL, KEY).parse({})
    with pytest.raises(ValueError, match="busy"):
        GenerateContent(MODEL, KEY).parse({"error": {"code": 503, "message": "busy"}})


@pytest.mark.parametrize("reply", [REPLY, BLOCKED], ids=["reply", "blocked"])
def test_replies_of_another_kind_are_refused_in_the_three_ways(reply: Json) -> None:
    read, refused = survives(GenerateContent(MODEL, KEY), reply)
    assert read > 20 and refused >= 3


def test_errors_are_told_in_the_vendors_words() -> None:
    api = GenerateContent(MODEL, KEY)
    busy = {"error": {"code": 429, "message": "Please retry in 3s", "status": "RESOURCE_EXHAUSTED"}}
    assert api.error(429, busy) == ("RESOURCE_EXHAUSTED", "Please retry in 3s")
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    wrong = {
        "error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT", "details": details}
    }
    assert api.error(400, wrong) == ("API_KEY_INVALID", "m")
    assert api.error(500, {"error": "no"}) == ("", "no")
    assert api.error(500, {"error": {"code": 500, "message": "m", "details": 3}}) == (
        "500",
        "m",
    )


# -- loading ---------------------------------------------------------------------------------------
def test_loading_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*GenerateContent.at.key_variables, *GenerateContent.at.url_variables):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    second: Any = gemini.load(MODEL, store=False)
    assert (
        second.api.url
        == f"https://generativelanguage.googleapis.com/v1beta/models/{MODEL}:generateContent"
    )
    assert asked_by(second.api.http_request(b"")).headers["x-goog-api-key"] == KEY
    monkeypatch.setenv("GEMINI_API_KEY", "AIzaFirst")
    monkeypatch.setenv("GOOGLE_BASE_URL", "http://127.0.0.1:9/")
    first: Any = gemini.load(MODEL, api_version="v1", store=False)
    assert first.api.url == f"http://127.0.0.1:9/v1/models/{MODEL}:generateContent"
    assert asked_by(first.api.http_request(b"")).headers["x-goog-api-key"] == "AIzaFirst"
    assert KEY not in repr(second.api) + repr(second.api.http_request(b""))


def test_models_that_think_get_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)

    def room(name: str, **options: Any) -> int | None:
        endpoint: Any = gemini.load(name, store=False, **options)
        return endpoint.settings.max_tokens  # type: ignore[no-any-return]

    assert room(MODEL) == room(MODEL, thinking="low") == REPLY_TOKENS
    assert room(MODEL, thinking=1000) == REPLY_TOKENS + 1000
    assert room(MODEL, thinking=0) is None and room("gemini-2.0-flash") is None
    assert room(MODEL, max_tokens=99) == 99
    assert room("gemini-4-argon") == room("gemini-4-argon", thinking="low") == 32_768
    assert room("gemini-3.8-flash") == REPLY_TOKENS
    assert room("gemini-2.5-flash-lite") is None
    assert room("gemini-2.5-flash-lite", thinking="automatic") == REPLY_TOKENS


def test_a_model_without_a_budget_for_thinking_takes_levels_and_no_temperature() -> None:
    for thinking in (0, 1000, "automatic", "minimal"):
        with pytest.raises(UsageError, match="choose from: high, low, medium") as caught:
            GenerateContent("gemini-4-argon", KEY, thinking=thinking)
        assert "\n" not in str(caught.value)
    argon = GenerateContent("gemini-4-argon", KEY, thinking="low")
    assert argon.thinking == {"thinkingLevel": "LOW"} and not argon.can_sample
    assert GenerateContent("gemini-3.8-flash", KEY).can_sample


def test_the_rules_for_images_go_by_the_resolution() -> None:
    def tokens(resolution: str | None) -> int:
        api = GenerateContent("gemini-3.8-flash", KEY, media_resolution=resolution)
        return plan("gemini", api.image_name, 512).at_most

    resolutions = (None, "low", "medium", "high", "ultra_high")
    assert [tokens(each) for each in resolutions] == [1120, 280, 560, 1120, 2240]


def test_an_endpoint_asks_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    with recorder(
        lambda asked: BLOCKED if "responseJsonSchema" in asked.json["generationConfig"] else REPLY
    ) as server:
        endpoint = gemini.load(MODEL, base_url=server.url, store=False)
        text, refused, other = endpoint.query(
            [request(labels=None), request(forced=True), request(labels=None, red=200)]
        )
    assert (
        isinstance(text, Reply) and isinstance(other, Reply) and text.text == other.text == "checks"
    )
    assert (
        isinstance(refused, QueryFailed)
        and refused.refused
        and "PROHIBITED_CONTENT" in refused.reason
    )
    assert len({each.body for each in server.asked}) == 3 and all(
        accepts(each.json) for each in server.asked
    )


def test_loading_says_what_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GenerateContent.at.key_variables:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="export GEMINI_API_KEY="):
        gemini.load(MODEL)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    for options in (
        {"thinking": "deeply"},
        {"thinking": True},
        {"media_resolution": "huge"},
        {"api_version": "beta"},
        {"enum": "yes"},
        {"base_url": "ftp://x"},
        {"tempreature": 1},
    ):
        with pytest.raises(UsageError):
            gemini.load(MODEL, store=False, **options)
