"""What the search minimises: the model's answers read as a loss, plus FCA and minus TSE from the surrogate.

    J(z) = mean over images of [ task loss + λ_fca · FCA − λ_tse · TSE ]

Only the task loss costs image queries. What the search may see is an `Evaluation`, never a bare number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Matrix, Pixels
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.prompt import Prepared, PromptSpace
from bbtvp.query import Model, QueryFailed, Reply, Request
from bbtvp.surrogate import Features, Surrogate
from bbtvp.task import UNPARSED, Sample, Task, per_sample, prediction

MISSING = float("nan")


class Reading(NamedTuple):
    """One reply, read: `loss` (NaN = missing), the answer given (None = none could be parsed), whether it is right."""

    loss: float
    answer: str | None
    correct: float  # 1.0, 0.0, or NaN where the query failed


class Reader(ABC):
    """How a reply becomes a loss and an answer."""

    name: str

    @abstractmethod
    def request(self, pixels: Pixels, question: str, task: Task, sample: Sample) -> Request:
        """The image query that this reader needs; `question` is the text that goes with the pixels."""

    @abstractmethod
    def read(self, reply: Reply, task: Task, sample: Sample) -> Reading:
        """Loss and answer of a reply. Raises ModelError if the reply lacks what was asked for."""


@final
@dataclass(frozen=True)
class LogProbReader(Reader):
    """Label log-probabilities: loss = −log softmax over the labels, in nats; the answer is the likeliest label.

    normalise: "sum" ranks labels by the log-probability of the whole label; "mean" by the mean per token, as TVP does
    (so that long labels are not punished).
    """

    normalise: str = "mean"
    name = "logprob"

    def __post_init__(self) -> None:
        if self.normalise not in ("sum", "mean"):
            raise unknown("normalisation", self.normalise, ("sum", "mean"))

    def request(self, pixels: Pixels, question: str, task: Task, sample: Sample) -> Request:
        labels = task.sample_labels(sample)
        if labels is None:
            raise UsageError(f"task {task.name} has free answers; use the text reader (--reader text)")
        return Request(pixels, question, labels)

    def read(self, reply: Reply, task: Task, sample: Sample) -> Reading:
        labels = task.sample_labels(sample) or ()
        if reply.scores is None or len(reply.scores) != len(labels):
            raise ModelError("the model returned no label log-probabilities; use the text reader (--reader text)")
        per_token = self.normalise == "mean"
        scores = np.array([s.logprob / s.tokens if per_token else s.logprob for s in reply.scores])
        scores -= scores.max()
        true = labels.index(sample.answer)
        loss = float(np.log(np.exp(scores).sum()) - scores[true])
        answer = labels[int(scores.argmax())]
        return Reading(loss, answer, float(answer == sample.answer))


@final
@dataclass(frozen=True)
class TextReader(Reader):
    """Text alone: loss 0 for a right answer, 1 for a wrong or unparsed one; a label is parsed, never guessed."""

    max_tokens: int = 16
    name = "text"

    def request(self, pixels: Pixels, question: str, task: Task, sample: Sample) -> Request:
        return Request(pixels, question, max_tokens=self.max_tokens)

    def read(self, reply: Reply, task: Task, sample: Sample) -> Reading:
        if reply.text is None:
            raise ModelError("the model returned no text where text was asked for")
        guess = prediction(reply.text, task.sample_labels(sample))
        right = float(per_sample(task.metric, [guess], [sample.answer])[0])
        return Reading(1.0 - right, None if guess == UNPARSED else guess, right)


def choose_reader(name: str, model: Model, task: Task, *, normalise: str = "mean") -> Reader:
    """Reader by name; "auto" takes log-probabilities if the model has them and the task has labels, else text."""
    if name == "auto":
        labelled = all(task.sample_labels(sample) is not None for sample in task.train)
        name = "logprob" if model.capabilities.logprobs and labelled else "text"
    if name == "logprob":
        if not model.capabilities.logprobs:
            raise UsageError(f"{model.spec} gives no log-probabilities; use the text reader (--reader text)")
        return LogProbReader(normalise)
    if name == "text":
        return TextReader()
    raise unknown("reader", name, ("auto", "logprob", "text"))


@final
@dataclass(frozen=True)
class Evaluation:
    """What a search may see of one candidate, over `n` images.

    loss: J, the sum of the terms; NaN if no query was answered. task, fca, tse: the terms before weighting (fca and
    tse are 0 without a surrogate). stderr: standard error of `task`. accuracy: share of right answers among `n_ok`.
    """

    loss: float
    task: float
    fca: float
    tse: float
    stderr: float
    accuracy: float
    n_ok: int
    n_failed: int


def read_all(
    reader: Reader,
    model: Model,
    task: Task,
    samples: Sequence[Sample],
    images: Sequence[Pixels],
    questions: Sequence[str] | None = None,
) -> list[Reading]:
    """Ask about `images[i]` and read the replies; a failed query reads as missing.

    questions: the text sent with each image; by default what `samples[i]` asks.
    """
    asked = [task.ask(sample) for sample in samples] if questions is None else questions
    rows = zip(images, asked, samples, strict=True)
    requests = [reader.request(image, question, task, sample) for image, question, sample in rows]
    return [
        Reading(MISSING, None, MISSING) if isinstance(outcome, QueryFailed) else reader.read(outcome, task, sample)
        for outcome, sample in zip(model.query(requests), samples, strict=True)
    ]


def check_terms(surrogate: Surrogate | None, fca: float, tse: float) -> None:
    """UsageError for weights that are no weights, or that have no surrogate to weigh."""
    for name, weight in (("FCA", fca), ("TSE", tse)):
        if not 0 <= weight < float("inf"):
            raise UsageError(f"the weight of {name} is {weight}; give a number from 0 up")
    if (fca or tse) and surrogate is None:
        raise UsageError("FCA and TSE need a surrogate: add --surrogate zoo/clip")


@final
class Objective:
    """J over candidates z, on a minibatch that is the same for all of them (common random numbers)."""

    def __init__(
        self,
        task: Task,
        space: PromptSpace,
        model: Model,
        reader: Reader,
        *,
        surrogate: Surrogate | None = None,
        fca: float = 0.0,
        tse: float = 0.0,
    ) -> None:
        check_terms(surrogate, fca, tse)
        self.task, self.space, self.model, self.reader = task, space, model, reader
        self.surrogate = surrogate if fca or tse else None
        self.fca_weight, self.tse_weight = fca, tse
        self._prepared: dict[str, Prepared] = {}
        self._clean: dict[str, Pixels] = {}

    def prepared(self, sample: Sample) -> Prepared:
        """The sample's image, decoded and fitted once."""
        if sample.id not in self._prepared:
            self._prepared[sample.id] = self.space.prepare(sample.pixels())
        return self._prepared[sample.id]

    def evaluate(self, z: Matrix, samples: Sequence[Sample]) -> list[Evaluation]:
        """One Evaluation per row of z (λ, d); spends up to λ · len(samples) image queries in one call."""
        renderers = [self.space.renderer(row) for row in z]
        images = [render(self.prepared(sample)) for render in renderers for sample in samples]
        readings = read_all(self.reader, self.model, self.task, [*samples] * len(z), images)
        fca, tse = self._free_terms(images, samples, len(z))
        n = len(samples)
        return [self._summary(readings[i * n : (i + 1) * n], fca[i], tse[i]) for i in range(len(z))]

    def _free_terms(self, images: Sequence[Pixels], samples: Sequence[Sample], rows: int) -> tuple[Matrix, Matrix]:
        """FCA and TSE of each image, (rows, len(samples)) each."""
        shape = (rows, len(samples))
        if self.surrogate is None:
            return np.zeros(shape), np.zeros(shape)
        prompted = self.surrogate.features(images)
        unprompted = self.surrogate.features([self._unprompted(sample) for sample in samples])
        tiled = Features(unprompted.tokens.repeat(rows, 1, 1), unprompted.pooled.repeat(rows, 1))
        fca = self.surrogate.fca(prompted, tiled)
        tse = self.surrogate.tse(prompted, [sample.answer for sample in samples] * rows)
        return fca.reshape(shape), tse.reshape(shape)

    def _unprompted(self, sample: Sample) -> Pixels:
        if sample.id not in self._clean:
            self._clean[sample.id] = self.space.renderer(self.space.neutral())(self.prepared(sample))
        return self._clean[sample.id]

    def _summary(self, readings: Sequence[Reading], fca: np.ndarray, tse: np.ndarray) -> Evaluation:
        losses = np.array([reading.loss for reading in readings])
        kept = np.isfinite(losses)
        n = int(kept.sum())
        if n == 0:
            return Evaluation(MISSING, MISSING, MISSING, MISSING, MISSING, MISSING, 0, len(readings))
        task, f, t = (float(term[kept].mean()) for term in (losses, fca, tse))
        spread = float(losses[kept].std(ddof=1) / np.sqrt(n)) if n > 1 else MISSING
        accuracy = float(np.mean([r.correct for r, keep in zip(readings, kept, strict=True) if keep]))
        loss = task + self.fca_weight * f - self.tse_weight * t
        return Evaluation(loss, task, f, t, spread, accuracy, n, len(readings) - n)
