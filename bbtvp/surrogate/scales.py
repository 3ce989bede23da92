"""Spreads, and losses with less noise: arithmetic on arrays, nothing else."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError

LEAST = 1e-12
"""A spread below this is none: the candidates do not differ in that term."""


def spread(values: ArrayLike) -> float:
    """Standard deviation (n − 1) across candidates, NaN = missing; NaN for fewer than two that are
    there.
    """
    found = np.asarray(values, np.float64).ravel()
    found = found[np.isfinite(found)]
    return float(found.std(ddof=1)) if found.size > 1 else float("nan")


@final
class Adjusted(NamedTuple):
    """loss: (c,) adjusted means; b: the coefficient; rho: the correlation that it rests on."""

    loss: Vector
    b: float
    rho: float


def control_variate(
    target: Matrix, surrogate: Matrix, whole: Vector, *, b: float | None = None
) -> Adjusted:
    """Mean losses of c candidates on a minibatch, with what the surrogate knows of the whole
    training split.

        adjusted = mean_i target_i − b · ( mean_i surrogate_i − whole )

    target: (c, n) losses of the queried model, NaN = failed. surrogate: (c, n), the surrogate's on
    the same images; whole: (c,), its mean over the whole split, exactly known at no query. Paired
    differences to the unprompted image may be given in the place of losses, in all three. For a
    fixed b the mean is unbiased and for the best one the variance falls by 1 − ρ² (methods.md 7.4).
    b is fitted, unless given (say, from earlier generations), as the slope within candidates,
    pooled: Σ cov / Σ var, which a minibatch shared by all candidates leaves comparable between
    them; a fit on the same n images costs a bias of order 1/n. b = 0 where fewer than 3 pairs, or
    no spread, is there. A candidate without any answered query is NaN. UsageError for shapes that
    do not match.
    """
    if target.ndim != 2 or surrogate.shape != target.shape or np.shape(whole) != (len(target),):
        shapes = f"{np.shape(target)}, {np.shape(surrogate)} and {np.shape(whole)}"
        raise UsageError(f"losses of shapes {shapes}; give (c, n), (c, n) and (c,)")
    kept = np.isfinite(target) & np.isfinite(surrogate)
    counts = kept.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [
            np.where(kept, values, 0).sum(axis=1, keepdims=True) / counts
            for values in (target, surrogate)
        ]
    t, s = (
        np.where(kept, values - mean, 0.0)
        for values, mean in zip((target, surrogate), means, strict=True)
    )
    enough = int(kept.sum()) - int((counts > 0).sum()) >= 2
    variance = float((s * s).sum())
    other = float((t * t).sum())
    covariance = float((t * s).sum())
    usable = enough and variance > LEAST and other > LEAST
    rho = covariance / np.sqrt(variance * other) if usable else 0.0
    slope = b if b is not None else (covariance / variance if usable else 0.0)
    return Adjusted(means[0][:, 0] - slope * (means[1][:, 0] - whole), float(slope), float(rho))
