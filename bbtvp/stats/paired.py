"""Two runs over the same samples: the gain, its interval, and the exact test of "no change".

A score is 0 or 1 for an answer that is wrong or right, or anything between for a graded one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.stats.intervals import CELLS, bootstrap_mean, check_resampling, flat, percentiles


class PairedGain(NamedTuple):
    """What a prompt changed on n samples that were answered without and with it."""

    n: int
    """Pairs with both answers."""
    before: float
    """Mean score without, 0 to 1: the accuracy, where answers are right or wrong."""
    after: float
    """Mean score with, 0 to 1."""
    gain: float
    """after − before."""
    ci: tuple[float, float]
    """Bootstrap interval of the gain."""
    mcnemar_p: float | None
    """Exact two-sided McNemar test of 'no change'; None for graded scores."""
    gained: int
    """Samples with a higher score after: wrong before, right after."""
    lost: int
    """Samples with a lower score after: right before, wrong after."""
    sign_flip_p: float | None = None
    """Two-sided sign-flip test of 'no change'; None where answers are right or wrong."""

    @property
    def graded(self) -> bool:
        """Whether some scores lie between 0 and 1."""
        return self.mcnemar_p is None

    @property
    def p(self) -> float:
        """The p-value of 'no change': McNemar's, or of the sign-flip test for graded scores."""
        p = self.sign_flip_p if self.mcnemar_p is None else self.mcnemar_p
        return 1.0 if p is None else p

    @property
    def p_name(self) -> str:
        """What `p` is, as JSON documents call it."""
        return "sign_flip_p" if self.graded else "mcnemar_p"

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
            self.p_name: self.p,
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
            row.get("mcnemar_p"),
            row.get("gained", 0),
            row.get("lost", 0),
            row.get("sign_flip_p"),
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

    before, after: (n,) scores from 0 to 1: 1 or True for a right answer, 0 or False for a wrong
    one, NaN for a failed query; a pair with a NaN on either side is dropped.

    The interval is the percentile bootstrap over samples (Efron, 1979). Where all scores are 0 or
    1, a difference is −1, 0 or 1: resampling n pairs with replacement is then exactly a multinomial
    draw of (lost, same, gained), and the p-value that of `mcnemar`. For graded scores it is that of
    `sign_flip_p`. If no score changed, the interval is (0, 0), which says little where n is small;
    `score_interval` does better there. UsageError if lengths differ, a value is neither in 0..1 nor
    NaN, or no pair is left.
    """
    first, second = _pairs(before, after)
    check_resampling(confidence, resamples)
    n = len(first)
    gained = int((second > first).sum())
    lost = int((second < first).sum())
    means = float(first.mean()), float(second.mean())
    if not is_right_or_wrong(first, second):
        difference = second - first
        found = bootstrap_mean(difference, seed=seed, confidence=confidence, resamples=resamples)
        p = sign_flip_p(difference, seed=seed)
        return PairedGain(n, *means, found.mean, (found.lo, found.hi), None, gained, lost, p)
    ci = counted_interval(gained, lost, n, seed=seed, confidence=confidence, resamples=resamples)
    return PairedGain(n, *means, (gained - lost) / n, ci, mcnemar(gained, lost), gained, lost)


def counted_interval(
    gained: int,
    lost: int,
    n: int,
    *,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> tuple[float, float]:
    """The interval that `paired_gain` gives right and wrong answers, from their counts alone."""
    table = np.array([lost, n - lost - gained, gained])
    draws = stream(seed, "stats", "paired-gain").multinomial(n, table / n, size=resamples)
    return percentiles((draws[:, 2] - draws[:, 0]) / n, confidence)


def is_right_or_wrong(*scores: Vector) -> bool:
    """Whether all of these scores are 0 or 1."""
    return all(np.isin(values, (0.0, 1.0)).all() for values in scores)


def sign_flip_p(differences: Vector, *, seed: int = 0, resamples: int = 9_999) -> float:
    """Two-sided p-value of a mean paired difference; 1 where nothing changed.

    Under 'no change' each difference (n,) is as likely with the other sign (Fisher, 1935). All sign
    patterns are tried where there are at most `resamples`, else so many random ones.
    """
    from scipy.stats import permutation_test  # type: ignore[import-untyped]

    changed = differences[differences != 0]
    if len(changed) < 2:  # one difference is as large with either sign
        return 1.0
    found = permutation_test(
        (changed, np.zeros_like(changed)),
        lambda first, second, axis: (first - second).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, CELLS // len(changed)),
        rng=stream(seed, "stats", "sign-flip"),
    )
    return float(found.pvalue)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of McNemar's test (1947); 1 where nothing changed.

    Under 'no change' `gained`, out of all changed answers, is binomial with probability ½.
    """
    from scipy.stats import binomtest

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
    if (pairs < 0).any() or (pairs > 1).any():
        raise UsageError("paired scores must lie in 0..1, or be NaN where a query failed")
    return pairs[:, 0], pairs[:, 1]
