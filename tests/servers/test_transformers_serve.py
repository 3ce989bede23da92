"""`transformers serve`, which did not know of us: the same miniatures, the same answers, over
HTTP.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import bbtvp
from bbtvp import load_model
from bbtvp.core.errors import BudgetReached
from bbtvp.models import Budget, InMemoryCache, MeteredModel, Model, QueryFailed, Request
from bbtvp.zoo.catalogue import members
from tests.servers.servers import Server
from tests.servers.support import Folder, asking, digits, endpoint, pictures, replies, texts

pytestmark = pytest.mark.slow
ASKED = '"POST /v1/chat/completions HTTP/1.1" 200'
SERVED = ["idefics3", "llava", "paligemma"]
NOT_SERVED = ["blip2", "instructblip", "minigpt4"]


def model_behind(server: Server, folder: Path, **options: object) -> Model:
    model = endpoint(f"openai-api/serve/{folder}", f"{server.url}/v1", **options)
    assert model.is_endpoint
    return model


@pytest.mark.parametrize("name", SERVED)
def test_answers_are_those_of_the_local_adapter(
    name: str, transformers_serve: Server, served: Folder
) -> None:
    requests = asking(pictures())
    here = load_model(f"zoo/{name}")
    there = model_behind(transformers_serve, served(name))
    written = texts(there, requests)
    assert written == texts(here, requests)
    assert len(set(written)) >= 7  # of ten digits: it looked at the images
    lengths = [
        (reply.usage.input_tokens, reply.usage.attempts) for reply in replies(there, requests[:3])
    ]
    assert lengths == [(reply.usage.input_tokens, 1) for reply in replies(here, requests[:3])]


def test_the_question_counts_too(transformers_serve: Server, served: Folder) -> None:
    image = pictures(1)[0]
    model = model_behind(transformers_serve, served("llava"))
    asked = [Request(image, text) for text in (digits().question, "what shape is this?")]
    one, other = texts(model, asked)
    assert one != other


def test_responses_give_the_answers_of_chat(transformers_serve: Server, served: Folder) -> None:
    requests = asking(pictures(8))
    chat, responses = (
        model_behind(transformers_serve, served("llava"), api=api) for api in ("chat", "responses")
    )
    assert texts(responses, requests) == texts(chat, requests)


def test_the_probe_trusts_nothing_that_is_silently_ignored(
    transformers_serve: Server, served: Folder
) -> None:
    model = model_behind(transformers_serve, served("llava"))
    before = transformers_serve.count(ASKED)
    probe = model.probe(Budget())
    assert probe.queries == transformers_serve.count(ASKED) - before
    assert probe.capabilities == model.capabilities
    assert not probe.capabilities.logprobs
    assert not probe.capabilities.forced
    assert probe.capabilities.deterministic
    for ignored in ("log-probabilities", "forced labels", "n samples"):
        assert f"{ignored}: answered 200, but ignored" in probe.findings


@pytest.mark.parametrize("name", NOT_SERVED)
def test_a_processor_that_takes_no_chat_template_cannot_be_served(
    name: str, transformers_serve: Server, served: Folder
) -> None:
    """The server answers 500 whatever is asked, and no answer is made of that."""
    (failed,) = model_behind(transformers_serve, served(name)).query(asking(pictures(1)))
    assert isinstance(failed, QueryFailed)
    assert "500" in failed.reason


def test_every_miniature_is_accounted_for() -> None:
    assert sorted(SERVED + NOT_SERVED) == members()


def test_a_search_runs_through_and_every_query_is_counted(
    transformers_serve: Server, served: Folder
) -> None:
    task = bbtvp.load_task("zoo/digits-low-contrast")
    model = model_behind(transformers_serve, served("llava"))
    before = transformers_serve.count(ASKED)
    run = bbtvp.optimize(task, model, budget=300, reader="text")
    counted = sum(run.queries.values())
    assert 150 < counted <= 300
    assert counted == transformers_serve.count(ASKED) - before
    assert run.failed == 0
    image = Image.fromarray(task.test[0].pixels())
    assert run.best.apply(image).tobytes() != image.tobytes()


def test_the_cap_holds_before_a_query_is_sent(transformers_serve: Server, served: Folder) -> None:
    metered = MeteredModel(
        model_behind(transformers_serve, served("llava")), InMemoryCache(), budget=Budget(5)
    )
    before = transformers_serve.count(ASKED)
    metered.query(asking(pictures(5)))
    with pytest.raises(BudgetReached):
        metered.query(asking(pictures(6)))
    assert transformers_serve.count(ASKED) - before == 5
