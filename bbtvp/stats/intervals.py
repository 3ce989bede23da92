"""Bootstrap intervals of a mean, or of any figure of paired data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream

CELLS = 1_000_000
"""Resampled values in memory at a time: 8 MB, however long the data."""


class MeanInterval(NamedTuple):
    """A mean and its bootstrap interval."""

    mean: float
    lo: float
    hi: float


def bootstrap_mean(
    values: ArrayLike, *, seed: int = 0, confidence: float = 0.95, resamples: int = 10_000
) -> MeanInterval:
    """The mean of a metric of any range, and its percentile bootstrap interval (Efron, 1979).

    values: (n,), one per sample; NaN, a failed query, is dropped. UsageError if none is left, or
    one is infinite.
    """
    from scipy.stats import bootstrap  # type: ignore[import-untyped]

    check_resampling(confidence, resamples)
    kept = _kept(flat(values, "values"))
    if np.ptp(kept) == 0:  # all values are equal; scipy refuses to resample a single value
        return MeanInterval(float(kept[0]), float(kept[0]), float(kept[0]))
    result = bootstrap(
        (kept,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, CELLS // len(kept)),
        confidence_level=confidence,
        method="percentile",
        rng=stream(seed, "stats", "bootstrap-mean"),
    )
    low, high = result.confidence_interval
    return MeanInterval(float(kept.mean()), float(low), float(high))


def paired_interval(
    figure: Callable[[NDArray[np.intp]], Vector],
    n: int,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 2_000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a figure of n samples, with both runs resampled together.

    figure: (b, n) sample numbers → (b,) values, one for each resample; a value that is not finite
    (an F1 of nothing positive) is left out. UsageError if n is 0 or no resample has a value.
    """
    check_resampling(confidence, resamples)
    if n < 1:
        raise UsageError("an interval needs at least 1 sample")
    draw = stream(seed, "stats", "paired-interval")
    rows = max(1, CELLS // n)
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    found = np.concatenate([figure(draw.integers(0, n, (size, n))) for size in sizes])
    kept = found[np.isfinite(found)]
    if not len(kept):
        raise UsageError("the figure has no value on any resample, so it has no interval")
    return percentiles(kept, confidence)


def flat(values: ArrayLike, name: str) -> Vector:
    """(n,) float64. UsageError for another shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise UsageError(
            f"{name} must be a list of numbers, one per sample, got shape {array.shape}"
        )
    return array


def percentiles(draws: Vector, confidence: float) -> tuple[float, float]:
    """The interval that holds the middle `confidence` share of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return float(low), float(high)


def check_resampling(confidence: float, resamples: int = 1) -> None:
    """UsageError for a confidence outside (0, 1), or no resample."""
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, got {confidence}")
    if resamples < 1:
        raise UsageError(f"resamples must be at least 1, got {resamples}")


def _kept(values: Vector) -> Vector:
    kept = values[~np.isnan(values)]
    if not len(kept):
        raise UsageError("no value to average: every sample is missing")
    if not np.isfinite(kept).all():
        raise UsageError("values must be finite, or NaN where a query failed")
    return kept
