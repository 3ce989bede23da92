"""Images that are given by their address; a server on this machine stands for the web."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bbtvp.core.errors import DataError
from bbtvp.deploy import transform_request
from bbtvp.deploy.fetching import MOST_IMAGES, ImageFetcher
from bbtvp.prompt import Prompt
from tests.adapters.recording import Recorder, recorder
from tests.deploy.conftest import bodies
from tests.deploy.running import JSON, KEY, counted, proxy

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}


@pytest.fixture
def web(picture: str) -> Iterator[Recorder]:
    with recorder(base64.b64decode(picture)) as server:
        yield server


def linked(api: str, url: str, picture: str) -> bytes:
    """A body whose image is given by its address."""
    body = json.dumps(bodies(picture)[api])
    if api == "messages":
        source = json.dumps({"type": "base64", "media_type": "image/png", "data": picture})
        return body.replace(source, json.dumps({"type": "url", "url": url})).encode()
    return body.replace(f"data:image/png;base64,{picture}", url).encode()


def of_the_web(web: Recorder) -> Any:
    """Resolves one name to the server that stands for the web, and refuses all others."""

    def resolve(host: str, port: int) -> str:
        assert port == int(web.url.rpartition(":")[2])
        if host != "images.example":
            raise DataError("the host is not on the public internet")
        return "127.0.0.1"

    return resolve


def address_at(web: Recorder, path: str = "/cat.png") -> str:
    return f"http://images.example:{web.url.rpartition(':')[2]}{path}"


@pytest.mark.parametrize("api", PATHS)
def test_an_image_by_its_address_is_prompted_where_that_is_allowed(
    api: str, upstream: Recorder, web: Recorder, bundle: Path, prompt: Prompt, picture: str
) -> None:
    url = address_at(web, "/cat.png?of=ann&x=%2F")
    body = linked(api, url, picture)
    options = {"fetch_images": True, "resolve": of_the_web(web)}
    with proxy(upstream.url, bundle, **options) as address:
        httpx.post(f"{address}{PATHS[api]}", content=body, headers=JSON)
        assert counted(address, "prompted") == 1
    fetched = {url: base64.b64decode(picture)}
    sent = transform_request(body, api, prompt, fetched=fetched)
    assert sent.images == 1
    assert upstream.asked[-1].body == sent.body
    whole = transform_request(json.dumps(bodies(picture)[api]).encode(), api, prompt)
    assert json.loads(sent.body) == json.loads(whole.body)
    (asked,) = web.asked
    assert asked.path == "/cat.png?of=ann&x=%2F"
    assert asked.headers["host"] == url.split("/")[2]
    assert KEY not in str(asked.headers)


@pytest.mark.parametrize("allowed", [False, True])
def test_else_the_request_passes_unchanged_and_nothing_is_fetched(
    allowed: bool, upstream: Recorder, web: Recorder, bundle: Path, picture: str
) -> None:
    body = linked("chat", f"{web.url}/private.png", picture)  # at 127.0.0.1
    with proxy(upstream.url, bundle, fetch_images=allowed) as address:
        reply = httpx.post(f"{address}{PATHS['chat']}", content=body, headers=JSON)
        assert counted(address, "left") == 1
    assert reply.status_code == 200
    assert upstream.asked[-1].body == body
    assert web.asked == []


def fetched(web: Recorder, *urls: str) -> list[bytes]:
    async def fetch() -> list[bytes]:
        fetcher = ImageFetcher(of_the_web(web))
        try:
            return list((await fetcher.fetch(urls)).values())
        finally:
            await fetcher.aclose()

    return asyncio.run(fetch())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://images.example/a", "plain https"),
        ("http://user:word@images.example/a", "plain https"),
        ("http:///a", "plain https"),
        ("http://[::1/a", "cannot be fetched"),
    ],
)
def test_an_address_of_another_kind(web: Recorder, url: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as refused:
        fetched(web, url)
    assert "\n" not in str(refused.value)
    assert "images.example" not in str(refused.value)


def test_each_step_of_a_redirect_is_checked_again() -> None:
    redirects = {"/once": "/cat.png", "/inside": "http://127.0.0.1/admin", "/round": "/round"}
    asyncio.run(_redirects(redirects))


async def _redirects(redirects: dict[str, str]) -> None:
    seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        seen.append(path)
        if path in redirects:
            there = f"location: {redirects[path]}"
            reply = f"HTTP/1.1 302 Found\r\n{there}\r\ncontent-length: 0\r\n\r\n"
        else:
            reply = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nimage"
        writer.write(reply.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def resolve(host: str, _: int) -> str:
        if host != "images.example":
            raise DataError("the host is not on the public internet")
        return "127.0.0.1"

    fetcher = ImageFetcher(resolve)
    base = f"http://images.example:{port}"
    assert list((await fetcher.fetch([f"{base}/once"])).values()) == [b"image"]
    for path, said in (("/inside", "public"), ("/round", "redirects")):
        with pytest.raises(DataError, match=said):
            await fetcher.fetch([base + path])
    assert "/admin" not in seen
    await fetcher.aclose()
    server.close()
    await server.wait_closed()


def test_too_much_is_refused(web: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="over"):
        fetched(web, *(address_at(web, f"/{i}") for i in range(MOST_IMAGES + 1)))
    assert web.asked == []
    monkeypatch.setattr("bbtvp.deploy.fetching.MOST_BYTES", 10)
    with pytest.raises(DataError, match="MiB"):
        fetched(web, address_at(web))


def test_an_error_of_the_web_is_told_without_the_address(web: Recorder) -> None:
    web.status = 404
    with pytest.raises(DataError, match="status 404") as refused:
        fetched(web, address_at(web, "/secret"))
    assert "secret" not in str(refused.value)
