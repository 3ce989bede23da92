"""What the surrogate does in a search: each part can be switched off, and none costs an image query
but priming.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import derived_seed, stream
from bbtvp.models import Reply, Request
from bbtvp.prompt import PromptSpace
from bbtvp.runs.journal import Journal
from bbtvp.search.objective import Objective, check_terms
from bbtvp.search.readers import LogProbReader, label_logprobs, read_all
from bbtvp.search.steps import journalled, mark_of
from bbtvp.surrogate import (
    Guide,
    Surrogate,
    ZeroShot,
    gradients_at,
    prime,
    priming_points,
    warm_start,
)
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample, Task


@final
@dataclass(frozen=True)
class Surrogacy:
    """surrogate: a local CLIP, or None. fca, tse: weights of its two terms in J.

    matched: weights in units of the task loss's spread over the first generation (see `Scale`);
    else as they are, in the task loss's unit per unit of the term. free: training images, at most,
    that the terms are taken on. warm: begin where the surrogate's own loss is lowest, if a paired
    check of 2 × 16 image queries agrees. prime: training images that a student of the source's
    answers learns from, one image query each; it takes the place of CLIP's zero-shot classifier,
    which knows nouns but points the wrong way for numbers and yes or no.
    """

    surrogate: Surrogate | None = None
    fca: float = 0.0
    tse: float = 0.0
    matched: bool = True
    free: int = 32
    warm: bool = False
    prime: int = 0

    def __post_init__(self) -> None:
        check_terms(self.surrogate, self.fca, self.tse)
        if self.surrogate is None and (self.warm or self.prime):
            raise UsageError("a warm start and priming need a surrogate: add --surrogate zoo/clip")
        if self.prime < 0 or self.free < 1:
            raise UsageError(f"prime is {self.prime} and free {self.free}; give counts of images")
        if self.prime and self.prime < 8:
            raise UsageError(
                f"{self.prime} answers teach a student nothing; prime with at least 8 images"
            )

    @property
    def spec(self) -> dict[str, object]:
        """What a journal keeps of it."""
        plain = {
            name: getattr(self, name) for name in ("fca", "tse", "matched", "free", "warm", "prime")
        }
        return {"surrogate": self.surrogate.spec if self.surrogate else None, **plain}


def free_samples(task: Task, count: int, seed: int) -> list[Sample]:
    """Training samples that free terms are taken on: the same for a whole run, so that they add no
    noise.
    """
    order = stream(seed, "free").permutation(len(task.train))[:count]
    return [task.train[i] for i in order]


def head_of(
    surrogacy: Surrogacy, objective: Objective, kinds: Collection[str], seed: int, journal: Journal
) -> Head | None:
    """The surrogate's own answer to the task: a student of the source's answers, or CLIP's
    zero-shot; None without one.

    Priming shows the first source model each training image once, under random values of the
    variables of `kinds`, so that the student knows prompted images; failed queries are left out.
    """
    if surrogacy.surrogate is None:
        return None
    if not surrogacy.prime:
        return ZeroShot(surrogacy.surrogate, objective.task)
    task = objective.task
    if task.labels is None:
        raise UsageError(
            f"task {task.name} has no labels that all samples share; a student cannot be primed"
        )
    order = stream(seed, "prime").permutation(len(task.train))[: surrogacy.prime]
    samples = [task.train[i] for i in order]
    points = priming_points(objective.space, len(samples), seed, kinds=kinds)
    images = [
        objective.space.render(z, objective.prepared(s))
        for z, s in zip(points, samples, strict=True)
    ]
    done = journalled(journal, "prime", mark_of(points))
    blank = [float("nan")] * len(task.labels)
    if done is None:
        logprobs = np.array(_answers(objective, task.labels, samples, points, images))
    else:
        logprobs = np.array([blank if row is None else row for row in done["logprobs"]], np.float64)
    student = prime(surrogacy.surrogate, task, images, samples, logprobs, seed=seed)
    if (
        done is None
    ):  # asking again what failed would make another student; too few answers for one were refused above
        rows = [None if np.isnan(row).any() else row.tolist() for row in logprobs]
        journal.write_step("prime", z=mark_of(points), logprobs=rows)
    return student


def _answers(
    objective: Objective,
    labels: tuple[str, ...],
    samples: Sequence[Sample],
    points: Matrix,
    images: Sequence[Pixels],
) -> list[Vector]:
    """(labels,) log-probabilities of each image from the first source model; NaN for a failed
    query.
    """
    model = objective.models[0]
    task = objective.task
    reader = objective.reader
    questions = [
        objective.space.ask(z, task.ask(sample)) for z, sample in zip(points, samples, strict=True)
    ]
    if not isinstance(reader, LogProbReader):
        return [
            _certain(labels, r.answer)
            for r in read_all(reader, model, task, samples, images, questions)
        ]
    asked = [
        Request(image, question, labels) for image, question in zip(images, questions, strict=True)
    ]
    failed = np.full(len(labels), np.nan)
    return [
        label_logprobs(outcome, len(labels), reader.normalise)
        if isinstance(outcome, Reply)
        else failed
        for outcome in model.query(asked)
    ]


def _certain(labels: Sequence[str], answer: str | None) -> Vector:
    """Text names one label and hides how sure the model was: all but 5 % for it."""
    if answer not in labels:
        return np.full(len(labels), np.nan)
    sure: Vector = np.log(
        np.where(np.array(labels) == answer, 0.95, 0.05 / max(1, len(labels) - 1))
    )
    return sure


def warm_point(
    head: Head,
    space: PromptSpace,
    samples: Sequence[Sample],
    kinds: Collection[str],
    base: Vector,
    seed: int,
) -> Vector:
    """The z that the surrogate would choose, with only these layers moved; no query."""
    return warm_start(
        head, space, samples, derived_seed(seed, "warm"), kinds=kinds, base=base, steps=25
    ).z


def guide_of(
    head: Head, space: PromptSpace, samples: Sequence[Sample], kinds: tuple[str, ...], base: Vector
) -> Callable[[Vector], Matrix]:
    """Unit gradients of the surrogate's terms over one stage's variables."""
    return Guide(head, space, samples, kinds=kinds).over(base)


def gradients_near(
    head: Head,
    space: PromptSpace,
    samples: Sequence[Sample],
    kinds: tuple[str, ...],
    start: Vector,
    seed: int,
) -> Matrix:
    """(m, d) unit gradients of the surrogate's task loss, one per sample, at `start` and at three
    points around it.
    """
    guide = Guide(head, space, samples, terms=("task",), kinds=kinds)
    points = start + priming_points(space, 4, seed, kinds=kinds)
    rows = gradients_at(guide, points)
    return rows if len(rows) else np.eye(1, guide.dim)
