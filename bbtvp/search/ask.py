"""Ask a model about samples: the one way in which the package does it.

>>> found = ask(model, choose_reader("auto", model, task), task, task.test, prompt)
>>> print(np.nanmean(found.correct), found.failed)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias, final

import numpy as np

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.shown import Shown
from bbtvp.models import Model, Outcome, QueryFailed, Request
from bbtvp.search.evaluation import MISSING
from bbtvp.search.readers import Reader, Reading, ReadingStatus
from bbtvp.stats import is_right_or_wrong
from bbtvp.tasks import Sample, Task

BATCH = 128
"""Images that are rendered, and kept in memory, at a time."""

FAILED = Reading(MISSING, None, MISSING, "failed")
"""The reading of a query that failed."""

REFUSED = FAILED._replace(status="refused")
"""The reading of a query that the model or a filter refused."""


Context: TypeAlias = tuple[Shown, ...]
"""Images that are sent before the one that is asked about, each with its text."""


class PromptLike(Protocol):
    """What changes an image and a question before they are sent: a `Prompt`, or half of one."""

    def render(self, image: Pixels, /) -> Pixels:
        """The image that is sent for this one."""

    def ask(self, question: str, /) -> str:
        """The text that is sent for this question."""

    def context(self) -> Context:
        """The images that are sent before this one, each with its text."""

    @property
    def reply_tokens(self) -> int:
        """Tokens that an answer to its words needs; 0 where they ask for no more than usual."""


@final
class Beside(NamedTuple):
    """What a request holds beside an image and a question: see `PromptLike`."""

    context: Context = ()
    reply_tokens: int = 0

    @classmethod
    def of(cls, prompt: PromptLike | None) -> Beside:
        """That of a prompt; nothing without one."""
        return cls() if prompt is None else cls(prompt.context(), prompt.reply_tokens)

    def put(self, request: Request) -> Request:
        """The request with it. Only a text reply needs more room."""
        if self.context:
            request = replace(request, context=self.context)
        if request.labels is None and self.reply_tokens > request.max_tokens:
            request = replace(request, max_tokens=self.reply_tokens)
        return request


@final
@dataclass(frozen=True)
class Answers:
    """What a model answered about n samples, in their order.

    readings: the loss, the answer and whether it is right, of each sample. scores: the (labels,)
    log-probabilities of each sample's labels, in nats; None where the query failed, or where the
    reader reads no scores. outcomes: what the model gave. Of several draws, scores and outcomes are
    the first's.
    """

    readings: tuple[Reading, ...]
    scores: tuple[Vector | None, ...]
    outcomes: tuple[Outcome, ...]

    def __repr__(self) -> str:
        asked = len(self.readings)
        answered = self.correct[np.isfinite(self.correct)]
        unit = "right" if is_right_or_wrong(answered) else "of the score"
        right = f", {100 * answered.mean():.1f} % {unit}" if len(answered) else ""
        kinds = ("unparsed", "refused", "cut", "failed")
        missing = [f", {count} {kind}" for kind in kinds if (count := getattr(self, kind))]
        return f"Answers({asked} asked{right}{''.join(missing)})"

    @classmethod
    def joined(cls, parts: Iterable[Answers]) -> Answers:
        """The answers of several parts, one after the other."""
        found = list(parts)
        return cls(
            tuple(reading for part in found for reading in part.readings),
            tuple(scores for part in found for scores in part.scores),
            tuple(outcome for part in found for outcome in part.outcomes),
        )

    def in_order(self, places: Sequence[int]) -> Answers:
        """The same answers, each at the place that is given for it: a permutation of 0 to n − 1."""
        order = np.argsort(places)
        return Answers(
            tuple(self.readings[i] for i in order),
            tuple(self.scores[i] for i in order),
            tuple(self.outcomes[i] for i in order),
        )

    @property
    def losses(self) -> Vector:
        """(n,) the loss of each sample, NaN where the query failed."""
        return np.array([reading.loss for reading in self.readings], np.float64)

    @property
    def correct(self) -> Vector:
        """(n,) 1 right, 0 wrong, between if graded, NaN where the query failed."""
        return np.array([reading.correct for reading in self.readings], np.float64)

    @property
    def labels(self) -> list[str | None]:
        """The answer to each sample; None where the query failed or the reply named no label."""
        return [reading.answer for reading in self.readings]

    @property
    def failed(self) -> int:
        """How many queries failed."""
        return int(np.isnan(self.correct).sum())

    @property
    def unparsed(self) -> int:
        """How many replies named no single label."""
        return self.count("unparsed")

    @property
    def refused(self) -> int:
        """How many queries the model or a filter refused, in words or by a failure."""
        return self.count("refused")

    @property
    def cut(self) -> int:
        """How many replies ended at the limit of tokens before their answer."""
        return self.count("cut")

    def count(self, status: ReadingStatus) -> int:
        """How many samples have this status."""
        return sum(reading.status == status for reading in self.readings)

    def score_table(self, labels: int) -> Matrix:
        """(n, labels) the scores, a row of NaN where there are none."""
        missing = np.full(labels, MISSING)
        rows = [missing if scores is None else scores for scores in self.scores]
        return np.array(rows, np.float64).reshape(len(rows), labels)


def ask(
    model: Model,
    reader: Reader,
    task: Task,
    samples: Sequence[Sample],
    prompt: PromptLike | None = None,
    *,
    images: Sequence[Pixels] | None = None,
    questions: Sequence[str] | None = None,
    beside: Sequence[Beside] | None = None,
    repeats: int = 1,
    replicate: int = 0,
) -> Answers:
    """Ask the model about each sample, with the prompt or without one.

    images: what is sent in place of the rendered samples, as it is, in one call to the model.
    Without it, `BATCH` images at a time are rendered and sent. questions: the texts that are sent
    in place of the task's. beside: what goes with them, in place of what the prompt says. repeats:
    answers for each image, which is worth its cost only for a model that does not always answer the
    same; loss and correctness are then means. replicate: the number of the first of these draws;
    each number is asked for separately (see `Request`).

    A failed query is missing data. Raises ModelError if the model is down, BudgetReached if a
    metered model would pass a cap, and UsageError if the reader does not fit the task.
    """
    texts = _texts(task, samples, prompt) if questions is None else questions
    around = [Beside.of(prompt)] * len(samples) if beside is None else beside
    draws = range(replicate, replicate + repeats)

    def send(places: slice, shown: Sequence[Pixels]) -> Answers:
        requests = requests_for(
            reader,
            task,
            samples[places],
            images=shown,
            questions=texts[places],
            beside=around[places],
            draws=draws,
        )
        return _read(reader, task, samples[places], model.query(requests), repeats)

    if images is not None:
        return send(slice(None), images)
    parts = []
    for start in range(0, len(samples), BATCH):
        places = slice(start, start + BATCH)
        parts.append(send(places, _shown(samples[places], prompt)))
    return Answers.joined(parts)


def requests_for(
    reader: Reader,
    task: Task,
    samples: Sequence[Sample],
    *,
    images: Sequence[Pixels],
    questions: Sequence[str],
    beside: Sequence[Beside],
    draws: range = range(1),
) -> list[Request]:
    """What is sent for these samples: each request once for each draw, one after the other."""
    rows = zip(images, questions, beside, samples, strict=True)
    once = [
        around.put(reader.request(image, question, task, sample))
        for image, question, around, sample in rows
    ]
    return [
        replace(request, replicate=draw) if draw else request for request in once for draw in draws
    ]


def reading_of(outcome: Outcome, reader: Reader, task: Task, sample: Sample) -> Reading:
    """How an outcome is read: a failed query is missing data. Raises as `Reader.read` does."""
    if isinstance(outcome, QueryFailed):
        return REFUSED if outcome.refused else FAILED
    return reader.read(outcome, task, sample)


def _texts(task: Task, samples: Sequence[Sample], prompt: PromptLike | None) -> list[str]:
    plain = [task.ask(sample) for sample in samples]
    return plain if prompt is None else [prompt.ask(question) for question in plain]


def _shown(samples: Sequence[Sample], prompt: PromptLike | None) -> list[Pixels]:
    raw = [sample.pixels() for sample in samples]
    return raw if prompt is None else [prompt.render(pixels) for pixels in raw]


def _read(
    reader: Reader,
    task: Task,
    samples: Sequence[Sample],
    outcomes: Sequence[Outcome],
    repeats: int,
) -> Answers:
    """The answers in `outcomes`, of which each sample has `repeats`."""
    owners = [sample for sample in samples for _ in range(repeats)]
    readings: list[Reading] = []
    scores: list[Vector | None] = []
    for outcome, sample in zip(outcomes, owners, strict=True):
        readings.append(reading_of(outcome, reader, task, sample))
        if isinstance(outcome, QueryFailed):
            scores.append(None)
        else:
            scores.append(reader.scores(outcome, task, sample))
    if repeats > 1:
        starts = range(0, len(readings), repeats)
        readings = [_mean(readings[start : start + repeats]) for start in starts]
        scores = scores[::repeats]
    return Answers(tuple(readings), tuple(scores), tuple(outcomes[::repeats]))


def _mean(readings: Sequence[Reading]) -> Reading:
    """The mean of what was answered, with the commonest answer (of equals the first)."""
    answered = [reading for reading in readings if np.isfinite(reading.loss)]
    if not answered:
        return readings[0]
    given = [reading.answer for reading in answered]
    commonest = answered[given.index(max(given, key=given.count))]
    loss = float(np.mean([reading.loss for reading in answered]))
    correct = float(np.mean([reading.correct for reading in answered]))
    return Reading(loss, commonest.answer, correct, commonest.status)
