"""Where runs stand, read from their folders while they go: no model is loaded, and nothing is
written or held.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from bbtvp.core.errors import JournalError, UsageError
from bbtvp.core.lock import Owner, owner_of
from bbtvp.jobs.progress import SearchProgress
from bbtvp.jobs.result import RESULT
from bbtvp.jobs.run import JOBS, LOCK
from bbtvp.jobs.run import SCHEMA as JOBS_SCHEMA
from bbtvp.jobs.runner import FAILURE
from bbtvp.runs.record import FILE as RECORD
from bbtvp.runs.record import read_record
from bbtvp.runs.records import FILE as JOURNAL
from bbtvp.runs.tally import UNPROMPTED, Tally, ValidationMeans
from bbtvp.search.optimize import BUNDLE

SCHEMA = "bbtvp.status/1"
State: TypeAlias = Literal["waiting", "running", "stopped", "failed", "done", "unreadable"]
ENDED: tuple[State, ...] = ("done", "failed", "unreadable")
BAD: tuple[State, ...] = ("failed", "unreadable")
_DEPTH = 2
"""Folders between the one that is named and a run, at most."""


@final
@dataclass(frozen=True)
class Standing:
    """Where one job stands.

    state: waiting (not begun, or its batch, which is running, will go on with it), running (a
    living process holds it), stopped (begun, and held by nobody), failed (its batch gave it up),
    done (its prompt is there, and the results of every check that was begun or that its batch
    wants), unreadable. stage, generation, generations: of the search, or the check under way, which
    has no generations. loss: mean over the candidates of the last generation. unprompted, best: on
    validation. queries: image queries of the search, of at most `cap`; checks: those of
    verification and other checks. seconds_left: of the search, at the pace of the process that
    holds it; None where nothing is known. error: why it failed. failure: why the last failed query
    did.
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
            "owner": None
            if self.owner is None
            else {"host": self.owner.host, "pid": self.owner.pid},
            "error": self.error,
            "last_failed_query": self.failure,
        }


@final
class Board:
    """The jobs in some folders. Every look reads only what was written since the last.

    folders: run folders, folders of jobs, or folders that hold such.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._tallies: dict[Path, Tally] = {}

    def look(self) -> list[Standing]:
        """Where every job stands, in the order of the folders, of `jobs.json`, of names.

        Raises UsageError for a folder without any. What cannot be read makes its own job
        unreadable, and no other.
        """
        found: list[Standing] = []
        for folder in self._folders:
            jobs = [self._standing(name, place, job) for name, place, job in runs_in(folder)]
            if not jobs:
                raise UsageError(
                    f"{folder} holds no run; name the --out of a run, or a folder of runs"
                )
            found += jobs
        return found

    def _standing(self, name: str, folder: Path, job: Mapping[str, Any]) -> Standing:
        try:
            return self._read(name, folder, job)
        except JournalError as error:
            return Standing(name, folder, "unreadable", error=str(error))

    def _read(self, name: str, folder: Path, job: Mapping[str, Any]) -> Standing:
        # The owner first: one that ends in between has written all that is read after.
        owner = owner_of(folder)
        checks = {
            path.parent: owner_of(path.parent) for path in sorted(folder.glob(f"*/*/{JOURNAL}"))
        }
        run = self._tally(folder)
        record = read_record(folder) if (folder / RECORD).exists() else None
        failure = _failure(folder)
        busy = next((check for check, held in checks.items() if held), None)
        progress = SearchProgress(run)
        stage = progress.stage
        searching = busy is None and progress.plan is not None
        tallies = [run, *map(self._tally, checks)]
        return Standing(
            name,
            folder,
            _state(
                folder, job, owner or (checks[busy] if busy else None), run, failure, list(checks)
            ),
            task=record["task"]["name"] if record else job.get("task"),
            models=tuple(model["spec"] for model in record["models"]) if record else (),
            stage=busy.parent.name if busy else stage.name if stage else None,
            generation=run.generations[stage.name] if stage and searching else None,
            generations=stage.generations if stage and searching else None,
            loss=run.loss,
            unprompted=run.validated.get(UNPROMPTED),
            best=run.best,
            queries=run.total,
            cap=run.config.get("budget"),
            checks=sum(tally.total for tally in tallies[1:]),
            failed=sum(tally.failed for tally in tallies),
            usd=sum(tally.usd for tally in tallies),
            usd_cap=record["arguments"].get("usd") if record else None,
            seconds_left=progress.seconds_left(owner, datetime.now(UTC)),
            owner=owner or (checks[busy] if busy else None),
            error=failure,
            failure=next((tally.failure for tally in reversed(tallies) if tally.failure), None),
        )

    def _tally(self, folder: Path) -> Tally:
        tally = self._tallies.setdefault(folder, Tally(folder / JOURNAL))
        tally.update()
        return tally


def runs_in(folder: Path) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Name, run folder and what `jobs.json` says of it, for each job in a folder. UsageError if it
    is no folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name the --out of a run, or a folder of runs")
    yield from _runs(folder, folder.resolve().name, _DEPTH)


def _runs(folder: Path, name: str, depth: int) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    if (folder / JOBS).exists():
        yield from ((job["name"], folder / job["folder"], job) for job in _jobs(folder / JOBS))
    elif any((folder / file).exists() for file in (RECORD, JOURNAL, FAILURE)):
        yield name, folder, {}
    elif depth:
        for child in sorted(path for path in folder.iterdir() if path.is_dir()):
            inside = list(_runs(child, child.name, depth - 1))
            whole = len(inside) == 1 and inside[0][1] == child
            yield from (
                inside
                if whole
                else ((f"{child.name}/{job}", place, facts) for job, place, facts in inside)
            )


def _jobs(path: Path) -> list[Mapping[str, Any]]:
    document = _json(path) or {}
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
    folder: Path,
    job: Mapping[str, Any],
    owner: Owner | None,
    run: Tally,
    failure: str | None,
    checks: Sequence[Path],
) -> State:
    if owner:
        return "running"
    if failure is not None:
        return "failed"
    if _done(folder, job, checks):
        return "done"
    return "stopped" if run.config and not (job and owner_of(folder.parent, LOCK)) else "waiting"


def _done(folder: Path, job: Mapping[str, Any], checks: Sequence[Path]) -> bool:
    if job:  # as it is described now: a batch works on it again otherwise
        document = _json(folder / RESULT) or {}
        return bool(
            document.get("job") == {key: value for key, value in job.items() if key != "folder"}
        )
    names = (
        check / _RESULTS.get(check.parent.name, f"{check.parent.name}.json") for check in checks
    )
    return (folder / BUNDLE).exists() and all(name.exists() for name in names)


_RESULTS = {"verify": "proof.json"}
"""What a check writes at its end, where it is not called after its folder."""


def _failure(folder: Path) -> str | None:
    document = _json(folder / FAILURE)
    return None if document is None else str(document.get("error"))


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a file, None without the file. JournalError if it holds none."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise JournalError(
            f"{path} cannot be read ({error}); restore it, or delete it and run the job again"
        ) from error
    if not isinstance(document, dict):
        raise JournalError(f"{path} holds no object; restore it, or delete it and run again")
    return document
