"""The proxy, running, between an application and an upstream on this machine."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from bbtvp.deploy import transform_request
from bbtvp.prompt import Prompt
from tests.adapters.recording import Recorder
from tests.deploy.conftest import bodies
from tests.deploy.running import CHAT, JSON, KEY, chat_body, counted, proxy
from tests.deploy.streams import Dripping
from tests.deploy.upstream_replies import REPLIES


def test_a_request_is_prompted_and_the_rest_of_it_arrives(
    upstream: Recorder, bundle: Path, prompt: Prompt, picture: str
) -> None:
    body = chat_body(picture)
    with proxy(upstream.url, bundle) as address:
        reply = httpx.post(f"{address}{CHAT}?a=%2Fb", content=body, headers=JSON)
        assert counted(address, "prompted") == 1
    assert reply.json() == REPLIES["chat"]
    assert reply.headers["x-bbtvp-prompt"] == f"pets;{prompt.digest[:12]}"
    (asked,) = upstream.asked
    assert asked.body == transform_request(body, "chat", prompt).body
    assert asked.path == f"{CHAT}?a=%2Fb"
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_what_is_not_for_the_prompt_passes_to_the_byte(upstream: Recorder, bundle: Path) -> None:
    raw = b'{"input":  "words",\n"model":"m"}'
    upstream.answer = b'{"weird":   1}'
    with proxy(upstream.url, bundle) as address:
        for method, path in [
            ("POST", "/v1/embeddings"),
            ("POST", CHAT),
            ("PUT", CHAT),
            ("DELETE", "/v1/files/a%2Fb%3A0"),
        ]:
            reply = httpx.request(method, address + path, content=raw, headers=JSON)
            assert reply.content == b'{"weird":   1}'
            assert "x-bbtvp-prompt" not in reply.headers
            assert (upstream.asked[-1].method, upstream.asked[-1].path) == (method, path)
            assert upstream.asked[-1].body == raw
        assert httpx.get(f"{address}/v1/models").status_code == 200
        assert upstream.asked[-1].body == b""
        assert counted(address, "other") == 5


def test_nothing_is_added_to_the_headers(upstream: Recorder, bundle: Path) -> None:
    with (
        proxy(upstream.url, bundle) as address,
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as raw,
    ):
        raw.settimeout(10)
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-own: 1\r\nconnection: close\r\n\r\n")
        while raw.recv(4096):
            pass
    assert upstream.asked[0].headers.keys() == {"host", "x-own"}


def test_official_clients_need_another_address_only(
    upstream: Recorder, bundle: Path, picture: str
) -> None:
    with proxy(upstream.url, bundle) as address:
        with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY) as client:
            messages: Any = bodies(picture)["chat"]["messages"]
            done = client.chat.completions.create(model="m", messages=messages)
            assert done.choices[0].message.content == "rows"
        upstream.answer = REPLIES["messages"]
        with anthropic.Anthropic(base_url=address, api_key=KEY) as claude:
            messages = bodies(picture)["messages"]["messages"]
            claude.messages.create(model="m", max_tokens=9, messages=messages)
    assert not any(picture in asked.body.decode() for asked in upstream.asked)


def test_the_share_the_switch_and_a_picture_by_address(
    upstream: Recorder, bundle: Path, picture: str, tmp_path: Path
) -> None:
    body = chat_body(picture)
    off = tmp_path / "off"
    with proxy(upstream.url, bundle, off_file=off) as address:
        off.touch()
        httpx.post(f"{address}{CHAT}", content=body, headers=JSON)
        assert httpx.get(f"{address}/bbtvp/health").json()["off"] is True
        assert counted(address, "off") == 1
        off.unlink()
        by_address = body.replace(b"data:image/png;base64,", b"https://example.org/")
        httpx.post(f"{address}{CHAT}", content=by_address, headers=JSON)
        assert counted(address, "left") == 1
        assert [asked.body for asked in upstream.asked] == [body, by_address]
    with proxy(upstream.url, bundle, rule={"share": 0.0}) as address:
        httpx.post(f"{address}{CHAT}", content=body, headers=JSON)
        assert counted(address, "control") == 1
        assert upstream.asked[-1].body == body


def test_a_fault_of_ours_is_not_the_application_s(
    upstream: Recorder, bundle: Path, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Prompt, image: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Prompt, "render", broken)
    with proxy(upstream.url, bundle) as address:
        reply = httpx.post(f"{address}{CHAT}", content=chat_body(picture), headers=JSON)
        assert counted(address, "failed") == 1
    assert reply.json() == REPLIES["chat"]
    assert upstream.asked[-1].body == chat_body(picture)


def test_errors_of_the_upstream_come_back_as_they_are(upstream: Recorder, bundle: Path) -> None:
    upstream.status = 429
    upstream.answer = {"error": {"message": "slow down"}}
    with proxy(upstream.url, bundle) as address:
        reply = httpx.post(f"{address}{CHAT}", content=b"{}", headers=JSON)
    assert (reply.status_code, reply.json()) == (429, upstream.answer)


def test_an_upstream_that_is_not_there(bundle: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        gone = unused.getsockname()[1]
    with proxy(f"http://127.0.0.1:{gone}", bundle) as address:
        reply = httpx.post(f"{address}{CHAT}", content=b"{}", headers=JSON)
        assert (reply.status_code, reply.json()["error"]["type"]) == (502, "bbtvp_proxy")
        assert httpx.get(f"{address}/bbtvp/health").json()["ok"] is True


def test_a_body_over_the_limit_passes_to_the_byte(
    upstream: Recorder, bundle: Path, picture: str
) -> None:
    body = chat_body(picture)
    with proxy(upstream.url, bundle, max_body=len(body) - 1) as address:
        httpx.post(f"{address}{CHAT}", content=body, headers=JSON)
        assert counted(address, "left") == 1
    assert upstream.asked[-1].body == body


def test_neither_key_nor_words_nor_picture_in_the_log(
    upstream: Recorder, bundle: Path, picture: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with proxy(upstream.url, bundle) as address:
        httpx.post(f"{address}{CHAT}?key={KEY}", content=chat_body(picture), headers=JSON)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("bbtvp")]
    (line,) = map(json.loads, ours)
    assert (line["outcome"], line["images"], line["status"]) == ("prompted", 1, 200)
    assert not any(secret in str(ours) for secret in (KEY, picture[:20], "pattern"))


def test_events_come_through_one_by_one_and_a_client_that_leaves_is_followed(bundle: Path) -> None:
    with closing(Dripping()) as source, proxy(source.url, bundle) as address:
        with httpx.stream("POST", f"{address}{CHAT}", content=b"{}", headers=JSON) as reply:
            events = reply.iter_raw()
            for i in range(3):  # the next is not sent before this one has arrived
                source.go.release()
                assert next(events) == f"data: {i}\n\n".encode()
        assert source.gone.wait(10)
        until = time.monotonic() + 10
        while not counted(address, "other") and time.monotonic() < until:
            time.sleep(0.02)
        assert 'status="499"' in httpx.get(f"{address}/bbtvp/metrics").text
