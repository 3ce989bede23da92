"""Readers: how a model's answer becomes a loss, from label log-probabilities or from text alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.models import Model, Reply, Request
from bbtvp.tasks import ReplyStatus, Sample, Task, read_reply

_NO_LABEL = -math.log(1e-4)
"""Nats that the true label is held to cost in a reply that names none."""


ReadingStatus: TypeAlias = ReplyStatus | Literal["failed"]
"""What became of a query: see `ReplyStatus`; "failed" is a query without a reply. A query that the
model or a filter refused is "refused", as a reply is that declines in words.
"""


class Reading(NamedTuple):
    """One reply, read.

    loss: NaN where the query failed. answer: None where none could be parsed. correct: the score,
    1.0 or 0.0 for a right or wrong answer, between for a graded metric; NaN where the query failed.
    """

    loss: float
    answer: str | None
    correct: float
    status: ReadingStatus = "answered"


class Reader(ABC):
    """How a reply becomes a loss and an answer."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name under which `choose_reader` gives it."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Its name and its settings, JSON-able, as a journal keeps them."""

    @abstractmethod
    def request(self, pixels: Pixels, question: str, task: Task, sample: Sample) -> Request:
        """The image query that this reader needs; `question` goes with the pixels."""

    @abstractmethod
    def read(self, reply: Reply, task: Task, sample: Sample) -> Reading:
        """Loss and answer of a reply. Raises ModelError if the reply lacks what was asked for."""

    def scores(self, reply: Reply, task: Task, sample: Sample) -> Vector | None:
        """(labels,) log-probabilities of the sample's labels in a reply; None where it has none."""
        return None


@final
@dataclass(frozen=True)
class LogProbReader(Reader):
    """Label log-probabilities: loss = (1 − p^q) / q, p the share of the true label.

    The share is among the labels of the task. That is the generalised cross-entropy of Zhang and
    Sabuncu (NeurIPS 2018, arXiv 1805.07836): the log loss −log p in nats for q = 0, the probability
    of a wrong answer for q = 1, and never above 1/q. The log loss is ruled by the few images that a
    model gets confidently wrong, which no prompt may mend; q = 0.5 ranks candidates better.

    q: 0 to 1. normalise: "sum" ranks labels by the log-probability of the whole label; "mean" by
    the mean per token, as TVP does (so that long labels are not punished). The answer is the
    likeliest label.
    """

    normalise: str = "mean"
    q: float = 0.5

    @property
    def name(self) -> str:
        return "logprob"

    @property
    def settings(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}

    def __post_init__(self) -> None:
        if self.normalise not in ("sum", "mean"):
            raise unknown("normalisation", self.normalise, ("sum", "mean"))
        if not 0 <= self.q <= 1:
            raise UsageError(
                f"q is {self.q}; give a number from 0 (log loss) "
                "to 1 (probability of a wrong answer)"
            )

    def request(self, pixels: Pixels, question: str, task: Task, sample: Sample) -> Request:
        labels = task.sample_labels(sample)
        if labels is None:
            raise UsageError(
                f"task {task.name} has free answers; use the text reader (--reader text)"
            )
        return Request(pixels, question, labels, reply_limit(16, task))

    def read(self, reply: Reply, task: Task, sample: Sample) -> Reading:
        labels = task.sample_labels(sample) or ()
        if reply.scores == ():
            return self._said(reply, labels, sample)
        scores = label_logprobs(reply, len(labels), self.normalise)
        answer = labels[int(scores.argmax())]
        return Reading(
            self._loss(-float(scores[labels.index(sample.answer)])),
            answer,
            float(answer == sample.answer),
        )

    def scores(self, reply: Reply, task: Task, sample: Sample) -> Vector | None:
        labels = task.sample_labels(sample)
        if not reply.scores or labels is None:
            return None
        return label_logprobs(reply, len(labels), self.normalise)

    def _said(self, reply: Reply, labels: Sequence[str], sample: Sample) -> Reading:
        """The reading of a reply whose labels have no scores: of its text alone.

        A right answer costs nothing, and everything else what a true label costs that is not named.
        """
        answer, status = read_reply(reply.text or "", labels, cut=reply.cut)
        right = answer == sample.answer
        return Reading(self._loss(0.0 if right else _NO_LABEL), answer, float(right), status)

    def _loss(self, nats: float) -> float:
        return nats if self.q == 0 else -math.expm1(-self.q * nats) / self.q


def label_logprobs(reply: Reply, labels: int, normalise: str = "mean") -> np.ndarray:
    """(labels,) log-probabilities of the labels, renormalised over them.

    ModelError if the reply holds none.
    """
    if reply.scores is None or len(reply.scores) != labels:
        raise ModelError(
            "the model returned no label log-probabilities; use the text reader (--reader text)"
        )
    per_token = normalise == "mean"
    scores = np.array([s.logprob / s.tokens if per_token else s.logprob for s in reply.scores])
    scores -= scores.max()
    result: np.ndarray = scores - np.log(np.exp(scores).sum())
    return result


@final
@dataclass(frozen=True)
class TextReader(Reader):
    """Text alone: loss 0 for a right answer, 1 for a wrong or unparsed one, 1 − score if graded.

    A label is parsed, never guessed. max_tokens: of a reply, if the task does not ask for more.
    forced: the model is held to the task's labels, where it offers that; the loss is the same.
    """

    max_tokens: int = 16
    forced: bool = False

    @property
    def name(self) -> str:
        """The word label where the reply is forced to be one, else text."""
        return "label" if self.forced else "text"

    @property
    def settings(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}

    def request(self, pixels: Pixels, question: str, task: Task, sample: Sample) -> Request:
        labels = task.sample_labels(sample) if self.forced else None
        limit = reply_limit(self.max_tokens, task)
        return Request(pixels, question, labels, limit, forced=labels is not None)

    def read(self, reply: Reply, task: Task, sample: Sample) -> Reading:
        if reply.text is None:
            raise ModelError("the model returned no text where text was asked for")
        labels = task.sample_labels(sample)
        whole = task.scoring.whole
        answer, status = read_reply(reply.text, labels, cut=reply.cut, whole=whole)
        score = task.grade(answer, sample)
        return Reading(1.0 - score, answer, score, status)


def reply_limit(tokens: int, task: Task) -> int:
    """The longest reply in tokens: the larger of the reader's limit and the task's."""
    return max(tokens, task.max_tokens or 0)


def choose_reader(
    name: str, models: Model | Sequence[Model], task: Task, *, normalise: str = "mean"
) -> Reader:
    """The reader of this name.

    "auto" takes the first of "logprob", "label" (a forced one) and "text" that all models offer.
    The first two need a task with labels. UsageError for a reader that a model does not offer.
    """
    asked = [models] if isinstance(models, Model) else list(models)
    without = {
        "logprob": [model.spec for model in asked if not model.capabilities.logprobs],
        "label": [model.spec for model in asked if not model.capabilities.forced],
    }
    if name == "auto":
        labelled = all(task.sample_labels(sample) is not None for sample in task.train)
        name = next((kind for kind, lacking in without.items() if labelled and not lacking), "text")
    if without.get(name):
        what = "no log-probabilities" if name == "logprob" else "no forced labels"
        raise UsageError(f"{without[name][0]} gives {what}; use the text reader (--reader text)")
    return reader_named(name, normalise)


def reader_named(name: str, normalise: str = "mean") -> Reader:
    """The reader of this name. normalise: how "logprob" weighs long labels, "mean" or "sum"."""
    readers = {
        "logprob": LogProbReader(normalise),
        "label": TextReader(forced=True),
        "text": TextReader(),
    }
    if name not in readers:
        raise unknown("reader", name, ("auto", *readers))
    return readers[name]
