"""Spreads and the control variate: what their definitions promise, on arrays alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bbtvp.core.errors import UsageError
from bbtvp.surrogate import control_variate, spread

VALUES = arrays(np.float64, 6, elements=st.floats(-100, 100))


def test_a_spread_leaves_out_what_is_missing() -> None:
    assert spread([1.0, 3.0, float("nan")]) == pytest.approx(np.sqrt(2))
    assert np.isnan(spread([1.0])) and np.isnan(spread([]))


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_the_variance_falls_by_rho_squared(rho: float) -> None:
    """4,000 minibatches of 32 images out of 2,000; the surrogate's losses correlate with the
    target's by rho.
    """
    rng = np.random.default_rng(0)
    surrogate = rng.gamma(2.0, 1.0, 2_000)
    noise = rng.normal(size=2_000) * surrogate.std()
    target = 1.0 + 0.7 * (rho * surrogate + np.sqrt(1 - rho**2) * noise)
    plain = []
    adjusted = []
    for _ in range(4_000):
        drawn = rng.choice(2_000, 32, replace=False)
        t = target[drawn][None]
        s = surrogate[drawn][None]
        plain.append(t.mean())
        adjusted.append(control_variate(t, s, surrogate.mean(keepdims=True)).loss[0])
    ratio = np.var(adjusted) / np.var(plain)
    # a fitted b costs about 1 / (n − 3) of what is left
    assert ratio == pytest.approx((1 - rho**2) * (1 + 1 / 29), rel=0.1)
    assert np.mean(adjusted) == pytest.approx(
        target.mean(), abs=4 * np.std(adjusted) / np.sqrt(4_000) + 0.01
    )


def test_the_coefficient_is_the_pooled_slope_within_candidates() -> None:
    rng = np.random.default_rng(1)
    surrogate = rng.normal(size=(5, 40)) + np.arange(5)[:, None] * 10
    target = 0.3 * (surrogate - np.arange(5)[:, None] * 10) - np.arange(5)[:, None]
    found = control_variate(target, surrogate, surrogate.mean(axis=1) + 1)
    assert found.b == pytest.approx(0.3)
    assert found.rho == pytest.approx(1)
    np.testing.assert_allclose(found.loss, target.mean(axis=1) + 0.3)


def test_a_coefficient_may_be_given_and_failed_queries_are_left_out() -> None:
    target = np.array([[1.0, np.nan, 3.0], [np.nan] * 3])
    surrogate = np.array([[0.0, 100.0, 4.0], [1.0, 2.0, 3.0]])
    found = control_variate(target, surrogate, np.array([1.0, 1.0]), b=0.5)
    assert found.loss[0] == pytest.approx(2.0 - 0.5 * (2.0 - 1.0))
    assert np.isnan(found.loss[1])
    few = control_variate(target, surrogate, np.array([1.0, 1.0]))
    assert (few.b, few.rho) == (0.0, 0.0)
    assert few.loss[0] == 2.0


def test_losses_that_do_not_match_are_refused() -> None:
    with pytest.raises(UsageError, match=r"give \(c, n\), \(c, n\) and \(c,\)"):
        control_variate(np.zeros((2, 3)), np.zeros((2, 4)), np.zeros(2))
    with pytest.raises(UsageError, match=r"give \(c, n\), \(c, n\) and \(c,\)"):
        control_variate(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(3))
