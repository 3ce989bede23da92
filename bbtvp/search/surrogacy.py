"""What the surrogate does in a search. None of it costs an image query but priming."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.prompt import PromptSpace
from bbtvp.runs.journal import Journal
from bbtvp.search.ask import ask
from bbtvp.search.config import SearchConfig
from bbtvp.search.objective import Objective
from bbtvp.search.steps import journalled, mark_of
from bbtvp.surrogate import (
    Guide,
    Surrogate,
    SurrogateGroup,
    ZeroShot,
    gradients_at,
    prime,
    priming_points,
)
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample, Task


def free_samples(task: Task, count: int, seed: int) -> list[Sample]:
    """Training samples on which the surrogate's terms are taken.

    They are the same for a whole run, so that they add no noise.
    """
    order = stream(seed, "free").permutation(len(task.train))[:count]
    return [task.train[i] for i in order]


def head_of(
    surrogate: Surrogate,
    objective: Objective,
    config: SearchConfig,
    *,
    kinds: Collection[str],
    journal: Journal,
) -> Head:
    """The surrogate's own answer to the task.

    It is a student of the source's answers if `config.prime` asks for one, else CLIP's zero-shot
    classifier, which knows nouns but points the wrong way for numbers and yes or no.

    Priming shows the first source model each training image once, under random values of the
    variables of `kinds`, so that the student knows prompted images; failed queries are left out.
    """
    if not config.prime:
        return ZeroShot(surrogate, objective.task)
    if isinstance(surrogate, SurrogateGroup):
        raise UsageError(
            "a student is primed on one surrogate; give one --surrogate, or no --prime"
        )
    task = objective.task
    seed = config.seed
    own = any(sample.labels is not None for sample in task.train)
    if task.labels is None or own:
        raise UsageError(
            f"task {task.name} has no labels that all samples share; a student cannot be primed"
        )
    order = stream(seed, "prime").permutation(len(task.train))[: config.prime]
    samples = [task.train[i] for i in order]
    points = priming_points(objective.space, len(samples), seed, kinds=kinds)
    images = [
        objective.space.render(z, objective.prepared(s))
        for z, s in zip(points, samples, strict=True)
    ]
    done = journalled(journal, "prime", mark_of(points))
    blank = [float("nan")] * len(task.labels)
    if done is None:
        logprobs = _answers(objective, task.labels, samples, points, images)
    else:
        logprobs = np.array([blank if row is None else row for row in done["logprobs"]], np.float64)
    student = prime(surrogate, task, images, samples, logprobs, seed=seed)
    if done is None:
        # Journalled with its failures, for asking them again would make another student. Too few
        # answers were refused by `prime` above.
        rows = [None if np.isnan(row).any() else row.tolist() for row in logprobs]
        journal.write_step("prime", z=mark_of(points), logprobs=rows)
    return student


def _answers(
    objective: Objective,
    labels: tuple[str, ...],
    samples: Sequence[Sample],
    points: Matrix,
    images: Sequence[Pixels],
) -> Matrix:
    """(n, labels) log-probabilities from the first source model; NaN for a failed query."""
    task = objective.task
    questions = [
        objective.space.ask(z, task.ask(sample)) for z, sample in zip(points, samples, strict=True)
    ]
    found = ask(
        objective.models[0], objective.reader, task, samples, images=images, questions=questions
    )
    rows = [
        _certain(labels, answer) if scores is None else scores
        for answer, scores in zip(found.labels, found.scores, strict=True)
    ]
    return np.array(rows)


def _certain(labels: Sequence[str], answer: str | None) -> Vector:
    """Text names one label and hides how sure the model was: all but 5 % for it."""
    if answer not in labels:
        return np.full(len(labels), np.nan)
    sure: Vector = np.log(
        np.where(np.array(labels) == answer, 0.95, 0.05 / max(1, len(labels) - 1))
    )
    return sure


def gradients_near(
    head: Head,
    space: PromptSpace,
    samples: Sequence[Sample],
    *,
    kinds: tuple[str, ...],
    start: Vector,
    seed: int,
) -> Matrix:
    """(m, d) unit gradients of the surrogate's task loss over the variables of `kinds`.

    They are taken for each sample, at `start` and at three points around it.
    """
    guide = Guide(head, space, samples, terms=("task",), kinds=kinds)
    points = start + priming_points(space, 4, seed, kinds=kinds)
    rows = gradients_at(guide, points)
    return rows if len(rows) else np.eye(1, guide.dim)
