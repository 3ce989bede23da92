"""Cells, run one after another or by several processes; what is finished stays finished.

DIR/bench.json             what may not change between runs into one folder
DIR/zero_shot/…            answers that all cells share: unprompted images, and images in an empty frame
DIR/runs/<cell>/           a cell's journal, prompt and answers: from here a killed cell goes on
DIR/cells/<cell>.json      a finished cell, whole or not there
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, final

from filelock import FileLock

from bbtvp.bench import methods
from bbtvp.bench.answers import Answers, Shelf, View
from bbtvp.bench.cells import CELL_SCHEMA, Cell, Grid, cell_id, to_bits
from bbtvp.bench.method import Job, Method, Outcome
from bbtvp.bench.rows import row
from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.core.lock import hold
from bbtvp.models import Model, load_model
from bbtvp.search.loop import Watch, silent
from bbtvp.surrogate import Surrogate, load_surrogate
from bbtvp.tasks import Task
from bbtvp.tasks.registry import load_task

SCHEMA = "bbtvp.bench/1"
SETTINGS = "bench.json"


@final
@dataclass(frozen=True)
class Settings:
    """What every worker knows. test_limit: test images used, None for all. options: of every model.

    controls: models that are shown the empty frame: "all", or the "source" alone, which saves a
    third of the queries.
    """

    folder: Path
    test_limit: int | None = None
    controls: str = "all"
    options: Mapping[str, Any] = field(default_factory=dict)


class Done(NamedTuple):
    """A cell that came to an end: its document, or why there is none."""

    cell: Cell
    document: dict[str, Any] | None
    failure: str = ""


def path_of(cell: Cell, settings: Settings) -> Path:
    """Where a finished cell lies."""
    return settings.folder / "cells" / f"{cell_id(cell, methods.get(cell.method).constants)}.json"


def finished(cell: Cell, asked: Sequence[str], settings: Settings) -> dict[str, Any] | None:
    """The document of a cell that was tried on all of these models, None otherwise."""
    path = path_of(cell, settings)
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    complete = not document["portable"] or all(spec in document["targets"] for spec in asked)
    return document if complete else None


def limited(spec: str, limit: int | None) -> Task:
    """A task with at most `limit` test samples. UsageError for a limit below 1."""
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} leaves no test samples; give at least 1")
    task = load_task(spec)
    return (
        dataclasses.replace(task, test=task.test[:limit])
        if limit and limit < len(task.test)
        else task
    )


@final
class Workshop:
    """Runs cells, with the tasks and models that it has loaded before."""

    def __init__(self, settings: Settings, watch: Watch = silent) -> None:
        self.settings = settings
        self.watch = watch
        self.task: Callable[[str], Task] = cache(lambda spec: limited(spec, settings.test_limit))
        self.model: Callable[[str], Model] = cache(
            lambda spec: load_model(spec, **settings.options)
        )
        self.surrogate: Callable[[str], Surrogate] = cache(load_surrogate)
        self.unprompted: Callable[[Task], View] = cache(View)
        self.shared = Shelf(settings.folder / "zero_shot")

    def run(self, cell: Cell, asked: Sequence[str]) -> dict[str, Any]:
        """The document of a cell, tried on the models `asked`; from its files as far as they go.

        Raises what the method raises; what was answered by then is kept.
        """
        known = finished(cell, asked, self.settings)
        if known is not None:
            return known
        began = time.monotonic()
        cpu = time.process_time()
        method = methods.get(cell.method)
        task = self.task(cell.task)
        budget = min(cell.budget, method.pool(task)) if method.pool else cell.budget
        searched_as = dataclasses.replace(cell, budget=budget)
        folder = self.settings.folder / "runs" / cell_id(searched_as, method.constants)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "run.lock"):  # a cell of another budget may be the same run
            outcome = Outcome.load(folder) or self._search(searched_as, method, folder)
        searched = time.monotonic() - began
        portable = outcome.correct is None
        views = _views(task, outcome)
        shelf = Shelf(folder / "answers")
        tried = asked if portable else [cell.source]
        bare = {arm: view for arm, view in views.items() if arm != "empty_frame"}
        shown = {
            spec: bare if self.settings.controls == "source" and spec != cell.source else views
            for spec in tried
        }
        targets = {
            spec: self._arms(self.model(spec), task, outcome, shown[spec], shelf) for spec in tried
        }
        document = {
            "schema": CELL_SCHEMA,
            "cell": cell.as_json(),
            "about": method.describe(),
            "portable": portable,
            "queries": dict(outcome.queries),
            "failed": outcome.failed,
            "facts": dict(outcome.facts),
            "seconds": {
                "search": round(searched, 2),
                "all": round(time.monotonic() - began, 2),
                "cpu": round(time.process_time() - cpu, 2),
            },
            "targets": targets,
            "rows": [
                row(cell, target, arms, sum(outcome.queries.values()))
                for target, arms in targets.items()
            ],
        }
        atomic_write_json(path_of(cell, self.settings), document)
        return document

    def _search(self, cell: Cell, method: Method, folder: Path) -> Outcome:
        task = self.task(cell.task)
        model = self.model(cell.source)

        def zero_shot() -> Answers:
            return self._zero_shot(model, task)

        job = Job(
            task, model, cell.budget, cell.seed, folder, self.surrogate, zero_shot, self.watch
        )
        outcome = method.run(job, method.constants)
        outcome.save(folder)
        return outcome

    def _zero_shot(self, model: Model, task: Task) -> Answers:
        return self.shared.get(model, self.unprompted(task), keep_scores=True)

    def _arms(
        self, model: Model, task: Task, outcome: Outcome, views: Mapping[str, View], shelf: Shelf
    ) -> dict[str, str | None]:
        """The bits of each arm on the test split; None for an arm that the method has not."""
        arms: dict[str, str | None] = dict.fromkeys(ARMS)
        arms["zero_shot"] = arms["prompted"] = to_bits(self._zero_shot(model, task).correct)
        if outcome.correct is not None:
            arms["prompted"] = to_bits(outcome.correct)
        controls = {
            self.unprompted(task).digest,
            *(view.digest for arm, view in views.items() if arm != "prompted"),
        }
        for arm, view in views.items():
            home = self.shared if view.digest in controls else shelf
            arms[arm] = to_bits(home.get(model, view).correct)
        return arms


ARMS = ("zero_shot", "empty_frame", "sentence_only", "prompted")


def _views(task: Task, outcome: Outcome) -> dict[str, View]:
    """What is to be shown beside the image as it is."""
    prompt = outcome.prompt
    if prompt is None:
        return {}
    prompts = {"empty_frame": prompt.space.empty_frame(prompt.z), "prompted": prompt}
    if prompt.ask("?") != "?":
        prompts["sentence_only"] = prompt.space.arms(prompt.z)["sentence_only"]
    return {arm: View.of(found, task) for arm, found in prompts.items()}


@contextmanager
def folder_for(settings: Settings) -> Iterator[None]:
    """The folder, held by this process alone. JournalError if another holds it, UsageError if begun
    otherwise.
    """
    here = {
        "schema": SCHEMA,
        "bbtvp": version("bbtvp"),
        "test_limit": settings.test_limit,
        "controls": settings.controls,
        "options": dict(settings.options),
    }
    settings.folder.mkdir(parents=True, exist_ok=True)
    with hold(settings.folder, "bench"):
        path = settings.folder / SETTINGS
        there = json.loads(path.read_text("utf-8")) if path.exists() else here
        changed = [key for key in here if there.get(key) != here[key]]
        if changed:
            key = changed[0]
            raise UsageError(
                f"{settings.folder} holds a benchmark with {key} {there.get(key)}, not {here[key]}; "
                "name another folder (--out)"
            )
        if not path.exists():
            atomic_write_json(path, here)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, as in every worker: the number of processes changes no result."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(grid: Grid, settings: Settings, *, jobs: int = 1, watch: Watch = silent) -> list[Done]:
    """All cells of the grid, in its order. A cell that fails is reported and the others go on.

    jobs: processes. watch: told "cells" (total, done) and "cell" (Done, number, total) as they end.
    """
    if jobs < 1:
        raise UsageError(f"{jobs} processes do nothing; give --jobs 1 or more")
    cells = list(grid.cells())
    with folder_for(settings):
        known = {cell: finished(cell, grid.asked(cell.source), settings) for cell in cells}
        results = {
            cell: Done(cell, document) for cell, document in known.items() if document is not None
        }
        left = [(cell, tuple(grid.asked(cell.source))) for cell in cells if cell not in results]
        watch("cells", {"total": len(cells), "done": len(results)})
        with closing(
            _alone(left, settings) if jobs == 1 else _together(left, settings, jobs)
        ) as work:
            for ended in work:
                results[ended.cell] = ended
                watch("cell", {"ended": ended, "number": len(results), "total": len(cells)})
    return [results[cell] for cell in cells]


Work = Sequence[tuple[Cell, tuple[str, ...]]]


def _alone(work: Work, settings: Settings) -> Generator[Done, None, None]:
    if not work:
        return
    workshop = Workshop(settings)
    for cell, asked in work:
        with one_thread():
            ended = attempt(workshop, cell, asked)
        yield ended


def _together(work: Work, settings: Settings, jobs: int) -> Generator[Done, None, None]:
    from bbtvp.bench.workers import pool

    yield from pool(work, settings, jobs)


def attempt(workshop: Workshop, cell: Cell, asked: Sequence[str]) -> Done:
    """Run a cell; an error raised on purpose ends the cell, not the benchmark."""
    try:
        return Done(cell, workshop.run(cell, asked))
    except BbtvpError as error:
        return Done(cell, None, str(error))
