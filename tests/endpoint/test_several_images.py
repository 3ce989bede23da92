"""Endpoints and requests of several images: what is known, asked, refused, counted and priced."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.images import check, check_request, most_images
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Budget, InMemoryCache, MeteredModel, Reply, Request, Shown, load_model
from tests.adapters.recording import Asked, Recorder, recorder

PRICES = (
    '[[price]]\nservice = "openai-api"\nmodel = "eye"\ninput = 1.0\noutput = 4.0\ndate = '
    '2026-11-01\nsource = "own"\n'
)
OWN = np.full((64, 64, 3), 90, np.uint8)
EXAMPLES = tuple(
    Shown(np.full((64, 64, 3), level, np.uint8), f"Answer: {name}")
    for level, name in ((10, "rows"), (200, "checks"))
)


class SeveralServer:
    """Names the colour of the first image. most: images that it takes; drops: it answers about the
    last image alone, and says nothing of the others.
    """

    def __init__(self, *, most: int = 9, drops: bool = False) -> None:
        self.most = most
        self.drops = drops
        self.held: list[int] = []
        self.server: Recorder | None = None

    def __call__(self, asked: Asked) -> dict[str, Any]:
        parts = asked.json["messages"][0]["content"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        self.held.append(len(urls))
        assert self.server is not None
        self.server.status = 200 if len(urls) <= self.most else 400
        if len(urls) > self.most:
            return {"error": {"message": f"At most {self.most} image(s) may be provided"}}
        seen = urls[-1:] if self.drops else urls
        red, _, blue = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(seen[0].partition(",")[2]))))
            .reshape(-1, 3)
            .mean(axis=0)
        )
        message = {"role": "assistant", "content": "red" if red > blue else "blue"}
        usage = {"prompt_tokens": 100 * len(seen) + 10, "completion_tokens": 1}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return {"model": "eye", "choices": [choice], "usage": usage}


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> Iterator[SeveralServer]:
    made = SeveralServer(**getattr(request, "param", {}))
    with recorder(made) as server:
        made.server = server
        yield made


def endpoint(answers: SeveralServer, tmp_path: Path, **options: Any) -> Endpoint:
    assert answers.server is not None
    kept = {"store": str(tmp_path / "replies.sqlite"), **options}
    model = load_model("openai-api/eye/eye", base_url=answers.server.url, **kept)
    assert isinstance(model, Endpoint)
    model.probe(Budget())
    answers.held.clear()
    return model


def asked(context: tuple[Shown, ...] = EXAMPLES) -> Request:
    return Request(OWN, "which pattern?", context=context)


# -- what is known, and what is asked --------------------------------------------------------------
def test_a_server_of_unknown_limits_is_asked_once_and_its_answer_is_kept(
    answers: SeveralServer, tmp_path: Path
) -> None:
    model = endpoint(answers, tmp_path)
    assert model.capabilities.images == 1
    found = model.probe_images(3, Budget())
    assert found is not None
    assert found.findings == ("3 images in a request: accepted",)
    assert (found.queries, model.capabilities.images, answers.held) == (1, 3, [3])
    assert model.probe_images(2, Budget()) is None
    again = endpoint(answers, tmp_path)
    assert again.probe_images(3, Budget()) is not None
    assert (again.capabilities.images, answers.held) == (3, [])


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"most": 1}, "rejected"),
        ({"drops": True}, "tokens were billed for all of them"),
    ],
    indirect=["answers"],
)
def test_a_server_that_refuses_or_drops_images_takes_one(
    answers: SeveralServer, said: str, tmp_path: Path
) -> None:
    model = endpoint(answers, tmp_path)
    found = model.probe_images(2, Budget())
    assert found is not None
    assert said in found.findings[0]
    assert model.capabilities.images == 1
    metered = MeteredModel(model, InMemoryCache(), budget=Budget(9))
    with pytest.raises(UsageError, match="takes one image in a request, and this one holds 3"):
        metered.query([asked()])


def test_a_metered_model_asks_by_itself_and_counts_the_question(
    answers: SeveralServer, tmp_path: Path
) -> None:
    model = endpoint(answers, tmp_path)
    metered = MeteredModel(model, InMemoryCache(), budget=Budget(9))
    (reply,) = metered.query([asked()])
    assert isinstance(reply, Reply)
    assert answers.held == [3, 3]
    assert metered.budget.total == 2


def test_documented_services_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GEMINI"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-Kq7fJ2mN8vX4bZ1c")
    for spec, most in (
        ("openai/gpt-6-luna", 1500),
        ("anthropic/claude-opus-5", 100),
        ("gemini/gemini-3-flash", 3000),
    ):
        model = load_model(spec, store=False)
        assert model.capabilities.images == most == most_images(*spec.split("/"))
        assert model.probe_images(9, Budget()) is None


# -- the request -----------------------------------------------------------------------------------
def test_the_store_tells_requests_with_other_examples_apart(
    answers: SeveralServer, tmp_path: Path
) -> None:
    model = endpoint(answers, tmp_path)
    model.probe_images(3, Budget())
    answers.held.clear()
    different = [asked(), asked(EXAMPLES[::-1]), asked(EXAMPLES[:1]), asked(())]
    model.query(different)
    model.query(different)
    assert sorted(answers.held) == [1, 2, 3, 3]


def test_all_images_and_texts_are_in_the_bound_of_tokens_and_dollars(
    answers: SeveralServer, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES, "utf-8")
    model = endpoint(answers, tmp_path, prices=str(prices))
    one, three = model.max_cost(asked(())), model.max_cost(asked())
    assert 2 * one < three < 3.1 * one
    plain = model.estimate(1000, 64, 20)
    shown = model.estimate(1000, 64, 20, context=EXAMPLES)
    assert shown.input_tokens > 2.9 * plain.input_tokens
    assert shown.usd_bound > plain.usd_bound
    assert shown.queries == plain.queries == 1000


def test_what_the_reply_counts_for_all_images_is_booked(
    tmp_path: Path, answers: SeveralServer
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES, "utf-8")
    model = endpoint(answers, tmp_path, prices=str(prices))
    model.probe_images(3, Budget())
    (reply,) = model.query([asked()])
    assert reply.usage.input_tokens == 310
    assert reply.usage.usd == pytest.approx(310e-6 + 4e-6)


# -- limits ----------------------------------------------------------------------------------------
def test_too_many_images_or_bytes_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match=r"azure/gpt-4o takes at most 10 images in a request.*11"):
        check_request("azure", "gpt-4o", 11, 1000)
    with pytest.raises(UsageError, match=r"refuses requests over 32,000,000 bytes.*of 9 images"):
        check_request("anthropic", "claude-opus-5", 9, 32_000_001)
    check_request("anthropic", "claude-opus-5", 9, 31_000_000)
    check_request("openai-api", "any", 99, 10**9)


def test_many_images_may_have_a_smaller_side() -> None:
    check("anthropic", "claude-opus-5", (1932, 1932), 1000, images=21)
    with pytest.raises(UsageError, match="over 2000 px on a side in a request of more than 20"):
        check("anthropic", "claude-opus-5", (2400, 900), 1000, images=21)
    check("anthropic", "claude-opus-5", (2400, 900), 1000, images=20)
