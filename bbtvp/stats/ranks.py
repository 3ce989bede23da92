"""The area under the ROC curve, from ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bbtvp.core.errors import UsageError


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> NDArray[np.float64]:
    """The probability that a positive sample scores above a negative one; ties count half.

    With R₊ the sum of the ranks of the n₊ positive samples, it is (R₊ − n₊(n₊ + 1)/2) / (n₊ n₋)
    (Mann and Whitney, 1947; Hanley and McNeil, 1982).

    scores, positive: (…, n). One value for each row; NaN where all its samples are of one kind.
    UsageError if the shapes differ.
    """
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    values = np.asarray(scores, np.float64)
    kind = np.asarray(positive, np.bool_)
    if values.shape != kind.shape or not values.ndim:
        raise UsageError(f"scores and kinds differ in shape: {values.shape} and {kind.shape}")
    above = kind.sum(axis=-1).astype(np.float64)
    below = kind.shape[-1] - above
    ranks = np.where(kind, rankdata(values, axis=-1), 0.0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = (ranks - above * (above + 1) / 2) / (above * below)
    return found
