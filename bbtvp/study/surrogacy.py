"""What the surrogate does in a search: each part can be switched off, and none costs an image query but priming."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import derived_seed, stream
from bbtvp.objective import Objective, check_terms
from bbtvp.objective.readers import label_logprobs, read_all
from bbtvp.prompt import PromptSpace
from bbtvp.query import Outcome, Reply, Request
from bbtvp.surrogate import Guide, Student, Surrogate, ZeroShot, active_part, prime, warm_start
from bbtvp.surrogate.terms import Head
from bbtvp.task import Sample, Task

GUIDED = ("guided-es", "p-rgf")
"""Methods that ask for the surrogate's gradient."""


@final
@dataclass(frozen=True)
class Surrogacy:
    """surrogate: a local CLIP, or None. fca, tse: weights of its two terms in J.

    matched: weights in units of the task loss's spread over the first generation (see `Scale`); else as they are, in
    the task loss's unit per unit of the term. free: training images, at most, that the terms are taken on. warm: begin
    where the surrogate's own loss is lowest, if a paired check of 2 × 16 image queries agrees. prime: training images
    whose unprompted answers a student learns from, one image query each, to take the place of CLIP's zero-shot answers.
    """

    surrogate: Surrogate | None = None
    fca: float = 0.0
    tse: float = 0.0
    matched: bool = True
    free: int = 64
    warm: bool = False
    prime: int = 0

    def __post_init__(self) -> None:
        check_terms(self.surrogate, self.fca, self.tse)
        if self.surrogate is None and (self.warm or self.prime):
            raise UsageError("a warm start and priming need a surrogate: add --surrogate zoo/clip")
        if self.prime < 0 or self.free < 1:
            raise UsageError(f"prime is {self.prime} and free {self.free}; give counts of images")
        if self.prime and self.prime < 8:
            raise UsageError(f"{self.prime} answers teach a student nothing; prime with at least 8 images")

    @property
    def spec(self) -> dict[str, object]:
        """What a journal keeps of it."""
        plain = {name: getattr(self, name) for name in ("fca", "tse", "matched", "free", "warm", "prime")}
        return {"surrogate": self.surrogate.spec if self.surrogate else None, **plain}


def free_samples(task: Task, count: int, seed: int) -> list[Sample]:
    """Training samples that free terms are taken on: the same for a whole run, so that they add no noise."""
    order = stream(seed, "free").permutation(len(task.train))[:count]
    return [task.train[i] for i in order]


def head_of(surrogacy: Surrogacy, objective: Objective, seed: int) -> Head | None:
    """The surrogate's own answer to the task: a student of the source's answers, or CLIP's zero-shot; None without one.

    Priming asks the first source model about the unprompted training images; failed queries are left out.
    """
    if surrogacy.surrogate is None:
        return None
    if surrogacy.prime:
        return _student(surrogacy, surrogacy.surrogate, objective, seed)
    return ZeroShot(surrogacy.surrogate, objective.task)


def _student(surrogacy: Surrogacy, surrogate: Surrogate, objective: Objective, seed: int) -> Student:
    task, model = objective.task, objective.models[0]
    labels = task.labels
    if labels is None:
        raise UsageError(f"task {task.name} has no labels that all samples share; a student cannot be primed")
    order = stream(seed, "prime").permutation(len(task.train))[: surrogacy.prime]
    samples = [task.train[i] for i in order]
    images = [sample.pixels() for sample in samples]
    if objective.reader.name == "text":
        answers = [r.answer for r in read_all(objective.reader, model, task, samples, images)]
        rows = [_certain(labels, answer) for answer in answers]
    else:
        asked = [Request(image, task.ask(sample), labels) for image, sample in zip(images, samples, strict=True)]
        rows = [_row(outcome, len(labels)) for outcome in model.query(asked)]
    return prime(surrogate, task, images, samples, np.array(rows), seed=seed)


def _row(outcome: Outcome, labels: int) -> Vector:
    return label_logprobs(outcome, labels) if isinstance(outcome, Reply) else np.full(labels, np.nan)


def _certain(labels: Sequence[str], answer: str | None) -> Vector:
    """Text names one label and hides how sure the model was: all but 5 % for it."""
    if answer not in labels:
        return np.full(len(labels), np.nan)
    sure: Vector = np.log(np.where(np.array(labels) == answer, 0.95, 0.05 / max(1, len(labels) - 1)))
    return sure


def warm_point(
    head: Head, space: PromptSpace, samples: Sequence[Sample], kinds: Collection[str], base: Vector, seed: int
) -> Vector:
    """The z that the surrogate would choose, with only these layers moved; no query."""
    return warm_start(head, space, samples, derived_seed(seed, "warm"), kinds=kinds, base=base, steps=25).z


def guide_of(head: Head, space: PromptSpace, samples: Sequence[Sample], kinds: tuple[str, ...], base: Vector) -> _Guide:
    """Unit gradients of the surrogate's terms over one stage's variables."""
    return _Guide(Guide(head, space, samples, kinds=kinds), kinds, base)


@final
@dataclass(frozen=True)
class _Guide:
    """From a stage's variables to the whole z and back."""

    guide: Guide
    kinds: tuple[str, ...]
    base: Vector

    def __call__(self, active: Vector) -> Matrix:
        return self.guide(self.guide.space.embed(active, self.kinds, self.base))


def begin_at(space: PromptSpace, kinds: Collection[str], z: Vector) -> Vector:
    """The variables of a stage in a whole z."""
    return active_part(space, kinds, z)


def control_losses(
    head: Head, objective: Objective, z: Matrix, samples: Sequence[Sample], whole: Sequence[Sample]
) -> tuple[Matrix, Vector]:
    """The surrogate's losses of each candidate on a minibatch (k, n), and on `whole` (k,); no query."""
    here, everywhere = [], []
    for row in z:
        render = objective.space.renderer(row)
        here.append(head.loss([render(objective.prepared(s)) for s in samples], samples))
        everywhere.append(head.loss([render(objective.prepared(s)) for s in whole], whole).mean())
    return np.array(here), np.array(everywhere)
