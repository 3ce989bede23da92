"""The official clients, unmodified, with a transport that prompts their images."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from google import genai

from bbtvp.deploy import transform_request
from bbtvp.deploy.transport import HEADER, AsyncPromptTransport, PromptTransport
from bbtvp.prompt import Prompt
from tests.adapters.recording import Asked, Recorder, recorder
from tests.deploy.conftest import QUESTION, bodies
from tests.deploy.running import KEY
from tests.deploy.upstream_replies import REPLIES


def chat(http: Any, url: str, picture: str) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, http_client=http) as client:
        done = client.chat.completions.create(
            model="m", messages=bodies(picture)["chat"]["messages"]
        )
    return str(done.choices[0].message.content)


def responses(http: Any, url: str, picture: str) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, http_client=http) as client:
        return client.responses.create(
            model="m", input=bodies(picture)["responses"]["input"]
        ).output_text


def messages(http: Any, url: str, picture: str) -> str:
    with anthropic.Anthropic(base_url=url, api_key=KEY, http_client=http) as client:
        done = client.messages.create(
            model="m", max_tokens=9, messages=bodies(picture)["messages"]["messages"]
        )
    return str(getattr(done.content[0], "text", ""))


def gemini(http: Any, url: str, picture: str) -> str:
    options = genai.types.HttpOptions(base_url=url, httpx_client=http)
    client = genai.Client(api_key=KEY, http_options=options)
    part = genai.types.Part.from_bytes(data=base64.b64decode(picture), mime_type="image/png")
    return str(client.models.generate_content(model="m", contents=[part, QUESTION]).text)


LIBRARIES: dict[str, Any] = {
    "chat": httpx,
    "responses": httpx,
    "messages": httpx2,
    "gemini": httpx2,
}
CLIENTS: dict[str, Callable[[httpx.Client, str, str], str]] = {
    "chat": chat,
    "responses": responses,
    "messages": messages,
    "gemini": gemini,
}


def asked(api: str, picture: str, prompt: Prompt | None) -> Asked:
    """What a client sends, through a transport that prompts if there is a prompt."""
    library = LIBRARIES[api]
    inner = library.HTTPTransport()
    transport = PromptTransport(prompt, inner) if prompt else inner
    with recorder(REPLIES[api]) as server, library.Client(transport=transport) as http:
        assert CLIENTS[api](http, server.url, picture) == "rows"
        if isinstance(transport, PromptTransport):
            assert (transport.log.prompted, transport.log.left) == (1, 0)
        return server.asked[-1]


@pytest.mark.parametrize("api", CLIENTS)
def test_an_official_client_sends_the_prompted_picture(
    api: str, prompt: Prompt, picture: str
) -> None:
    plain = asked(api, picture, None)
    prompted = asked(api, picture, prompt)
    assert prompted.body == transform_request(plain.body, api, prompt).body != plain.body
    assert prompted.path == plain.path
    changing = ("content-length", "host", "x-stainless-retry-count")
    same = {name for name in plain.headers if name not in changing}
    assert {name: prompted.headers[name] for name in same} == {
        name: plain.headers[name] for name in same
    }
    assert int(prompted.headers["content-length"]) == len(prompted.body)


def posted(server: Recorder, transport: PromptTransport, path: str, body: bytes) -> httpx.Response:
    headers = {"content-type": "application/json; charset=utf-8"}
    with httpx.Client(transport=transport) as http:
        return http.post(server.url + path, content=body, headers=headers)


def test_the_reply_names_the_prompt(prompt: Prompt, picture: str) -> None:
    body = json.dumps(bodies(picture)["chat"]).encode()
    with recorder() as server:
        reply = posted(
            server, PromptTransport(prompt, httpx.HTTPTransport()), "/v1/chat/completions", body
        )
    assert reply.headers[HEADER] == prompt.digest[:12]


def test_what_cannot_be_prompted_goes_through_and_is_counted(
    prompt: Prompt, caplog: pytest.LogCaptureFixture
) -> None:
    bad = b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://a"}]}]}'
    transport = PromptTransport(prompt, httpx.HTTPTransport())
    with recorder() as server:
        reply = posted(server, transport, "/v1/chat/completions", bad)
        assert server.asked[-1].body == bad
        posted(server, PromptTransport(prompt, httpx.HTTPTransport()), "/v1/embeddings", bad)
        assert server.asked[-1].body == bad
    assert HEADER not in reply.headers
    assert (transport.log.prompted, transport.log.left, transport.log.other) == (0, 1, 0)
    assert "by its address" in caplog.text


def test_a_compressed_body_goes_through_and_is_counted(prompt: Prompt) -> None:
    transport = PromptTransport(prompt, httpx.HTTPTransport())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    with recorder() as server, httpx.Client(transport=transport) as http:
        http.post(f"{server.url}/v1/chat/completions", content=b"\x1f\x8b", headers=headers)
        assert server.asked[-1].body == b"\x1f\x8b"
    assert transport.log.left == 1


def test_many_at_once_through_an_asynchronous_client(prompt: Prompt, picture: str) -> None:
    transport = AsyncPromptTransport(prompt, httpx.AsyncHTTPTransport())

    async def ask(url: str) -> list[str | None]:
        http = httpx.AsyncClient(transport=transport)
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, http_client=http) as client:
            calls = [
                client.chat.completions.create(
                    model="m", messages=bodies(picture, f"{i}?")["chat"]["messages"]
                )
                for i in range(12)
            ]
            return [done.choices[0].message.content for done in await asyncio.gather(*calls)]

    with recorder(REPLIES["chat"]) as server:
        assert asyncio.run(ask(server.url)) == ["rows"] * 12
        assert transport.log.prompted == 12
        for one in server.asked:
            assert picture not in one.body.decode()
