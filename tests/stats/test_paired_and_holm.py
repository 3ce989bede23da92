"""Tests and intervals against scipy, closed forms and simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference  # type: ignore[import-untyped]

from bbtvp.core.errors import UsageError
from bbtvp.stats import bootstrap_mean, holm, paired_gain


def table(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = (both, gained, lost, neither)
    return np.repeat([True, False, True, False], counts), np.repeat(
        [True, True, False, False], counts
    )


def keys_of_global() -> bytes:
    return np.asarray(np.random.get_state(legacy=False)["state"]["key"]).tobytes()


def test_paired_gain_counts() -> None:
    result = paired_gain(*table(50, 20, 5, 25))
    assert (result.n, result.gained, result.lost) == (100, 20, 5)
    assert (result.before, result.after, result.gain) == (0.55, 0.70, 0.15)
    assert result.ci[0] < 0.15 < result.ci[1]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_mcnemar_is_the_exact_binomial(both: int, gained: int, lost: int, neither: int) -> None:
    p = paired_gain(*table(both, gained, lost, neither), resamples=10).mcnemar_p
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed
    assert p == pytest.approx(min(1.0, 2 * tail))
    if changed:
        assert p == pytest.approx(reference.binomtest(gained, changed, 0.5).pvalue)


def test_the_multinomial_is_the_bootstrap_over_samples() -> None:
    before, after = table(40, 30, 10, 20)
    difference = after.astype(float) - before
    plain = reference.bootstrap(
        (difference,),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert paired_gain(before, after, resamples=20_000).ci == pytest.approx(tuple(plain), abs=0.011)


def test_the_interval_covers_the_true_gain() -> None:
    random = np.random.default_rng(5)
    p_gain = 0.18
    p_loss = 0.08
    covered = 0
    tables = 400
    for number in range(tables):
        lost, same, gained = random.multinomial(200, [p_loss, 1 - p_gain - p_loss, p_gain])
        low, high = paired_gain(*table(same, gained, lost, 0), seed=number, resamples=2000).ci
        covered += low <= p_gain - p_loss <= high
    assert 0.92 <= covered / tables <= 0.98


def test_failed_queries_are_dropped_in_pairs() -> None:
    before = np.array([1, 0, np.nan, 0, np.nan, 1, 0])
    after = np.array([1, 1, 1, np.nan, np.nan, 0, 1])
    result = paired_gain(before, after)
    assert (result.n, result.gained, result.lost) == (4, 2, 1)
    assert result.before == 0.5 and result.after == 0.75


def test_no_change_and_all_change() -> None:
    same = paired_gain(*table(7, 0, 0, 3))
    assert (same.gain, same.ci, same.mcnemar_p) == (0.0, (0.0, 0.0), 1.0)
    better = paired_gain(*table(0, 10, 0, 0))
    assert (better.gain, better.ci) == (1.0, (1.0, 1.0))
    assert better.mcnemar_p == pytest.approx(2 / 2**10)


def test_intervals_repeat_and_leave_the_global_state_alone() -> None:
    data = table(50, 20, 5, 25)
    np.random.seed(0)
    keys = keys_of_global()
    values = np.random.default_rng(0).gamma(2.0, size=60)
    assert paired_gain(*data, seed=3) == paired_gain(*data, seed=3)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)
    assert keys_of_global() == keys


def test_a_higher_confidence_is_wider() -> None:
    data = table(50, 20, 5, 25)
    narrow = paired_gain(*data, confidence=0.8).ci
    wide = paired_gain(*data, confidence=0.99).ci
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([], [], "nothing to compare"),
        ([np.nan, 1], [1, np.nan], "nothing to compare"),
        ([1, 0], [1], "differ in length"),
        ([1.5, 1], [1, 1], "must lie in 0..1"),
        ([[1, 0]], [[1, 1]], "one per sample"),
    ],
)
def test_paired_data_that_cannot_be_compared(
    before: list[float], after: list[float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        paired_gain(before, after)


def test_bad_resampling_is_refused() -> None:
    cases: list[dict[str, Any]] = [{"confidence": 1.0}, {"confidence": 0.0}, {"resamples": 0}]
    for options in cases:
        with pytest.raises(UsageError):
            paired_gain([1, 0], [1, 1], **options)
        with pytest.raises(UsageError):
            bootstrap_mean([1, 0], **options)


def test_holm_by_hand() -> None:
    """Sorted .005, .01, .03, .04 times 4, 3, 2, 1 = .02, .03, .06, .04; the last is raised to
    .06.
    """
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([]).shape == (0,)


def test_holm_refuses_what_is_no_p_value() -> None:
    for bad in ([0.1, np.nan], [1.1], [-0.1]):
        with pytest.raises(UsageError):
            holm(bad)


def test_bootstrap_mean_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    mean, low, high = bootstrap_mean(np.append(values, [np.nan, np.nan]))
    half = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.03)


def test_bootstrap_mean_of_constant_and_of_nothing() -> None:
    assert (
        tuple(bootstrap_mean([2.0])) == tuple(bootstrap_mean([2.0, 2.0, np.nan])) == (2.0, 2.0, 2.0)
    )
    for bad in ([], [np.nan], [1.0, np.inf]):
        with pytest.raises(UsageError):
            bootstrap_mean(bad)
