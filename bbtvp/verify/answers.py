"""What one model answered in each arm of a proof."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.models import MeteredModel
from bbtvp.prompt import Prompt
from bbtvp.search import Answers, Reader, ask
from bbtvp.search.ask import BATCH
from bbtvp.search.calibration import calibrates, corrected, fitted, indices
from bbtvp.tasks import Sample, Task
from bbtvp.verify.arms import arm_queries, arms_of


@final
class ModelAnswers:
    """The answers of one model, by arm, in the order of the samples that it was asked about."""

    def __init__(self, prompt: Prompt, task: Task, model: MeteredModel, reader: Reader) -> None:
        self.prompt = prompt
        self.task = task
        self.model = model
        self.reader = reader
        self.samples: list[Sample] = []
        self.arms: dict[str, Answers] = {}
        self._bias: Vector | None = None

    @property
    def spec(self) -> str:
        return self.model.spec

    def extend(self, samples: Sequence[Sample]) -> None:
        """Ask about more test images, in all arms. Raises as `MeteredModel.query` does."""
        # The arms of the identity are one: the journal answers all but the first.
        twice = not (self.model.capabilities.deterministic or self.prompt.is_identity)
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            for arm, sent in arm_queries(self.prompt, self.task, batch, twice=twice).items():
                found = ask(
                    self.model,
                    self.reader,
                    self.task,
                    batch,
                    images=sent.images,
                    questions=sent.questions,
                    beside=[sent.beside] * len(batch),
                    replicate=sent.replicate,
                )
                known = [self.arms[arm]] if arm in self.arms else []
                self.arms[arm] = Answers.joined([*known, found])
            self.samples += batch

    def calibrate(self, images: int, seed: int) -> None:
        """Fit the output calibration on so many unprompted images that are no test images.

        They are drawn from the validation split, then from the training split. Nothing is asked
        where the model gives no log-probabilities of labels that all samples share.
        """
        labels = self.task.labels
        if not images or labels is None or not calibrates(self.reader, self.task):
            return
        draw = stream(seed, "verify", "calibration")
        pools = (self.task.validation, self.task.train)
        chosen = [pool[i] for pool in pools for i in draw.permutation(len(pool))][:images]
        raw = [sample.pixels() for sample in chosen]
        found = ask(self.model, self.reader, self.task, chosen, images=raw)
        scores = found.score_table(len(labels))
        if np.isfinite(scores).all(axis=1).any():
            truths = indices(labels, [sample.answer for sample in chosen])
            self._bias = fitted(scores, truths, "labels")

    def correct(self, arm: str) -> Vector:
        """(n,) 1 right, 0 wrong, NaN where the query failed."""
        return self.arms[arm].correct

    def answered(self) -> NDArray[np.bool_]:
        """(n,) whether an image was answered in all arms that count."""
        correct = np.stack([self.correct(arm) for arm in arms_of(self.prompt)])
        return np.asarray(~np.isnan(correct).any(axis=0))

    def said(
        self, kept: NDArray[np.bool_]
    ) -> tuple[list[Sample], list[str | None], list[str | None]]:
        """The kept images, and the answers to them without the prompt and with it.

        kept: (n,). An answer is None where the reply named none.
        """
        places = np.flatnonzero(kept)
        before = self.arms["zero_shot"].labels
        after = self.arms["prompted"].labels
        return (
            [self.samples[i] for i in places],
            [before[i] for i in places],
            [after[i] for i in places],
        )

    def scores(self, arm: str) -> Matrix | None:
        """(n, labels) log-probabilities, NaN where missing; None where the reader has none."""
        if not calibrates(self.reader, self.task):
            return None
        return self.arms[arm].score_table(len(self.task.labels or ()))

    def calibrated(self) -> Vector | None:
        """(n,) correctness of zero-shot with the output calibration; None without one."""
        scores = self.scores("zero_shot")
        if self._bias is None or scores is None:
            return None
        answers = [sample.answer for sample in self.samples]
        return corrected(scores, self._bias, indices(self.task.labels or (), answers))
