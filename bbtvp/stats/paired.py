"""Two runs over the same samples: the gain, its interval, and the exact test of "no change"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.stats.intervals import check_resampling, flat, percentiles


class PairedGain(NamedTuple):
    """What a prompt changed on n samples that were answered without and with it."""

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

    def as_json(
        self, before: str = "before", after: str = "after", gain: str = "gain"
    ) -> dict[str, Any]:
        """The figures under these names, the interval as `{gain}_ci95`; without the counts."""
        return {
            "n": self.n,
            before: self.before,
            after: self.after,
            gain: self.gain,
            f"{gain}_ci95": list(self.ci),
            "mcnemar_p": self.mcnemar_p,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any], before: str, after: str) -> PairedGain:
        """Read what `as_json` wrote under these names. Counts that are missing are 0."""
        return cls(
            row["n"],
            row[before],
            row[after],
            row["gain"],
            tuple(row["gain_ci95"]),
            row["mcnemar_p"],
            row.get("gained", 0),
            row.get("lost", 0),
        )


def paired_gain(
    before: ArrayLike,
    after: ArrayLike,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> PairedGain:
    """Compare two runs over the same samples.

    before, after: (n,) 1 or True for a right answer, 0 or False for a wrong one, NaN for a failed
    query; a pair with a NaN on either side is dropped.

    The interval is the percentile bootstrap over samples (Efron, 1979). A difference is −1, 0 or 1,
    so resampling n pairs with replacement is exactly a multinomial draw of (lost, same, gained). If
    no answer changed, the interval is (0, 0), which says little where n is small; `score_interval`
    does better there. The p-value is that of `mcnemar`. UsageError if lengths differ, a value is
    none of 0, 1 and NaN, or no pair is left.
    """
    first, second = _pairs(before, after)
    check_resampling(confidence, resamples)
    n = len(first)
    gained = int((second > first).sum())
    lost = int((second < first).sum())
    table = np.array([lost, n - lost - gained, gained])
    draws = stream(seed, "stats", "paired-gain").multinomial(n, table / n, size=resamples)
    ci = percentiles((draws[:, 2] - draws[:, 0]) / n, confidence)
    p = mcnemar(gained, lost)
    return PairedGain(
        n, float(first.mean()), float(second.mean()), (gained - lost) / n, ci, p, gained, lost
    )


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test (1947); 1 where nothing changed.

    Under 'no change' `gained`, out of all changed answers, is binomial with probability ½.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    changed = gained + lost
    return float(binomtest(min(gained, lost), changed, 0.5).pvalue) if changed else 1.0


def _pairs(before: ArrayLike, after: ArrayLike) -> tuple[Vector, Vector]:
    first = flat(before, "before")
    second = flat(after, "after")
    if len(first) != len(second):
        raise UsageError(
            f"paired data differ in length ({len(first)} before, {len(second)} after): "
            "align them by sample"
        )
    pairs = np.stack((first, second), axis=1)
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    if not len(pairs):
        raise UsageError("no sample was answered both before and after: nothing to compare")
    if not np.isin(pairs, (0.0, 1.0)).all():
        raise UsageError(
            "paired answers must be 0, 1 or NaN: "
            "for other metrics use bootstrap_mean on the differences"
        )
    return pairs[:, 0], pairs[:, 1]
