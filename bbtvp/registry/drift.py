"""Whether a model answers worse than on the first day: a sequential test over the same images.

>>> import numpy as np
>>> old = np.ones((1, 200))
>>> new = np.array([0.0] * 12 + [1.0] * 188)
>>> fall_p(old, new) < 0.001
True

The probe has n images. On the first day each was asked R times, now it is asked once. Two
hypotheses must both be rejected before a fall is believed:

- nothing changed. Then the R + 1 scores of an image are exchangeable: each is as likely to be
  today's. For right and wrong answers the number of right ones today is then a sum of independent
  Bernoulli draws, and its lower tail is exact; with R = 1 this is McNemar's test. It allows for a
  model that does not always answer the same, whatever its noise is from image to image.
- the answers changed, but the mean did not. Then the images are a sample of those that the model
  will see, and the differences have a mean of 0: the score test of `bbtvp.stats.graded`.

The answers are looked at `LOOKS` times, with the error spending of `bbtvp.stats.sequential`. It
ends early for a fall, and for none: as soon as a fall of `DROP` is itself rejected. If all images
were asked and neither is decided, the answers may have changed so much that the mean says little:
the model is then another one, and the old proof says nothing of it. Under "nothing changed" today's
score is the odd one out among an image's R + 1 with probability 1/(R + 1), which is tested too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Literal, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.stats import boundaries, graded_interval, graded_z, is_right_or_wrong, paired_z

LEVEL = 0.012
"""The probability of a false alarm about the prompted score, all looks of one check together."""

CHANGED_LEVEL = 0.004
"""The same about answers that changed, where a fall is neither shown nor excluded."""

GAIN_LEVEL = 0.004
"""The same about the gain. Together they are 2 in 100 unchanged checks."""

DROP = 0.10
"""A fall of the mean score that a check is to find, or to exclude."""

EXCLUDED = 0.01
"""The level at which a fall of `DROP` is excluded at one look."""

LOOKS = 5
"""How often the answers are looked at."""

_NORMAL = NormalDist()
_DRAWS = 9_999
"""Random assignments that the test of graded scores draws."""


@final
@dataclass(frozen=True, eq=False)
class DriftLook:
    """What the answers to the first images say.

    then, now: mean scores of the images with answers on both days. p: that so low a score comes
    from an unchanged model. found: "stale" for a fall, or for answers that changed while a fall is
    not excluded (`changed`); "holds" for no fall of `DROP` or more, "open" for neither yet.
    differences: (images,) now − then of each image. bound: of |Z| at this look.
    """

    then: float
    now: float
    p: float
    found: Literal["stale", "holds", "open"]
    differences: Vector
    bound: float
    changed: bool = False

    @property
    def images(self) -> int:
        """Images with answers on both days."""
        return len(self.differences)

    @cached_property
    def ci(self) -> tuple[float, float]:
        """The repeated 97.6 % interval of now − then."""
        if not self.images:
            return -1.0, 1.0
        return graded_interval(self.differences, self.bound)


@final
class DriftTest:
    """The test of one check: which images are asked between the looks, and what each look says.

    images: those of the probe, at least 1. drop: a share, 0 to 1, that is to be found or excluded.
    exact: the model always answers the same.
    """

    def __init__(self, images: int, *, drop: float = DROP, exact: bool = False) -> None:
        if not 0 < drop < 1:
            raise UsageError(f"a drop of {drop}; give a share between 0 and 1")
        ends = np.unique(np.rint(np.linspace(0, images, LOOKS + 1)[1:]).astype(int))
        self.ends: tuple[int, ...] = tuple(int(end) for end in ends if end)
        self.drop = drop
        self.exact = exact
        self._bounds = boundaries([end / images for end in self.ends], LEVEL)

    def look(self, number: int, old: Matrix, new: Vector) -> DriftLook:
        """The look of this number, from 0.

        old: (R, m) scores of the first day, new: (m,) of today, 0 to 1, NaN where a query failed.
        """
        kept = np.isfinite(new) & np.isfinite(old).any(axis=0)
        bound = float(self._bounds[number])
        old = old[:, kept]
        new = new[kept]
        if not len(new):
            return DriftLook(0.0, 0.0, 1.0, "open", new, bound)
        then = mean_scores(old)
        difference = new - then
        p = fall_p(old, new)
        found: Literal["stale", "holds", "open"] = "open"
        changed = False
        if p <= _NORMAL.cdf(-bound):
            found = "stale"
        elif _z(difference, -self.drop) >= -_NORMAL.inv_cdf(EXCLUDED):
            found = "holds"
        elif number == len(self.ends) - 1:
            changed = changed_p(old, new, exact=self.exact) <= CHANGED_LEVEL
            found = "stale" if changed else "open"
        means = float(then.mean()), float(new.mean())
        return DriftLook(*means, p, found, difference, bound, changed)


def fall_p(old: Matrix, new: Vector) -> float:
    """One-sided p-value of a fall from the first day to today; see the module.

    old: (R, n) scores, NaN where a query failed, but at least one of each image. new: (n,) scores.
    """
    difference = new - mean_scores(old)
    if not (difference < 0).any():
        return 1.0
    changed = _exchange_p(old, new)
    return max(changed, _NORMAL.cdf(_z(difference, 0.0)))


def changed_p(old: Matrix, new: Vector, *, exact: bool) -> float:
    """One-sided p-value of "nothing changed", from how often today's score is the odd one out.

    old, new: as for `fall_p`. exact: the model always answers the same, so that one change proves
    it. 1 where an image was asked only once before.
    """
    from scipy.stats import binom  # type: ignore[import-untyped]

    if exact:
        return 0.0 if (np.abs(new - mean_scores(old)) > 1e-9).any() else 1.0
    if len(old) < 2:
        return 1.0
    scores = np.vstack((new, old))
    scores = scores[:, np.isfinite(scores).all(axis=0)]
    away = np.abs(scores - scores.mean(axis=0))
    odd = away > away.max(axis=0) - 1e-9
    single = odd.sum(axis=0) == 1
    return float(binom.sf(odd[0, single].sum() - 1, single.sum(), 1 / len(scores)))


def gain_p(then: Vector, now: Vector) -> float:
    """One-sided p-value of a fall of the mean gain. then, now: (n,) gains in −1..1, no NaN."""
    halved = (now - then) / 2  # a difference of gains lies in −2..2
    return _NORMAL.cdf(graded_z(halved, 0.0))


def _z(differences: Vector, margin: float) -> float:
    """`graded_z`, in closed form where every answer is right or wrong on both days."""
    if not np.isin(differences, (-1.0, 0.0, 1.0)).all():
        return graded_z(differences, margin)
    gained = int((differences > 0).sum())
    lost = int((differences < 0).sum())
    return float(paired_z(gained, lost, len(differences), margin))


def _exchange_p(old: Matrix, new: Vector) -> float:
    """The lower tail of today's sum, if each of an image's scores is as likely to be today's."""
    scores = np.vstack((new, old))
    finite = np.isfinite(scores)
    if is_right_or_wrong(scores[finite]):
        right = np.nansum(scores, axis=0)
        return _tail(right / finite.sum(axis=0), round(float(new.sum())))
    rng = stream(0, "registry", "drift")
    ranks = np.argsort(~finite, axis=0, kind="stable")  # the answered ones first
    drawn = rng.integers(0, finite.sum(axis=0), size=(_DRAWS, len(new)))
    places = np.arange(len(new))
    sums = scores[ranks[drawn, places], places].sum(axis=1)
    return float((1 + (sums <= new.sum() + 1e-9).sum()) / (1 + _DRAWS))


def _tail(probabilities: Vector, most: int) -> float:
    """P(a sum of independent Bernoulli draws ≤ most), by convolution."""
    sure = int((probabilities >= 1).sum())
    mass = np.ones(1)
    for p in probabilities[(probabilities > 0) & (probabilities < 1)]:
        mass = np.convolve(mass, (1 - p, p))
    return float(min(1.0, mass[: max(0, most - sure + 1)].sum()))


def mean_scores(scores: Matrix) -> Vector:
    """(n,) the mean score of each image over (R, n) answers; NaN where all failed."""
    finite = np.isfinite(scores)
    count = finite.sum(axis=0)
    total = np.where(finite, scores, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def shares(scores: Sequence[float | None]) -> Vector:
    """(n,) float64, NaN for None."""
    return np.array([np.nan if one is None else one for one in scores], np.float64)
