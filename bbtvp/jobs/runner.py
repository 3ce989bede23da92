"""The one batch runner: jobs in this thread, in several threads, or in several processes.

A `Batch` says what its jobs are; `run_batch` works through them:

- One process works in the batch's folder at a time, behind a lock.
- A job that is finished is not run again. A job that was killed goes on from its own files.
- A job that fails is reported in its `JobResult`, and the other jobs go on.
- Ctrl-C ends all work soon. Nothing is lost, because a job writes its files whole or not at all.

Threads share the models that are loaded; processes do not. Processes pay where the models compute
on this machine's processors, threads where they are behind a network or on one GPU.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import (
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, final

from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.core.lock import hold
from bbtvp.search.events import SearchEvent, silent
from bbtvp.verify.events import ProofEvent

FAILURE = "failure.json"
"""Why a job failed, in the job's folder: {"error", "exit_code", "when"}, and "bug" with a traceback
for an error that bbtvp did not raise on purpose.
"""

GRACE = 1.8
"""Seconds that jobs in other threads may take to end after an interrupt."""

Document = dict[str, Any]
"""What a job leaves behind: a JSON object."""


class NamedJob(Protocol):
    """A job as the runner needs it: with a name for people."""

    @property
    def name(self) -> str:
        """The name of the job, unique in its batch."""


JobT = TypeVar("JobT", bound=NamedJob)


class JobResult(NamedTuple, Generic[JobT]):
    """A job that came to an end: its document, or `document` None and the error in one line.

    exit_code: that of the command line for this error. fresh: the job was run just now; False for
    a job that had been finished before.
    """

    job: JobT
    document: Document | None
    error: str = ""
    exit_code: int = 0
    fresh: bool = True


@final
@dataclass(frozen=True)
class BatchStarted:
    """A batch begins. total: its jobs; done: those that had been finished before."""

    total: int
    done: int


@final
@dataclass(frozen=True)
class JobStarted:
    """A job begins."""

    job: str


@final
@dataclass(frozen=True)
class JobEvent:
    """What a job tells while it goes on."""

    job: str
    event: SearchEvent | ProofEvent


@final
@dataclass(frozen=True)
class JobEnded(Generic[JobT]):
    """A job ended: the `number`-th of `total`."""

    result: JobResult[JobT]
    number: int
    total: int


BatchEvent: TypeAlias = BatchStarted | JobStarted | JobEvent | JobEnded[Any]
BatchWatch: TypeAlias = Callable[[BatchEvent], None]
JobWatch: TypeAlias = Callable[[SearchEvent | ProofEvent], None]


class Batch(ABC, Generic[JobT]):
    """Jobs of one kind in one folder.

    With processes, each process gets a pickled copy of the batch before its first job.
    """

    folder: Path
    lock: str
    """Name of the folder's lock; see `bbtvp.core.lock`."""

    @abstractmethod
    def prepare(self) -> None:
        """Write what describes the batch, under the lock. UsageError if the folder is another's."""

    @abstractmethod
    def place(self, job: JobT) -> Path:
        """The folder of one job."""

    @abstractmethod
    def finished(self, job: JobT) -> Document | None:
        """The document of a job that is finished, None otherwise."""

    @abstractmethod
    def run(self, job: JobT, watch: JobWatch) -> Document:
        """Run a job, or go on with it. Raises what went wrong; what was answered is kept."""

    @abstractmethod
    def abandon(self) -> None:
        """End the requests that other threads wait for, as far as that is possible."""


class Stopped(BbtvpError):
    """The jobs were told to stop; what this one was answered is kept."""

    exit_code = 130


class StillRunning(KeyboardInterrupt):
    """An interrupt after which some threads still wait for a model.

    Such a thread cannot be ended. The process can: every file is whole.
    """


def run_batch(
    batch: Batch[JobT],
    jobs: Sequence[JobT],
    *,
    parallel: int = 1,
    processes: bool = False,
    watch: BatchWatch = silent,
) -> list[JobResult[JobT]]:
    """Run the jobs that are not finished; what became of each, in the order of `jobs`.

    parallel: jobs at once; 1 runs them in this thread. processes: use processes instead of threads.

    `watch` is called with every `BatchEvent`. Other processes tell nothing of what happens within a
    job, nor when it starts.

    Raises UsageError for `parallel` below 1, JournalError if another process works in the folder,
    StillRunning (a KeyboardInterrupt) if threads had to be left behind, and BbtvpError if a process
    died.
    """
    if parallel < 1:
        raise UsageError(f"{parallel} jobs at once do nothing; give --jobs 1 or more")
    batch.folder.mkdir(parents=True, exist_ok=True)
    with hold(batch.folder, batch.lock):
        batch.prepare()
        known = [batch.finished(job) for job in jobs]
        results = {
            place: JobResult(jobs[place], document, fresh=False)
            for place, document in enumerate(known)
            if document is not None
        }
        left = [place for place in range(len(jobs)) if place not in results]
        watch(BatchStarted(len(jobs), len(results)))
        for number, result in enumerate(results.values(), start=1):
            watch(JobEnded(result, number, len(jobs)))
        runner = _Runner(batch, watch)
        with closing(runner.run([jobs[place] for place in left], parallel, processes)) as ended:
            for place, result in ended:
                results[left[place]] = result
                watch(JobEnded(result, len(results), len(jobs)))
    return [results[place] for place in range(len(jobs))]


@final
class _Runner(Generic[JobT]):
    """Yields (place in the list, result) as jobs end."""

    def __init__(self, batch: Batch[JobT], watch: BatchWatch) -> None:
        self.batch = batch
        self.watch = watch
        self._stop = threading.Event()

    def run(
        self, jobs: Sequence[JobT], parallel: int, processes: bool
    ) -> Generator[tuple[int, JobResult[JobT]], None, None]:
        workers = min(parallel, len(jobs))
        if parallel == 1:
            yield from ((place, self._attempt(job)) for place, job in enumerate(jobs))
        elif processes and jobs:
            yield from self._in_processes(jobs, workers)
        elif jobs:
            yield from self._in_threads(jobs, workers)

    def _attempt(self, job: JobT) -> JobResult[JobT]:
        def tell(event: BatchEvent) -> None:
            """Pass an event of the job on. Raises Stopped if the jobs were told to stop."""
            if self._stop.is_set():
                raise Stopped("stopped; what was answered is kept")
            self.watch(event)

        return _attempt(self.batch, job, tell)

    def _in_threads(
        self, jobs: Sequence[JobT], workers: int
    ) -> Generator[tuple[int, JobResult[JobT]], None, None]:
        pool = ThreadPoolExecutor(workers, "bbtvp-job")
        futures = {pool.submit(self._attempt, job): place for place, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False)
            self._end_threads(list(futures))

    def _end_threads(self, futures: Sequence[Future[JobResult[JobT]]]) -> None:
        """Stop what is still at work. StillRunning if a thread does not end in time."""
        running = [future for future in futures if not (future.done() or future.cancel())]
        if not running:
            return
        self._stop.set()
        self.batch.abandon()
        if wait(running, GRACE).not_done:
            raise StillRunning

    def _in_processes(
        self, jobs: Sequence[JobT], workers: int
    ) -> Generator[tuple[int, JobResult[JobT]], None, None]:
        # Not "fork": it would copy torch's threads in an unknown state.
        context = multiprocessing.get_context("spawn")
        with ExitStack() as stack:
            there, here = context.Pipe(duplex=False)
            stack.callback(there.close)
            pool = ProcessPoolExecutor(workers, context, _begin_process, (self.batch, there))
            stack.callback(pool.shutdown, cancel_futures=True)
            stack.callback(here.close)  # first of all: ends the processes that are still at work
            futures = {pool.submit(_work, job): place for place, job in enumerate(jobs)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise BbtvpError(
                    "a worker process died (out of memory, or killed); what was answered is kept: "
                    "run the same command again"
                ) from error


# -- in a worker process ---------------------------------------------------------------------------
@final
class _WorkerProcess:
    """What a worker process keeps between its jobs."""

    batch: ClassVar[Batch[Any] | None] = None


def _begin_process(batch: Batch[Any], parent: Connection) -> None:
    """Keep the batch, and end this process as soon as the parent closes its end of the pipe.

    The operating system closes that end too if the parent is killed.
    """
    # Ctrl-C reaches the whole group of processes; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _WorkerProcess.batch = batch


def _end_with(parent: Connection) -> None:
    with suppress(EOFError, OSError):
        parent.recv()
    signal.raise_signal(signal.SIGTERM)


def _work(job: JobT) -> JobResult[JobT]:
    batch = _WorkerProcess.batch
    if batch is None:
        raise TypeError("this process was not begun as a worker")
    return _attempt(batch, job, silent)


# -- one job ---------------------------------------------------------------------------------------
def _attempt(batch: Batch[JobT], job: JobT, watch: BatchWatch) -> JobResult[JobT]:
    """Run a job. Whatever goes wrong in it, a bug too, ends this job and no other."""
    caught = _Caught()
    document: Document | None = None
    failure: Path | None = None
    with caught:
        failure = batch.place(job) / FAILURE
        failure.unlink(missing_ok=True)
        watch(JobStarted(job.name))
        document = batch.run(job, lambda event: watch(JobEvent(job.name, event)))
    if document is not None:
        return JobResult(job, document)
    if failure is not None and caught.exit_code != Stopped.exit_code:
        with suppress(OSError):  # a full disk may be what went wrong
            atomic_write_json(failure, caught.as_json())
    return JobResult(job, None, caught.error, caught.exit_code)


@final
class _Caught(AbstractContextManager[None]):
    """Catches the error of its block, but no interrupt, and describes it in one line."""

    error = ""
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
            self.error = str(error)
            self.exit_code = error.exit_code
        elif isinstance(error, OSError):
            self.error = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        else:
            self.error = f"{type(error).__name__}: {error}".split("\n", 1)[0][:500]
            self.bug = "".join(traceback.format_exception(error))
        return True

    def as_json(self) -> dict[str, Any]:
        """The contents of `FAILURE`."""
        found: dict[str, Any] = {
            "error": self.error,
            "exit_code": self.exit_code,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self.bug:
            found["bug"] = self.bug
        return found
