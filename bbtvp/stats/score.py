"""The score test of a paired gain against a margin, and the interval that it gives (Tango, 1998).

Of n samples, `gained` were wrong before and are right after, `lost` the reverse. Under the
hypothesis that the gain is δ = P(gained) − P(lost), with q̂ the likeliest P(lost) that this allows,

    Z(δ) = (gained − lost − nδ) / √(n (2q̂ + δ(1 − δ)))
    q̂ = (√(B² − 8nC) − B) / 4n
    B = −gained − lost + (2n − gained + lost) δ
    C = −lost · δ(1 − δ)

is about N(0, 1): Tango, Statistics in Medicine 17 (1998) 891, eqs. 8-12. At δ = 0 it is McNemar's
statistic. The interval {δ : |Z(δ)| ≤ z} has a width even where no answer changed, ±z²/(n + z²),
which a bootstrap interval has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbtvp.core.errors import UsageError


def paired_z(
    gained: ArrayLike, lost: ArrayLike, n: ArrayLike, margin: float
) -> NDArray[np.float64]:
    """Z(margin), of the common shape of the counts; above 0 where the gain is above the margin.

    margin: a share, between −1 and 1. UsageError for counts that cannot be.
    """
    better, worse, count = (np.asarray(value, np.float64) for value in (gained, lost, n))
    if not -1 < margin < 1:
        raise UsageError(f"a margin of {margin}; give a share between -1 and 1")
    if (
        (count < 1).any()
        or (better < 0).any()
        or (worse < 0).any()
        or (better + worse > count).any()
    ):
        raise UsageError("gained and lost must be counts among n samples, and n at least 1")
    spread = np.sqrt(
        count * (2 * _least_lost(better, worse, count, margin) + margin * (1 - margin))
    )
    above = better - worse - count * margin
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = np.where(np.abs(above) > 1e-12, above / spread, 0.0)
    return found


def _least_lost(better: Any, worse: Any, n: Any, margin: float) -> Any:
    """q̂, the likeliest share of lost answers if the gain is `margin`.

    It is at least −margin, since the share of gained answers cannot be negative.
    """
    b = -better - worse + (2 * n - better + worse) * margin
    c = -worse * margin * (1 - margin)
    root = np.sqrt(np.maximum(b * b - 8 * n * c, 0.0))
    return np.maximum((root - b) / (4 * n), max(0.0, -margin))


def score_interval(gained: int, lost: int, n: int, z: float) -> tuple[float, float]:
    """The interval of gains that the score test does not reject at |Z| = z.

    Each end alone is a one-sided limit of level Φ(−z).
    """
    return limits(lambda margin: float(paired_z(gained, lost, n, margin)), (gained - lost) / n, z)


def limits(z_at: Callable[[float], float], gain: float, z: float) -> tuple[float, float]:
    """The interval of margins δ with |Z(δ)| ≤ z, within −1..1.

    z_at: Z(δ), which falls. gain: where it is 0.
    """
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    edge = 1 - 1e-12

    def end(sign: float) -> float:
        def beyond(margin: float) -> float:
            return sign * z_at(margin) + z

        if abs(gain - sign) < 1e-9 or beyond(sign * edge) > 0:
            return sign
        start = float(np.clip(gain, -edge, edge))
        return float(brentq(beyond, start, sign * edge, xtol=1e-13))

    return end(-1.0), end(1.0)
