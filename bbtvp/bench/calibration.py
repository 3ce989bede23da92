"""Output calibration: no prompt at all, only a correction of the model's prejudice for some labels.

What a visual prompt gains must be more than this, for it costs a bias per label and no change of any image. Both are
fitted on the unprompted training (then validation) images that the budget affords, and change the answers of the
source alone, as it is asked about the unprompted test image:

    "labels"   argmax_y  s_y(x) + b_y,   b = argmin mean NLL of softmax(s + b) + RIDGE · ‖b‖² / 2     (uses the labels)
    "prior"    argmax_y  s_y(x) − mean over images of log-softmax(s)_y   (batch calibration, Zhou et al., ICLR 2024)

s_y: log-probability of label y, per token. "labels" is vector scaling of Guo et al. (ICML 2017) without the scale; a
fixed content-free image in place of the mean would be contextual calibration (Zhao et al., ICML 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.bench.answers import View, ask
from bbtvp.bench.method import Job, Outcome
from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.rng import stream
from bbtvp.objective import choose_reader
from bbtvp.query import Meter
from bbtvp.study import Journal
from bbtvp.task import Sample

RIDGE = 0.01
"""Strength of the pull to no correction, in nats per squared nat: with few images of a label its bias stays finite."""

STEPS, TOLERANCE = 100, 1e-9


@final
class Asked(NamedTuple):
    """Unprompted images and the model's (n, labels) scores of them, NaN where a query failed; what that cost."""

    samples: tuple[Sample, ...]
    scores: Matrix
    queries: Mapping[str, int]
    failed: int


def training_scores(job: Job, pool: Sequence[Sample]) -> Asked:
    """Ask about as many of `pool`, in an order drawn by the seed, as the budget allows; resumable.

    UsageError if the model gives no log-probabilities or the samples have labels of their own.
    """
    task, model = job.task, job.model
    reader = choose_reader("auto", model, task)
    order = stream(job.seed, "bench", "training-scores").permutation(len(pool))
    samples = tuple(pool[i] for i in order[: job.budget])
    config = {"bench": 1, "scores": task.digest, "model": model.spec, "images": [sample.id for sample in samples]}
    with Journal(config, job.folder) as journal:
        meter = Meter(model, journal, cap=job.budget, spent=journal.spent, failed=journal.failed)
        found = ask(meter, reader, View(task), samples)
        if found.scores is None:
            raise UsageError(
                f"this needs log-probabilities of labels that {task.name} has in common, from {model.spec}"
            )
        return Asked(samples, found.scores, dict(meter.account.spent), meter.account.failed)


def calibrate(job: Job, constants: Mapping[str, Any]) -> Outcome:
    """Fit a bias per label, and correct the zero-shot answers with it.

    constants: fit ("labels" or "prior"). UsageError as for `training_scores`.
    """
    task = job.task
    asked = training_scores(job, (*task.train, *task.validation))
    labels, zero_shot = task.labels or (), job.zero_shot().scores
    if zero_shot is None:
        raise UsageError(f"calibration needs label log-probabilities on the test images of {task.name}")
    bias = fitted(asked.scores, indices(labels, [sample.answer for sample in asked.samples]), constants["fit"])
    correct = corrected(zero_shot, bias, indices(labels, [sample.answer for sample in task.test]))
    facts = {"bias": {label: round(float(b), 4) for label, b in zip(labels, bias, strict=True)}}
    return Outcome(correct=correct, queries=asked.queries, failed=asked.failed, facts=facts)


def indices(labels: Sequence[str], answers: Sequence[str]) -> NDArray[np.intp]:
    """(n,) the place of each answer among the labels."""
    return np.array([labels.index(answer) for answer in answers], np.intp)


def fitted(scores: Matrix, truth: NDArray[np.intp], fit: str) -> Vector:
    """(labels,) bias of mean 0, from (n, labels) scores; rows with NaN are left out. UsageError for another `fit`."""
    kept = np.isfinite(scores).all(axis=1)
    known, answers = _log_softmax(scores[kept]), truth[kept]
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
    bias, wanted = np.zeros(count), np.bincount(truth, minlength=count) / len(truth)
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
