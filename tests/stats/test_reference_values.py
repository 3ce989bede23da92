"""The same tables as statsmodels 0.15.0 and scipy, to 1e-9.

The numbers under FROZEN are what statsmodels gives: stats.contingency_tables.mcnemar,
stats.multitest.multipletests and stats.proportion.proportion_confint.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats  # type: ignore[import-untyped]

from bbtvp.core.rng import stream
from bbtvp.stats import holm, paired_z, roc_auc, score_interval
from bbtvp.stats.paired import mcnemar

EXACT = pytest.approx

# -- FROZEN ----------------------------------------------------------------------------------------
MCNEMAR = [  # gained, lost, exact p-value, chi-square without correction
    (20, 5, 0.004077315330505371, 9.0),
    (7, 7, 1.0, 0.0),
    (1, 0, 1.0, 1.0),
    (108, 34, 3.56672340077316e-10, 38.563380281690144),
    (3, 19, 0.0008554458618164062, 11.636363636363637),
    (250, 251, 1.0, 0.001996007984031936),
]
HOLM = ([0.01, 0.04, 0.03, 0.005, 0.2, 0.0001], [0.04, 0.09, 0.09, 0.025, 0.2, 0.0006])


@pytest.mark.parametrize(("gained", "lost", "p", "chi2"), MCNEMAR)
def test_mcnemar(gained: int, lost: int, p: float, chi2: float) -> None:
    assert mcnemar(gained, lost) == EXACT(p, rel=1e-9, abs=1e-15)
    assert float(paired_z(gained, lost, 1000, 0.0)) ** 2 == EXACT(chi2, abs=1e-9)


def test_holm() -> None:
    assert holm(HOLM[0]) == EXACT(HOLM[1], abs=1e-9)


# -- scipy -----------------------------------------------------------------------------------------
def test_the_area_is_mann_whitneys() -> None:
    rng = stream(0, "auc")
    for n in (5, 40, 300):
        scores = np.round(rng.normal(size=n), 1)  # with ties
        kinds = np.arange(n) % 3 == 0
        u = stats.mannwhitneyu(scores[kinds], scores[~kinds]).statistic
        assert float(roc_auc(scores, kinds)) == EXACT(u / kinds.sum() / (~kinds).sum(), abs=1e-9)


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(20, 5, 100), (1, 0, 44), (0, 9, 30), (30, 31, 400), (3, 2, 12)]
)
@pytest.mark.parametrize("margin", [-0.3, -0.02, 0.0, 0.02, 0.25])
def test_the_score_is_that_of_the_likeliest_shares(
    gained: int, lost: int, n: int, margin: float
) -> None:
    """The shares under the margin found by maximising the likelihood itself, and not by Tango's
    closed form.
    """

    def surprise(share_lost: float) -> float:
        shares = (share_lost + margin, share_lost, 1 - 2 * share_lost - margin)
        counts = (gained, lost, n - gained - lost)
        return -sum(
            count * math.log(max(share, 1e-300))
            for count, share in zip(counts, shares, strict=True)
            if count
        )

    low = max(0.0, -margin)
    high = (1 - margin) / 2
    best = optimize.minimize_scalar(
        surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-13}
    ).x
    spread = math.sqrt(n * (2 * best + margin - margin**2))
    found = float(paired_z(gained, lost, n, margin))
    assert found == EXACT(
        (gained - lost - n * margin) / spread, rel=2e-6
    )  # as far as a maximum can be located
    slope = (gained / (best + margin) if gained else 0) + (lost / best if lost and best > 0 else 0)
    assert slope >= 0


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(20, 5, 100), (1, 0, 44), (0, 9, 30), (30, 31, 400), (108, 34, 500)]
)
def test_the_interval_ends_where_the_score_is_z(gained: int, lost: int, n: int) -> None:
    z = float(stats.norm.ppf(0.975))
    low, high = score_interval(gained, lost, n, z)
    assert float(paired_z(gained, lost, n, low)) == EXACT(z, abs=1e-9)
    assert float(paired_z(gained, lost, n, high)) == EXACT(-z, abs=1e-9)
    assert score_interval(lost, gained, n, z) == EXACT((-high, -low), abs=1e-9)


@pytest.mark.parametrize("n", [12, 44, 500])
def test_the_interval_of_no_change_is_known(n: int) -> None:
    z = 1.96
    assert score_interval(0, 0, n, z) == EXACT((-(z**2) / (n + z**2), z**2 / (n + z**2)), abs=1e-9)
