"""OpenAI's client, unmodified, before `transformers serve`, through the proxy and the transport."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.deploy import PromptTransport, transform_request
from bbtvp.prompt import Prompt, preset
from tests.deploy.running import KEY, counted, proxy
from tests.servers.servers import Server
from tests.servers.support import Folder, digits, pictures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def turning() -> Prompt:
    """A prompt under which the miniature answers otherwise than without."""
    space = preset("default", 64)
    return Prompt(space, np.linspace(-2.0, 2.0, space.dim))


def messages(pixels: Pixels) -> Any:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [image, {"type": "text", "text": digits().question}]}]


def answers(url: str, http: httpx.Client, model: str, stream: bool) -> list[str]:
    """What is answered about some pictures, by the official client."""
    found = []
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, http_client=http) as client:
        for pixels in pictures(8):
            asked: dict[str, Any] = {
                "model": model,
                "messages": messages(pixels),
                "max_tokens": 4,
                "temperature": 0,
            }
            if stream:
                parts = client.chat.completions.create(**asked, stream=True)
                words = [part.choices[0].delta.content or "" for part in parts if part.choices]
                found.append("".join(words).strip())
            else:
                done = client.chat.completions.create(**asked)
                found.append(str(done.choices[0].message.content).strip())
    return found


def prompted_by_hand(url: str, model: str, prompt: Prompt) -> list[str]:
    """The same without any client: the body is prompted, then sent."""
    found = []
    for pixels in pictures(8):
        body = {"model": model, "messages": messages(pixels), "max_tokens": 4, "temperature": 0}
        done = transform_request(json.dumps(body).encode(), "chat", prompt)
        headers = {"content-type": "application/json"}
        reply = httpx.post(
            f"{url}/v1/chat/completions", content=done.body, headers=headers, timeout=120
        )
        found.append(str(reply.json()["choices"][0]["message"]["content"]).strip())
    return found


@contextmanager
def through(way: str, server: Server, prompt: Prompt, folder: Path) -> Iterator[Any]:
    if way == "transport":
        transport = PromptTransport(prompt, httpx.HTTPTransport())
        with httpx.Client(transport=transport, timeout=120) as http:
            yield server.url, http
        assert transport.log.prompted == 8
        return
    bundle = folder / "pets.vprompt"
    prompt.save(bundle)
    with proxy(server.url, bundle) as address, httpx.Client(timeout=120) as http:
        yield address, http
        assert counted(address, "prompted") == 8


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("way", ["transport", "proxy"])
def test_a_client_gets_the_answers_about_prompted_pictures(
    way: str,
    stream: bool,
    transformers_serve: Server,
    served: Folder,
    turning: Prompt,
    tmp_path: Path,
) -> None:
    model = str(served("llava"))
    expected = prompted_by_hand(transformers_serve.url, model, turning)
    with httpx.Client(timeout=120) as plain:
        assert answers(transformers_serve.url, plain, model, stream) != expected
    with through(way, transformers_serve, turning, tmp_path) as (url, http):
        assert answers(url, http, model, stream) == expected
