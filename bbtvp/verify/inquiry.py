"""One model asked in all arms, batch by batch, and what it answered so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.models import MeteredModel, Outcome, QueryFailed, Reply
from bbtvp.prompt import Prompt
from bbtvp.search import MISSING, Reader, Reading
from bbtvp.search.calibration import corrected, fitted, indices
from bbtvp.search.readers import LogProbReader, label_logprobs
from bbtvp.tasks import Sample, Task
from bbtvp.verify.arms import Sent, arms, sent
from bbtvp.verify.asking import BATCH


class Answer(NamedTuple):
    """A reply read, and the (labels,) log-probabilities it came from; None where there are none."""

    reading: Reading
    scores: Vector | None


@final
class Inquiry:
    """The answers of one model, by arm, in the order of the samples that it was asked about."""

    def __init__(self, prompt: Prompt, task: Task, metered: MeteredModel, reader: Reader) -> None:
        self.prompt = prompt
        self.task = task
        self.metered = metered
        self.reader = reader
        self.samples: list[Sample] = []
        self.answers: dict[str, list[Answer]] = {}
        self._bias: Vector | None = None

    @property
    def spec(self) -> str:
        return self.metered.spec

    def look(self, samples: Sequence[Sample]) -> None:
        """Ask about more test images, in all arms. Raises as `MeteredModel.query` does."""
        twice = not self.metered.capabilities.deterministic
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            for arm, given in sent(self.prompt, self.task, batch, twice=twice).items():
                self.answers.setdefault(arm, []).extend(self._ask(given, batch))
            self.samples += batch

    def calibrate(self, images: int, seed: int) -> int:
        """Fit the output calibration on so many unprompted validation (then training) images; how
        many were asked.

        0 where the model gives no log-probabilities of labels that all samples share.
        """
        labels = self.task.labels
        pools = (self.task.validation, self.task.train)
        if not images or not self.calibrates(self.reader, self.task) or labels is None:
            return 0
        draw = stream(seed, "verify", "calibration")
        chosen = [pool[i] for pool in pools for i in draw.permutation(len(pool))][:images]
        plain = Sent(
            [sample.pixels() for sample in chosen], [self.task.ask(sample) for sample in chosen]
        )
        scores = _table([answer.scores for answer in self._ask(plain, chosen)], len(labels))
        if np.isfinite(scores).all(axis=1).any():
            self._bias = fitted(
                scores, indices(labels, [sample.answer for sample in chosen]), "labels"
            )
        return len(chosen)

    @staticmethod
    def calibrates(reader: Reader, task: Task) -> bool:
        """Whether there is a common score of common labels to correct."""
        own = any(sample.labels is not None for split in task.splits.values() for sample in split)
        return isinstance(reader, LogProbReader) and task.labels is not None and not own

    def correct(self, arm: str) -> Vector:
        """(n,) 1 right, 0 wrong, NaN failed."""
        return np.array([answer.reading.correct for answer in self.answers[arm]], np.float64)

    def answered(self) -> NDArray[np.bool_]:
        """(n,) whether an image was answered in all arms that count."""
        correct = np.stack([self.correct(arm) for arm in arms(self.prompt)])
        found: NDArray[np.bool_] = np.asarray(~np.isnan(correct).any(axis=0))
        return found

    def scores(self, arm: str) -> Matrix | None:
        """(n, labels) log-probabilities, NaN where missing; None where the reader has none to give."""
        if not self.calibrates(self.reader, self.task):
            return None
        return _table([answer.scores for answer in self.answers[arm]], len(self.task.labels or ()))

    def calibrated(self) -> Vector | None:
        """(n,) zero-shot answers with the output calibration; None without one."""
        scores = self.scores("zero_shot")
        labels = self.task.labels or ()
        if self._bias is None or scores is None:
            return None
        return corrected(
            scores, self._bias, indices(labels, [sample.answer for sample in self.samples])
        )

    def _ask(self, given: Sent, samples: Sequence[Sample]) -> list[Answer]:
        rows = zip(given.images, given.questions, samples, strict=True)
        once = [
            self.reader.request(image, question, self.task, sample)
            for image, question, sample in rows
        ]
        requests = (
            [replace(request, replicate=given.replicate) for request in once]
            if given.replicate
            else once
        )
        outcomes = self.metered.query(requests)
        return [
            self._read(outcome, sample) for outcome, sample in zip(outcomes, samples, strict=True)
        ]

    def _read(self, outcome: Outcome, sample: Sample) -> Answer:
        if isinstance(outcome, QueryFailed):
            return Answer(Reading(MISSING, None, MISSING), None)
        return Answer(self.reader.read(outcome, self.task, sample), self._scored(outcome, sample))

    def _scored(self, reply: Reply, sample: Sample) -> Vector | None:
        labels = self.task.sample_labels(sample)
        if not isinstance(self.reader, LogProbReader) or not reply.scores or labels is None:
            return None
        return label_logprobs(reply, len(labels), self.reader.normalise)


def _table(rows: Sequence[Vector | None], labels: int) -> Matrix:
    return np.array([np.full(labels, np.nan) if row is None else row for row in rows]).reshape(
        len(rows), labels
    )
