"""Where the queries of a generation go, and what the optimiser is told."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.models import Model
from bbtvp.prompt import preset
from bbtvp.search import LogProbReader, Objective, Table, additive
from bbtvp.search.allocation import Allocation, race, told
from tests.support import SIDE, Eye, Flaky, Recorder, patterns

NAN = math.nan
TASK = patterns()
TONE = preset("tone", SIDE)
LADDER: Matrix = np.array(
    [[contrast, 0.0, 0.0] for contrast in (0.0, 3.0, -2.0, 1.5, -1.0, 2.2, 0.7, -0.3)]
)
"""Candidates of all qualities: the more contrast, the better."""


def objective(*models: Model, repeats: int = 1, combine: str = "mean") -> Objective:
    return Objective(TASK, TONE, models, LogProbReader(), repeats=repeats, combine=combine)  # type: ignore[arg-type]


# -- rounds and their cost -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("images", "rounds", "candidates", "expected"),
    [
        (8, 1, 7, [(7, 8)]),
        (8, 2, 7, [(7, 4), (4, 8)]),
        (8, 3, 8, [(8, 2), (4, 4), (2, 8)]),
        (5, 3, 9, [(9, 2), (5, 3), (3, 5)]),
        (4, 3, 2, [(2, 1), (1, 2), (1, 4)]),
    ],
)
def test_the_rounds_of_a_race(
    images: int, rounds: int, candidates: int, expected: list[tuple[int, int]]
) -> None:
    assert Allocation(images, rounds).rounds(candidates) == expected


@given(st.integers(1, 64), st.integers(1, 6), st.integers(1, 40))
def test_a_race_ends_with_all_images_and_costs_no_more_than_none(
    images: int, rounds: int, candidates: int
) -> None:
    assume(images >= 2 ** (rounds - 1))
    how = Allocation(images, rounds)
    plan = how.rounds(candidates)
    assert plan[0][0] == candidates
    assert plan[-1][1] == images
    assert all(a[0] >= b[0] >= 1 and a[1] < b[1] for a, b in pairwise(plan))
    assert candidates <= how.cost(candidates) <= images * candidates


@given(
    st.integers(1, 8), st.integers(1, 4), st.integers(1, 8), st.integers(1, 3), st.integers(1, 2)
)
@settings(max_examples=30)
def test_a_generation_costs_what_it_is_said_to(
    images: int, rounds: int, candidates: int, repeats: int, sources: int
) -> None:
    assume(images >= 2 ** (rounds - 1))
    how = Allocation(images, rounds, repeats=repeats)
    models = [Recorder() for _ in range(sources)]
    race(objective(*models, repeats=repeats), LADDER[:candidates], TASK.train[:images], how)
    assert sum(len(model.asked) for model in models) == how.cost(candidates)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": 0}, "images is 0; give at least 1"),
        ({"race": 0}, "race is 0; give at least 1"),
        ({"patience": -1}, "patience is -1; give at least 0"),
        ({"repeats": 0}, "repeats is 0; give at least 1"),
        ({"images": 3, "race": 3}, "a race of 3 rounds needs at least 4 images"),
    ],
)
def test_what_cannot_be_divided_is_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Allocation(**options)


# -- the race --------------------------------------------------------------------------------------
def test_without_a_race_all_see_all() -> None:
    samples = TASK.train[:6]
    found = race(objective(Eye()), LADDER, samples, Allocation(6))
    whole = objective(Eye()).look(LADDER, samples)
    assert np.array_equal(found.losses, whole.losses)
    assert np.array_equal(found.correct, whole.correct)
    assert found.asked.all()


def test_the_best_so_far_run_on() -> None:
    samples = TASK.train[:8]
    how = Allocation(8, 3)
    whole = objective(Eye()).look(LADDER, samples).losses
    found = race(objective(Eye()), LADDER, samples, how)
    expected = np.zeros((8, 8), np.bool_)
    expected[:, :2] = True
    second = np.sort(np.argsort(whole[:, :2].mean(axis=1), kind="stable")[:4])
    expected[second, 2:4] = True
    last = second[np.argsort(whole[second, :4].mean(axis=1), kind="stable")[:2]]
    expected[last, 4:] = True
    assert np.array_equal(found.asked, expected)
    assert np.array_equal(found.losses, np.where(expected, whole, NAN), equal_nan=True)
    assert int(additive(found.losses).argmin()) == int(whole.mean(axis=1).argmin()) == 1


def test_who_left_the_race_did_not_fail() -> None:
    samples = TASK.train[:8]
    target = objective(Eye())
    rows = target.judge(LADDER, samples, race(target, LADDER, samples, Allocation(8, 3)))
    assert sorted(row.n_ok for row in rows) == [2, 2, 2, 2, 4, 4, 8, 8]
    assert [row.n_failed for row in rows] == [0] * 8


def test_who_was_not_answered_runs_last() -> None:
    """The best candidate of all, but its first images failed: nobody knows."""
    samples = TASK.train[:4]
    lost = {TONE.render(LADDER[1], sample.pixels()).tobytes() for sample in samples[:2]}
    lossy = Flaky(refuses=lambda request: request.image.tobytes() in lost)
    table = race(objective(lossy), LADDER, samples, Allocation(4, 2))
    assert table.asked[1].tolist() == [True, True, False, False]
    row = objective(lossy).judge(LADDER, samples, table)[1]
    assert (row.n_ok, row.n_failed) == (0, 2)


def test_in_a_race_too_an_image_has_one_source() -> None:
    near = Recorder()
    far = Recorder(Eye("eye/far", prejudice="columns"))
    samples = TASK.train[:5]
    how = Allocation(5, 3)  # rounds that end after 2, 3 and 5 images
    table = race(objective(near, far), LADDER, samples, how)
    whole = objective(Eye(), Eye("eye/far", prejudice="columns")).look(LADDER, samples).losses
    assert np.array_equal(table.losses, np.where(table.asked, whole, NAN), equal_nan=True)
    assert len(near.asked) + len(far.asked) == how.cost(8)


def test_each_image_takes_its_own_way_in_every_round() -> None:
    samples = TASK.train[:4]
    model = Recorder()
    sends = [lambda pixels, i=i: np.full_like(pixels, i) for i in range(4)]
    race(objective(model), LADDER, samples, Allocation(4, 2), sends)
    assert [[int(request.image[0, 0, 0]) for request in call] for call in model.calls] == [
        [0, 1] * 8,
        [2, 3] * 4,
    ]


# -- what is told ----------------------------------------------------------------------------------
def table(seed: int = 0, *, holes: bool = False) -> Table:
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(5, 1)) + 3 * rng.normal(size=8) + 0.3 * rng.normal(size=(5, 8))
    if holes:
        losses[3, 2:] = losses[1, 4] = NAN
    return Table(losses, np.zeros_like(losses), np.ones_like(losses, np.bool_))


def tells(*arguments: object, **more: object) -> Vector:
    found = told(*arguments, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_without_either_the_plain_estimate_is_told() -> None:
    assert told(table()) is None


@pytest.mark.parametrize("holes", [False, True])
def test_a_baseline_moves_a_generation_as_a_whole(holes: bool) -> None:
    baseline = np.random.default_rng(1).normal(size=8)
    found = tells(table(holes=holes), baseline)
    plain = additive(table(holes=holes).losses)
    assert found == pytest.approx(plain - baseline.mean())


def test_a_baseline_makes_generations_comparable() -> None:
    """A harder minibatch raises both alike."""
    easy = table()
    baseline = np.linspace(0, 1, 8)
    harder = np.linspace(5, 9, 8)
    hard = Table(easy.losses + harder, easy.correct, easy.asked)
    assert tells(hard, baseline + harder) == pytest.approx(tells(easy, baseline))


def test_a_baseline_with_failures_is_filled_and_one_without_answers_is_none() -> None:
    baseline = np.linspace(0, 1, 8)
    baseline[3] = NAN
    assert tells(table(), baseline) == pytest.approx(
        table().losses.mean(axis=1) - np.nanmean(baseline)
    )
    assert tells(table(), np.full(8, NAN)) == pytest.approx(table().losses.mean(axis=1))


def test_a_surrogate_that_knows_the_model_takes_the_noise_away() -> None:
    """Its loss on all images, up to a constant and a factor, is what is told: no luck of the
    minibatch is left.
    """
    rng = np.random.default_rng(2)
    whole = rng.normal(size=5)
    luck = rng.normal(size=(5, 8))
    surrogate = whole[:, None] + luck
    shown = Table(2 * whole[:, None] + 2 * luck + 7, np.zeros((5, 8)), np.ones((5, 8), np.bool_))
    assert tells(shown, None, (surrogate, whole)) == pytest.approx(2 * whole + 7)
    assert tells(shown, np.full(8, 7.0), (surrogate, whole)) == pytest.approx(2 * whole)
    assert additive(shown.losses) != pytest.approx(2 * whole + 7, abs=0.1)


def test_with_a_surrogate_too_nobody_gains_by_having_missed_hard_images() -> None:
    losses = np.array([[0.5], [0.6], [0.4]]) + np.array([0.0, 0.1, 3.0, 3.1])
    losses[1, 2:] = NAN
    shown = Table(losses, np.zeros((3, 4)), np.ones((3, 4), np.bool_))
    idle = (np.zeros((3, 4)), np.zeros(3))
    assert np.argsort(tells(shown, None, idle)).tolist() == [2, 0, 1]


def test_of_several_sources_the_worst_is_told_whatever_it_is_compared_with() -> None:
    target = objective(Eye(), Eye("eye/far", prejudice="columns"), combine="worst")
    baseline = np.random.default_rng(1).normal(size=8)
    found = tells(table(), baseline, means=target.means)
    plain = target.means(table().losses)
    assert found - plain == pytest.approx(np.full(5, found[0] - plain[0]))
    assert np.argsort(found).tolist() == np.argsort(plain).tolist()
    idle = (np.zeros((5, 8)), np.zeros(5))
    assert tells(table(), None, idle, means=target.means) == pytest.approx(plain)
