"""LiteLLM's proxy, started from the example's configuration, prompts images."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from bbtvp.deploy import transform_request
from bbtvp.prompt import Prompt, preset
from tests.adapters.recording import Asked, Recorder, recorder
from tests.deploy.conftest import bodies
from tests.deploy.upstream_replies import REPLIES, STREAMS
from tests.servers.conftest import LITELLM
from tests.servers.servers import Server, free_port, serving
from tests.servers.support import KEY

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def tuned() -> Prompt:
    space = preset("default", 64)
    return Prompt(space, np.linspace(-1.0, 1.0, space.dim))


@pytest.fixture(scope="module")
def drawing() -> str:
    pixels = np.random.default_rng(7).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def vendor() -> Iterator[Recorder]:
    with recorder(answer) as server:
        yield server


def answer(asked: Asked) -> Any:
    path = asked.path.partition("?")[0]
    if "enerateContent" in path:
        return STREAMS["gemini"] if "streamG" in path else REPLIES["gemini"]
    api = "messages" if path.endswith("/messages") else "chat"
    if path.endswith("/responses"):
        api = "responses"
    return STREAMS[api] if asked.json.get("stream") else REPLIES[api]


@pytest.fixture(scope="module")
def prompting(
    tmp_path_factory: pytest.TempPathFactory, vendor: Recorder, tuned: Prompt
) -> Iterator[Server]:
    """The example, as it stands, in front of a scripted vendor."""
    port = free_port()
    folder = tmp_path_factory.mktemp("litellm-callback")
    tuned.save(folder / "pets.vprompt")
    config = ROOT / "examples" / "litellm" / "config.yaml"
    command = [LITELLM.python(), "-m", "litellm.proxy.proxy_cli", "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    environment = {
        "BBTVP_BUNDLE": "pets.vprompt",
        "PYTHONPATH": str(ROOT),
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_BASE_URL": f"{vendor.url}/v1",
        "OPENAI_API_KEY": "sk-vendor",
        "ANTHROPIC_BASE_URL": vendor.url,
        "ANTHROPIC_API_KEY": "sk-vendor",
        "GEMINI_BASE_URL": vendor.url,
        "GEMINI_API_KEY": "sk-vendor",
    }
    ready = "/health/liveliness"
    with serving(command, port, folder, ready=ready, environment=environment) as server:
        yield server


CASES = {
    "chat": ("/v1/chat/completions", "openai/gpt"),
    "responses": ("/v1/responses", "openai/gpt"),
    "messages": ("/v1/messages", "anthropic/claude"),
    "gemini": ("/v1beta/models/gemini/gemini-3-flash:generateContent", "gemini/gemini-3-flash"),
}


def request_of(api: str, drawing: str, **more: Any) -> dict[str, Any]:
    body = bodies(drawing)[api]
    if api == "gemini":
        return {"contents": body["contents"]}
    turns = {key: body[key] for key in ("messages", "input") if key in body}
    limit = {"max_tokens": 9} if api == "messages" else {}
    return {"model": CASES[api][1], **turns, **limit, **more}


def posted(server: Server, api: str, body: Any, *, streaming: bool = False) -> httpx.Response:
    path = CASES[api][0]
    if api == "gemini" and streaming:
        path = path.replace("generateContent", "streamGenerateContent") + "?alt=sse"
    reply = httpx.post(server.url + path, json=body, headers=HEADERS, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply


def images(api: str, body: Any) -> list[str]:
    """The base64 of the images in a body."""
    if api == "gemini":
        parts = [part for turn in body["contents"] for part in turn["parts"]]
        return [part["inlineData"]["data"] for part in parts if "inlineData" in part]
    turns = body["input" if api == "responses" else "messages"]
    parts = [
        part for turn in turns if isinstance(turn["content"], list) for part in turn["content"]
    ]
    found = []
    for part in parts:
        if part["type"] == "image":
            found.append(part["source"]["data"])
        elif part["type"] == "image_url":
            found.append(part["image_url"]["url"].partition(",")[2])
        elif part["type"] == "input_image":
            found.append(part["image_url"].partition(",")[2])
    return found


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("api", CASES)
def test_images_arrive_prompted_to_the_byte(
    api: str,
    streaming: bool,
    prompting: Server,
    vendor: Recorder,
    tuned: Prompt,
    drawing: str,
) -> None:
    body = request_of(api, drawing, stream=streaming)
    reply = posted(prompting, api, body, streaming=streaming)
    expected = json.loads(transform_request(json.dumps(body).encode(), api, tuned).body)
    arrived = vendor.asked[-1].json
    assert images(api, arrived) == images(api, expected) != images(api, body)
    words = [part for part in json.dumps(arrived).split('"') if "Which pattern" in part]
    assert len(words) == 1
    if not streaming:
        assert "rows" in reply.text
    elif api != "responses":
        assert '"ro' in reply.text
        assert '"ws' in reply.text


def test_what_has_no_image_and_what_cannot_be_prompted_stays(
    prompting: Server, vendor: Recorder, drawing: str
) -> None:
    plain = {"model": "openai/gpt", "messages": [{"role": "user", "content": "hello"}]}
    posted(prompting, "chat", plain)
    assert vendor.asked[-1].json["messages"] == plain["messages"]
    broken = request_of("chat", base64.b64encode(b"no image").decode())
    posted(prompting, "chat", broken)
    assert vendor.asked[-1].json["messages"] == broken["messages"]
