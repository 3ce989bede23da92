"""How the proof and the checks beside it ask their models: through one journal, counted once,
resumable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.models import Budget, MeteredModel, Model, Outcome, Request, load_model, probe_model
from bbtvp.prompt import Prompt
from bbtvp.runs.journal import Journal
from bbtvp.search import Reader, Reading, read_all
from bbtvp.search.loop import Watch
from bbtvp.tasks import Sample, Task

BATCH = 128
"""Images in memory at a time."""


def check_folder(out: Path | str | None, check: str, prompt: Prompt, task: Task) -> Path | None:
    """The folder of a check below a run folder: one for each prompt and task. None where nothing is
    kept.
    """
    return None if out is None else Path(out) / check / f"{prompt.digest[:12]}-{task.digest[:12]}"


class Spent(NamedTuple):
    """Image queries so far, all processes of the run together; the failed and, among them, the
    refused; dollars.
    """

    queries: int
    failed: int
    refused: int
    usd: float


@final
class Desk:
    """One journal for the models of a check. Use as a context: the journal's file is held while it
    is open.

    folder: where the journal lies, None for memory alone. usd: a cap on money, for all models
    together.
    """

    def __init__(
        self, config: Mapping[str, Any], folder: Path | None, *, usd: float | None, watch: Watch
    ) -> None:
        self._usd = usd
        self._watch = watch
        self._closing = ExitStack()
        self.journal = Journal(config, folder)
        self.before = self.journal.spent.total()

    def __enter__(self) -> Desk:
        self._closing.enter_context(self.journal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()

    def metered(self, given: Model | str, phase: str) -> MeteredModel:
        """A model, probed if it is an endpoint, behind the journal. Raises as `load_model` and
        `probe_model` do.
        """
        model = load_model(given) if isinstance(given, str) else given
        journal = self.journal
        usd_left = None if self._usd is None else self._usd - journal.usd
        probe = probe_model(model, Budget(usd_cap=usd_left))
        if probe is not None:
            journal.write_probe(model.spec, probe)
            self._watch("probed", {"probes": {model.spec: probe.findings}})
        budget = Budget(
            spent=journal.spent,
            failed=journal.failed,
            refused=journal.refused,
            usd_cap=self._usd,
            usd=journal.usd,
        )
        budget.phase = f"{phase} {model.spec}"
        return MeteredModel(model, journal, budget=budget)

    @property
    def spent(self) -> Spent:
        """What the journal knows."""
        journal = self.journal
        return Spent(journal.spent.total(), journal.failed, journal.refused, journal.usd)


@final
class Again(Model):
    """A model asked for another replicate of what it is asked: a stochastic one draws anew."""

    def __init__(self, model: Model, replicate: int = 1) -> None:
        self.model = model
        self.replicate = replicate
        self.spec = model.spec
        self.capabilities = model.capabilities

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return self.model.query(
            [replace(request, replicate=self.replicate) for request in requests], budget
        )


class Arm(NamedTuple):
    """The readings of one arm, sample by sample, and how many queries the model refused in this
    process.
    """

    readings: list[Reading]
    refused: int

    @property
    def correct(self) -> Vector:
        """(n,) 1 right, 0 wrong, NaN failed."""
        return np.array([reading.correct for reading in self.readings])

    @property
    def failed(self) -> int:
        return int(np.isnan(self.correct).sum())

    @property
    def unparsed(self) -> int:
        """Answered, and no single label named."""
        return sum(
            reading.answer is None and bool(np.isfinite(reading.correct))
            for reading in self.readings
        )

    @property
    def answers(self) -> list[str | None]:
        """None where no label was named, or nothing was answered."""
        return [reading.answer for reading in self.readings]


def ask(
    reader: Reader,
    model: MeteredModel,
    task: Task,
    samples: Sequence[Sample],
    images: Sequence[Pixels],
    prompt: Prompt | None = None,
    *,
    replicate: int = 0,
) -> Arm:
    """Ask about `images[i]` what `samples[i]` asks; with a prompt, its sentence goes before the
    question.

    The images are sent as they are: a prompt is rendered by the caller. replicate: see `Again`.
    """
    questions = [task.ask(sample) for sample in samples]
    if prompt is not None:
        questions = [prompt.ask(question) for question in questions]
    before = model.budget.refused
    asked = Again(model, replicate) if replicate else model
    readings = read_all(reader, asked, task, samples, images, questions)
    return Arm(readings, model.budget.refused - before)


def held_out(task: Task, limit: int | None) -> tuple[Sample, ...]:
    """The first `limit` test samples, all without a limit. UsageError for a limit below 1."""
    if limit is not None and limit < 1:
        raise UsageError(
            f"a limit of {limit} leaves no test samples; give at least 1 (--limit 100)"
        )
    return task.test[:limit]
