"""A prompt, a picture and the bodies of the five APIs that send it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.prompt import Prompt, preset
from tests.adapters.recording import Recorder, recorder
from tests.deploy.upstream_replies import REPLIES

QUESTION = "Which pattern is this? Réponds en un mot."


@pytest.fixture(scope="session")
def prompt() -> Prompt:
    """A prompt that changes every pixel and has no sentence."""
    space = preset("default", 64)
    return Prompt(space, np.linspace(-1.0, 1.0, space.dim))


@pytest.fixture(scope="session")
def speaking() -> Prompt:
    """A prompt with a sentence."""
    space = preset("annotate", 64)
    for seed in range(50):
        prompt = Prompt(space, np.random.default_rng(seed).standard_normal(space.dim))
        if prompt.ask(""):
            return prompt
    raise AssertionError("none of 50 prompts of this preset has a sentence")


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (6, 8, 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def picture(pixels: Pixels) -> str:
    """The pixels as a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def bodies(picture: str, question: str = QUESTION) -> dict[str, Any]:
    """API to a body with one picture and one question, beside much that is not to be touched."""
    url = f"data:image/png;base64,{picture}"
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    rest: dict[str, Any] = {"temperature": 0.10, "seed": 12345678901234567890, "ünïcode": "\u2028"}
    return {
        "chat": {
            **rest,
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
                        {"type": "text", "text": question},
                        {"type": "text", "text": "One word."},
                    ],
                },
                {"role": "assistant", "content": "rows"},
            ],
        },
        "responses": {
            **rest,
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": question},
                        {"type": "input_image", "image_url": url, "detail": "auto"},
                    ],
                }
            ],
        },
        "messages": {
            **rest,
            "system": "Be brief.",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": source},
                        {"type": "text", "text": question},
                    ],
                }
            ],
        },
        "gemini": {
            **rest,
            "contents": [
                {
                    "parts": [
                        {"inlineData": {"mimeType": "image/png", "data": picture}},
                        {"text": question},
                        {"inline_data": {"mime_type": "audio/wav", "data": "UklGRg=="}},
                    ]
                }
            ],
        },
        "converse": {
            **rest,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"image": {"format": "png", "source": {"bytes": picture}}},
                        {"text": question},
                    ],
                }
            ],
        },
    }


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, prompt: Prompt) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "pets.vprompt"
    prompt.save(path)
    return path


@pytest.fixture
def upstream() -> Iterator[Recorder]:
    with recorder(REPLIES["chat"]) as server:
        yield server
