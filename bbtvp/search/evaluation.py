"""What a search may see of a candidate, and its estimate where some queries failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.surrogate.scales import LEAST, spread

MISSING = float("nan")


@final
@dataclass(frozen=True)
class Evaluation:
    """What a search may see of one candidate.

    loss: J, what the optimiser is told: the sum of the terms; NaN if no query was answered. task,
    fca, tse: the terms before weighting (fca and tse are 0 without a surrogate). stderr: standard
    error of `task`. accuracy: share of right answers among the `n_ok` that came.
    """

    loss: float
    task: float
    fca: float
    tse: float
    stderr: float
    accuracy: float
    n_ok: int
    n_failed: int


@final
class Scale(NamedTuple):
    """Units of FCA and TSE, in the unit of the task loss.

    They make a weight mean the same for every model and task: with `matched`, a term of weight 1
    varies over the candidates of the first generation as much as the task loss does.
    """

    fca: float = 1.0
    tse: float = 1.0

    @classmethod
    def matched(cls, evaluations: Sequence[Evaluation]) -> Scale:
        """The ratio of the standard deviations over candidates that share their images.

        It is 0 for a constant term.
        """
        task = spread([each.task for each in evaluations])
        if not np.isfinite(task):
            return cls(0.0, 0.0)
        fca = spread([each.fca for each in evaluations])
        tse = spread([each.tse for each in evaluations])
        return cls(
            task / fca if fca > LEAST else 0.0,
            task / tse if tse > LEAST else 0.0,
        )

    def apply(self, evaluation: Evaluation, fca: float, tse: float) -> Evaluation:
        """The evaluation with its loss: the sum of the terms, weighted in these units."""
        loss = evaluation.task + fca * self.fca * evaluation.fca - tse * self.tse * evaluation.tse
        return replace(evaluation, loss=loss)


def additive(table: Matrix) -> Vector:
    """(k,) mean loss of each candidate over all n images, from a (k, n) table with holes.

    A hole is NaN, where a query failed. The least-squares fit of loss[i, j] = c_i + m_j gives
    c_i + mean(m); for a full table these are the row means. A candidate with holes is so compared
    with the others on the images they share, and gains nothing by having missed hard ones. NaN for
    a candidate without any loss.
    """
    known = np.isfinite(table)
    if known.all():
        means: Vector = table.mean(axis=1)
        return means
    rows, columns = np.nonzero(known)
    k, n = table.shape
    if not len(rows):
        return np.full(k, MISSING)
    design = np.zeros((len(rows), k + n))
    design[np.arange(len(rows)), rows] = design[np.arange(len(rows)), k + columns] = 1
    effects = np.linalg.lstsq(design, table[known], rcond=None)[0]
    seen = known.any(axis=0)
    estimates: Vector = np.where(known.any(axis=1), effects[:k] + effects[k:][seen].mean(), MISSING)
    return estimates
