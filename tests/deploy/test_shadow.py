"""Shadow mode: a prompted copy beside the plain request, whose reply the client never sees."""

from __future__ import annotations

import base64
import gzip
import json
import time
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from bbtvp.deploy import APIS, transform_request
from bbtvp.deploy.answers import answer_of
from bbtvp.prompt import Prompt
from tests.adapters.recording import Asked, Recorder
from tests.deploy.running import CHAT, JSON, KEY, chat_body, proxy
from tests.deploy.upstream_replies import REPLIES, STREAMS

SHADOW = {"rule": {"shadow": 1.0}}


def compared(address: str, result: str) -> float:
    """How many copies ended so; waits until one has."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for line in httpx.get(f"{address}/bbtvp/metrics").text.splitlines():
            if line.startswith("bbtvp_shadow_total{") and f'result="{result}"' in line:
                return float(line.split()[-1])
        time.sleep(0.02)
    return 0.0


def chat(words: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": words}
    return {**REPLIES["chat"], "choices": [{"index": 0, "message": message}]}


@pytest.mark.parametrize(("answer", "result"), [("Rows", "same"), ("columns", "different")])
def test_the_copy_is_prompted_and_only_the_plain_reply_comes_back(
    answer: str, result: str, upstream: Recorder, bundle: Path, prompt: Prompt, picture: str
) -> None:
    body = chat_body(picture)
    upstream.answer = lambda asked: chat("rows" if asked.body == body else answer)
    with proxy(upstream.url, bundle, **SHADOW) as address:
        reply = httpx.post(f"{address}{CHAT}", content=body, headers=JSON)
        assert compared(address, result) == 1
    assert reply.json() == chat("rows")
    assert "x-bbtvp-prompt" not in reply.headers
    plain, copy = upstream.asked
    assert plain.body == body
    assert copy.body == transform_request(body, "chat", prompt).body
    assert copy.headers["authorization"] == f"Bearer {KEY}"


def test_a_copy_that_fails_is_not_the_client_s(
    upstream: Recorder, bundle: Path, picture: str
) -> None:
    body = chat_body(picture)

    def answer(asked: Asked) -> dict[str, Any]:
        upstream.status = 200 if asked.body == body else 500
        return chat("rows")

    upstream.answer = answer
    with proxy(upstream.url, bundle, **SHADOW) as address:
        assert httpx.post(f"{address}{CHAT}", content=body, headers=JSON).json() == chat("rows")
        assert compared(address, "copy-failed") == 1


def test_no_copy_of_what_failed_is_paid_for(upstream: Recorder, bundle: Path, picture: str) -> None:
    upstream.status = 429
    with proxy(upstream.url, bundle, **SHADOW) as address:
        httpx.post(f"{address}{CHAT}", content=chat_body(picture), headers=JSON)
        assert compared(address, "plain-failed") == 1
    assert len(upstream.asked) == 1


def test_the_number_of_copies_is_bounded(upstream: Recorder, bundle: Path, picture: str) -> None:
    with proxy(upstream.url, bundle, shadow_most=1, **SHADOW) as address:
        httpx.post(f"{address}{CHAT}", content=chat_body(picture), headers=JSON)
        assert compared(address, "same") == 1
        for _ in range(3):
            httpx.post(f"{address}{CHAT}", content=chat_body(picture), headers=JSON)
        assert compared(address, "skipped") == 3
    assert len(upstream.asked) == 5


def test_the_log_has_neither_words_nor_keys(
    upstream: Recorder, bundle: Path, picture: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with proxy(upstream.url, bundle, **SHADOW) as address:
        httpx.post(f"{address}{CHAT}?key={KEY}", content=chat_body(picture), headers=JSON)
        assert compared(address, "same") == 1
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("bbtvp")]
    assert any(json.loads(line).get("shadow") == "same" for line in ours)
    assert not any(secret in str(ours) for secret in (KEY, picture[:20], "pattern", "rows"))


@pytest.mark.parametrize("api", APIS)
def test_the_words_of_a_whole_reply(api: str) -> None:
    body = json.dumps(REPLIES[api]).encode()
    assert answer_of(api, body, content_type="application/json") == "rows"
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        found = answer_of(api, packed, content_type="application/json", encoding=encoding)
        assert found == "rows"


@pytest.mark.parametrize("api", STREAMS)
def test_the_words_of_a_stream(api: str) -> None:
    assert answer_of(api, STREAMS[api].encode(), content_type="text/event-stream") == "rows"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_s_words_may_hold_what_python_takes_for_a_line_end(end: str) -> None:
    said = 'data: {"choices": [{"delta": {"content": "a\u2028b\x85c"}}]}'
    body = f"{said}{end}{end}data: [DONE]{end}{end}".encode()
    assert answer_of("chat", body, content_type="text/event-stream") == "a b c"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"{", ""),
        (b"\xff", ""),
        (b'{"choices": 3}', ""),
        (b'{"choices": [{"message": {"content": [1]}}]}', ""),
        (b"[" * 100_000, ""),
        (b"{}", "br"),
        (b"{}", "gzip"),
        (gzip.compress(b" " * (64 << 20)), "gzip"),
    ],
)
@pytest.mark.parametrize("api", APIS)
def test_a_reply_that_cannot_be_read(api: str, body: bytes, encoding: str) -> None:
    assert answer_of(api, body, content_type="application/json", encoding=encoding) is None


def test_amazon_s_binary_stream_is_not_read() -> None:
    body = base64.b64decode("AAAAkgAAAFXsyIuW")
    kind = "application/vnd.amazon.eventstream"
    assert answer_of("converse", body, content_type=kind) is None
