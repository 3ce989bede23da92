"""The proxy, spoken to byte by byte: requests that two readers might understand in two ways."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.adapters.recording import Recorder
from tests.deploy.running import CHAT, JSON, chat_body, proxy


def said(address: str, raw: bytes) -> bytes:
    """What the proxy says to some bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as there:
        there.settimeout(30)
        there.sendall(raw)
        got = b""
        try:
            while part := there.recv(65536):
                got += part
        except ConnectionError:
            pass
        return got


def request(target: str, *lines: str, body: bytes = b"{}") -> bytes:
    head = [f"POST {target} HTTP/1.1", "host: x", "connection: close", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


LENGTH = "content-length: 2"


@pytest.mark.parametrize(
    "target",
    [
        "@127.0.0.2/v1/chat/completions",
        ".example.org/v1/chat/completions",
        ":80/v1/chat/completions",
        "http://127.0.0.2/v1/chat/completions",
        "*",
        f"{CHAT}#/other",
    ],
)
def test_a_target_that_is_no_path_reaches_nobody(
    target: str, upstream: Recorder, bundle: Path
) -> None:
    with proxy(upstream.url, bundle) as address:
        answer = said(address, request(target, LENGTH))
    assert re.match(rb"HTTP/1.1 40[04] ", answer)
    assert upstream.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "/../../v1/models?a=%zz&b=[{}]|",
        "/v1/%2e%2e/%2Fchat;a=b",
        "/v1/mod%C3%A9ls?q=%00&q=&",
    ],
)
def test_a_path_goes_on_as_it_came(target: str, upstream: Recorder, bundle: Path) -> None:
    with proxy(upstream.url, bundle) as address:
        said(address, request(target, LENGTH))
    assert [(asked.path, asked.body) for asked in upstream.asked] == [(target, b"{}")]


@pytest.mark.parametrize(
    "lines",
    [
        (LENGTH, "transfer-encoding: chunked"),
        (LENGTH, "content-length: 3"),
        ("content-length: +2",),
        ("content-length: 2, 3",),
        ("transfer-encoding: xchunked",),
        ("transfer-encoding: chunked", "transfer-encoding: identity"),
        (LENGTH, "transfer-encoding : chunked"),
        (LENGTH, "host: y"),
        (LENGTH, "x: a\x00b"),
    ],
)
def test_a_request_with_two_meanings_reaches_nobody(
    lines: tuple[str, ...], upstream: Recorder, bundle: Path
) -> None:
    hidden = b"0\r\n\r\nPOST /hidden HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    with proxy(upstream.url, bundle) as address:
        answer = said(address, request(CHAT, *lines, body=hidden))
    assert re.match(rb"HTTP/1.1 (400|501) ", answer)
    assert upstream.asked == []


def test_a_length_that_is_named_as_of_one_connection_is_still_right(
    upstream: Recorder, bundle: Path, picture: str
) -> None:
    body = chat_body(picture)
    lines = ("connection: content-length", f"content-length: {len(body)}")
    with proxy(upstream.url, bundle) as address:
        said(address, request("/v1/files", *lines, body=body))
        said(address, request(CHAT, *lines, body=body))
    lengths = [asked.headers.get("content-length") for asked in upstream.asked]
    assert lengths == [str(len(body))] * 2
    assert [asked.body for asked in upstream.asked] == [body] * 2


@pytest.mark.parametrize("sent", [b"POST / HTTP/1.1\r\nhost: x\r\nx: ", b""])
def test_a_head_that_does_not_end_is_cut_off(
    sent: bytes, upstream: Recorder, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bbtvp.deploy.server.HEAD_SECONDS", 0.3)
    monkeypatch.setattr("bbtvp.deploy.server._TICK", 0.05)
    with proxy(upstream.url, bundle) as address:
        assert said(address, sent) == b""


def test_a_body_that_does_not_end_is_cut_off(
    upstream: Recorder, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bbtvp.deploy.server.BODY_SECONDS", 0.3)
    monkeypatch.setattr("bbtvp.deploy.server._TICK", 0.05)
    with proxy(upstream.url, bundle) as address:
        said(address, request(CHAT, "content-length: 99", "content-type: application/json"))
    assert upstream.asked == []


def test_one_connection_too_many_is_turned_away(
    upstream: Recorder, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bbtvp.deploy.server.CONNECTIONS", 1)
    with proxy(upstream.url, bundle) as address, httpx.Client() as held:
        assert held.get(f"{address}/bbtvp/health").status_code == 200
        assert said(address, request(CHAT, LENGTH)) == b""


@contextmanager
def replying(reply: bytes) -> Iterator[str]:
    """An upstream that sends some bytes to one request, and closes the connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            there, _ = listening.accept()
            with there:
                there.settimeout(10)
                there.recv(65536)
                there.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_a_half_reply_does_not_look_whole(reply: bytes, bundle: Path) -> None:
    with replying(reply) as url, proxy(url, bundle) as address:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{address}{CHAT}", content=b"{}", headers=JSON)
        metrics = httpx.get(f"{address}/bbtvp/metrics").text
    assert "bbtvp_cut_replies_total 1.0" in metrics


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 700 Odd\r\n\r\n"])
def test_what_is_no_reply_is_told(reply: bytes, bundle: Path) -> None:
    with replying(reply) as url, proxy(url, bundle) as address:
        answer = httpx.post(f"{address}{CHAT}", content=b"{}", headers=JSON)
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "bbtvp_proxy")
