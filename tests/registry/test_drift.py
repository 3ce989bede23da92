"""The test of a fall: exact where it claims to be, and of the level that it claims."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.registry.drift import DriftTest, changed_p, fall_p, gain_p
from bbtvp.stats import boundaries


def answers(gained: int, lost: int, same: int) -> tuple[np.ndarray, np.ndarray]:
    """One answer of the first day to each image, and one of today."""
    old = np.array([0.0] * gained + [1.0] * (lost + same))
    new = np.array([1.0] * gained + [0.0] * lost + [1.0] * same)
    return old[None], new


@pytest.mark.parametrize(("gained", "lost"), [(0, 6), (2, 12), (5, 11)])
def test_with_one_answer_it_is_at_least_mcnemars_exact_p(gained: int, lost: int) -> None:
    old, new = answers(gained, lost, 100)
    assert fall_p(old, new) >= binom.cdf(gained, gained + lost, 0.5) * (1 - 1e-9)
    assert fall_p(old, new) < 0.15


def test_the_tail_of_several_answers_by_enumeration() -> None:
    """Three images, asked three times before: each of four scores is as likely to be today's."""
    old = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    new = np.array([0.0, 0.0, 1.0])
    right = (np.vstack((new, old)).sum(axis=0)) / 4
    sums = {0: 0.0, 1: 0.0}
    for today in np.ndindex(2, 2, 2):
        chance = np.prod(np.where(np.array(today) == 1, right, 1 - right))
        if sum(today) <= 1:
            sums[sum(today)] += float(chance)
    assert fall_p(old, new) >= sums[0] + sums[1] - 1e-12


def test_nothing_fell() -> None:
    old, new = answers(3, 0, 50)
    assert fall_p(old, new) == 1.0
    look = DriftTest(53).look(4, old, new)
    assert look.found == "holds"
    assert look.ci[0] > -0.1


def test_a_fall_of_graded_scores_is_found_and_noise_is_none() -> None:
    rng = stream(0, "graded")
    old = np.clip(rng.normal(0.7, 0.1, (3, 100)), 0, 1)
    again = np.clip(rng.normal(0.7, 0.1, 100), 0, 1)
    assert fall_p(old, again) > 0.05
    assert fall_p(old, again - 0.1) < 0.001


def test_failed_queries_are_left_out_on_either_day() -> None:
    old, new = answers(0, 10, 90)
    old[0, :5] = np.nan
    new[95:] = np.nan
    look = DriftTest(100).look(4, old, new)
    assert (look.images, look.then, look.now) == (90, 1.0, pytest.approx(85 / 90))
    empty = DriftTest(100).look(0, old, np.full(100, np.nan))
    assert (empty.images, empty.found, empty.ci) == (0, "open", (-1.0, 1.0))


def test_false_alarms_of_a_noisy_model_stay_within_the_level() -> None:
    """200 unchanged checks of a model that answers half of the images by chance."""
    rng = stream(1, "unchanged")
    test = DriftTest(100)
    alarms = 0
    for _ in range(200):
        p = np.where(rng.random(100) < 0.5, 0.8, 1.0)
        old = (rng.random((3, 100)) < p).astype(float)
        new = (rng.random(100) < p).astype(float)
        looks = [test.look(k, old[:, :end], new[:end]) for k, end in enumerate(test.ends)]
        alarms += any(look.found == "stale" for look in looks)
    assert alarms <= 9  # 3 are expected at 1.5 %; 10 or more come by chance once in 1,000


def test_the_looks_spend_the_level() -> None:
    assert DriftTest(200).ends == (40, 80, 120, 160, 200)
    assert DriftTest(3).ends == (1, 2, 3)
    (last,) = boundaries([1.0], 0.012)
    assert last == pytest.approx(2.257, abs=0.001)
    with pytest.raises(UsageError, match="between 0 and 1"):
        DriftTest(100, drop=1.5)


def test_answers_that_changed_and_a_mean_that_says_little() -> None:
    """A successor gains 30 answers and loses 40: a fall of 10 points is not excluded."""
    old, new = answers(30, 40, 130)
    order = stream(3, "order").permutation(200)
    look = DriftTest(200, exact=True).look(4, old[:, order], new[order])
    assert (look.found, look.changed) == ("stale", True)
    noisy = DriftTest(200).look(4, old[:, order], new[order])
    assert (noisy.found, noisy.changed) == ("open", False)  # one answer tells nothing of the noise


def test_the_odd_one_out() -> None:
    rng = stream(4, "odd")
    p = rng.random(300)
    old = (rng.random((4, 300)) < p).astype(float)
    again = (rng.random(300) < p).astype(float)
    assert changed_p(old, again, exact=False) > 0.01
    assert changed_p(old, 1 - again, exact=False) < 1e-6
    assert changed_p(old[:1], again, exact=False) == 1.0


def test_a_gain_that_is_gone() -> None:
    rng = stream(2, "gain")
    then = (rng.random(80) < 0.4).astype(float)
    assert gain_p(then, np.zeros(80)) < 0.001
    assert gain_p(then, then) == 0.5
