"""The official clients, unmodified, through the proxy and the transport, whole and as streams."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import boto3
import httpx
import httpx2
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, InvalidEndpointConfigurationError
from google import genai

from bbtvp.deploy import PromptTransport, transform_request
from bbtvp.prompt import Prompt
from tests.adapters.recording import Asked, Recorder, recorder
from tests.deploy.conftest import QUESTION, bodies
from tests.deploy.running import JSON, KEY, counted, proxy
from tests.deploy.upstream_replies import REPLIES, STREAMS

Ask = Callable[[str, Any, str, bool], str]


def chat(url: str, http: Any, picture: str, stream: bool) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, http_client=http) as client:
        messages: Any = bodies(picture)["chat"]["messages"]
        if not stream:
            done = client.chat.completions.create(model="m", messages=messages)
            return str(done.choices[0].message.content)
        parts = client.chat.completions.create(model="m", messages=messages, stream=True)
        return "".join(part.choices[0].delta.content or "" for part in parts)


def responses(url: str, http: Any, picture: str, stream: bool) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, http_client=http) as client:
        turns: Any = bodies(picture)["responses"]["input"]
        if not stream:
            return client.responses.create(model="m", input=turns).output_text
        events = client.responses.create(model="m", input=turns, stream=True)
        return "".join(
            event.delta for event in events if event.type == "response.output_text.delta"
        )


def messages(url: str, http: Any, picture: str, stream: bool) -> str:
    with anthropic.Anthropic(base_url=url, api_key=KEY, http_client=http) as client:
        turns: Any = bodies(picture)["messages"]["messages"]
        if not stream:
            done = client.messages.create(model="m", max_tokens=9, messages=turns)
            return str(getattr(done.content[0], "text", ""))
        with client.messages.stream(model="m", max_tokens=9, messages=turns) as parts:
            return "".join(parts.text_stream)


def gemini(url: str, http: Any, picture: str, stream: bool) -> str:
    options = genai.types.HttpOptions(base_url=url, httpx_client=http)
    client = genai.Client(api_key=KEY, http_options=options)
    part = genai.types.Part.from_bytes(data=base64.b64decode(picture), mime_type="image/png")
    if not stream:
        return str(client.models.generate_content(model="m", contents=[part, QUESTION]).text)
    parts = client.models.generate_content_stream(model="m", contents=[part, QUESTION])
    return "".join(part.text or "" for part in parts)


CLIENTS: dict[str, tuple[Ask, Any]] = {
    "chat": (chat, httpx),
    "responses": (responses, httpx),
    "messages": (messages, httpx2),
    "gemini": (gemini, httpx2),
}


@contextmanager
def vendor(api: str, stream: bool) -> Iterator[Recorder]:
    with recorder(STREAMS[api] if stream else REPLIES[api]) as server:
        server.kind = "text/event-stream" if stream else "application/json"
        yield server


def plainly(api: str, picture: str, stream: bool) -> Asked:
    """What a client sends without a prompt."""
    ask, library = CLIENTS[api]
    with vendor(api, stream) as server, library.Client() as http:
        assert ask(server.url, http, picture, stream) == "rows"
        return server.asked[-1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", CLIENTS)
def test_a_client_through_the_proxy(
    api: str, stream: bool, bundle: Path, prompt: Prompt, picture: str
) -> None:
    ask, library = CLIENTS[api]
    plain = plainly(api, picture, stream)
    with (
        vendor(api, stream) as server,
        proxy(server.url, bundle) as address,
        library.Client() as http,
    ):
        assert ask(address, http, picture, stream) == "rows"
        assert counted(address, "prompted") == 1
    (asked,) = server.asked
    assert asked.body == transform_request(plain.body, api, prompt).body != plain.body
    assert asked.path == plain.path


@pytest.mark.parametrize("api", CLIENTS)
def test_a_stream_through_the_transport(api: str, prompt: Prompt, picture: str) -> None:
    ask, library = CLIENTS[api]
    plain = plainly(api, picture, stream=True)
    transport = PromptTransport(prompt, library.HTTPTransport())
    with vendor(api, stream=True) as server, library.Client(transport=transport) as http:
        assert ask(server.url, http, picture, True) == "rows"
    assert server.asked[-1].body == transform_request(plain.body, api, prompt).body != plain.body


# -- Amazon's client -------------------------------------------------------------------------------
@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def converse(url: str, picture: str, change: Callable[..., None] | None = None) -> str:
    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config
    )
    if change is not None:
        client.meta.events.register("before-call.bedrock-runtime.Converse", change)
    image = {"format": "png", "source": {"bytes": base64.b64decode(picture)}}
    content = [{"image": image}, {"text": QUESTION}]
    done = client.converse(modelId="m:0", messages=[{"role": "user", "content": content}])
    client.close()
    return str(done["output"]["message"]["content"][0]["text"])


def test_an_api_key_of_amazon_s_passes_and_its_client_wants_tls_for_it(
    bundle: Path, prompt: Prompt, picture: str, keys: pytest.MonkeyPatch
) -> None:
    body = json.dumps(bodies(picture)["converse"]).encode()
    with recorder(REPLIES["converse"]) as server, proxy(server.url, bundle) as address:
        httpx.post(f"{address}/model/m%3A0/converse", content=body, headers=JSON)
        keys.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
        with pytest.raises(InvalidEndpointConfigurationError, match="HTTPS"):
            converse(address, picture)
    (asked,) = server.asked
    assert asked.body == transform_request(body, "converse", prompt).body != body
    assert asked.path == "/model/m%3A0/converse"


@pytest.mark.usefixtures("keys")
def test_a_signed_request_is_refused_with_what_to_do(bundle: Path, picture: str) -> None:
    """A signature covers the host and the body, so the vendor would refuse it without a reason."""
    with recorder(REPLIES["converse"]) as server, proxy(server.url, bundle) as address:
        with pytest.raises(ClientError, match="before it is signed"):
            converse(address, picture)
        assert server.asked == []


@pytest.mark.usefixtures("keys")
def test_a_body_that_is_changed_before_it_is_signed(prompt: Prompt, picture: str) -> None:
    def prompted(params: dict[str, Any], **_: Any) -> None:
        params["body"] = transform_request(params["body"], "converse", prompt).body

    with recorder(REPLIES["converse"]) as server:
        assert converse(server.url, picture) == "rows"
        assert converse(server.url, picture, prompted) == "rows"
    plain, asked = server.asked
    assert asked.body == transform_request(plain.body, "converse", prompt).body != plain.body
    assert "AWS4-HMAC-SHA256" in asked.headers["authorization"]
    assert json.loads(asked.body).keys() == json.loads(plain.body).keys()
