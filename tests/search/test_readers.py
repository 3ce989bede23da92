"""Generalised cross-entropy, and several answers to one question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.core.errors import UsageError
from bbtvp.models import Budget, LabelScore, Outcome, QueryFailed, Reply, Request
from bbtvp.search import LogProbReader, Reading, TextReader, ask
from tests.support import LABELS, Eye, Flaky, Recorder, Wrapper, patterns

TASK = patterns()
COLUMNS = next(sample for sample in TASK.train if sample.answer == "columns")
IMAGES = [sample.pixels() for sample in TASK.train[:3]]
LOGITS = st.lists(st.floats(-30, 0), min_size=len(LABELS), max_size=len(LABELS))
Q = st.floats(0.01, 1)


def loss_of(logits: Sequence[float], q: float) -> float:
    reply = Reply(scores=tuple(LabelScore(score, 1) for score in logits))
    return LogProbReader("sum", q).read(reply, TASK, COLUMNS).loss


def share_of(logits: Sequence[float]) -> float:
    """The true label's part of the probability."""
    weights = np.exp(np.array(logits))
    return float(weights[LABELS.index("columns")] / weights.sum())


# -- generalised cross-entropy ---------------------------------------------------------------------
@given(LOGITS)
def test_its_two_ends_are_the_log_loss_and_the_probability_of_error(logits: list[float]) -> None:
    p = share_of(logits)
    assert loss_of(logits, 0) == pytest.approx(-math.log(p), rel=1e-9, abs=1e-9)
    assert loss_of(logits, 1) == pytest.approx(1 - p, rel=1e-9, abs=1e-9)
    assert loss_of(logits, 1e-7) == pytest.approx(loss_of(logits, 0), rel=1e-4, abs=1e-6)


@given(LOGITS, Q)
def test_it_is_the_formula_and_within_its_bounds(logits: list[float], q: float) -> None:
    loss = loss_of(logits, q)
    assert loss == pytest.approx((1 - share_of(logits) ** q) / q, rel=1e-6, abs=1e-9)
    assert 0 <= loss <= 1 / q


@given(LOGITS, LOGITS, Q)
def test_a_likelier_true_label_never_costs_more(
    one: list[float], other: list[float], q: float
) -> None:
    worse, better = sorted((one, other), key=share_of)
    assert loss_of(better, q) <= loss_of(worse, q) + 1e-12
    assert loss_of(better, 0) <= loss_of(worse, 0) + 1e-12


def test_one_confident_mistake_rules_the_log_loss_and_not_the_default() -> None:
    mistaken = (0.0, -30.0, -30.0, -30.0)
    unsure = (0.0, 0.0, 0.0, 0.0)
    assert loss_of(mistaken, 0) > 20 * loss_of(unsure, 0)
    assert loss_of(mistaken, LogProbReader().q) < 3 * loss_of(unsure, LogProbReader().q)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, math.inf])
def test_a_q_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(UsageError, match=r"q is .*; give a number from 0 \(log loss\) to 1"):
        LogProbReader(q=q)


# -- several answers -------------------------------------------------------------------------------
@final
class Says(Wrapper):
    """Gives the answer of each replicate: None fails."""

    def __init__(self, *answers: str | None) -> None:
        super().__init__()
        self.answers = answers

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        said = [self.answers[request.replicate] for request in requests]
        return [QueryFailed("HTTP 503") if text is None else Reply(text) for text in said]


def test_each_repeat_is_a_request_of_its_own() -> None:
    model = Recorder()
    samples = TASK.train[:3]
    ask(model, LogProbReader(), TASK, samples, images=IMAGES, repeats=3)
    assert len(model.calls) == 1
    assert [request.replicate for request in model.asked] == [0, 1, 2] * 3
    assert [request.image.tobytes() for request in model.asked] == [
        i.tobytes() for i in IMAGES for _ in range(3)
    ]
    assert len({request.key for request in model.asked}) == 9


def test_the_first_repeat_is_the_request_without_repeats() -> None:
    once = Recorder()
    often = Recorder()
    ask(once, LogProbReader(), TASK, TASK.train[:3], images=IMAGES)
    ask(often, LogProbReader(), TASK, TASK.train[:3], images=IMAGES, repeats=2)
    assert [request.key for request in often.asked][::2] == [request.key for request in once.asked]


def columns(*answers: str | None) -> Reading:
    """What is read of these answers to one question whose answer is columns."""
    model = Says(*answers)
    return ask(model, TextReader(), TASK, [COLUMNS], repeats=len(answers)).readings[0]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("columns", "rows", "columns", "checks"), (0.5, "columns", 0.5)),
        (("columns", "rows", "rows"), (2 / 3, "rows", 1 / 3)),
        (("rows", "columns"), (0.5, "rows", 0.5)),  # of equals, the first
        (("no idea", "no idea", "columns"), (2 / 3, None, 1 / 3)),
        (
            (None, "columns", "columns"),
            (0.0, "columns", 1.0),
        ),  # a failed repeat is missing, not wrong
        ((None, None, "rows"), (1.0, "rows", 0.0)),
    ],
)
def test_repeats_are_read_as_their_mean_and_majority(
    answers: tuple[str | None, ...], expected: tuple[float, str | None, float]
) -> None:
    loss, answer, correct, _ = columns(*answers)
    assert (loss, correct) == pytest.approx((expected[0], expected[2]))
    assert answer == expected[1]


def test_repeats_that_all_fail_are_missing() -> None:
    loss, answer, correct, status = columns(None, None)
    assert math.isnan(loss)
    assert math.isnan(correct)
    assert (answer, status) == (None, "failed")


def test_each_image_keeps_its_own_repeats() -> None:
    """Whichever replicate fails, the rest is the reading of that image: the model is
    deterministic.
    """
    samples = TASK.train[:3]
    lossy = Flaky(
        Eye(),
        refuses=lambda request: request.replicate == samples.index(whose[request.image.tobytes()]),
    )
    whose = {sample.pixels().tobytes(): sample for sample in samples}
    expected = ask(Eye(), LogProbReader(), TASK, samples, images=IMAGES)
    found = ask(lossy, LogProbReader(), TASK, samples, images=IMAGES, repeats=3)
    assert found.losses == pytest.approx(expected.losses)
    assert found.labels == expected.labels


# -- questions -------------------------------------------------------------------------------------
@pytest.mark.parametrize("reader", [LogProbReader(), TextReader()])
def test_the_question_that_is_given_is_the_one_that_is_sent(
    reader: LogProbReader | TextReader,
) -> None:
    model = Recorder()
    samples = TASK.train[:3]
    questions = ["one?", "two?", "three?"]
    ask(model, reader, TASK, samples, images=IMAGES, questions=questions, repeats=2)
    assert [request.text for request in model.asked] == [
        "one?",
        "one?",
        "two?",
        "two?",
        "three?",
        "three?",
    ]
    ask(model, reader, TASK, samples, images=IMAGES)
    assert [request.text for request in model.calls[1]] == [TASK.ask(sample) for sample in samples]


def test_a_question_too_few_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ask(Eye(), TextReader(), TASK, TASK.train[:3], images=IMAGES, questions=["one?"])


# -- labels without scores -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "answer", "status"),
    [
        ("columns", "columns", "answered"),
        ("rows", "rows", "answered"),
        ("I cannot tell", None, "unparsed"),
        ("", None, "unparsed"),
    ],
)
def test_a_reply_whose_labels_have_no_scores_is_read_by_its_text(
    text: str, answer: str | None, status: str
) -> None:
    reader = LogProbReader()
    reading = reader.read(Reply(text, ()), TASK, COLUMNS)
    right = answer == "columns"
    assert (reading.answer, reading.correct, reading.status) == (answer, float(right), status)
    assert (reading.loss == 0.0) == right
    assert reader.scores(Reply(text, ()), TASK, COLUMNS) is None
