"""OpenAI's batches: what is handed in, against what the SDK hands in, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import Batch, FileObject

from bbtvp.adapters.compatible import form_of
from bbtvp.adapters.openai import OpenAI
from bbtvp.adapters.openai_batch import OpenAIBatch
from bbtvp.adapters.openai_options import Options
from bbtvp.core.digest import digest
from bbtvp.endpoint.provider import ApiFeatures, HttpRequest, Json
from tests.adapters.recording import Asked, access, asked_by, compact, parts_of, recorder, request

KEY = "sk-not-a-real-key"
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 9,
    "created_at": 1,
    "filename": "batch.jsonl",
    "purpose": "batch",
    "status": "processed",
}


def batch_of(status: str = "validating", **fields: Any) -> Json:
    reply = {
        "id": "batch_1",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "input_file_id": "file-1",
        "created_at": 1,
        "status": status,
        "errors": None,
        **fields,
    }
    Batch.model_validate(reply)
    return reply


def interface(api: str = "chat", base: str = "http://127.0.0.1:1/v1") -> OpenAIBatch:
    made = OpenAI(access("openai/gpt-4.1", base, KEY), form_of(api, Options("gpt-4.1"))).batch
    assert isinstance(made, OpenAIBatch)
    return made


def bodies(api: str) -> dict[str, bytes]:
    form = form_of(api, Options("gpt-4.1"))
    asked = [request(red=red) for red in (0, 200)]
    return {
        f"n-{i}": compact(form.body(each, parts_of(each), ApiFeatures()))
        for i, each in enumerate(asked)
    }


def submitted(
    made: OpenAIBatch, given: Mapping[str, bytes], *replies: Json
) -> tuple[list[HttpRequest], str]:
    """The exchanges of a submission, each answered with the next reply, and what it returned."""
    handing_in = made.submit(given)
    *before, last = replies
    wires = [next(handing_in), *map(handing_in.send, before)]
    with pytest.raises(StopIteration) as stop:
        handing_in.send(last)
    return wires, stop.value.value


def form(asked: Asked) -> dict[str, tuple[str | None, bytes]]:
    """Name → (file name, content) of a multipart form."""
    head = f"content-type: {asked.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser(policy=HTTP).parsebytes(head + asked.body).iter_parts()
    return {
        str(part.get_param("name", header="content-disposition")): (
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in parts
    }


def answer(asked: Asked) -> Json:
    return FILE if asked.path == "/v1/files" else batch_of()


@pytest.mark.parametrize(
    ("api", "endpoint"), [("chat", "/v1/chat/completions"), ("responses", "/v1/responses")]
)
def test_what_is_handed_in_is_what_the_sdk_hands_in(
    api: str, endpoint: Any, tmp_path: Path
) -> None:
    FileObject.model_validate(FILE)
    given = bodies(api)
    lines = [
        {"custom_id": name, "method": "POST", "url": endpoint, "body": json.loads(body)}
        for name, body in given.items()
    ]
    path = tmp_path / "batch.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with recorder(answer) as server:
        base = f"{server.url}/v1"
        http = httpx.Client(trust_env=False)
        with openai.OpenAI(base_url=base, api_key=KEY, max_retries=0, http_client=http) as client:
            with path.open("rb") as file:
                uploaded = client.files.create(file=file, purpose="batch")
            made = client.batches.create(
                input_file_id=uploaded.id,
                endpoint=endpoint,
                completion_window="24h",
                metadata={"label": digest(*(line["custom_id"].encode() for line in lines))},
            )
            client.batches.retrieve(made.id)
            client.files.content("file-2").read()
        ours = interface(api, base)
        wires, identifier = submitted(ours, given, FILE, batch_of())
        wires += [ours.status(identifier), *ours.results("file-2")]
    assert identifier == "batch_1"
    sent = [asked_by(wire) for wire in wires]
    assert [(asked.method, asked.path) for asked in sent] == [
        (asked.method, asked.path) for asked in server.asked
    ]
    assert {asked.headers["authorization"] for asked in (*sent, *server.asked)} == {f"Bearer {KEY}"}
    mine = form(sent[0])
    theirs = form(server.asked[0])
    assert mine["purpose"] == theirs["purpose"] == (None, b"batch")
    assert mine["file"][0] == theirs["file"][0] == "batch.jsonl"
    read = [[json.loads(line) for line in each["file"][1].splitlines()] for each in (mine, theirs)]
    assert read[0] == read[1] == lines
    assert sent[1].json == server.asked[1].json
    assert sent[1].headers["content-type"] == server.asked[1].headers["content-type"]


def test_bodies_are_handed_in_byte_for_byte() -> None:
    given = bodies("chat")
    wires, _ = submitted(interface(), given, FILE, batch_of())
    lines = form(asked_by(wires[0]))["file"][1].splitlines()
    assert len(lines) == 2
    assert all(body in line for body, line in zip(given.values(), lines, strict=True))


@pytest.mark.parametrize("replies", [({"error": {"message": "no"}},), (FILE, {"object": "batch"})])
def test_a_submission_that_gets_no_identifier_fails(replies: tuple[Json, ...]) -> None:
    handing_in = interface().submit(bodies("chat"))
    next(handing_in)
    *before, last = replies
    for reply in before:
        handing_in.send(reply)
    with pytest.raises(LookupError):
        handing_in.send(last)


@pytest.mark.parametrize("state", ["validating", "in_progress", "finalizing", "cancelling"])
def test_a_batch_under_way(state: str) -> None:
    assert interface().read_status(batch_of(state)) == (False, state, None)


def test_a_batch_that_ended() -> None:
    read = interface().read_status
    assert read(batch_of("completed", output_file_id="file-2")) == (True, "completed", "file-2")
    both = batch_of("expired", output_file_id="file-2", error_file_id="file-3")
    assert read(both) == (True, "expired", "file-2,file-3")
    assert read(batch_of("cancelled")) == (True, "cancelled", None)
    faults = {
        "object": "list",
        "data": [{"code": "bad", "message": "line 3 is no JSON", "line": 3, "param": None}],
    }
    assert read(batch_of("failed", errors=faults)) == (True, "failed: line 3 is no JSON", None)


def test_both_files_of_results_are_fetched() -> None:
    assert [wire.url for wire in interface().results("file-2,file-3")] == [
        "http://127.0.0.1:1/v1/files/file-2/content",
        "http://127.0.0.1:1/v1/files/file-3/content",
    ]


def line(name: str, response: Any = None, error: Any = None) -> bytes:
    return (
        json.dumps({"id": "r", "custom_id": name, "response": response, "error": error}).encode()
        + b"\n"
    )


def test_results_in_any_order_with_their_failures() -> None:
    body = {"choices": []}
    wrong = {"error": {"code": "bad_image", "message": "no image"}}
    done = line("n-1", {"status_code": 200, "request_id": "q", "body": body})
    failed = line("n-0", {"status_code": 400, "request_id": "q", "body": wrong})
    expired = line("n-2", None, {"code": "batch_expired", "message": "too late"})
    odd = line("n-3", None, {"code": "odd", "message": "odd"}) + b"\n"
    assert list(interface().read_results([done + expired, odd + failed])) == [
        ("n-1", 200, body),
        ("n-2", 408, {"error": {"code": "batch_expired", "message": "too late"}}),
        ("n-3", 500, {"error": {"code": "odd", "message": "odd"}}),
        ("n-0", 400, wrong),
    ]


def test_a_result_with_nothing_in_it_is_a_failure() -> None:
    ((name, status, reply),) = interface().read_results([line("n-0")])
    assert (name, status) == ("n-0", 500)
    assert reply["error"]["message"]


@pytest.mark.parametrize(
    "text",
    [
        b"<html>",
        b"[]",
        b"7",
        b"{}",
        line("n", {"status_code": 200}),
        line("n", {"status_code": 200, "body": ""}),
        line("n", [1]),
        line("n", None, "x"),
    ],
)
def test_results_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        list(interface().read_results([text]))


@pytest.mark.parametrize(
    "reply", [{}, batch_of() | {"errors": "x"}, batch_of() | {"errors": {"data": [1]}}]
)
def test_a_status_that_is_none_is_refused(reply: Json) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        interface().read_status(reply)


def test_the_vendors_limits() -> None:
    assert (OpenAIBatch.limit, OpenAIBatch.size) == (50_000, 200_000_000)
