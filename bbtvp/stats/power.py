"""How many samples are needed to show a paired gain.

>>> images_needed(0.1), smallest_gain(200)
(181, 0.095)

The power is that of the rule which decides in a proof: a gain is shown if `paired_z(gained, lost,
n, margin)` is at least z (1.645 at a one-sided level of 5 %). Up to `EXACT` samples the power is
summed over all tables, since (gained, lost, same) is multinomial. Beyond, with Δ the true gain,
δ the margin and ψ = P(gained) + P(lost),

    power = Φ((√n (Δ − δ) − z σ₀) / σ₁),   σ₁² = ψ − Δ²,   σ₀² = 2q + δ(1 − δ)

with q the limit of q̂ in `bbtvp.stats.score` (Nam, Biometrics 53 (1997) 1422). At δ = 0 it is
Miettinen's formula for McNemar's test (Biometrics 24 (1968) 339; Connor, Biometrics 43 (1987) 207),
with σ₀² = ψ.
"""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np

from bbtvp.core.errors import UsageError
from bbtvp.stats.score import paired_z

EXACT = 300
"""Samples up to which the power is summed over tables: 45,000 of them."""

MOST = 1_000_000
"""The largest number of samples that is planned."""

LOST = 0.10
"""Share of answers that a prompt is assumed to spoil; gain + 2 · LOST of all then change."""

Z = 1.6448536269514722
"""The normal quantile of a one-sided level of 5 %."""


def power(n: int, gain: float, lost: float = LOST, *, margin: float = 0.0, z: float = Z) -> float:
    """Probability that n samples show a gain above `margin` when the true one is `gain` (−1..1).

    lost: probability that an answer is right before and wrong after; gain + lost that it is the
    reverse. UsageError if these are no probabilities, or n is below 1.
    """
    gained = gain + lost
    if n < 1 or lost < 0 or gained < 0 or gained + lost > 1 + 1e-12:
        raise UsageError(
            f"a gain of {gain:g} with {lost:g} lost, on {n} samples, cannot be; "
            "give shares that sum to 1 at most"
        )
    if n <= EXACT:
        return _summed(n, gained, lost, margin, z)
    if abs(gain - margin) < 1e-9:
        return 1 - NormalDist().cdf(z)
    sigma = math.sqrt(max(gained + lost - gain**2, 1e-12))
    above = math.sqrt(n) * (gain - margin)
    sigma_0 = above / float(paired_z(gained * n, lost * n, n, margin))  # from the expected counts
    return NormalDist().cdf((above - z * sigma_0) / sigma)


def _summed(n: int, gained: float, lost: float, margin: float, z: float) -> float:
    """The power, summed over all tables of n samples."""
    from scipy.special import gammaln, xlogy  # type: ignore[import-untyped]

    better, worse = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = better + worse <= n
    better = better[possible]
    worse = worse[possible]
    seen = paired_z(better, worse, n, margin) >= z
    better = better[seen]
    worse = worse[seen]
    same = n - better - worse
    factorial = gammaln(np.arange(n + 1) + 1)
    log = factorial[n] - factorial[better] - factorial[worse] - factorial[same]
    log += xlogy(better, gained) + xlogy(worse, lost) + xlogy(same, max(1 - gained - lost, 0.0))
    return float(min(1.0, np.exp(log).sum()))


def images_needed(
    gain: float, lost: float = LOST, *, margin: float = 0.0, z: float = Z, wanted: float = 0.8
) -> int | None:
    """How many samples show a true gain of `gain` to lie above `margin`.

    wanted: the probability with which they do. None if that takes more than `MOST` samples, or if
    the gain is not above the margin.
    """
    if gain <= margin + 1e-9 or power(MOST, gain, lost, margin=margin, z=z) < wanted:
        return None
    low = 0
    high = EXACT
    while power(high, gain, lost, margin=margin, z=z) < wanted:
        low = high
        high = 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle, gain, lost, margin=margin, z=z) < wanted:
            low = middle
        else:
            high = middle
    return high


def images_if_unchanged(margin: float, *, z: float = Z) -> int:
    """The fewest samples that show a loss of less than `margin`, if no answer changes.

    margin: a share above 0 and below 1.
    """
    return next(n for n in itertools.count(1) if paired_z(0, 0, n, -margin) >= z)


def smallest_gain(
    n: int, lost: float = LOST, *, margin: float = 0.0, z: float = Z, wanted: float = 0.8
) -> float | None:
    """The smallest true gain, to 0.001, that n samples show to lie above `margin`.

    wanted: the probability with which they do. None if the samples are too few for any gain.
    """
    low = 0
    high = int(1000 * (1 - 2 * lost))
    if power(n, high / 1000, lost, margin=margin, z=z) < wanted:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(n, middle / 1000, lost, margin=margin, z=z) < wanted:
            low = middle
        else:
            high = middle
    return high / 1000
