"""The benchmark as a batch: each cell of the grid is a job of `bbtvp.jobs.runner`.

DIR/bench.json             settings that every run into this folder must share
DIR/zero_shot/…            answers that cells share: unprompted images, images in empty frames
DIR/runs/<cell>/           journal, prompt and answers of a cell; a killed cell goes on from here
DIR/cells/<cell>.json      the document of a finished cell
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from filelock import FileLock

from bbtvp.bench import methods
from bbtvp.bench.answers import AnswerCache, PromptedSplit, SplitAnswers
from bbtvp.bench.cells import CELL_SCHEMA, BenchCell, BenchGrid, PackedScores, cell_id, pack_scores
from bbtvp.bench.method import Method, MethodInput, MethodOutcome
from bbtvp.bench.rows import row
from bbtvp.core.errors import UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.jobs.runner import Batch, BatchWatch, Document, JobResult, JobWatch, run_batch
from bbtvp.models import Model, load_model
from bbtvp.rivals.table import UseCost
from bbtvp.search.events import silent
from bbtvp.surrogate import load_surrogate
from bbtvp.tasks import Task
from bbtvp.tasks.registry import load_task

SCHEMA = "bbtvp.bench/1"
SETTINGS = "bench.json"
ARMS = ("zero_shot", "empty_frame", "sentence_only", "prompted")


@final
@dataclass(frozen=True)
class BenchSettings:
    """What all cells of a benchmark share.

    test_limit: test images used, None for all. controls: models that are shown the empty frame:
    "all", or the "source" alone, which saves a third of the queries. options: of every model.
    """

    folder: Path
    test_limit: int | None = None
    controls: str = "all"
    options: Mapping[str, Any] = field(default_factory=dict)


def run_bench(
    grid: BenchGrid, settings: BenchSettings, *, parallel: int = 1, watch: BatchWatch = silent
) -> list[JobResult[BenchCell]]:
    """Run all cells of the grid, in its order. A cell that fails is reported; the others go on.

    parallel: processes, each with one thread. watch: see `bbtvp.jobs.runner.run_batch`, whose
    errors this raises too.
    """
    batch = BenchBatch(settings, grid)
    cells = list(grid.cells())
    return run_batch(batch, cells, parallel=parallel, processes=True, watch=watch)


def limited(spec: str, limit: int | None) -> Task:
    """A task with at most `limit` test samples. UsageError for a limit below 1."""
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} leaves no test samples; give at least 1")
    task = load_task(spec)
    if limit is None or limit >= len(task.test):
        return task
    return dataclasses.replace(task, test=task.test[:limit])


@final
class BenchBatch(Batch[BenchCell]):
    """Cells, with the tasks and models that are loaded. A pickled copy has nothing loaded."""

    lock = "bench"

    def __init__(self, settings: BenchSettings, grid: BenchGrid) -> None:
        self.settings = settings
        self.grid = grid
        self.folder = settings.folder
        self._task = cache(lambda spec: limited(spec, settings.test_limit))
        self._model = cache(lambda spec: load_model(spec, **settings.options))
        self._surrogate = cache(load_surrogate)
        self._unprompted = cache(PromptedSplit)
        self._shared = AnswerCache(settings.folder / "zero_shot")

    def __reduce__(self) -> tuple[type[BenchBatch], tuple[BenchSettings, BenchGrid]]:
        return BenchBatch, (self.settings, self.grid)

    def prepare(self) -> None:
        here = {
            "schema": SCHEMA,
            "bbtvp": version("bbtvp"),
            "test_limit": self.settings.test_limit,
            "controls": self.settings.controls,
            "options": dict(self.settings.options),
        }
        path = self.folder / SETTINGS
        if not path.exists():
            atomic_write_json(path, here)
            return
        there = json.loads(path.read_text("utf-8"))
        for key, value in here.items():
            if there.get(key) != value:
                raise UsageError(
                    f"{self.folder} holds a benchmark with {key} {there.get(key)}, not {value}; "
                    "name another folder (--out)"
                )

    def place(self, job: BenchCell) -> Path:
        searched = self._capped(job)
        constants = methods.get(job.method).constants
        return self.folder / "runs" / cell_id(searched, constants)

    def finished(self, job: BenchCell) -> Document | None:
        """The document of a cell that was tried on all models that are asked for, else None."""
        path = self._document_path(job)
        if not path.exists():
            return None
        document: Document = json.loads(path.read_text("utf-8"))
        missing = set(self.grid.asked(job.source)) - set(document["targets"])
        return None if document["portable"] and missing else document

    def abandon(self) -> None:
        """Processes end with all that they wait for."""

    def run(self, job: BenchCell, watch: JobWatch) -> Document:
        with _one_thread():
            document = self._run(job, watch)
        atomic_write_json(self._document_path(job), document)
        return document

    def _document_path(self, cell: BenchCell) -> Path:
        return self.folder / "cells" / f"{cell_id(cell, methods.get(cell.method).constants)}.json"

    def _capped(self, cell: BenchCell) -> BenchCell:
        """The cell with no more budget than its method can use."""
        pool = methods.get(cell.method).pool
        if pool is None:
            return cell
        return dataclasses.replace(cell, budget=min(cell.budget, pool(self._task(cell.task))))

    def _run(self, cell: BenchCell, watch: JobWatch) -> Document:
        began = time.monotonic()
        cpu = time.process_time()
        method = methods.get(cell.method)
        task = self._task(cell.task)
        folder = self.place(cell)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "run.lock"):  # a cell of another budget may be the same run
            outcome = MethodOutcome.load(folder)
            if outcome is None or outcome.lacks(self.grid.asked(cell.source)):
                outcome = self._search(cell, method, folder, watch)
        searched = time.monotonic() - began
        own = AnswerCache(folder / "answers")
        targets = self._tried(cell, task, outcome, own)
        use = self._use(cell, task, outcome, own)
        queries = sum(outcome.queries.values())
        return {
            "schema": CELL_SCHEMA,
            "cell": cell.as_json(),
            "about": method.describe(),
            "portable": outcome.correct is None,
            "queries": dict(outcome.queries),
            "failed": outcome.failed,
            "facts": dict(outcome.facts),
            "seconds": {
                "search": round(searched, 2),
                "all": round(time.monotonic() - began, 2),
                "cpu": round(time.process_time() - cpu, 2),
            },
            "targets": targets,
            "rows": [row(cell, target, arms, queries, use) for target, arms in targets.items()],
        }

    def _search(
        self, cell: BenchCell, method: Method, folder: Path, watch: JobWatch
    ) -> MethodOutcome:
        task = self._task(cell.task)
        model = self._model(cell.source)
        given = MethodInput(
            task,
            model,
            self._capped(cell).budget,
            cell.seed,
            folder,
            self._surrogate,
            lambda: self._zero_shot(model, task),
            watch,
            lambda: [self._model(spec) for spec in self.grid.targets],
        )
        outcome = method.run(given, method.constants)
        outcome.save(folder)
        return outcome

    def _tried(
        self, cell: BenchCell, task: Task, outcome: MethodOutcome, answers: AnswerCache
    ) -> dict[str, dict[str, PackedScores | None]]:
        """The scores of each arm, by model."""
        portable = outcome.correct is None
        views = _views(task, outcome)
        unframed = {arm: view for arm, view in views.items() if arm != "empty_frame"}
        everywhere = self.settings.controls == "all"
        return {
            spec: self._arms(
                self._model(spec),
                task,
                outcome,
                views if everywhere or spec == cell.source else unframed,
                answers,
            )
            for spec in (self.grid.asked(cell.source) if portable else [cell.source])
            if not outcome.answers or spec in outcome.answers
        }

    def _use(
        self, cell: BenchCell, task: Task, outcome: MethodOutcome, answers: AnswerCache
    ) -> UseCost | None:
        """What an image costs on the source once the method is deployed."""
        if outcome.use is not None:
            return outcome.use
        model = self._model(cell.source)
        prompted = _views(task, outcome).get("prompted")
        if prompted is None:
            return self._zero_shot(model, task).use
        # All of these answers are there; an empty frame lies with those that cells share.
        return (
            (self._shared if self._shared.has(model, prompted) else answers)
            .get(model, prompted)
            .use
        )

    def _zero_shot(self, model: Model, task: Task) -> SplitAnswers:
        return self._shared.get(model, self._unprompted(task), keep_scores=True)

    def _arms(
        self,
        model: Model,
        task: Task,
        outcome: MethodOutcome,
        views: Mapping[str, PromptedSplit],
        answers: AnswerCache,
    ) -> dict[str, PackedScores | None]:
        """The scores of each arm on the test split; None for an arm that the method has not."""
        arms: dict[str, PackedScores | None] = dict.fromkeys(ARMS)
        arms["zero_shot"] = arms["prompted"] = pack_scores(self._zero_shot(model, task).correct)
        if outcome.correct is not None:
            arms["prompted"] = pack_scores(outcome.correct)
        if model.spec in outcome.answers:
            arms["prompted"] = pack_scores(outcome.answers[model.spec])
        controls = {
            self._unprompted(task).digest,
            *(view.digest for arm, view in views.items() if arm != "prompted"),
        }
        for arm, view in views.items():
            home = self._shared if view.digest in controls else answers
            arms[arm] = pack_scores(home.get(model, view).correct)
        return arms


def _views(task: Task, outcome: MethodOutcome) -> dict[str, PromptedSplit]:
    """What models are shown beside the unprompted image, by arm."""
    prompt = outcome.prompt
    if prompt is None:
        return {}
    prompts = {"empty_frame": prompt.space.empty_frame(prompt.z), "prompted": prompt}
    if prompt.ask("?") != "?":
        prompts["sentence_only"] = prompt.space.arms(prompt.z)["sentence_only"]
    return {arm: PromptedSplit(task, found) for arm, found in prompts.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread, so that the number of processes changes no result."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
