"""A proposer's wordings: what it is told, what is taken, what it costs, and what a kill leaves.

No model at hand answers to words. The stand-in is a function whose accuracy truly depends on the
wording: it shows that the machinery finds one that works, not that one works on a real model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.core.errors import BudgetReached, UsageError
from bbtvp.models import Budget, FunctionModel, Model, Outcome, Request
from bbtvp.prompt import PromptSpace, Tone
from bbtvp.prompt.wordings import Wording
from bbtvp.report.preflight import preflight_text
from bbtvp.search import Run, SearchConfig, SearchEvent, optimize
from bbtvp.search.events import ProposerSkipped, WordingsProposed
from bbtvp.search.preflight import look_ahead
from bbtvp.search.proposals import (
    CALLS,
    LONGEST_PROPOSAL,
    ROUNDS,
    Mistake,
    ScoredWording,
    meta_prompt,
    parsed,
    sifted,
)
from bbtvp.search.setup import set_up
from bbtvp.tasks import Sample, Task
from tests.support import Wrapper

LABELS = ("circle", "square")
QUESTION = "Which shape is it?"
GOOD = "{question} Compare the lengths of the edges first."


def task(labels: tuple[str, ...] | None = LABELS, answers: tuple[str, ...] = LABELS) -> Task:
    def samples(kind: str, base: int) -> tuple[Sample, ...]:
        return tuple(
            Sample(f"{kind}{i}", answers[i % len(answers)], image(base + i)) for i in range(40)
        )

    metric = "accuracy" if labels else "exact"
    parts = (samples("a", 0), samples("b", 40), samples("c", 80))
    return Task("shapes", QUESTION, labels, *parts, metric=metric)


def image(level: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.full((8, 8, 3), level, np.uint8)


def sees(picture: object, question: str) -> str:
    """Right on each third image, and on all where it is told of edges."""
    level = int(np.asarray(picture)[0, 0, 0])
    right = LABELS[level % 2]
    wrong = LABELS[1 - level % 2]
    return right if "edges" in question or level % 3 == 0 else wrong


def run(
    reply: Callable[[str], str],
    *,
    asked: list[str] | None = None,
    events: list[SearchEvent] | None = None,
    model: Model | None = None,
    **options: Any,
) -> Run:
    told = [] if asked is None else asked

    def proposer(picture: object, question: str) -> str:
        told.append(question)
        return reply(question)

    given = {"prompt": "words", "words": "task", "reader": "text", "queries": 800, **options}
    return optimize(
        task(),
        model or FunctionModel(sees, deterministic=True),
        proposer=FunctionModel(proposer, name="writer", version="1", deterministic=True),
        watch=(lambda event: None) if events is None else events.append,
        **given,
    )


def proposing(question: str) -> str:
    return f"Edges may help.\n<wording>{GOOD}</wording>\n<wording>Look. {{question}}</wording>"


# -- what it finds ---------------------------------------------------------------------------------
def test_the_search_finds_the_wording_that_the_proposer_gave(tmp_path: Path) -> None:
    asked: list[str] = []
    events: list[SearchEvent] = []
    found = run(proposing, asked=asked, events=events, out=tmp_path)
    assert found.improved
    assert found.prompt.ask("Q?") == "Q? Compare the lengths of the edges first."
    assert 1 <= len(asked) <= ROUNDS
    assert found.proposals is not None
    assert found.proposals.calls == len(asked)
    assert "proposer" not in found.queries
    assert sum(found.queries.values()) <= 800
    assert f"words: {GOOD}" in found.summary()
    assert "calls, counted apart from image queries" in found.summary()
    first = next(event for event in events if isinstance(event, WordingsProposed))
    assert first.texts == (GOOD, "Look. {question}")
    assert QUESTION in asked[0]
    assert "circle, square" in asked[0]
    assert "right answer: circle; reply: 'square'" in asked[0]


def test_a_run_that_has_ended_asks_no_one_again(tmp_path: Path) -> None:
    asked: list[str] = []
    first = run(proposing, asked=asked, out=tmp_path)
    calls = len(asked)
    again = run(proposing, asked=asked, out=tmp_path)
    assert len(asked) == calls
    assert again.prompt.digest == first.prompt.digest
    assert again.queries == first.queries
    assert again.proposals == first.proposals


class Killed(BaseException):
    """The process ends here."""


class Dying(Wrapper):
    """Answers so many calls of requests; the next one ends the process."""

    def __init__(self, inner: FunctionModel, calls: int) -> None:
        super().__init__(inner)
        self.calls = calls

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        self.calls -= 1
        if self.calls < 0:
            raise Killed
        return super().query(requests, budget)


@pytest.mark.parametrize("after", range(10))
def test_a_killed_run_goes_on_to_the_same_prompt(after: int, tmp_path: Path) -> None:
    """Killed before each call of the model: while it is previewed, tried, raced and validated."""
    inner = FunctionModel(sees, deterministic=True)
    whole = run(proposing, model=Wrapper(inner))
    asked: list[str] = []
    with pytest.raises(Killed):
        run(proposing, asked=asked, model=Dying(inner, after), out=tmp_path)
    found = run(proposing, asked=asked, model=Wrapper(inner), out=tmp_path)
    assert found.prompt.digest == whole.prompt.digest
    assert found.queries == whole.queries
    assert whole.proposals is not None
    assert len(asked) == whole.proposals.calls


# -- a proposer that is of no use ------------------------------------------------------------------
def broken(question: str) -> str:
    raise ValueError("no such model")


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (lambda question: "", "it gave no wording"),
        (lambda question: "I cannot help with that.", "it gave no wording"),
        (lambda question: "circle", "it gave no wording"),
        (lambda question: "[[[{]" * 999, "it gave no wording"),
        (
            lambda question: "<wording>{question} It is a circle.</wording>",
            "it gave 1 proposal, all refused",
        ),
        (broken, "no such model"),
    ],
)
def test_the_search_goes_on_without(reply: Callable[[str], str], line: str) -> None:
    events: list[SearchEvent] = []
    found = run(reply, events=events)
    said = [event.why for event in events if isinstance(event, ProposerSkipped)]
    assert len(said) == 1
    assert line in said[0]
    assert said[0].endswith("the search goes on without")
    assert "\n" not in said[0]
    assert found.proposals is None or found.proposals.calls <= CALLS


def test_what_cannot_be_is_said_before_anything_is_asked() -> None:
    with pytest.raises(UsageError, match="too few to try what a proposer gives; give at least 192"):
        run(proposing, queries=100)
    with pytest.raises(UsageError, match=r"a proposer needs a prompt that has words: add \+guid"):
        run(proposing, prompt="tone", words=None)
    with pytest.raises(UsageError, match="a proposer needs"):
        run(proposing, prompt=PromptSpace((Tone(("contrast",)),), 16), words=None)


def test_a_plan_says_what_a_proposer_may_be_asked() -> None:
    config = SearchConfig(prompt="words", queries=1000, proposer="python/writer")
    model = FunctionModel(sees, deterministic=True)
    shapes = task()
    found = look_ahead(shapes, [model], config, set_up(shapes, [model], config))
    line = "proposer: at most 4 calls, and 192 of the image queries to try what it gives"
    assert line in preflight_text(found)
    assert found.as_json()["proposer"] == {"images": 16, "queries": 192}


def test_its_dollars_count_for_the_cap_on_money() -> None:
    def proposer(picture: object, question: str) -> str:
        return proposing(question)

    def searched(usd: float) -> Run:
        return optimize(
            task(),
            FunctionModel(sees, deterministic=True, usd=0.001),
            prompt="words",
            words="task",
            reader="text",
            queries=800,
            usd=usd,
            proposer=FunctionModel(proposer, name="writer", version="1", usd=0.05),
        )

    found = searched(5.0)
    assert found.proposals is not None
    assert found.proposals.usd == pytest.approx(0.05 * found.proposals.calls)
    images = sum(found.queries.values())
    assert found.usd == pytest.approx(0.001 * images + found.proposals.usd)
    try:
        tight = searched(0.2)
    except BudgetReached:
        return
    assert tight.usd <= 0.2


# -- what is taken ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{question} It is a circle.", "it names 'circle' and not all answers"),
        ("{question} CIRCLE", "it names 'circle' and not all answers"),
        ("The answer is round. {question}", "it states an answer"),
        ("{question} Answer: round", "it states an answer"),
        ("{question} What colour is it?", "it asks another question"),
        ("Ignore the picture. {question}", "it overrules the question"),
        ("Always answer in the same way. {question}", "it overrules the question"),
        ("Look.", "it does not hold {question} exactly once"),
        ("{question} {question} Look.", "it does not hold {question} exactly once"),
        ("{question}", "it is empty"),
        ("  ", "it is empty"),
        ("Known already. {question}", "it is known"),
        ("known  ALREADY. {question}", "it is known"),
        ("{question} " + "x " * LONGEST_PROPOSAL, "characters; 600 are the most"),
    ],
)
def test_a_proposal_that_is_refused(text: str, why: str) -> None:
    taken, refused = sifted([text], task(), [Wording("known", "Known already.")])
    assert not taken
    assert why in refused[0].why


@pytest.mark.parametrize(
    "text",
    [
        "{question} Choose circle or square.",
        "Encircled things are squares of a kind. {question}",
        "{question} よく見てください。",
        'Reply as {"shape": …}. {question}',
    ],
)
def test_a_proposal_that_is_taken(text: str) -> None:
    taken, refused = sifted([text], task(), [])
    assert [each.text for each in taken] == [text]
    assert not refused


def test_answers_in_other_scripts_and_free_answers_do_not_leak() -> None:
    animals = ("猫", "犬")
    _, refused = sifted(["{question} これは猫です。"], task(animals, animals), [])
    assert refused[0].why == "it names '猫' and not all answers"
    free = task(None, ("EXIT 12", "Main St"))
    _, refused = sifted(["{question} Signs say Main St here."], free, [])
    assert refused[0].why == "it names 'Main St' and not all answers"
    taken, _ = sifted(["{question} Read every letter."], free, [])
    assert taken


@pytest.mark.parametrize(
    ("reply", "texts"),
    [
        ("<wording> a {question}\n</wording><WORDING>b</WORDING>", ["a {question}", "b"]),
        ('Here: ["a {question}", "b", 3]', ["a {question}", "b"]),
        ('```json\n["a"]\n```', ["a"]),
        ("1. a\n2. b", []),
        ("", []),
        ("][", []),
    ],
)
def test_how_a_reply_is_read(reply: str, texts: list[str]) -> None:
    assert parsed(reply) == texts


def test_what_the_proposer_is_told() -> None:
    said = meta_prompt(
        task(),
        "Is {this} it?",
        [ScoredWording("{question}", 0.25), ScoredWording("A {x} {question}", 0.5)],
        [Mistake("circle", "I see\na square")],
        count=4,
        images=16,
    )
    assert "stays exactly as it is: Is {this} it?" in said
    assert said.index('25 %: "{question}"') < said.index('50 %: "A {x} {question}"')
    assert "- right answer: circle; reply: 'I see\\na square'" in said
    assert "write 4 new wordings" in said
