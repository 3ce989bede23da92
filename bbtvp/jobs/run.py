"""Jobs, one after another or several at once in one process: models, rate limits and the store of
replies are shared.

OUT/jobs.json               the jobs, resolved: {"schema": "bbtvp.jobs/1", "jobs": [{"name", "folder", …}]}
OUT/<folder>/               a job's run folder; result.json is there once it is done
OUT/<folder>/failure.json   why it is not: {"error", "exit_code", "when"}
"""

from __future__ import annotations

import json
import queue
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, final

from bbtvp.core.digest import canonical_json
from bbtvp.core.errors import BbtvpError, BudgetReached
from bbtvp.core.files import atomic_write_json
from bbtvp.core.lock import hold
from bbtvp.core.origin import Origin
from bbtvp.jobs.job import Job
from bbtvp.jobs.result import RESULT, result
from bbtvp.search.loop import Watch, silent
from bbtvp.search.optimize import BUNDLE, Run
from bbtvp.search.recipe import Loader
from bbtvp.verify import Proof, verify

SCHEMA = "bbtvp.jobs/1"
JOBS = "jobs.json"
FAILURE = "failure.json"


class Ended(NamedTuple):
    """A job that came to an end: its `bbtvp.result/1` document, or why there is none. fresh: it
    worked just now.
    """

    job: Job
    document: dict[str, Any] | None
    error: str = ""
    exit_code: int = 0
    fresh: bool = True


class Stopped(BbtvpError):
    """The jobs were told to stop; what this one was answered is kept."""

    exit_code = 130


@final
class Stop:
    """Ends jobs that run in other threads: each of them at its next event, and every one not begun
    yet.
    """

    def __init__(self) -> None:
        self._told = threading.Event()
        self._running = 0
        self._change = threading.Condition()

    def __call__(self) -> None:
        self._told.set()

    @property
    def told(self) -> bool:
        return self._told.is_set()

    def check(self) -> None:
        """Raises Stopped once told."""
        if self._told.is_set():
            raise Stopped("stopped; what was answered is kept")

    def within(self, seconds: float) -> bool:
        """Wait until no thread works on a job; whether that came true in time."""
        with self._change:
            return self._change.wait_for(lambda: self._running == 0, timeout=seconds)

    def begin(self) -> None:
        with self._change:
            self._running += 1

    def end(self) -> None:
        with self._change:
            self._running -= 1
            self._change.notify_all()


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    *,
    every: Sequence[Job] | None = None,
    parallel: int = 1,
    loader: Loader | None = None,
    watch: Watch = silent,
    stop: Stop | None = None,
) -> list[Ended]:
    """Run jobs, each in its own folder below `folder`; what became of each, in their order.

    A job that is done is not run again; one that was killed goes on. A job that fails is reported,
    and the others go on. every: all jobs of the batch, if only some of them are to run now.
    parallel: at once, in threads. watch: told all that a search and a proof tell, with the job's
    name as "job", and "job" itself (Ended) as each ends.

    Jobs are worked on model by model, so that no more models are in memory than need be. Raises
    JournalError if another process works in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder, "jobs"):
        _write_jobs(folder, every or jobs)
        done = {
            job.name: document for job in jobs if (document := finished(job, folder)) is not None
        }
        ended = {
            job.name: Ended(job, done[job.name], fresh=False) for job in jobs if job.name in done
        }
        desk = _Desk(
            [job for job in jobs if job.name not in done],
            folder,
            loader or Loader(),
            watch,
            stop or Stop(),
        )
        for one in ended.values():
            watch("job", {"job": one.job.name, "ended": one})
        for one in desk.alone() if parallel == 1 else desk.together(parallel):
            ended[one.job.name] = one
            watch("job", {"job": one.job.name, "ended": one})
    return [ended[job.name] for job in jobs]


def finished(job: Job, folder: Path) -> dict[str, Any] | None:
    """The result of a job that is done as it is described now, None otherwise."""
    place = folder / job.folder
    try:
        document: dict[str, Any] = json.loads((place / RESULT).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return document if document.get("job") == job.model_dump(mode="json") else None


def _write_jobs(folder: Path, jobs: Sequence[Job]) -> None:
    rows = [{"folder": job.folder, **job.model_dump(mode="json")} for job in jobs]
    atomic_write_json(folder / JOBS, {"schema": SCHEMA, "jobs": rows})


@final
class _Desk:
    """Hands out jobs, and lets go of each model after its last one."""

    def __init__(
        self, jobs: Sequence[Job], folder: Path, loader: Loader, watch: Watch, stop: Stop
    ) -> None:
        first = {job.models: place for place, job in reversed(list(enumerate(jobs)))}
        self.jobs = sorted(jobs, key=lambda job: first[job.models])
        self.folder = folder
        self.loader = loader
        self.watch = watch
        self.stop = stop
        self._needed = Counter(_key_of(job.origin(spec)) for job in jobs for spec in _models(job))
        self._lock = threading.Lock()

    def alone(self) -> Iterator[Ended]:
        for job in self.jobs:
            yield self._ended(job)

    def together(self, parallel: int) -> Iterator[Ended]:
        """As they end. An interrupt leaves the threads behind: see `Stop`."""
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        for job in self.jobs:
            waiting.put(job)

        def work() -> None:
            while not self.stop.told:
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                self.stop.begin()
                try:
                    with suppress(KeyboardInterrupt):  # an endpoint that was abandoned
                        ended.put(self._ended(job))
                finally:
                    self.stop.end()

        for _ in range(min(parallel, len(self.jobs))):
            threading.Thread(target=work, daemon=True).start()
        for _ in self.jobs:
            yield ended.get()

    def _ended(self, job: Job) -> Ended:
        """Run a job; whatever goes wrong in it, a bug too, ends this job and no other."""
        place = self.folder / job.folder
        with suppress(FileNotFoundError):
            (place / FAILURE).unlink()
        trouble = _Trouble()
        document: dict[str, Any] | None = None
        with trouble:
            document = self._run(job, place)
        for spec in _models(job):
            self._release(job.origin(spec))
        if document is not None:
            return Ended(job, document)
        error = trouble.said
        code = trouble.exit_code
        if code != Stopped.exit_code:
            facts = {
                "error": error,
                "exit_code": code,
                "when": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            with suppress(OSError):  # a full disk is what may have gone wrong
                atomic_write_json(
                    place / FAILURE, {**facts, **({"bug": trouble.bug} if trouble.bug else {})}
                )
        return Ended(job, None, error, code)

    def _run(self, job: Job, place: Path) -> dict[str, Any]:
        began = time.monotonic()

        def watch(event: str, facts: Mapping[str, Any]) -> None:
            self.stop.check()
            self.watch(event, {**facts, "job": job.name})

        self.stop.check()
        self.watch("begun", {"job": job.name})
        recipe = job.recipe
        run = recipe.search(out=place, loader=self.loader, watch=watch)
        proof, *others = self._proofs(job, run, place, watch) or [None]
        document = result(
            run,
            proof,
            task=run.task.name,
            seed=job.seed,
            prompt=str(place / BUNDLE),
            seconds=time.monotonic() - began,
        )
        for other in filter(None, others):
            document["queries"]["verify"] += other.queries
            document["usd"] = round((document["usd"] or 0.0) + other.usd, 6) or None
        document["also"] = [
            {"task": other.task, "models": other.as_json()} for other in others if other
        ]
        document["job"] = job.model_dump(mode="json")
        atomic_write_json(place / RESULT, document)
        return dict(json.loads(json.dumps(document)))  # as a later process reads it

    def _proofs(self, job: Job, run: Run, place: Path, watch: Watch) -> list[Proof | None]:
        """On the task of the search first, then on the others; none if none is wanted."""
        if not job.proved_on:
            return []
        models = [self.loader.model(job.origin(spec)) for spec in job.proved_on]
        tasks = [run.task, *(self.loader.task(Origin(spec)) for spec in job.also)]
        proofs: list[Proof | None] = []
        spent = run.usd
        for task in tasks:
            left = None if job.usd is None else job.usd - spent
            if left is not None and left <= 0:
                raise BudgetReached(
                    f"${job.usd:g} are spent; nothing is left for the proof on {task.name}, raise usd"
                )
            proof = verify(
                run.prompt,
                task,
                models,
                source=[model.spec for model in run.models],
                reader=job.reader,
                usd=left,
                seed=job.seed,
                out=place,
                watch=watch,
            )
            spent += proof.usd
            proofs.append(proof)
        return proofs

    def _release(self, model: Origin) -> None:
        with self._lock:
            self._needed[_key_of(model)] -= 1
            if self._needed[_key_of(model)] == 0:
                self.loader.release(model)


def _models(job: Job) -> set[str]:
    return {*job.models, *job.proved_on}


def _key_of(model: Origin) -> str:
    return canonical_json([model.spec, dict(model.options)])


@final
class _Trouble(AbstractContextManager[None]):
    """Takes what goes wrong in its block, but for an interrupt, and says it in one line."""

    said = ""
    exit_code = 1
    bug = ""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if isinstance(error, BbtvpError):
            self.said = str(error)
            self.exit_code = error.exit_code
        elif isinstance(error, OSError):
            self.said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        else:
            self.said = f"{type(error).__name__}: {error}".split("\n", 1)[0][:500]
            self.bug = "".join(traceback.format_exception(error))
        return True
