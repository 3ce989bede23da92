"""A Python function as a model: how it is called, what its wrong returns are told, what it is."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bbtvp
from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.models import (
    Budget,
    FunctionModel,
    InMemoryCache,
    MeteredModel,
    Model,
    Outcome,
    QueryFailed,
    Reply,
    Request,
    Shown,
)
from bbtvp.models.registry import as_models, load_model
from bbtvp.runs.journal import Journal
from bbtvp.testing import AdapterContract
from tests.support import patterns

LABELS = ("red", "blue")


def request(red: int = 200, labels: tuple[str, ...] | None = None, **parts: Any) -> Request:
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = red
    image[..., 2] = 255 - red
    return Request(image, "which colour?", labels, **parts)


REQUESTS = [request(red) for red in (200, 20, 210, 10, 220)]
RIGHT = ["red", "blue", "red", "blue", "red"]


def seen(image: Any) -> str:
    pixels = np.asarray(image)
    return "red" if pixels[..., 0].mean() > pixels[..., 2].mean() else "blue"


def one(image, question):
    return seen(image)


def image_only(image):
    return seen(image)


def with_default(image, question, temperature=0.0):
    assert temperature == 0.0
    return seen(image)


def many(images, questions):
    assert len(images) == len(questions)
    return [seen(image) for image in images]


def annotated(pictures: list[Image.Image], asked: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(seen, pictures))


def generated(images, questions):
    yield from map(seen, images)


def array(images, questions):
    return np.array([seen(image) for image in images])


async def later(image, question):
    await asyncio.sleep(0)
    return seen(image)


async def many_later(images, questions):
    return [seen(image) for image in images]


def calls_later(image, question):
    return later(image, question)


def labelled(image, question, labels):
    assert labels is None
    return seen(image)


class Classifier:
    def __init__(self, sign: int = 1) -> None:
        self.sign = sign

    def __call__(self, image, question):
        return seen(image)

    def method(self, image, question):
        return seen(image)


def texts(outcomes: Sequence[Outcome]) -> list[str | None]:
    assert all(isinstance(outcome, Reply) for outcome in outcomes), outcomes
    return [outcome.text for outcome in outcomes if isinstance(outcome, Reply)]


def reason(function: Any, asked: Sequence[Request] = REQUESTS[:1], **options: Any) -> str:
    """What a failed query says: one line."""
    outcomes = FunctionModel(function, **options).query(asked)
    assert all(isinstance(outcome, QueryFailed) for outcome in outcomes), outcomes
    said = outcomes[0].reason
    assert "\n" not in said and len(said) < 400
    return said


@pytest.mark.parametrize(
    "function",
    [
        *(one, image_only, with_default, many, annotated, generated, array, later, many_later),
        *(calls_later, labelled, Classifier(), Classifier().method),
        functools.partial(with_default, temperature=0.0),
        lambda image, question: seen(image),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_every_kind_of_function_answers_in_order(function: Any, concurrency: int) -> None:
    assert texts(FunctionModel(function, concurrency=concurrency).query(REQUESTS)) == RIGHT


def test_a_function_of_lists_gets_at_most_a_batch() -> None:
    sizes = []

    def counted(pictures, questions):
        sizes.append(len(pictures))
        return many(pictures, questions)

    assert texts(FunctionModel(counted, batch=2).query(REQUESTS)) == RIGHT
    assert sizes == [2, 2, 1]


def test_an_image_is_a_pil_image_of_the_exact_pixels() -> None:
    def check(image, question):
        assert isinstance(image, Image.Image) and image.mode == "RGB" and question
        image.putpixel((0, 0), (1, 2, 3))  # a copy: the request's pixels stay
        return str(np.asarray(image)[1, 1].tolist())

    asked = request(7)
    asked.image.flags.writeable = False
    assert texts(FunctionModel(check).query([asked])) == ["[7, 0, 248]"]
    assert asked.image[0, 0].tolist() == [7, 0, 248]


def raises(image, question):
    raise KeyError("no such\nkey")


def leaves(image, question):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda image, question: 7, r"lambda returned int \(7\) where text was expected"),
        (lambda image, question: None, "returned None where text was expected; return a str"),
        (lambda image, question: b"red", r"returned bytes \(b'red'\) where text .* decode it"),
        (lambda image, question: True, r"returned bool \(True\) where text"),
        (lambda image, question: ["red"], "returned list where text .* batch=16"),
        (lambda image, question: {"red": 0.5}, "returned dict where text .* logprobs=True"),
        (lambda image, question: "\ud800", "a text that is not Unicode"),
        (lambda images, questions: ["red"] * 2, "returned a list of 2 for 1 images"),
        (lambda images, questions: "red", "returned str where a list of texts was expected"),
        (lambda images, questions: 7, "returned int .7. where a list of texts"),
        (lambda images, questions: [None], "returned None where text"),
        (raises, r"raises raised KeyError: 'no such\\nkey' \(test_function.py, line \d+\)"),
        (leaves, "leaves raised SystemExit: 3"),
    ],
)
def test_a_wrong_return_is_told_in_one_line(function: Any, said: str) -> None:
    assert re.search(said, reason(function))


def test_a_failure_is_that_query_alone() -> None:
    def some(image, question):
        if seen(image) == "blue":
            raise ValueError("no blue")
        return "red"

    outcomes = FunctionModel(some).query(REQUESTS)
    assert [isinstance(outcome, Reply) for outcome in outcomes] == [True, False, True, False, True]
    assert all(outcome.usage.attempts == 1 for outcome in outcomes)


@pytest.mark.parametrize("function", [raises, lambda image, question: 7])
def test_a_function_that_never_answers_is_asked_four_times(function: Any) -> None:
    asked = []

    def counted(image, question):
        asked.append(question)
        return function(image, question)

    with pytest.raises(ModelError, match="python/counted gave no answer in its first 4 calls: "):
        FunctionModel(counted).query(REQUESTS * 20)
    assert len(asked) == 4


def test_a_secret_of_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-1234567890")

    def leaks(image, question):
        raise RuntimeError("https://host/?key=sk-1234567890")

    assert "key=***" in reason(leaks)


# -- time and threads ------------------------------------------------------------------------------
@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_function_that_hangs_is_given_up(concurrency: int) -> None:
    never = threading.Event()

    def hangs(image, question):
        never.wait()
        return "red"

    model = FunctionModel(hangs, timeout=0.05, concurrency=concurrency)
    outcome = model.query(REQUESTS[:1])[0]
    assert isinstance(outcome, QueryFailed)
    assert outcome.reason == "hangs gave no answer within 0.05 s"
    with pytest.raises(ModelError, match=r"hangs gave no answer within 0.05 s, 3 times in a row"):
        model.query(REQUESTS)
    never.set()


def test_a_hang_among_answers_is_one_failed_query() -> None:
    never = threading.Event()

    def hangs_once(image, question):
        if np.asarray(image)[0, 0, 0] == 210:
            never.wait()
        return seen(image)

    outcomes = FunctionModel(hangs_once, timeout=0.2).query(REQUESTS)
    assert [isinstance(outcome, QueryFailed) for outcome in outcomes] == [False, False, True] + [
        False
    ] * 2
    never.set()


def test_an_async_function_that_hangs_is_cancelled() -> None:
    cancelled = threading.Event()

    async def hangs(image, question):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "red"

    outcome = FunctionModel(hangs, timeout=0.05).query(REQUESTS[:1])[0]
    assert isinstance(outcome, QueryFailed) and "within 0.05 s" in outcome.reason
    assert cancelled.wait(10)


def test_an_async_function_that_is_cancelled_from_within_has_failed() -> None:
    async def cancelled(image, question):
        raise asyncio.CancelledError  # such as from a client that was closed

    (outcome,) = FunctionModel(cancelled).query(REQUESTS[:1])
    assert isinstance(outcome, QueryFailed) and "was cancelled" in outcome.reason


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_calls_at_once_than_allowed(concurrency: int) -> None:
    counting = threading.Lock()
    now = 0
    most = 0

    def watched(image, question):
        nonlocal now, most
        with counting:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with counting:
            now -= 1
        return "red"

    model = FunctionModel(watched, concurrency=concurrency)
    askers = [threading.Thread(target=model.query, args=[REQUESTS]) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert most <= concurrency
    if concurrency > 1:
        assert most > 1


def test_calls_at_once_of_an_async_function_share_one_loop() -> None:
    loops = set()
    met = []

    async def meets(image, question):
        loops.add(asyncio.get_running_loop())
        met.append(question)
        while len(met) < 2:
            await asyncio.sleep(0.001)
        return "red"

    assert texts(FunctionModel(meets, concurrency=2, timeout=30).query(REQUESTS[:2])) == ["red"] * 2
    assert len(loops) == 1


def test_one_thread_makes_all_calls_and_without_a_limit_it_is_the_asking_one() -> None:
    def where(image, question):
        return str(threading.get_ident())

    model = FunctionModel(where)
    found = {*texts(model.query(REQUESTS)), *texts(model.query(REQUESTS))}
    here = str(threading.get_ident())
    assert len(found) == 1 and here not in found
    assert {*texts(FunctionModel(where, timeout=None).query(REQUESTS))} == {here}


# -- log-probabilities -----------------------------------------------------------------------------
def scored(found: dict[str, Any], **parts: Any) -> Outcome:
    model = FunctionModel(lambda image, question: found, logprobs=True)
    return model.query([request(labels=LABELS, **parts)])[0]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"red": 0.75, "blue": 0.25}, [math.log(0.75), math.log(0.25)]),
        ({"blue": np.float32(0.5), "red": np.float64(0.5)}, [math.log(0.5)] * 2),
        ({"red": -0.5, "blue": -2, "green": -9}, [-0.5, -2.0]),
        ({"red": 1.0, "blue": 0.0}, [0.0, math.log(1e-30)]),
        ({"red": 0.0, "blue": -math.inf}, [0.0, math.log(1e-30)]),
        ({"red": 0.0, "blue": 0.0, "green": 1.0}, [math.log(1e-30)] * 2),
    ],
)
def test_probabilities_and_log_probabilities_are_told_apart(
    found: dict[str, Any], wanted: list[float]
) -> None:
    outcome = scored(found)
    assert isinstance(outcome, Reply) and outcome.scores is not None
    assert [score.logprob for score in outcome.scores] == pytest.approx(wanted)
    assert [score.tokens for score in outcome.scores] == [1, 1]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"red": 0.5}, "no log-probability for the label 'blue' (it gave 'red')"),
        ({"red": 3.0, "blue": -1.0}, "neither probabilities (0 to 1) nor log-probabilities"),
        ({"red": float("nan"), "blue": 0.1}, "neither probabilities"),
        ({"red": None, "blue": 0.1}, "is no number"),
        ({"red": 0.0, "blue": 0.0}, "all values are 0"),
        ({}, "returned dict where a dict from label"),
        ("red", "returned str where a dict from label to log-probability was expected"),
    ],
)
def test_a_wrong_dict_is_told_in_one_line(found: Any, said: str) -> None:
    outcome = scored(found)
    assert isinstance(outcome, QueryFailed) and said in outcome.reason


def test_the_likeliest_label_is_the_text() -> None:
    outcome = scored({"red": 0.2, "blue": 0.8}, forced=True)
    assert isinstance(outcome, Reply) and (outcome.text, outcome.scores) == ("blue", None)
    model = FunctionModel(lambda image, question: {"red": 0.9, "blue": 0.1}, logprobs=True)
    assert texts(model.query([request()])) == ["red"]


def test_labels_are_given_to_who_wants_them() -> None:
    def shares(images, questions, labels):
        return [{label: 1 / len(some) for label in some} for some in labels]

    model = FunctionModel(shares, logprobs=True)
    (outcome,) = model.query([request(labels=("a", "b", "c", "d"))])
    assert isinstance(outcome, Reply) and outcome.scores is not None
    assert [score.logprob for score in outcome.scores] == pytest.approx([math.log(0.25)] * 4)


def colour_scores(image, question):
    red = float(np.asarray(image)[..., 0].mean() / 255)
    return {"red": red, "blue": 1 - red}


class TestFunction(AdapterContract):
    def make(self) -> Model:
        return FunctionModel(one, deterministic=True)


class TestPaidScores(AdapterContract):
    def make(self) -> Model:
        return FunctionModel(colour_scores, logprobs=True, usd=0.01, concurrency=2)


# -- cost ------------------------------------------------------------------------------------------
def test_a_paid_function_keeps_to_a_cap_on_money() -> None:
    budget = Budget(usd_cap=0.025)
    model = FunctionModel(one, usd=0.01)
    metered = MeteredModel(model, InMemoryCache(), budget=budget)
    with pytest.raises(BudgetReached):
        metered.query(REQUESTS)
    assert budget.total == 0
    outcomes = model.query(REQUESTS, budget)
    assert [outcome.usage.attempts for outcome in outcomes] == [1, 1, 0, 0, 0]
    assert sum(outcome.usage.usd for outcome in outcomes) == pytest.approx(0.02)


def test_a_paid_call_is_in_the_journal_before_it_is_made(tmp_path: Path) -> None:
    kept = []

    def looks(image, question):
        kept.append((tmp_path / "journal.jsonl").read_text("utf-8"))
        return "red"

    with Journal({"x": 1}, tmp_path) as journal:
        model = MeteredModel(FunctionModel(looks, usd=0.01), journal, budget=Budget())
        model.query(REQUESTS[:1])
    lines = [json.loads(line) for line in kept[0].splitlines()]
    assert lines[-1]["record"] == "spent"


# -- what it is ------------------------------------------------------------------------------------
def made(threshold: float) -> Any:
    def rule(image, question):
        return str(threshold)

    return rule


def compiled(source: str) -> Any:
    space: dict[str, Any] = {}
    exec(source, space)
    return space["f"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (made(0.5), made(0.7)),
        (functools.partial(with_default, temperature=0.0), with_default),
        (Classifier(1), Classifier(2)),
        (Classifier(1).method, Classifier(2).method),
        (
            compiled("def f(image, question): return 'red'"),
            compiled("def f(image, question): return 'blue'"),
        ),
        (lambda image, question: "red", lambda image, question: "blue"),
    ],
)
def test_a_changed_function_is_another_model(before: Any, after: Any) -> None:
    first = FunctionModel(before, name="f")
    assert first.identity != FunctionModel(after, name="f").identity
    assert first.identity == FunctionModel(before, name="f").identity
    assert first.identity != FunctionModel(before, name="f", version="2").identity


def test_equal_source_is_the_same_model_in_another_process(tmp_path: Path) -> None:
    first = compiled("def f(image, question, k=3): return {'a', 'b'} and str(k)")
    second = compiled("\n\ndef f(image, question, k=3): return {'a', 'b'} and str(k)")
    assert FunctionModel(first).identity == FunctionModel(second).identity


def test_names() -> None:
    assert FunctionModel(one).spec == "python/one"
    assert FunctionModel(lambda image, question: "").spec == "python/lambda"
    assert FunctionModel(Classifier()).spec == "python/Classifier"
    assert FunctionModel(one, name="mine").spec == "python/mine"
    assert FunctionModel(one, name="acme/one").spec == "acme/one"


def test_a_function_reports_the_version_that_it_is_given_and_none_of_its_source() -> None:
    asked = [Request(np.zeros((8, 8, 3), np.uint8), "which colour?")]
    for model, version in [
        (FunctionModel(one), ""),
        (FunctionModel(one, version="weights of May"), "weights of May"),
        (FunctionModel(one, version="weights of May", reports=""), ""),
    ]:
        (reply,) = model.query(asked)
        assert isinstance(reply, Reply)
        assert reply.version == version


def test_the_decorator_gives_a_model_that_can_be_called() -> None:
    @bbtvp.model
    def plain(image, question):
        return "red"

    @bbtvp.model(usd=0.5, concurrency=2)
    def paid(image, question):
        return "blue"

    assert isinstance(plain, FunctionModel) and plain(None, "which?") == "red"
    assert isinstance(paid, FunctionModel) and paid.max_cost(request()) == 0.5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Classifier, "Classifier is a class; give an instance of it"),
        (7, "a model of type int; give a function"),
        (None, "a model of type NoneType"),
        (lambda: "red", r"cannot be called as lambda\(image, question\)"),
        (lambda image, question, key: "red", "cannot be called as"),
    ],
)
def test_what_is_no_model_is_named(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        as_models(given)


@pytest.mark.parametrize(
    "options",
    [{"batch": 0}, {"batch": 1.5}, {"concurrency": 0}, {"usd": -1}, {"timeout": 0}, {"usd": "1"}],
)
def test_an_option_that_cannot_be_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} is "):
        FunctionModel(one, **options)


def test_one_model_or_several() -> None:
    model = FunctionModel(one)
    assert as_models("zoo/llava") == ["zoo/llava"]
    assert as_models([model, "zoo/llava"]) == [model, "zoo/llava"]
    wrapped, known = as_models([one, model])
    assert isinstance(wrapped, FunctionModel) and known is model
    assert load_model(one, usd=1).max_cost(request()) == 1
    with pytest.raises(UsageError, match=r"python/own is a function .*docs/models.md"):
        load_model("python/own")


# -- a run -----------------------------------------------------------------------------------------
def reads_patterns(image, question):
    """Right where the pattern stands out enough."""
    grey = np.asarray(image, np.float64).mean(axis=2)
    if grey.std() < 12:
        return "cannot tell"
    rows = np.abs(np.diff(grey, axis=0)).mean()
    columns = np.abs(np.diff(grey, axis=1)).mean()
    if rows > 2 * columns:
        return "rows"
    return "columns" if columns > 2 * rows else "checks"


def test_a_search_goes_on_with_the_same_function_alone(tmp_path: Path) -> None:
    asked = []

    def own(image, question):
        asked.append(question)
        return reads_patterns(image, question)

    task = patterns()
    first = bbtvp.optimize(task, own, queries=120, out=tmp_path)
    count = len(asked)
    again = bbtvp.optimize(task, own, queries=120, out=tmp_path)
    assert len(asked) == count == sum(first.queries.values())
    assert again.prompt.digest == first.prompt.digest
    with pytest.raises(bbtvp.BbtvpError, match="models"):
        bbtvp.optimize(task, FunctionModel(own, version="2"), queries=120, out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert record["models"][0]["spec"] == "python/own"
    assert record["models"][0]["origin"] is None


def test_a_function_is_proved_and_checked() -> None:
    task = patterns()
    run = bbtvp.optimize(task, reads_patterns, queries=150)
    proof = bbtvp.verify(run.prompt, task, reads_patterns, source=run.model.spec)
    assert [row.model for row in proof.rows] == ["python/reads_patterns"]
    assert proof.rows[0].role == "source"


# -- several images --------------------------------------------------------------------------------
def named_by_examples(image, question, shown):
    """The answer of the example whose colour the image has."""
    nearest = {seen(picture): text for picture, text in shown}
    return nearest.get(seen(image), "none")


EXAMPLES = (Shown(request(250).image, "cherry"), Shown(request(5).image, "plum"))


def test_a_function_with_a_parameter_shown_gets_the_images_before() -> None:
    model = FunctionModel(named_by_examples)
    asked = [replace(each, context=EXAMPLES) for each in REQUESTS[:2]] + REQUESTS[:1]
    assert [reply.text for reply in model.query(asked)] == ["cherry", "plum", "none"]
    assert model.capabilities.images > 100


def test_a_batch_gets_a_list_for_each_image() -> None:
    def many_named(images, questions, shown):
        rows = zip(images, questions, shown, strict=True)
        return [named_by_examples(image, question, before) for image, question, before in rows]

    model = FunctionModel(many_named)
    asked = [replace(each, context=EXAMPLES) for each in REQUESTS[:2]] + REQUESTS[:1]
    assert [reply.text for reply in model.query(asked)] == ["cherry", "plum", "none"]


def test_a_function_without_it_takes_one_image() -> None:
    metered = MeteredModel(FunctionModel(one), InMemoryCache())
    with pytest.raises(UsageError, match="python/one takes one image in a request"):
        metered.query([replace(REQUESTS[0], context=EXAMPLES)])
