"""J over several source models, with free terms and sentences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bbtvp.core.arrays import Matrix
from bbtvp.core.errors import UsageError
from bbtvp.models import InMemoryCache, MeteredModel, Model
from bbtvp.prompt import preset
from bbtvp.search import LogProbReader, Objective, TextReader, additive, ask
from bbtvp.surrogate import Surrogate
from tests.support import SIDE, Eye, Flaky, Recorder, patterns
from tests.surrogate.conftest import tiny_clip

TASK = patterns()
TONE = preset("tone", SIDE)
Z: Matrix = np.array([[0.0, 0.0, 0.0], [2.0, 0.5, -0.5]])


def near() -> Recorder:
    return Recorder(Eye())


def far() -> Recorder:
    return Recorder(Eye("eye/far", prejudice="columns"))


def objective(*models: Model, **options: object) -> Objective:
    return Objective(TASK, TONE, models, LogProbReader(), **options)  # type: ignore[arg-type]


# -- several sources -------------------------------------------------------------------------------
def test_images_are_dealt_out_and_n_images_cost_n_queries() -> None:
    one = near()
    two = far()
    samples = TASK.train[:5]
    objective(one, two).evaluate(Z, samples)
    shown = [[TONE.render(z, sample.pixels()).tobytes() for sample in samples] for z in Z]
    assert [request.image.tobytes() for request in one.asked] == [
        shown[k][i] for k in (0, 1) for i in (0, 2, 4)
    ]
    assert [request.image.tobytes() for request in two.asked] == [
        shown[k][i] for k in (0, 1) for i in (1, 3)
    ]


@pytest.mark.parametrize("models", [1, 2, 3])
def test_images_are_dealt_out_evenly_to_the_sources(models: int) -> None:
    whole = objective(*[near() for _ in range(models)]).owners(7)
    assert set(whole) == set(range(models))
    assert max(map(whole.count, set(whole))) - min(map(whole.count, set(whole))) <= 1


def test_the_table_holds_what_each_source_says_of_its_images() -> None:
    samples = TASK.train[:6]
    table = objective(Eye(), far()).score(Z, samples)
    for k, z in enumerate(Z):
        for model, own in ((Eye(), [0, 2, 4]), (far(), [1, 3, 5])):
            images = [TONE.render(z, samples[i].pixels()) for i in own]
            asked = [samples[i] for i in own]
            found = ask(model, LogProbReader(), TASK, asked, images=images)
            assert table.losses[k, own] == pytest.approx(found.losses)


def test_the_worst_source_counts() -> None:
    samples = TASK.train[:8]
    table = objective(Eye(), far()).score(Z, samples).losses
    mean = [row.loss for row in objective(Eye(), far()).evaluate(Z, samples)]
    worst = [row.loss for row in objective(Eye(), far(), combine="worst").evaluate(Z, samples)]
    assert mean == pytest.approx(table.mean(axis=1))
    assert worst == pytest.approx(
        np.maximum(table[:, ::2].mean(axis=1), table[:, 1::2].mean(axis=1))
    )
    assert worst != pytest.approx(mean)


def test_of_one_source_the_worst_is_the_mean() -> None:
    samples = TASK.train[:4]
    assert objective(Eye(), combine="worst").evaluate(Z, samples) == objective(Eye()).evaluate(
        Z, samples
    )
    alone = objective(Eye(), far(), combine="worst").evaluate(
        Z, samples[:1]
    )  # no image for the second source
    assert alone == objective(Eye()).evaluate(Z, samples[:1])


def test_a_candidate_that_the_worst_source_was_not_asked_about_is_not_favoured() -> None:
    """Its queries failed: the second source stays as hard for it as for the
    others.
    """
    table = np.tile([1.0, 5.0], (3, 2)) + np.array([[0.0], [0.5], [-0.5]])
    holed = table.copy()
    holed[1, 1::2] = math.nan
    target = objective(Eye(), far(), combine="worst")
    assert target.means(table) == pytest.approx([5.0, 5.5, 4.5])
    assert target.means(holed) == pytest.approx([5.0, 5.5, 4.5])


def test_a_source_without_any_answer_is_left_out_of_the_worst() -> None:
    table = np.array([[1.0, math.nan], [2.0, math.nan]])
    target = objective(Eye(), far(), combine="worst")
    assert target.means(table) == pytest.approx([1.0, 2.0])
    assert np.isnan(target.means(np.full((2, 2), math.nan))).all()


def test_failures_of_one_source_leave_a_hole_and_no_bias() -> None:
    samples = TASK.train[:8]
    refused = TONE.render(Z[1], samples[2].pixels()).tobytes()
    lossy = Flaky(refuses=lambda request: request.image.tobytes() == refused)
    table = objective(lossy, far()).score(Z, samples)
    assert np.argwhere(np.isnan(table.losses)).tolist() == [[1, 2]]
    rows = objective(lossy, far()).summarise(Z, samples, table)
    assert [(row.n_ok, row.n_failed) for row in rows] == [(8, 0), (7, 1)]
    assert [row.loss for row in rows] == pytest.approx(additive(table.losses))


def test_repeats_multiply_the_queries() -> None:
    model = near()
    objective(model, repeats=3).evaluate(Z, TASK.train[:4])
    assert len(model.asked) == 2 * 4 * 3
    assert {request.replicate for request in model.asked} == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"combine": "best"},
            "unknown way to combine source models 'best'; choose from: mean, worst",
        ),
        ({"repeats": 0}, "0 answers per image"),
        ({"fca": -1.0}, "the weight of FCA is -1.0"),
        ({"tse": math.inf}, "the weight of TSE is inf"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        objective(Eye(), **options)


# -- free terms ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def clip() -> Surrogate:
    return tiny_clip(SIDE, batch=64)


def test_free_samples_cost_no_query_and_do_not_change_with_the_minibatch(clip: Surrogate) -> None:
    model = near()
    target = objective(model, surrogate=clip, fca=0.5, tse=0.1, free=TASK.train[20:30])
    one, two = (target.evaluate(Z, TASK.train[first : first + 4]) for first in (0, 4))
    assert len(model.asked) == 2 * 2 * 4
    assert [(row.fca, row.tse) for row in one] == [(row.fca, row.tse) for row in two]
    assert one[0].task != two[0].task
    by_hand = [TONE.render(Z[1], sample.pixels()) for sample in TASK.train[20:30]]
    prompted = clip.features(by_hand)
    clean = clip.features([sample.pixels() for sample in TASK.train[20:30]])
    assert one[1].fca == pytest.approx(clip.fca(prompted, clean).mean(), rel=1e-4)
    assert one[1].tse == pytest.approx(clip.tse(prompted, TASK.train[20:30]).mean(), abs=1e-5)
    assert one[1].loss == pytest.approx(one[1].task + 0.5 * one[1].fca - 0.1 * one[1].tse)


def test_without_free_samples_the_terms_are_those_of_the_minibatch(clip: Surrogate) -> None:
    target = objective(near(), surrogate=clip, fca=0.5)
    one, two = (target.evaluate(Z, TASK.train[first : first + 4])[1] for first in (0, 4))
    assert one.fca != two.fca


def test_the_neutral_prompt_moves_no_feature(clip: Surrogate) -> None:
    row = objective(near(), surrogate=clip, fca=0.5, free=TASK.train[:4]).evaluate(
        Z, TASK.train[:4]
    )[0]
    assert row.fca == pytest.approx(0, abs=1e-4)


def test_a_surrogate_without_weights_is_not_looked_at(clip: Surrogate) -> None:
    rows = objective(near(), surrogate=clip, free=TASK.train).evaluate(Z, TASK.train[:4])
    assert [(row.fca, row.tse) for row in rows] == [(0, 0)] * 2


# -- sentences -------------------------------------------------------------------------------------
@pytest.mark.parametrize("reader", [LogProbReader(), TextReader()])
def test_the_sentence_of_the_prompt_reaches_the_model(reader: LogProbReader | TextReader) -> None:
    space = preset("annotate", 64)
    model = near()
    samples = TASK.train[:2]
    z = np.stack(space.starts()[:3])
    Objective(TASK, space, model, reader).evaluate(z, samples)
    texts = [request.text for request in model.asked]
    assert texts == [space.ask(row, TASK.ask(sample)) for row in z for sample in samples]
    assert texts[0] == TASK.question
    assert "report" in texts[2]
    assert len(set(texts)) == 3


def test_equal_pictures_with_other_sentences_are_asked_apart() -> None:
    space = preset("annotate", 64)
    model = near()
    z = np.stack(space.starts()[:2])  # neutral, and the sentence alone
    metered = MeteredModel(model, InMemoryCache())
    Objective(TASK, space, metered, LogProbReader()).evaluate(z, TASK.train[:2])
    assert len({request.image.tobytes() for request in model.asked}) == 2
    assert metered.budget.total == 4
