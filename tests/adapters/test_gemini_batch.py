"""Batches of the Gemini API, against what Google's own SDK sends and reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google import genai
from google.genai import types

from bbtvp.adapters.gemini import GenerateContent
from bbtvp.endpoint.provider import ApiFeatures, Json
from tests.adapters.recording import QUESTION, compact, parts_of, recorder, request
from tests.adapters.test_gemini import KEY, MODEL, REPLY, same


def sdk(url: str) -> genai.Client:
    return genai.Client(
        vertexai=False,
        api_key=KEY,
        http_options=types.HttpOptions(base_url=url, api_version="v1beta"),
    )


def state(word: str, **fields: Any) -> Json:
    return {
        "name": "batches/b1-x",
        "metadata": {"state": f"BATCH_STATE_{word}", "model": f"models/{MODEL}", **fields},
    }


ANSWERS: list[Json] = [
    {"response": REPLY, "metadata": {"key": "a"}},
    {"error": {"code": 8, "message": "busy"}, "metadata": {"key": "b"}},
    {"error": {"code": 3, "message": "bad"}, "metadata": {"key": "c"}},
    {"error": {"message": "odd"}, "metadata": {"key": "d"}},
]
OUTPUT = {"inlinedResponses": {"inlinedResponses": ANSWERS}}


def test_a_batch_is_handed_in_as_the_sdk_does_it() -> None:
    asked = {name: request(red=red) for name, red in (("a", 0), ("b", 200))}

    def inlined(name: str) -> types.InlinedRequest:
        image = types.Part.from_bytes(
            data=parts_of(asked[name])[-1].image.data, mime_type="image/png"
        )
        content = types.Content(role="user", parts=[image, types.Part.from_text(text=QUESTION)])
        config = types.GenerateContentConfig(max_output_tokens=16, temperature=0.0)
        return types.InlinedRequest(contents=[content], config=config, metadata={"key": name})

    with recorder(state("PENDING")) as server, sdk(server.url) as client:
        config = types.CreateBatchJobConfig(display_name="bbtvp")
        job = client.batches.create(
            model=MODEL, src=[inlined(name) for name in asked], config=config
        )
        api = GenerateContent(MODEL, KEY, server.url)
    bodies = {
        name: compact(api.body(each, parts_of(each), ApiFeatures())) for name, each in asked.items()
    }
    exchanges = api.batch.submit(bodies)
    same(next(exchanges), server.asked[0])
    with pytest.raises(StopIteration) as end:
        exchanges.send(state("PENDING"))  # type: ignore[attr-defined]
    assert end.value.value == job.name == "batches/b1-x"


def test_the_state_of_a_batch_is_read_and_asked_as_the_sdk_does_it() -> None:
    done = state("SUCCEEDED", output=OUTPUT)
    with recorder(done) as server, sdk(server.url) as client:
        api = GenerateContent(MODEL, KEY, server.url)
        job = client.batches.get(name="batches/b1-x")
    same(api.batch.status("batches/b1-x"), server.asked[0])
    same(api.batch.results("batches/b1-x")[0], server.asked[0])
    assert [(each.metadata or {})["key"] for each in job.dest.inlined_responses] == [
        "a",
        "b",
        "c",
        "d",
    ]
    batch = api.batch
    assert batch.read_status(state("RUNNING")) == (False, "BATCH_STATE_RUNNING", None)
    assert batch.read_status(done) == (True, "BATCH_STATE_SUCCEEDED", "batches/b1-x")
    assert batch.read_status(state("FAILED")) == (True, "BATCH_STATE_FAILED", None)
    assert batch.read_status(state("EXPIRED"))[0] and batch.read_status(state("CANCELLED"))[0]


@pytest.mark.parametrize("place", ["metadata", "response"])
def test_results_are_read_by_their_identifiers_from_either_place(place: str) -> None:
    done = (
        state("SUCCEEDED", output=OUTPUT)
        if place == "metadata"
        else state("SUCCEEDED") | {"response": OUTPUT}
    )
    api = GenerateContent(MODEL, KEY)
    assert api.batch.read_status(done)[2] == "batches/b1-x"
    read = list(api.batch.read_results([json.dumps(done).encode()]))
    assert [(name, status) for name, status, _ in read] == [
        ("a", 200),
        ("b", 429),
        ("c", 400),
        ("d", 500),
    ]
    assert api.parse(read[0][2]).texts == ("checks",)
    assert api.error(400, read[2][2])[1] == "bad"


@pytest.mark.parametrize(
    "name", ["batches/../files", "https://elsewhere.example/x", "batches/a?key=1", "b1"]
)
def test_a_name_that_is_no_batch_is_asked_nowhere(name: str) -> None:
    batch = GenerateContent(MODEL, KEY).batch
    with pytest.raises(ValueError, match="no name"):
        batch.status(name)
    exchanges = batch.submit({"a": b"{}"})
    next(exchanges)
    with pytest.raises(ValueError, match="no name"):
        exchanges.send({"name": name})  # type: ignore[attr-defined]
