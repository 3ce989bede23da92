"""llama.cpp's server: an implementation of its own of the same model, which shows log-probabilities
for an image.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests as http
from numpy.typing import NDArray
from PIL import Image

import bbtvp
from bbtvp import load_model
from bbtvp.adapters.openai_chat import read_tokens
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.endpoint import Token
from bbtvp.models import Budget, Model, Probe, Reply
from tests.servers.servers import Server
from tests.servers.support import KEY, asking, digits, endpoint, pictures, replies, texts

pytestmark = pytest.mark.slow
SIDE = 56
"""What the tower sees: images of this size are resized by nobody."""
WRONG_KEY = "sk-wrong-fedcba9876543210"
SHOWN = 20
"""Alternatives per token that the API can show."""
ASKED = "processing task, is_child = 0"
"""What the server writes once for every request, however many samples it asks for."""


@pytest.fixture(scope="module", autouse=True)
def _keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMACPP_API_KEY", KEY)
        patch.setenv("ANTHROPIC_API_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def probed(llama_cpp: Server) -> tuple[Model, Probe]:
    # Forced, the miniature would be asked for JSON, which it has never seen.
    model = endpoint("openai-api/llamacpp/llava", f"{llama_cpp.url}/v1", forced=False)
    assert model.is_endpoint
    return model, model.probe(Budget())


@pytest.fixture(scope="module")
def here(siglip_llava: Path) -> Model:
    return load_model(f"hf/{siglip_llava}")


def logprobs(found: list[Reply]) -> NDArray[np.float64]:
    """(images, labels)."""
    return np.array([[score.logprob for score in reply.scores or ()] for reply in found])


def tokens_of(
    server: Server, image: Pixels, top: int, **fields: object
) -> tuple[str, tuple[Token, ...]]:
    """A reply's text, and its tokens as our adapter reads them."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": digits().question},
    ]
    body = {
        "model": "llava",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 16,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": top,
        **fields,
    }
    reply = http.post(
        f"{server.url}/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=60,
    ).json()["choices"][0]
    return reply["message"]["content"], read_tokens(reply["logprobs"]["content"])


def test_the_probe_finds_what_is_there(probed: tuple[Model, Probe]) -> None:
    _, probe = probed
    assert probe.capabilities.logprobs
    assert probe.capabilities.deterministic
    assert {f"log-probabilities ({SHOWN} alternatives): honoured", "n samples: honoured"} <= set(
        probe.findings
    )


def test_label_scores_are_those_of_the_local_adapter(
    probed: tuple[Model, Probe], here: Model
) -> None:
    asked = asking(pictures(32, SIDE), labels=True)
    ours = logprobs(replies(here, asked))
    theirs = logprobs(replies(probed[0], asked))
    assert ours.shape == theirs.shape == (32, len(digits().labels))
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).all()
    assert np.abs(np.exp(ours) - np.exp(theirs)).max() < 0.01
    likely = ours > math.log(0.01)
    assert likely.sum() > 60  # not the one sure answer alone
    assert np.abs(ours - theirs)[likely].max() < 0.1


def test_answers_are_those_of_the_local_adapter(probed: tuple[Model, Probe], here: Model) -> None:
    asked = asking(pictures(32, SIDE))
    written = texts(probed[0], asked)
    assert written == texts(here, asked)
    assert len(set(written)) >= 7
    lengths = [reply.usage.input_tokens for reply in replies(probed[0], asked[:2])]
    assert lengths == [reply.usage.input_tokens for reply in replies(here, asked[:2])]


@pytest.mark.parametrize("top", [2, SHOWN])
def test_tokens_are_read_as_they_were_shown(top: int, llama_cpp: Server) -> None:
    for image in pictures(6, SIDE):
        text, tokens = tokens_of(llama_cpp, image, top)
        assert "".join(token.text for token in tokens) == text
        for token in tokens:
            assert 2 <= len(token.top) <= top
            assert sum(map(math.exp, token.top.values())) <= 1 + 1e-6
            assert max(token.top, key=lambda other, shown=token.top: shown[other]) == token.text
            assert token.top[token.text] == token.logprob <= 0


def test_a_character_of_several_tokens_is_one_token(llama_cpp: Server) -> None:
    """The miniature's tokens are bytes here, and the server says so by `bytes`: "token" alone would
    be unreadable.
    """
    text, tokens = tokens_of(llama_cpp, pictures(1, SIDE)[0], 5, grammar='root ::= " é€😀"')
    assert text == " é€😀"
    assert [token.text for token in tokens if token.text.strip()] == ["é", "€", "😀"]


def test_a_forced_answer_shows_what_the_model_thought(llama_cpp: Server, here: Model) -> None:
    """Under a grammar the server shows the model's own probabilities, so what was chosen need not
    be shown.
    """
    (request,) = asking(pictures(1, SIDE), labels=True)
    text, tokens = tokens_of(llama_cpp, request.image, SHOWN, grammar='root ::= " zero"')
    assert text.strip() == "zero"
    (scores,) = logprobs(replies(here, [request]))
    assert tokens[0].logprob == pytest.approx(scores[digits().labels.index("zero")], abs=0.2)
    assert max(tokens[0].top.values()) > tokens[0].logprob


def test_forced_labels_are_labels(llama_cpp: Server) -> None:
    """The grammar allows much white space, which a model that knows no JSON takes: hence the many
    tokens.
    """
    model = endpoint("openai-api/llamacpp/llava", f"{llama_cpp.url}/v1", max_tokens=200)
    asked = [replace(request, forced=True) for request in asking(pictures(8, SIDE), labels=True)]
    assert set(texts(model, asked)) <= set(digits().labels)


def test_a_search_by_logprobs_runs_through(probed: tuple[Model, Probe], llama_cpp: Server) -> None:
    before = llama_cpp.count(ASKED)
    run = bbtvp.optimize(
        bbtvp.load_task("zoo/digits-low-contrast"), probed[0], budget=300, reader="logprob"
    )
    assert 150 < sum(run.queries.values()) <= 300
    assert sum(run.queries.values()) == llama_cpp.count(ASKED) - before
    assert run.failed <= 3  # an image far from all that it knows may leave it without a word


def behind(route: str, server: Server) -> Model:
    """The model by one of the server's three APIs."""
    if route == "anthropic":
        model = endpoint("anthropic/llava", server.url, api_version="2023-06-01")
    else:
        model = endpoint("openai-api/llamacpp/llava", f"{server.url}/v1", api=route)
    assert model.is_endpoint
    return model


@pytest.mark.parametrize("route", ["responses", "anthropic"])
def test_its_other_routes_answer_alike(route: str, llama_cpp: Server, here: Model) -> None:
    model = behind(route, llama_cpp)
    asked = asking(pictures(12, SIDE))
    model.probe(Budget())  # only then is a temperature sent
    assert texts(model, asked) == texts(here, asked)
    tokens = [
        [reply.usage.input_tokens for reply in replies(each, asked[:3] * 2)]
        for each in (model, here)
    ]
    assert tokens[0] == tokens[1]  # also where the server has the prompt in its cache


@pytest.mark.parametrize("route", ["chat", "responses", "anthropic"])
def test_a_wrong_key_stops_the_run_and_is_not_shown(
    route: str, llama_cpp: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = "ANTHROPIC_API_KEY" if route == "anthropic" else "LLAMACPP_API_KEY"
    monkeypatch.setenv(variable, WRONG_KEY)
    with pytest.raises(ModelError, match=variable) as caught:
        behind(route, llama_cpp).query(asking(pictures(3, SIDE)))
    assert (
        WRONG_KEY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    )
