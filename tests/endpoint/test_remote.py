"""An endpoint over HTTP, end to end: probed, read by what was found, kept in the store, counted,
capped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.endpoint.probe import MOST
from bbtvp.endpoint.remote import Endpoint, bounds
from bbtvp.models import (
    Budget,
    InMemoryCache,
    MeteredModel,
    Model,
    QueryFailed,
    Reply,
    Request,
    load_model,
)
from bbtvp.search import optimize
from bbtvp.testing import AdapterContract
from bbtvp.verify import verify
from tests.adapters.recording import Recorder, recorder
from tests.endpoint.eye_server import EyeServer
from tests.support import LABELS, Eye, patterns

TASK = patterns()
PRICES = (
    '[[price]]\nservice = "openai-api"\nmodel = "eye"\ninput = 1.0\noutput = 4.0\ndate = '
    '2026-11-01\nsource = "own"\n'
)


def endpoint(server: Recorder, tmp_path: Path, **options: Any) -> Model:
    kept = {"store": str(tmp_path / "replies.sqlite"), **options}
    model = load_model("openai-api/eye/eye", base_url=server.url, **kept)
    assert model.is_endpoint
    return model


@pytest.fixture
def eye() -> Iterator[tuple[EyeServer, Recorder]]:
    answers = EyeServer()
    with recorder(answers) as server:
        yield answers, server


def requests(count: int, **fields: Any) -> list[Request]:
    return [Request(sample.pixels(), TASK.question, **fields) for sample in TASK.test[:count]]


# -- the probe ------------------------------------------------------------------------------------
def test_a_server_that_does_all_is_read_by_log_probabilities(
    eye: tuple[EyeServer, Recorder], tmp_path: Path
) -> None:
    model = endpoint(eye[1], tmp_path)
    found = model.probe(Budget())
    assert model.capabilities.logprobs
    assert model.capabilities.forced
    assert model.capabilities.deterministic
    assert found.queries == len(eye[1].asked)
    assert "forced labels: honoured" in found.findings
    labelled = requests(20, labels=LABELS)
    for ours, truth in zip(model.query(labelled), Eye().query(labelled), strict=True):
        assert isinstance(ours, Reply)
        assert isinstance(truth, Reply)
        assert ours.scores is not None
        assert truth.scores is not None
        assert [s.logprob for s in ours.scores] == pytest.approx(
            [s.logprob for s in truth.scores], abs=1e-6
        )


@pytest.mark.parametrize(
    ("honours", "rejects", "logprobs", "forced"),
    [
        (("response_format",), (), False, True),
        (("logprobs",), (), True, False),
        ((), (), False, False),
        ((), ("logprobs", "response_format", "temperature", "seed", "n"), False, False),
    ],
)
def test_what_is_ignored_or_rejected_is_noticed(
    tmp_path: Path, honours: tuple[str, ...], rejects: tuple[str, ...], logprobs: bool, forced: bool
) -> None:
    answers = EyeServer(honours=honours, rejects=rejects)

    def answer(asked: Any) -> Any:
        reply = answers(asked)
        server.status = 400 if "error" in reply else 200
        return reply

    with recorder(answer) as server:
        model = endpoint(server, tmp_path)
        found = model.probe(Budget())
        assert (model.capabilities.logprobs, model.capabilities.forced) == (logprobs, forced)
        if rejects:
            assert any("rejected" in finding for finding in found.findings)
        if forced:
            replies = model.query(requests(5, labels=("rows", "checks"), forced=True))
            assert {reply.text for reply in replies if isinstance(reply, Reply)} <= {
                "rows",
                "checks",
            }
        assert isinstance(model.query(requests(1))[0], Reply)


def test_a_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    with recorder(
        {"error": {"message": "The model `eye` does not exist", "code": "model_not_found"}}
    ) as server:
        server.status = 404
        with pytest.raises(ModelError, match="does not exist"):
            endpoint(server, tmp_path).probe(Budget())
    with pytest.raises(ModelError):
        endpoint(server, tmp_path, retries=0).probe(Budget())


# -- the store ------------------------------------------------------------------------------------
def test_nothing_is_paid_for_twice(eye: tuple[EyeServer, Recorder], tmp_path: Path) -> None:
    first = endpoint(eye[1], tmp_path)
    replies = first.query(requests(10))
    sent = len(eye[1].asked)
    assert sent == 10
    again = endpoint(eye[1], tmp_path).query(requests(10))
    assert len(eye[1].asked) == sent
    assert [reply.text for reply in again if isinstance(reply, Reply)] == [
        reply.text for reply in replies if isinstance(reply, Reply)
    ]
    assert all(outcome.usage.attempts == 0 for outcome in again)
    versions = {reply.version for reply in [*replies, *again] if isinstance(reply, Reply)}
    assert versions == {"eye"}
    endpoint(eye[1], tmp_path).query(requests(2, replicate=1))
    assert len(eye[1].asked) == sent + 2
    endpoint(eye[1], tmp_path, store=False).query(requests(2))
    assert len(eye[1].asked) == sent + 4


def test_a_probe_is_kept_too(eye: tuple[EyeServer, Recorder], tmp_path: Path) -> None:
    found = endpoint(eye[1], tmp_path).probe(Budget())
    sent = len(eye[1].asked)
    again = endpoint(eye[1], tmp_path)
    recalled = again.probe(Budget())
    assert len(eye[1].asked) == sent
    assert (recalled.capabilities, recalled.findings) == (found.capabilities, found.findings)
    assert (recalled.queries, recalled.usd) == (0, 0.0)


# -- money ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("usage", "booked"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (None, None)),
        ({"prompt_tokens": -300, "completion_tokens": -2}, (None, None)),
        ({"prompt_tokens": "300", "completion_tokens": "2"}, (None, None)),
        ({"prompt_tokens": None, "completion_tokens": None}, (None, None)),
        ({"prompt_tokens": 300.5, "completion_tokens": True}, (None, None)),
        ({"prompt_tokens": 3, "completion_tokens": 2}, (None, 2)),
        ({"prompt_tokens": 300, "completion_tokens": 0}, (300, None)),
        ({"prompt_tokens": 300, "completion_tokens": 2}, (300, 2)),
    ],
)
def test_a_usage_that_cannot_be_true_is_booked_at_its_bound(
    tmp_path: Path, usage: Any, booked: tuple[int | None, int | None]
) -> None:
    answers = EyeServer()
    (tmp_path / "prices.toml").write_text(PRICES)
    with recorder(lambda asked: answers(asked) | {"usage": usage}) as server:
        model = endpoint(server, tmp_path, prices=str(tmp_path / "prices.toml"))
        (request,) = requests(1)
        (outcome,) = model.query([request])
    assert isinstance(model, Endpoint)
    bound = model._context.tokens(request)
    asked, answered = (most if b is None else b for b, most in zip(booked, bound, strict=True))
    assert outcome.usage.usd == pytest.approx((asked + 4 * answered) / 1e6)
    if booked == (None, None):
        assert outcome.usage.usd == pytest.approx(model.max_cost(request))


def test_money_is_counted_from_the_usage_of_the_reply(
    eye: tuple[EyeServer, Recorder], tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    model = endpoint(eye[1], tmp_path, prices=str(prices))
    model.need_price()
    outcome = model.query(requests(1))[0]
    assert outcome.usage.usd == pytest.approx(((40 + len(TASK.question)) * 1.0 + 2 * 4.0) / 1e6)
    assert outcome.usage.usd <= model.max_cost(requests(1)[0])
    metered = MeteredModel(
        model, InMemoryCache(), budget=Budget(usd_cap=20 * model.max_cost(requests(1)[0]))
    )
    with pytest.raises(BudgetReached):
        metered.query(requests(60))
    assert metered.budget.usd <= metered.budget.usd_cap  # type: ignore[operator]


def test_a_probe_is_no_batch_and_costs_the_whole_price(
    eye: tuple[EyeServer, Recorder], tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES + "batch = 0.5\n")
    paid = [
        endpoint(
            eye[1],
            tmp_path,
            prices=str(prices),
            batch=batch,
            store=str(tmp_path / f"{batch}.sqlite"),
        ).probe(Budget())
        for batch in (False, True)
    ]
    assert paid[0].usd == paid[1].usd > 0
    assert paid[0].queries == paid[1].queries <= MOST


def test_a_cap_on_money_needs_a_price(eye: tuple[EyeServer, Recorder], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="price"):
        optimize(TASK, endpoint(eye[1], tmp_path), budget=300, usd=1.0, prompt="tone")
    assert not eye[1].asked


# -- the main job ---------------------------------------------------------------------------------
def test_a_search_over_http_finds_what_a_local_one_finds(
    eye: tuple[EyeServer, Recorder], tmp_path: Path
) -> None:
    model = endpoint(eye[1], tmp_path)
    run = optimize(TASK, model, budget=400, prompt="tone", out=tmp_path / "run")
    assert run.improved
    assert sum(run.queries.values()) == len(eye[1].asked) <= 400
    proof = verify(run.prompt, TASK, [model], source=model.spec)
    assert proof.rows[0].gain > 0.2
    sent = len(eye[1].asked)
    again = optimize(
        TASK, endpoint(eye[1], tmp_path), budget=400, prompt="tone", out=tmp_path / "run"
    )
    assert again.prompt.digest == run.prompt.digest
    elsewhere = optimize(
        TASK, endpoint(eye[1], tmp_path), budget=400, prompt="tone", out=tmp_path / "other"
    )
    assert elsewhere.prompt.digest == run.prompt.digest
    assert len(eye[1].asked) == sent


def test_a_refusal_is_its_own_outcome(tmp_path: Path) -> None:
    refusal = {
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"content": None, "refusal": "I cannot help"},
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }
    with recorder(refusal) as server:
        outcome = endpoint(server, tmp_path).query(requests(1))[0]
        assert isinstance(outcome, QueryFailed)
        assert outcome.refused
        assert outcome.usage.attempts == 1
        endpoint(server, tmp_path).query(requests(1))
        assert len(server.asked) == 2


class TestContract(AdapterContract):
    """The shipped contract, on an endpoint behind HTTP."""

    labels = LABELS
    question = TASK.question

    @pytest.fixture(autouse=True)
    def _server(self, eye: tuple[EyeServer, Recorder], tmp_path: Path) -> None:
        self.server = eye[1]
        self.folder = tmp_path

    def make(self) -> Model:
        return endpoint(self.server, self.folder, store=False)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("rpm", 0, "rpm=0 must be above 0"),
        ("retires", 3, "did you mean retries"),
        ("format", "gif", "unknown image"),
        ("concurrency", "many", "give a whole number"),
        ("rpm", "fast", "give a (whole )?number or none"),
        ("probe", "perhaps", "give true or false"),
        ("quality", 0, "quality 1 to"),
    ],
)
def test_options_are_checked_before_anything_is_asked(
    option: str, value: object, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        load_model("openai-api/eye/eye", base_url="http://127.0.0.1:9", **{option: value})


def test_a_label_that_was_not_forced_is_no_answer(tmp_path: Path) -> None:
    with recorder(EyeServer(honours=())) as server:
        asked = requests(1, labels=("quartz", "zebra"), forced=True)
        outcome = endpoint(server, tmp_path, retries=0).query(asked)[0]
        assert isinstance(outcome, QueryFailed)
        assert "none of the labels" in outcome.reason


# -- bounds before a run --------------------------------------------------------------------------
def test_bounds_take_the_largest_image_and_the_longest_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    first, second = (load_model(f"openai/{name}") for name in ("gpt-4o", "gpt-4o-mini"))
    assert isinstance(first, Endpoint) and isinstance(second, Endpoint)
    dealt = bounds([first, Eye(), second], 31, iter([64, 900, 32]), iter(["?", "what is it?"]))
    assert dealt == {
        "openai/gpt-4o": first.estimate(11, 900, 11),
        "openai/gpt-4o-mini": second.estimate(11, 900, 11),
    }
    assert bounds([Eye(), first], [7, 5], [64], ["?"]) == {
        "openai/gpt-4o": first.estimate(5, 64, 1)
    }


def test_a_batch_is_bounded_at_the_price_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    one_by_one, batched = (
        load_model("openai/gpt-4o", batch=batch, rpm=10) for batch in (False, True)
    )
    assert isinstance(one_by_one, Endpoint) and isinstance(batched, Endpoint)
    whole = one_by_one.estimate(109, 224, 50)
    half = batched.estimate(109, 224, 50)
    assert half.usd_bound == pytest.approx(
        (whole.usd_bound or 0) * 59 / 109
    )  # nine of them probe, singly
    assert (whole.seconds, half.seconds) == (654, 54)


def test_bounds_of_models_that_cost_nothing_look_at_no_image() -> None:
    assert bounds([Eye()], 10, (1 // 0 for _ in "?"), (1 // 0 for _ in "?")) == {}
    assert bounds([], 0, [64], []) == {}
