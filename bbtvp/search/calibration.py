"""Output calibration: no prompt at all, only a correction of the model's prejudice for some labels.

What a visual prompt gains must be more than this, for it costs a bias per label and no change of
any image. It is fitted on unprompted images that are no test images, and changes the answers about
the unprompted test image:

    "labels"   argmax_y  s_y(x) + b_y,   b = argmin mean NLL of softmax(s + b) + RIDGE · ‖b‖² / 2
    "prior"    argmax_y  s_y(x) − mean over images of log-softmax(s)_y

s_y: log-probability of label y, per token. "labels" uses the true labels, "prior" does not: it is
batch calibration (Zhou et al., ICLR 2024). "labels" is vector scaling of Guo et al. (ICML 2017)
without the scale; a fixed content-free image in place of the mean would be contextual calibration
(Zhao et al., ICML 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import unknown
from bbtvp.search.readers import LogProbReader, Reader
from bbtvp.tasks import Task

RIDGE = 0.01
"""Strength of the pull to no correction, in nats per squared nat: with few images of a label its
bias stays finite.
"""

STEPS = 100
TOLERANCE = 1e-9


def calibrates(reader: Reader, task: Task) -> bool:
    """Whether the reader gives log-probabilities of labels that all samples of the task share."""
    samples = (sample for split in task.splits.values() for sample in split)
    own = any(sample.labels is not None for sample in samples)
    return isinstance(reader, LogProbReader) and task.labels is not None and not own


def indices(labels: Sequence[str], answers: Sequence[str]) -> NDArray[np.intp]:
    """(n,) the place of each answer among the labels."""
    return np.array([labels.index(answer) for answer in answers], np.intp)


def fitted(scores: Matrix, truth: NDArray[np.intp], fit: str) -> Vector:
    """(labels,) bias of mean 0, from (n, labels) scores; rows with NaN are left out.

    fit: "labels" or "prior"; UsageError for another word.
    """
    kept = np.isfinite(scores).all(axis=1)
    known = _log_softmax(scores[kept])
    answers = truth[kept]
    if fit == "prior":
        bias = -known.mean(axis=0)
    elif fit == "labels":
        bias = _newton(known, answers)
    else:
        raise unknown("fit", fit, ("labels", "prior"))
    centred: Vector = bias - bias.mean()
    return centred


def _newton(scores: Matrix, truth: NDArray[np.intp]) -> Vector:
    """The minimum of a convex loss in as many variables as labels: damped only by the ridge."""
    count = scores.shape[1]
    bias = np.zeros(count)
    wanted = np.bincount(truth, minlength=count) / len(truth)
    for _ in range(STEPS):
        p = np.exp(_log_softmax(scores + bias))
        slope = p.mean(axis=0) - wanted + RIDGE * bias
        curve = np.diag(p.mean(axis=0)) - p.T @ p / len(p) + RIDGE * np.eye(count)
        step = np.linalg.solve(curve, slope)
        bias = bias - step / max(1.0, float(np.abs(step).max()))  # at most a nat at a time
        if np.abs(step).max() < TOLERANCE:
            break
    return bias


def corrected(scores: Matrix, bias: Vector, truth: NDArray[np.intp]) -> Vector:
    """(n,) 1 right, 0 wrong, NaN where the scores are missing."""
    right = ((scores + bias).argmax(axis=1) == truth).astype(np.float64)
    return np.where(np.isfinite(scores).all(axis=1), right, np.nan)


def _log_softmax(scores: Matrix) -> Matrix:
    shifted = scores - scores.max(axis=1, keepdims=True)
    found: Matrix = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
