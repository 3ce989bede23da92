"""Paired tests and intervals, which say whether a gain is more than noise.

Every interval draws from a private generator, so equal data and seed give equal numbers. scipy loads on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream


class PairedGain(NamedTuple):
    """What a prompt changed on the same n samples."""

    n: int
    """Pairs with both answers."""
    before: float
    """Accuracy without, 0 to 1."""
    after: float
    """Accuracy with, 0 to 1."""
    gain: float
    """after − before."""
    ci: tuple[float, float]
    """Bootstrap interval of the gain."""
    mcnemar_p: float
    """Exact two-sided McNemar test of 'no change'."""
    gained: int
    """Wrong before, right after."""
    lost: int
    """Right before, wrong after."""


class MeanInterval(NamedTuple):
    """A mean and its bootstrap interval."""

    mean: float
    lo: float
    hi: float


def paired_gain(
    before: ArrayLike, after: ArrayLike, *, seed: int = 0, confidence: float = 0.95, resamples: int = 10_000
) -> PairedGain:
    """Compare two runs over the same samples.

    before, after: (n,) 1 or True for a right answer, 0 or False for a wrong one, NaN for a failed query; a pair with a
    NaN on either side is dropped.

    The interval is the percentile bootstrap over samples (Efron, 1979). A difference is −1, 0 or 1, so resampling n
    pairs with replacement is exactly a multinomial draw of (lost, same, gained). If no answer changed it is (0, 0),
    which says little when n is small. The p-value is McNemar's (1947), exact: under 'no change' gained, out of all
    changed answers, is binomial with probability ½.
    """
    first, second = _pairs(before, after)
    _check_resampling(confidence, resamples)
    n, gained, lost = len(first), int((second > first).sum()), int((second < first).sum())
    table = np.array([lost, n - lost - gained, gained])
    draws = stream(seed, "stats", "paired-gain").multinomial(n, table / n, size=resamples)
    ci = _percentiles((draws[:, 2] - draws[:, 0]) / n, confidence)
    p = _mcnemar(gained, lost)
    return PairedGain(n, float(first.mean()), float(second.mean()), (gained - lost) / n, ci, p, gained, lost)


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a proportion: sound near 0 and 1, and for small n."""
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    _check_resampling(confidence)
    if n < 1:
        raise UsageError(f"an interval needs at least 1 sample, got n={n}")
    if not 0 <= successes <= n:
        raise UsageError(f"successes must be in 0..{n}, got {successes}")
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float] | Vector) -> Vector:
    """(m,) p-values adjusted for m tests by Holm's step-down method (1979), in the given order.

    With p_(1) ≤ … ≤ p_(m): adjusted p_(i) = max over j ≤ i of min(1, (m − j + 1) p_(j)).
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise UsageError("p-values must be a list of numbers in 0..1: leave out the tests that gave none")
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def bootstrap_mean(
    values: ArrayLike, *, seed: int = 0, confidence: float = 0.95, resamples: int = 10_000
) -> MeanInterval:
    """Mean and percentile bootstrap interval of a metric that is not 0 or 1; NaN (a failed query) is dropped."""
    from scipy.stats import bootstrap

    _check_resampling(confidence, resamples)
    kept = _kept(_flat(values, "values"))
    if np.ptp(kept) == 0:  # nothing to resample, and scipy refuses a single value
        return MeanInterval(float(kept[0]), float(kept[0]), float(kept[0]))
    result = bootstrap(
        (kept,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 1_000_000 // len(kept)),  # 8 MB at a time, however long the data
        confidence_level=confidence,
        method="percentile",
        rng=stream(seed, "stats", "bootstrap-mean"),
    )
    low, high = result.confidence_interval
    return MeanInterval(float(kept.mean()), float(low), float(high))


def _pairs(before: ArrayLike, after: ArrayLike) -> tuple[Vector, Vector]:
    first, second = _flat(before, "before"), _flat(after, "after")
    if len(first) != len(second):
        raise UsageError(f"paired data differ in length ({len(first)} before, {len(second)} after): align by sample")
    pairs = np.stack((first, second), axis=1)
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    if not len(pairs):
        raise UsageError("no sample was answered both before and after: nothing to compare")
    if not np.isin(pairs, (0.0, 1.0)).all():
        raise UsageError("paired answers must be 0, 1 or NaN: for other metrics use bootstrap_mean on the differences")
    return pairs[:, 0], pairs[:, 1]


def _flat(values: ArrayLike, name: str) -> Vector:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise UsageError(f"{name} must be a list of numbers, one per sample, got shape {array.shape}")
    return array


def _kept(values: Vector) -> Vector:
    kept = values[~np.isnan(values)]
    if not len(kept):
        raise UsageError("no value to average: every sample is missing")
    if not np.isfinite(kept).all():
        raise UsageError("values must be finite, or NaN where a query failed")
    return kept


def _mcnemar(gained: int, lost: int) -> float:
    from scipy.stats import binomtest

    changed = gained + lost
    return float(binomtest(min(gained, lost), changed, 0.5).pvalue) if changed else 1.0


def _percentiles(draws: Vector, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return float(low), float(high)


def _check_resampling(confidence: float, resamples: int = 1) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, got {confidence}")
    if resamples < 1:
        raise UsageError(f"resamples must be at least 1, got {resamples}")
