"""Readers and the objective, against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import InMemoryCache, LabelScore, MeteredModel, Model, Reply, Request
from bbtvp.prompt import preset
from bbtvp.search import (
    LogProbReader,
    Objective,
    Reader,
    TextReader,
    ask,
    choose_reader,
)
from bbtvp.tasks import Sample, Task
from tests.support import FAINT, LABELS, SIDE, Eye, Flaky, Recorder, pattern, patterns

TASK = patterns()
COLUMNS = next(sample for sample in TASK.train if sample.answer == "columns")


def scored(*scores: tuple[float, int]) -> Reply:
    return Reply(scores=tuple(LabelScore(*score) for score in scores))


# -- log-probabilities -----------------------------------------------------------------------------
def test_sum_and_mean_by_hand() -> None:
    """Labels rows, columns (true), checks, diagonals, of 1, 2, 4 and 1 tokens."""
    reply = scored((-1.0, 1), (-3.0, 2), (-4.0, 4), (-2.0, 1))
    total = math.exp(-1) + math.exp(-3) + math.exp(-4) + math.exp(-2)
    mean = math.exp(-1) + math.exp(-1.5) + math.exp(-1) + math.exp(-2)
    by_sum = LogProbReader("sum", q=0).read(reply, TASK, COLUMNS)
    by_mean = LogProbReader("mean", q=0).read(reply, TASK, COLUMNS)
    assert by_sum.loss == pytest.approx(3 + math.log(total), rel=1e-12)
    assert by_mean.loss == pytest.approx(1.5 + math.log(mean), rel=1e-12)
    assert (by_sum.answer, by_sum.correct) == (by_mean.answer, by_mean.correct) == ("rows", 0.0)


def test_length_decides_between_sum_and_mean() -> None:
    reply = scored((-2.0, 1), (-3.0, 3), (-9.0, 1), (-9.0, 1))
    assert LogProbReader("sum").read(reply, TASK, COLUMNS).answer == "rows"
    assert LogProbReader("mean").read(reply, TASK, COLUMNS).answer == "columns"


@pytest.mark.parametrize("offset", [0.0, -1e4, -1e30])
def test_scores_far_from_zero_stay_finite(offset: float) -> None:
    equal = LogProbReader("sum", q=0).read(scored(*[(offset, 1)] * 4), TASK, COLUMNS)
    assert equal.loss == pytest.approx(math.log(4))
    apart = LogProbReader("sum", q=0).read(
        scored((offset, 1), (offset - 1e4, 1), (offset, 1), (offset, 1)), TASK, COLUMNS
    )
    assert math.isfinite(apart.loss)


def test_a_certain_right_answer_costs_nothing_and_a_certain_wrong_one_its_distance() -> None:
    reader = LogProbReader("sum", q=0)
    assert reader.read(scored((-1e4, 1), (0.0, 1), (-1e4, 1), (-1e4, 1)), TASK, COLUMNS) == (
        0.0,
        "columns",
        1.0,
        "answered",
    )
    assert reader.read(
        scored((0.0, 1), (-1e4, 1), (-1e5, 1), (-1e5, 1)), TASK, COLUMNS
    ).loss == pytest.approx(1e4)


def test_the_request_holds_the_pixels_the_question_and_the_labels() -> None:
    image = COLUMNS.pixels()
    request = LogProbReader().request(image, TASK.ask(COLUMNS), TASK, COLUMNS)
    assert request.image is image
    assert (request.text, request.labels) == (TASK.ask(COLUMNS), LABELS)


@pytest.mark.parametrize("reply", [Reply("columns"), scored((-1.0, 1))])
def test_a_reply_without_the_scores_is_an_error(reply: Reply) -> None:
    with pytest.raises(ModelError, match="no label log-probabilities; use the text reader"):
        LogProbReader().read(reply, TASK, COLUMNS)


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown normalisation 'means'; did you mean mean"):
        LogProbReader("means")


# -- text ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply("columns"), (0.0, "columns", 1.0, "answered")),
        (Reply("I think the answer is Columns."), (0.0, "columns", 1.0, "answered")),
        (Reply("rows"), (1.0, "rows", 0.0, "answered")),
        (Reply("rows or columns"), (1.0, None, 0.0, "unparsed")),
        (Reply("no idea"), (1.0, None, 0.0, "unparsed")),
        (Reply(""), (1.0, None, 0.0, "unparsed")),
        (Reply("The picture seems to be", cut=True), (1.0, None, 0.0, "cut")),
    ],
)
def test_text_is_parsed_and_never_guessed(
    reply: Reply, expected: tuple[float, str | None, float, str]
) -> None:
    assert TextReader().read(reply, TASK, COLUMNS) == expected


def test_scores_are_no_text() -> None:
    with pytest.raises(ModelError, match="no text where text was asked for"):
        TextReader().read(scored((-1.0, 1)), TASK, COLUMNS)


def free(metric: str = "exact") -> Task:
    """A task whose answers are not from a list."""
    rows = [
        Sample(f"{split}-{i}", "Two stripes", COLUMNS.pixels()) for split in "abc" for i in range(2)
    ]
    return Task(
        "free", "what is this?", None, tuple(rows[:2]), tuple(rows[2:4]), tuple(rows[4:]), metric
    )


def test_free_answers_are_scored_by_the_task_s_metric() -> None:
    exact = free()
    contains = free("contains")
    reply = Reply("there are two stripes!")
    assert TextReader().read(reply, exact, exact.train[0]).correct == 0.0
    assert TextReader().read(reply, contains, contains.train[0]).correct == 1.0


def test_auto_takes_log_probabilities_where_they_can_be_had() -> None:
    assert choose_reader("auto", Eye(), TASK) == LogProbReader("mean")
    assert choose_reader("auto", Eye(logprobs=False), TASK) == TextReader()
    assert choose_reader("auto", Eye(), free()) == TextReader()
    with pytest.raises(UsageError, match="has free answers; use the text reader"):
        choose_reader("logprob", Eye(), free()).request(
            COLUMNS.pixels(), "?", free(), free().train[0]
        )


# -- evaluation ------------------------------------------------------------------------------------
def objective(model: Model, reader: Reader | None = None) -> Objective:
    return Objective(TASK, preset("tone", SIDE), model, reader or LogProbReader())


def test_an_evaluation_is_the_mean_of_its_readings() -> None:
    reader = LogProbReader()
    samples = TASK.train[:6]
    space = preset("tone", SIDE)
    z = np.array([[0.0, 0.0, 0.0], [2.0, 0.5, -0.5]])
    found = objective(Eye()).evaluate(z, samples)
    for row, evaluation in zip(z, found, strict=True):
        images = [space.render(row, sample.pixels()) for sample in samples]
        answers = ask(Eye(), reader, TASK, samples, images=images)
        losses = answers.losses
        assert evaluation.loss == evaluation.task == pytest.approx(losses.mean())
        assert evaluation.stderr == pytest.approx(losses.std(ddof=1) / math.sqrt(6))
        assert evaluation.accuracy == pytest.approx(answers.correct.mean())
        assert (evaluation.n_ok, evaluation.n_failed, evaluation.fca, evaluation.tse) == (
            6,
            0,
            0.0,
            0.0,
        )
    assert found[1].loss < found[0].loss


def test_all_candidates_see_the_same_samples_in_one_call() -> None:
    model = Recorder()
    samples = TASK.train[:5]
    objective(model).evaluate(np.zeros((3, 3)), samples)
    assert len(model.calls) == 1
    assert [request.image.tobytes() for request in model.asked] == [
        s.pixels().tobytes() for s in samples
    ] * 3


def dark(request: Request) -> bool:
    return float(request.image.mean()) < 128


def test_failed_queries_are_left_out_of_every_figure() -> None:
    samples = [
        Sample(f"s{i}", "rows", pattern("rows", FAINT, np.random.default_rng(i))) for i in range(12)
    ]
    kept = [sample for sample in samples if sample.pixels().mean() >= 128]
    assert 2 < len(kept) < 10
    some = objective(Flaky(refuses=dark)).evaluate(np.zeros((1, 3)), samples)[0]
    rest = objective(Eye()).evaluate(np.zeros((1, 3)), kept)[0]
    assert (some.n_ok, some.n_failed) == (len(kept), 12 - len(kept))
    assert (some.loss, some.accuracy, some.stderr) == pytest.approx(
        (rest.loss, rest.accuracy, rest.stderr)
    )


@pytest.mark.parametrize("n", [1, 3])
def test_an_evaluation_without_an_answer_has_no_loss(n: int) -> None:
    found = objective(Flaky(share=1.0)).evaluate(np.zeros((1, 3)), TASK.train[:n])[0]
    assert math.isnan(found.loss)
    assert math.isnan(found.accuracy)
    assert (found.n_ok, found.n_failed) == (0, n)


def test_a_whole_generation_without_an_answer_is_a_model_that_is_down() -> None:
    with pytest.raises(ModelError, match="all 10 queries"):
        objective(MeteredModel(Flaky(share=1.0), InMemoryCache())).evaluate(
            np.array([[0.0] * 3, [1.0] * 3]), TASK.train[:5]
        )


def test_one_answer_has_a_loss_and_no_spread() -> None:
    found = objective(Eye()).evaluate(np.zeros((1, 3)), TASK.train[:1])[0]
    assert math.isfinite(found.loss)
    assert math.isnan(found.stderr)


@pytest.mark.parametrize("weights", [{"fca": 0.5}, {"tse": 0.1}])
def test_weights_need_a_surrogate(weights: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="add --surrogate zoo/clip"):
        Objective(TASK, preset("tone", SIDE), Eye(), LogProbReader(), **weights)


def test_an_image_is_read_once() -> None:
    opened: list[str] = []

    def counted(read: Callable[[Sample], np.ndarray]) -> Callable[[Sample], np.ndarray]:
        def pixels(sample: Sample) -> np.ndarray:
            opened.append(sample.id)
            return read(sample)

        return pixels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sample, "pixels", counted(Sample.pixels))
        target = objective(Eye())
        for _ in range(3):
            target.evaluate(np.zeros((2, 3)), TASK.train[:4])
    assert opened == [sample.id for sample in TASK.train[:4]]
