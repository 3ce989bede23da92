"""A verdict that is not fooled by replies: constant answers, refusals, rambling, cut replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import numpy as np
import pytest

from bbtvp.core.rng import stream
from bbtvp.models import Budget, Capabilities, Model, Outcome, QueryFailed, Reply, Request
from bbtvp.prompt import Prompt, preset
from bbtvp.report.terminal import proof_details, proof_table
from bbtvp.tasks import Sample, Task
from bbtvp.verify import Proof, verify
from bbtvp.verify.controls import best_constant, constant_correct, hardest_constant
from tests.support import SIDE

PROMPT = preset("tone", SIDE).prompt(np.array([1.0, 0.0, 0.0]))
Says = Callable[[str, int], str | Outcome]
"""(true answer, number of the test image) → a reply."""


@final
class Parrot(Model):
    """Says what it is told to, of a test image as it is and of a prompted one."""

    spec = "a/parrot"
    capabilities = Capabilities(logprobs=False, deterministic=True)

    def __init__(self, task: Task, before: Says, after: Says, prompt: Prompt = PROMPT) -> None:
        self.known = {}
        for i, sample in enumerate(task.test):
            raw = sample.pixels()
            self.known[prompt.render(raw).tobytes()] = (after, sample.answer, i)
            self.known[raw.tobytes()] = (before, sample.answer, i)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        found: list[Outcome] = []
        for request in requests:
            says, truth, i = self.known[request.image.tobytes()]
            said = says(truth, i)
            found.append(Reply(said) if isinstance(said, str) else said)
        return found


def task(answers: Sequence[str], labels: tuple[str, ...] | None, metric: str = "accuracy") -> Task:
    rng = stream(0, "controls")
    images = rng.integers(60, 190, (len(answers), SIDE, SIDE, 3)).astype(np.uint8)
    test = tuple(Sample(f"t{i}", one, images[i]) for i, one in enumerate(answers))
    extra = tuple(
        Sample(f"x{i}", one, rng.integers(60, 190, (SIDE, SIDE, 3)).astype(np.uint8))
        for i, one in enumerate(answers[:8])
    )
    return Task("told", "what is it?", labels, extra[:4], extra[4:], test, metric)


LABELS = ("china", "flower", "hopper")
THREE = task([LABELS[i % 3] for i in range(90)], LABELS)
NINE_IN_TEN = task(["sound" if i % 10 else "crack" for i in range(200)], ("sound", "crack"))
POLAR = task([("yes", "no")[i % 2] for i in range(100)], ("yes", "no"))
FREE = task([("Paris", "Rome", "Oslo")[i % 3] for i in range(90)], None, "exact")
LENIENT = task([("Paris", "Rome", "Oslo")[i % 3] for i in range(90)], None, "contains")


def always(said: str) -> Says:
    return lambda truth, i: said


def share(right: float, otherwise: Says, seed: int = 0) -> Says:
    """The truth for this share of the images, whichever they are."""
    draws = stream(seed, "right", int(1000 * right)).random(1000)
    return lambda truth, i: truth if draws[i] < right else otherwise(truth, i)


def where(chosen: Callable[[int], bool], said: str | Outcome, otherwise: Says) -> Says:
    """This reply to the chosen images."""
    return lambda truth, i: said if chosen(i) else otherwise(truth, i)


def other_of(task: Task) -> Says:
    labels = task.labels or ("Paris", "Rome", "Oslo")
    return lambda truth, i: labels[(labels.index(truth) + 1) % len(labels)]


def proved(task: Task, before: Says, after: Says, *, sequential: bool = False) -> Proof:
    model = Parrot(task, before, after)
    return verify(PROMPT, task, [model], source=model.spec, sequential=sequential)


def codes(proof: Proof) -> list[str]:
    return [reason.code for reason in proof.verdict.reasons]


# -- no go for nothing -----------------------------------------------------------------------------
class Fooled(NamedTuple):
    """Replies that raise the share of right answers, and why that is no gain."""

    task: Task
    before: Says
    after: Says
    code: str


FOOLED = {
    "unparsed, then one label": Fooled(
        THREE, always("It is hard to say."), always("hopper"), "collapsed"
    ),
    "refused, then one label": Fooled(
        THREE, always("I'm sorry, I can't help with that."), always("china"), "collapsed"
    ),
    "another wording of it each time": Fooled(
        THREE,
        always("?"),
        lambda truth, i: ("hopper", "It is a hopper.", "Answer: hopper")[i % 3],
        "collapsed",
    ),
    "the commonest label of an imbalanced task": Fooled(
        NINE_IN_TEN, share(0.5, other_of(NINE_IN_TEN)), always("sound"), "collapsed"
    ),
    "nearly always the commonest": Fooled(
        NINE_IN_TEN,
        share(0.4, other_of(NINE_IN_TEN)),
        lambda truth, i: "crack" if i % 20 in (0, 5) else "sound",
        "not-above-constant",
    ),
    "yes to everything": Fooled(POLAR, always("Perhaps."), always("yes"), "collapsed"),
    "guesses": Fooled(
        THREE, always("It is hard to say."), lambda truth, i: LABELS[i // 3 % 3], "not-above"
    ),
    "free answers": Fooled(FREE, always("a city"), always("Rome"), "collapsed"),
    "free answers, everything listed": Fooled(
        LENIENT, always("a city"), always("Paris, Rome, Oslo"), "not-above-constant"
    ),
}


@pytest.mark.parametrize("sequential", [False, True], ids=["whole", "sequential"])
@pytest.mark.parametrize("name", FOOLED)
def test_no_go_for_a_constant_answer(name: str, sequential: bool) -> None:
    case = FOOLED[name]
    proof = proved(case.task, case.before, case.after, sequential=sequential)
    assert proof.rows[0].gain > 0.1, "the accuracies alone would show a gain"
    assert proof.verdict.word == "undecided"
    assert codes(proof)[0].startswith(case.code)
    assert proof.rows[0].images == len(case.task.test), "an early look must not settle it"


def test_a_collapse_is_told_in_plain_words() -> None:
    proof = proved(THREE, always("It is hard to say."), always("hopper"))
    assert str(proof.verdict) == (
        "undecided: the prompted replies of a/parrot are 'hopper' for 100 % of the images (0 % "
        "without the prompt), whatever they show: that reaches 33.3 %, and the best constant "
        "answer 33.3 %"
    )
    assert [note.code for note in proof.notes] == ["unread", "collapse"]
    row = proof.as_json()[0]
    assert row["replies"]["zero_shot"] == {"unparsed": 90, "refused": 0, "cut": 0, "failed": 0}
    assert (row["best_constant"], row["collapse"]["after"]) == (
        pytest.approx(1 / 3),
        {"answer": "hopper", "share": 1.0},
    )


def test_no_go_where_replies_are_only_read_now() -> None:
    """The model rambles on two images of five, and is as right on the others as it was."""
    skill = share(0.8, other_of(THREE))
    before = where(lambda i: i % 5 < 2, "Well, who knows?", skill)
    for sequential in (False, True):
        proof = proved(THREE, before, skill, sequential=sequential)
        assert proof.rows[0].gain > 0.2
        assert (proof.verdict.word, codes(proof)) == ("undecided", ["parses-now"])


def test_cut_replies_are_not_read_either() -> None:
    skill = share(0.8, other_of(THREE))
    before = where(lambda i: i % 5 < 2, Reply("Let me think about", cut=True), skill)
    proof = proved(THREE, before, skill)
    assert proof.rows[0].replies["zero_shot"].cut == 36
    assert codes(proof) == ["parses-now"]


# -- go for something ------------------------------------------------------------------------------
def test_a_model_that_sees_now_is_a_go() -> None:
    proof = proved(THREE, share(0.4, other_of(THREE)), share(0.9, other_of(THREE)))
    assert (proof.verdict.word, codes(proof)) == ("go", ["gains"])
    assert proof.notes == ()


@pytest.mark.parametrize("sequential", [False, True], ids=["whole", "sequential"])
def test_a_model_that_answers_at_all_now_and_rightly_is_a_go(sequential: bool) -> None:
    proof = proved(
        THREE, always("It is hard to say."), share(0.8, other_of(THREE)), sequential=sequential
    )
    assert (proof.verdict.word, codes(proof)) == ("go", ["gains", "answers-now"])


@pytest.mark.parametrize("sequential", [False, True], ids=["whole", "sequential"])
def test_a_reader_that_found_no_text_and_finds_it_now_is_a_go(sequential: bool) -> None:
    """An empty reply, of an OCR engine, holds no answer that could merely have been parsed."""
    skill = share(0.95, other_of(THREE))
    before = where(lambda i: i % 2 == 0, "", skill)
    proof = proved(THREE, before, skill, sequential=sequential)
    assert proof.rows[0].gain > 0.3
    assert (proof.verdict.word, codes(proof)) == ("go", ["gains"])


def test_an_empty_reply_that_was_cut_may_hold_an_answer() -> None:
    skill = share(0.95, other_of(THREE))
    before = where(lambda i: i % 2 == 0, Reply("", cut=True), skill)
    assert codes(proved(THREE, before, skill)) == ["parses-now"]


def test_a_gain_on_what_was_read_is_a_go_though_some_was_not() -> None:
    weak = share(0.3, other_of(THREE))
    before = where(lambda i: i % 5 == 0, "Well, who knows?", weak)
    proof = proved(THREE, before, share(0.9, other_of(THREE), seed=1))
    assert (proof.verdict.word, codes(proof)) == ("go", ["gains"])
    assert "unread" in [note.code for note in proof.notes]


def test_a_refused_query_is_counted_beside_the_failed_ones() -> None:
    before = where(lambda i: i % 9 == 0, QueryFailed("filtered", refused=True), always("china"))
    row = proved(THREE, before, share(0.9, other_of(THREE))).rows[0]
    assert row.replies["zero_shot"]._asdict() == {
        "unparsed": 0,
        "refused": 10,
        "cut": 0,
        "failed": 10,
    }
    assert row.n == 80


# -- the controls ----------------------------------------------------------------------------------
def test_the_best_constant_answer_by_hand() -> None:
    assert best_constant(NINE_IN_TEN, NINE_IN_TEN.test) == "sound"
    assert constant_correct(NINE_IN_TEN, "sound", NINE_IN_TEN.test).mean() == 0.9
    assert best_constant(THREE, THREE.test) == "china", "of equal ones the first by name"


def test_a_lenient_metric_has_a_better_constant_than_its_commonest_truth() -> None:
    cities = task(["old Rome"] * 4 + ["Rome"] * 3 + ["old"] * 3, None, "contains")
    assert best_constant(cities, cities.test) == "old Rome"
    assert constant_correct(cities, "old Rome", cities.test).mean() == 1.0


def test_what_is_always_said_may_be_the_harder_constant() -> None:
    answer, right = hardest_constant(LENIENT, "Oslo", LENIENT.test, ["Paris Rome Oslo"] * 90)
    assert (answer, right.mean()) == ("Paris Rome Oslo", 1.0)
    answer, right = hardest_constant(LENIENT, "Oslo", LENIENT.test, [None] * 90)
    assert (answer, right.mean()) == ("Oslo", pytest.approx(1 / 3))


def test_the_table_names_what_was_not_answered_and_the_constant_answer() -> None:
    proof = proved(THREE, always("It is hard to say."), share(0.8, other_of(THREE)))
    below = proof_table(proof).splitlines()[3:]
    assert below == [
        "best constant answer: 'china', 33.3 %",
        "replies without an answer, a/parrot: zero shot 90 unparsed; empty frame 90 unparsed",
    ]
    details = proof_details(proof)
    assert "over the best constant answer (33.3 %)  +" in details
    assert "commonest answer  '(none)' 0.0 % -> 'china' " in details
    quiet = proved(THREE, share(0.4, other_of(THREE)), share(0.9, other_of(THREE)))
    assert "without an answer" not in proof_table(quiet)
