"""Weights that mean the same everywhere, and losses with less noise: arithmetic on arrays, nothing else."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError

LEAST = 1e-12
"""A spread below this is none: the candidates do not differ in that term."""


def spread(values: ArrayLike) -> float:
    """Standard deviation (n − 1) across candidates, NaN = missing; NaN for fewer than two that are there."""
    found = np.asarray(values, np.float64).ravel()
    found = found[np.isfinite(found)]
    return float(found.std(ddof=1)) if found.size > 1 else float("nan")


def matched(values: ArrayLike, own: float, reference: float) -> Vector:
    """A term in the unit of another: values · reference / own, own and reference being spreads across candidates.

    With `own` the spread of FCA (or TSE) and `reference` that of the task loss, over the same candidates (the caller
    may keep running ones), a weight w says: a difference between candidates that is usual for this term counts as
    much as w usual differences of the task loss, whatever surrogate, model or task. It is a scale only, no centre, so
    that the ranks within a term stay. All 0 if own is below 1e-12: then the term tells no candidate from another.
    UsageError for a spread that is negative or not finite.
    """
    for name, value in (("own", own), ("reference", reference)):
        if not 0 <= value < float("inf"):
            raise UsageError(f"the {name} spread is {value}; give a finite standard deviation, from `spread`")
    found = np.asarray(values, np.float64)
    return np.zeros_like(found) if own < LEAST else np.asarray(found * (reference / own))


def balanced(task: ArrayLike, fca: ArrayLike, tse: ArrayLike, *, fca_weight: float, tse_weight: float) -> Vector:
    """(c,) J = task + w_fca · matched(fca) − w_tse · matched(tse), with the spreads of these very candidates.

    task, fca, tse: (c,) means per candidate, raw (TSE as the cosine). NaN stays NaN. With fewer than two finite
    candidates nothing can be matched: J is the task loss. UsageError for arrays of different length.
    """
    arrays = [np.asarray(values, np.float64) for values in (task, fca, tse)]
    if len({values.shape for values in arrays}) > 1:
        raise UsageError(
            f"task, FCA and TSE of {[values.shape for values in arrays]}; give one value per candidate each"
        )
    reference = spread(arrays[0])
    total = arrays[0].copy()
    for values, weight in ((arrays[1], fca_weight), (arrays[2], -tse_weight)):
        own = spread(values)
        if np.isfinite(own) and np.isfinite(reference):
            total += weight * matched(values, own, reference)
    return total


@final
class Adjusted(NamedTuple):
    """loss: (c,) adjusted means; b: the coefficient; rho: the correlation that it rests on."""

    loss: Vector
    b: float
    rho: float


def control_variate(target: Matrix, surrogate: Matrix, whole: Vector, *, b: float | None = None) -> Adjusted:
    """Mean losses of c candidates on a minibatch, with what the surrogate knows of the whole training split.

        adjusted = mean_i target_i − b · ( mean_i surrogate_i − whole )

    target: (c, n) losses of the queried model, NaN = failed. surrogate: (c, n), the surrogate's on the same images;
    whole: (c,), its mean over the whole split, exactly known at no query. Paired differences to the unprompted image
    may be given in the place of losses, in all three. For a fixed b the mean is unbiased and for the best one the
    variance falls by 1 − ρ² (methods.md 7.4). b is fitted, unless given (say, from earlier generations), as the slope
    within candidates, pooled: Σ cov / Σ var, which a minibatch shared by all candidates leaves comparable between
    them; a fit on the same n images costs a bias of order 1/n. b = 0 where fewer than 3 pairs, or no spread, is there.
    A candidate without any answered query is NaN. UsageError for shapes that do not match.
    """
    if target.ndim != 2 or surrogate.shape != target.shape or np.shape(whole) != (len(target),):
        shapes = f"{np.shape(target)}, {np.shape(surrogate)} and {np.shape(whole)}"
        raise UsageError(f"losses of shapes {shapes}; give (c, n), (c, n) and (c,)")
    kept = np.isfinite(target) & np.isfinite(surrogate)
    counts = kept.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [np.where(kept, values, 0).sum(axis=1, keepdims=True) / counts for values in (target, surrogate)]
    t, s = (np.where(kept, values - mean, 0.0) for values, mean in zip((target, surrogate), means, strict=True))
    enough = int(kept.sum()) - int((counts > 0).sum()) >= 2
    variance, other = float((s * s).sum()), float((t * t).sum())
    covariance = float((t * s).sum())
    usable = enough and variance > LEAST and other > LEAST
    rho = covariance / np.sqrt(variance * other) if usable else 0.0
    slope = b if b is not None else (covariance / variance if usable else 0.0)
    return Adjusted(means[0][:, 0] - slope * (means[1][:, 0] - whole), float(slope), float(rho))
