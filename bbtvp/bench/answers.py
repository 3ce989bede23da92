"""Answers on the test split, each asked once and kept in a file that all cells share."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from filelock import FileLock

from bbtvp.bench.cells import pack_scores, slug, unpack_scores
from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.digest import digest, digest_json
from bbtvp.core.files import atomic_write_json
from bbtvp.models import InMemoryCache, MeteredModel, Model
from bbtvp.prompt import Prompt
from bbtvp.rivals.table import UseCost
from bbtvp.search import Reader, ask, choose_reader
from bbtvp.search.ask import Beside
from bbtvp.search.calibration import calibrates
from bbtvp.tasks import Sample, Task


class SplitAnswers(NamedTuple):
    """Answers on a test split of n samples.

    correct: (n,) scores, 1 right, 0 wrong, between if graded, NaN failed. scores: (n, labels)
    log-probabilities of the labels; None where they were not kept, or the model gives none. use:
    what an image costs; None in files of older versions.
    """

    correct: Vector
    scores: Matrix | None
    use: UseCost | None = None


@final
class PromptedSplit:
    """The test split of a task as it is shown with a prompt, or as it is.

    Images are rendered on demand, because a test split may not fit into memory.
    """

    def __init__(self, task: Task, prompt: Prompt | None = None) -> None:
        self.task = task
        self.prompt = prompt

    @cached_property
    def digest(self) -> str:
        """Digest of all that is sent: equal pixels and texts are one split, however made."""
        beside = Beside.of(self.prompt)
        marks = [
            mark for shown in beside.context for mark in (_mark(shown.image), shown.text.encode())
        ]
        # Nothing beside the image and the question leaves the digest what it always was.
        marks += [b"%d" % beside.reply_tokens] if beside.reply_tokens else []
        for sample in self.task.test:
            pixels, text = self._shown(sample)
            marks += [_mark(pixels), text.encode()]
        return digest(*marks)

    def _shown(self, sample: Sample) -> tuple[Pixels, str]:
        pixels = sample.pixels()
        text = self.task.ask(sample)
        if self.prompt is None:
            return pixels, text
        return self.prompt.render(pixels), self.prompt.ask(text)


def _mark(pixels: Pixels) -> bytes:
    return digest(str(pixels.shape).encode(), pixels.tobytes()).encode()


@final
class AnswerCache:
    """A folder of answers, one file for each model and split; what is there is not asked again.

    `asked` counts the image queries sent by this object.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = 0

    def has(self, model: Model, split: PromptedSplit) -> bool:
        """Whether the answers of the model on this split are there."""
        return self._path(model, split, choose_reader("auto", model, split.task)).exists()

    def _path(self, model: Model, split: PromptedSplit, reader: Reader) -> Path:
        mark = digest_json([model.spec, repr(reader), split.task.digest, split.digest])[:16]
        return self.folder / f"{slug(model.spec, split.task.name)}--{mark}.json"

    def get(self, model: Model, split: PromptedSplit, *, keep_scores: bool = False) -> SplitAnswers:
        """Answers of the model on the whole split, read as `verify` would read them."""
        task = split.task
        reader = choose_reader("auto", model, task)
        path = self._path(model, split, reader)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # another worker may be asking the same
            document = json.loads(path.read_text("utf-8")) if path.exists() else {}
            if not document or (keep_scores and "scores" not in document):
                metered = MeteredModel(model, InMemoryCache())
                found = ask(metered, reader, task, task.test, split.prompt)
                self.asked += metered.budget.total
                document = {
                    "model": model.spec,
                    "task": task.name,
                    "correct": pack_scores(found.correct),
                    "use": UseCost.of(model, found.outcomes, len(task.test))._asdict(),
                }
                if keep_scores:
                    scored = calibrates(reader, task)
                    table = found.score_table(len(task.labels or ())) if scored else None
                    document["scores"] = _rounded(table)
                atomic_write_json(path, document)
        return _from_json(document)


def _rounded(scores: Matrix | None) -> Any:
    """Six decimals, so that a reader of the file sees what the method saw."""
    if scores is None:
        return None
    return [
        [None if np.isnan(value) else round(float(value), 6) for value in row] for row in scores
    ]


def _from_json(document: dict[str, Any]) -> SplitAnswers:
    scores = document.get("scores")
    use = document.get("use")
    return SplitAnswers(
        unpack_scores(document["correct"]),
        None if scores is None else np.array(scores, np.float64),
        use and UseCost(**use),
    )
