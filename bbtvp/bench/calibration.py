"""Output calibration (`bbtvp.search.calibration`) as a method: a baseline without a prompt.

Both corrections are fitted on unprompted training images, then validation images, as many as the
budget affords. They change the answers of the source to unprompted test images, and no other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from bbtvp.bench.method import MethodInput, MethodOutcome
from bbtvp.core.arrays import Matrix
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.models import Budget, MeteredModel
from bbtvp.search import Journal, ask, choose_reader
from bbtvp.search.calibration import calibrates, corrected, fitted, indices
from bbtvp.tasks import Sample


@final
class ScoredSamples(NamedTuple):
    """Unprompted images with the model's scores of their labels, and what that cost.

    scores: (n, labels) log-probabilities, NaN where a query failed. queries: image queries by
    phase.
    """

    samples: tuple[Sample, ...]
    scores: Matrix
    queries: Mapping[str, int]
    failed: int


def training_scores(job: MethodInput, pool: Sequence[Sample]) -> ScoredSamples:
    """Ask about as many of `pool`, in an order drawn by the seed, as the budget allows; resumable.

    UsageError if the model gives no log-probabilities or the samples have labels of their own.
    """
    task = job.task
    model = job.model
    reader = choose_reader("auto", model, task)
    if not calibrates(reader, task):
        raise UsageError(
            f"this needs log-probabilities from {model.spec}, and labels that all samples of "
            f"{task.name} share"
        )
    order = stream(job.seed, "bench", "training-scores").permutation(len(pool))
    samples = tuple(pool[i] for i in order[: job.budget])
    config = {
        "bench": 1,
        "scores": task.digest,
        "model": model.spec,
        "images": [sample.id for sample in samples],
    }
    with Journal(config, job.folder) as journal:
        budget = Budget(job.budget, journal.spent, journal.failed)
        metered = MeteredModel(model, journal, budget=budget)
        found = ask(metered, reader, task, samples)
        scores = found.score_table(len(task.labels or ()))
        return ScoredSamples(samples, scores, dict(budget.spent), budget.failed)


def calibrate(job: MethodInput, constants: Mapping[str, Any]) -> MethodOutcome:
    """Fit a bias per label, and correct the zero-shot answers with it.

    constants: fit ("labels" or "prior"). UsageError as for `training_scores`.
    """
    task = job.task
    asked = training_scores(job, (*task.train, *task.validation))
    labels = task.labels or ()
    zero_shot = job.zero_shot().scores
    if zero_shot is None:
        raise UsageError(
            f"calibration needs label log-probabilities on the test images of {task.name}"
        )
    bias = fitted(
        asked.scores, indices(labels, [sample.answer for sample in asked.samples]), constants["fit"]
    )
    correct = corrected(zero_shot, bias, indices(labels, [sample.answer for sample in task.test]))
    facts = {"bias": {label: round(float(b), 4) for label, b in zip(labels, bias, strict=True)}}
    return MethodOutcome(correct=correct, queries=asked.queries, failed=asked.failed, facts=facts)
