"""Power against simulation and closed forms; boundaries against published ones and Brownian
motion.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm  # type: ignore[import-untyped]

from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.stats import (
    boundaries,
    images_needed,
    paired_interval,
    paired_z,
    roc_auc,
    smallest_gain,
)
from bbtvp.stats.power import EXACT, Z, power
from bbtvp.stats.sequential import error_spent


@pytest.mark.parametrize(
    ("n", "gain", "margin"), [(60, 0.2, 0.02), (281, 0.1, 0.02), (900, 0.06, 0.02), (150, 0.1, 0.0)]
)
def test_the_power_is_how_often_a_gain_is_seen(n: int, gain: float, margin: float) -> None:
    draws = stream(0, "power", n).multinomial(n, [gain + 0.1, 0.1, 0.8 - gain], 40_000)
    seen = float((paired_z(draws[:, 0], draws[:, 1], n, margin) >= Z).mean())
    assert power(n, gain, margin=margin) == pytest.approx(seen, abs=0.012)


def test_the_power_at_margin_0_is_mcnemars_given_the_changed_answers() -> None:
    """Miettinen's conditional form: over the number of changed answers, the binomial tail of those
    gained.
    """
    n = 80
    gained = 0.25
    lost = 0.1
    total = 0.0
    for changed in range(1, n + 1):
        least = next(
            g
            for g in range(changed + 1)
            if (2 * g - changed) / math.sqrt(changed) >= Z or g == changed
        )
        if (2 * least - changed) / math.sqrt(changed) < Z:
            continue
        total += binom.pmf(changed, n, gained + lost) * binom.sf(
            least - 1, changed, gained / (gained + lost)
        )
    assert power(n, gained - lost, lost) == pytest.approx(total, abs=1e-9)


def test_beyond_the_exact_sum_the_formula_is_miettinens() -> None:
    n = EXACT + 1
    gain = 0.05
    lost = 0.1
    discordant = gain + 2 * lost
    by_hand = norm.cdf(
        (math.sqrt(n) * gain - Z * math.sqrt(discordant)) / math.sqrt(discordant - gain**2)
    )
    assert power(n, gain, lost) == pytest.approx(by_hand, abs=1e-9)
    assert power(EXACT, gain, lost, margin=0.02) == pytest.approx(
        power(n, gain, lost, margin=0.02), abs=0.01
    )


def test_needed_and_smallest_are_inverse() -> None:
    wanted = images_needed(0.1, margin=0.02)
    assert wanted is not None
    assert power(wanted, 0.1, margin=0.02) >= 0.8 > power(wanted // 2, 0.1, margin=0.02)
    assert smallest_gain(wanted, margin=0.02) == pytest.approx(0.1, abs=0.002)
    assert images_needed(0.02, margin=0.02) is None
    assert smallest_gain(2) is None


@pytest.mark.parametrize(("gain", "lost"), [(0.9, 0.1), (-0.2, 0.1), (0.1, -0.1)])
def test_impossible_shares_are_refused(gain: float, lost: float) -> None:
    with pytest.raises(UsageError, match="cannot be"):
        power(100, gain, lost)


# -- looking early ---------------------------------------------------------------------------------
def obrien_fleming(share: float, alpha: float) -> float:
    """Lan and DeMets' spending function of this type."""
    return float(2 * norm.sf(norm.isf(alpha / 2) / math.sqrt(share)))


def test_boundaries_are_the_published_ones() -> None:
    """O'Brien-Fleming type, five looks, two-sided 5 %: 4.877, 3.357, 2.680, 2.290, 2.031 (as R's
    ldbounds prints).
    """
    found = boundaries([0.2, 0.4, 0.6, 0.8, 1.0], 0.025, obrien_fleming)
    assert found == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=5e-4)


def test_one_look_is_no_looking_early() -> None:
    assert boundaries([1.0])[0] == pytest.approx(Z, abs=1e-6)


@pytest.mark.parametrize("shares", [[0.1 * k for k in range(1, 11)], [0.05, 0.5, 0.6, 1.0]])
def test_brownian_motion_crosses_as_often_as_was_spent(shares: list[float]) -> None:
    bounds = boundaries(shares)
    steps = np.diff((0.0, *shares))
    motion = np.cumsum(
        stream(0, "motion").normal(size=(200_000, len(shares))) * np.sqrt(steps), axis=1
    )
    over = motion / np.sqrt(shares) >= bounds
    first = np.where(over.any(axis=1), over.argmax(axis=1), len(shares))
    for k, share in enumerate(shares):
        assert float((first <= k).mean()) == pytest.approx(error_spent(share, 0.05), abs=0.002)


@pytest.mark.parametrize("shares", [[], [0.5, 0.5], [0.6, 0.4], [0.5, 1.2], [0.0, 1.0]])
def test_looks_must_rise(shares: list[float]) -> None:
    with pytest.raises(UsageError, match="rising"):
        boundaries(shares)


def test_a_level_of_a_half_is_refused() -> None:
    with pytest.raises(UsageError, match=r"between 0 and 0\.5"):
        boundaries([1.0], 0.5)


# -- ranks and resamples ---------------------------------------------------------------------------
def test_one_kind_alone_has_no_area() -> None:
    assert np.isnan(roc_auc([0.1, 0.2], [True, True]))
    with pytest.raises(UsageError, match="shape"):
        roc_auc([0.1], [True, False])


def test_a_paired_interval_of_a_mean_is_the_bootstraps() -> None:
    values = stream(0, "values").normal(1.0, 1.0, 100)
    low, high = paired_interval(lambda rows: values[rows].mean(axis=1), 100, resamples=20_000)
    half = 1.96 * values.std() / 10
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.015)


def test_a_figure_without_a_value_is_said() -> None:
    with pytest.raises(UsageError, match="no value"):
        paired_interval(lambda rows: np.full(len(rows), np.nan), 10)
