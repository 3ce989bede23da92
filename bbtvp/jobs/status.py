"""How far runs have come, read from their folders while they go on.

No model is loaded, and nothing is written or locked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from bbtvp.core.errors import JournalError, UsageError
from bbtvp.core.lock import Owner, owner_of
from bbtvp.jobs.progress import SearchProgress
from bbtvp.jobs.run import JOBS, LOCK
from bbtvp.jobs.run import SCHEMA as JOBS_SCHEMA
from bbtvp.jobs.runner import FAILURE
from bbtvp.runs.documents import read_document
from bbtvp.runs.folder import RunFolder
from bbtvp.runs.proofs import check_document
from bbtvp.runs.records import FILE as JOURNAL
from bbtvp.runs.tally import UNPROMPTED, Tally, ValidationMeans

SCHEMA = "bbtvp.status/1"
State: TypeAlias = Literal["waiting", "running", "stopped", "failed", "done", "unreadable"]
ENDED: tuple[State, ...] = ("done", "failed", "unreadable")
BAD: tuple[State, ...] = ("failed", "unreadable")
_DEPTH = 2
"""The most folders between the one that is named and a run."""


@final
@dataclass(frozen=True)
class JobStatus:
    """The status of one job.

    state: "waiting" (not begun, or its batch is running and will go on with it), "running" (a
    living process works on it), "stopped" (begun, and no process works on it), "failed" (its batch
    gave it up), "done" (its prompt is there, and the results of every check that was begun or that
    its batch wants), or "unreadable".

    stage: of the search, or the check under way. generation, generations: of the stage; None for a
    check. loss: mean over the candidates of the last generation. unprompted, best: on the
    validation images. queries: image queries of the search, at most `cap`. checks: image queries of
    the proof and the other checks. failed: image queries that failed. usd: US dollars, at most
    `usd_cap`. seconds_left: of the search, at the pace of the process that works on it. error: why
    the job failed. failure: why the last failed query did. None stands for what is not known.
    """

    name: str
    folder: Path
    state: State
    task: str | None = None
    models: tuple[str, ...] = ()
    stage: str | None = None
    generation: int | None = None
    generations: int | None = None
    loss: float | None = None
    unprompted: ValidationMeans | None = None
    best: ValidationMeans | None = None
    queries: int = 0
    cap: int | None = None
    checks: int = 0
    failed: int = 0
    usd: float = 0.0
    usd_cap: float | None = None
    seconds_left: float | None = None
    owner: Owner | None = None
    error: str | None = None
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        """One job of a `bbtvp.status/1` document."""
        arms = {"unprompted": self.unprompted, "best": self.best}
        return {
            "name": self.name,
            "folder": str(self.folder),
            "state": self.state,
            "task": self.task,
            "models": list(self.models),
            "stage": self.stage,
            "generation": self.generation,
            "generations": self.generations,
            "loss": self.loss,
            "validation": {
                name: None if arm is None else arm.as_json() for name, arm in arms.items()
            },
            "queries": {
                "spent": self.queries,
                "cap": self.cap,
                "checks": self.checks,
                "failed": self.failed,
            },
            "usd": {"spent": round(self.usd, 6), "cap": self.usd_cap},
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "owner": self.owner and {"host": self.owner.host, "pid": self.owner.pid},
            "error": self.error,
            "last_failed_query": self.failure,
        }


@final
class StatusMonitor:
    """The jobs in some folders. Each call reads only what was written since the last one.

    folders: run folders, folders of jobs, or folders that hold such.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._tallies: dict[Path, Tally] = {}

    def statuses(self) -> list[JobStatus]:
        """The status of every job, in the order of the folders, then of `jobs.json` or of names.

        Raises UsageError for a folder without a job. A job that cannot be read is "unreadable", and
        the others are read all the same.
        """
        found: list[JobStatus] = []
        for folder in self._folders:
            jobs = [self._status(name, place, job) for name, place, job in runs_in(folder)]
            if not jobs:
                raise UsageError(
                    f"{folder} holds no run; name the --out of a run, or a folder of runs"
                )
            found += jobs
        return found

    def _status(self, name: str, folder: Path, job: Mapping[str, Any]) -> JobStatus:
        try:
            return self._read(name, folder, job)
        except JournalError as error:
            return JobStatus(name, folder, "unreadable", error=str(error))

    def _read(self, name: str, folder: Path, job: Mapping[str, Any]) -> JobStatus:
        run = RunFolder(folder)
        # The owner is read first: if it ends meanwhile, all that is read after it is complete.
        owner = run.owner
        checks = {place: owner_of(place) for place in run.begun_checks}
        tally = self._tally(run.journal)
        record = run.record if run.has_record else None
        error = _failure(folder)
        busy = next((place for place, held in checks.items() if held), None)
        holder = owner or (checks[busy] if busy else None)
        progress = SearchProgress(tally)
        stage = progress.stage
        counted = stage if busy is None else None
        tallies = [tally, *(self._tally(place / JOURNAL) for place in checks)]
        return JobStatus(
            name,
            folder,
            _state(run, job, holder, begun=bool(tally.config), failed=error is not None),
            task=record["task"]["name"] if record else job.get("task"),
            models=tuple(model["spec"] for model in record["models"]) if record else (),
            stage=busy.parent.name if busy else stage.name if stage else None,
            generation=tally.generations[counted.name] if counted else None,
            generations=counted.generations if counted else None,
            loss=tally.loss,
            unprompted=tally.validated.get(UNPROMPTED),
            best=tally.best,
            queries=tally.total,
            cap=tally.config.get("queries"),
            checks=sum(one.total for one in tallies[1:]),
            failed=sum(one.failed for one in tallies),
            usd=sum(one.usd for one in tallies),
            usd_cap=record["arguments"].get("usd") if record else None,
            seconds_left=progress.seconds_left(owner, datetime.now(UTC)),
            owner=holder,
            error=error,
            failure=next((one.failure for one in reversed(tallies) if one.failure), None),
        )

    def _tally(self, journal: Path) -> Tally:
        tally = self._tallies.setdefault(journal, Tally(journal))
        tally.update()
        return tally


def runs_in(folder: Path) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Each job in a folder: its name, its run folder, and what `jobs.json` says of it.

    Raises UsageError if `folder` is no folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name the --out of a run, or a folder of runs")
    yield from _runs(folder, folder.resolve().name, _DEPTH)


def _runs(folder: Path, name: str, depth: int) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    if (folder / JOBS).exists():
        yield from ((job["name"], folder / job["folder"], job) for job in _jobs(folder / JOBS))
    elif RunFolder(folder).begun or (folder / FAILURE).exists():
        yield name, folder, {}
    elif depth:
        for child in sorted(path for path in folder.iterdir() if path.is_dir()):
            inside = list(_runs(child, child.name, depth - 1))
            if len(inside) == 1 and inside[0][1] == child:
                yield from inside
            else:
                yield from ((f"{child.name}/{job}", place, facts) for job, place, facts in inside)


def _jobs(path: Path) -> list[Mapping[str, Any]]:
    document = read_document(path) or {}
    if document.get("schema") != JOBS_SCHEMA:
        raise JournalError(
            f"{path}: not a {JOBS_SCHEMA} document; a newer bbtvp may have written it: upgrade"
        )
    try:
        return [
            {**job, "name": str(job["name"]), "folder": str(job["folder"])}
            for job in document["jobs"]
        ]
    except (TypeError, LookupError) as error:
        raise JournalError(
            f"{path} is damaged; run the same jobs again, and it is written anew"
        ) from error


def _state(
    run: RunFolder, job: Mapping[str, Any], holder: Owner | None, *, begun: bool, failed: bool
) -> State:
    if holder:
        return "running"
    if failed:
        return "failed"
    if _done(run, job):
        return "done"
    batch_is_running = bool(job) and owner_of(run.path.parent, LOCK) is not None
    return "stopped" if begun and not batch_is_running else "waiting"


def _done(run: RunFolder, job: Mapping[str, Any]) -> bool:
    if job:  # a job that was changed since is not done: its batch works on it again
        described = {key: value for key, value in job.items() if key != "folder"}
        return bool(run.result.get("job") == described)
    return run.finished and all(
        (check / check_document(check.parent.name)).exists() for check in run.begun_checks
    )


def _failure(folder: Path) -> str | None:
    document = read_document(folder / FAILURE)
    return None if document is None else str(document.get("error"))
