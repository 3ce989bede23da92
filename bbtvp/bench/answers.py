"""Answers on the test split, each asked once and kept in a file: zero-shot and controls are shared
by all cells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from filelock import FileLock

from bbtvp.bench.cells import from_bits, slug, to_bits
from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.digest import digest, digest_json
from bbtvp.core.files import atomic_write_json
from bbtvp.models import MeteredModel, Model, Outcome, Reply
from bbtvp.models.cache import InMemoryCache
from bbtvp.prompt import Prompt
from bbtvp.search import LogProbReader, Reader, choose_reader
from bbtvp.tasks import Sample, Task

BATCH = 128
"""Images rendered and asked about at a time."""

MISSING = float("nan")


class Answers(NamedTuple):
    """correct: (n,) 1, 0, NaN = failed. scores: (n, labels) log-probabilities per token, or None
    (text, own labels).
    """

    correct: Vector
    scores: Matrix | None


@final
class View:
    """What a model is shown and asked for each sample: made when needed, for a test split may not
    fit into memory.
    """

    def __init__(
        self,
        task: Task,
        render: Callable[[Pixels], Pixels] | None = None,
        word: Callable[[str], str] | None = None,
    ) -> None:
        self.task = task
        self._render = render
        self._word = word

    @classmethod
    def of(cls, prompt: Prompt, task: Task) -> View:
        """As a prompt makes it: pixels, and the question with its sentence."""
        return cls(task, prompt.render, prompt.ask)

    def show(self, sample: Sample) -> tuple[Pixels, str]:
        """The pixels and the text that are sent."""
        pixels = sample.pixels()
        text = self.task.ask(sample)
        return (self._render(pixels) if self._render else pixels), (
            self._word(text) if self._word else text
        )

    @cached_property
    def digest(self) -> str:
        """Of all that is sent about the test split: equal pixels and texts are one view, whatever
        made them.
        """
        shown = (self.show(sample) for sample in self.task.test)
        return digest(
            *(hash_ for pixels, text in shown for hash_ in (_mark(pixels), text.encode()))
        )


def _mark(pixels: Pixels) -> bytes:
    return digest(str(pixels.shape).encode(), pixels.tobytes()).encode()


def ask(model: Model, reader: Reader, view: View, samples: Sequence[Sample]) -> Answers:
    """Ask about each sample; a failed query is missing. ModelError if the model is down."""
    task = view.task
    correct: list[float] = []
    scores: list[list[float]] = []
    labels = len(task.labels or ())
    for start in range(0, len(samples), BATCH):
        part = samples[start : start + BATCH]
        requests = [reader.request(*view.show(sample), task, sample) for sample in part]
        for outcome, sample in zip(model.query(requests), part, strict=True):
            correct.append(
                reader.read(outcome, task, sample).correct
                if isinstance(outcome, Reply)
                else MISSING
            )
            scores.append(_scores(outcome, labels))
    own = any(sample.labels is not None for sample in samples)
    kept = isinstance(reader, LogProbReader) and labels and not own
    return Answers(np.array(correct), np.array(scores) if kept else None)


def _scores(outcome: Outcome, labels: int) -> list[float]:
    if not isinstance(outcome, Reply) or outcome.scores is None or len(outcome.scores) != labels:
        return [MISSING] * labels
    return [score.logprob / score.tokens for score in outcome.scores]


@final
class Shelf:
    """A folder of answers, one file per (model, what was sent): what is there is not asked again.

    `asked` counts the image queries sent by this object.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = 0

    def get(self, model: Model, view: View, *, keep_scores: bool = False) -> Answers:
        """Answers of `model` on the whole test split as `view` shows it, read as `verify` would
        read them.
        """
        task = view.task
        reader = choose_reader("auto", model, task)
        mark = digest_json([model.spec, repr(reader), task.digest, view.digest])[:16]
        path = self.folder / f"{slug(model.spec, task.name)}--{mark}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # another worker may be asking the same
            document = json.loads(path.read_text("utf-8")) if path.exists() else {}
            if not document or (keep_scores and "scores" not in document):
                metered = MeteredModel(model, InMemoryCache())
                found = ask(metered, reader, view, task.test)
                self.asked += metered.budget.total
                document = {
                    "model": model.spec,
                    "task": task.name,
                    "correct": to_bits(found.correct),
                }
                if keep_scores:
                    document["scores"] = _rounded(found.scores)
                atomic_write_json(path, document)
        return _from_json(document)


def _rounded(scores: Matrix | None) -> Any:
    """Six decimals, so that a reader of the file sees what the method saw."""
    if scores is None:
        return None
    return [
        [None if np.isnan(value) else round(float(value), 6) for value in row] for row in scores
    ]


def _from_json(document: dict[str, Any]) -> Answers:
    scores = document.get("scores")
    return Answers(
        from_bits(document["correct"]), None if scores is None else np.array(scores, np.float64)
    )
