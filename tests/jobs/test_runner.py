"""The one batch runner, on small jobs: order, failures, threads, processes, and going on."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.jobs import runner
from bbtvp.jobs.runner import (
    FAILURE,
    Batch,
    BatchEvent,
    BatchStarted,
    Document,
    JobEnded,
    JobResult,
    JobWatch,
    StillRunning,
    run_batch,
)


@dataclass(frozen=True)
class Number:
    name: str


class Squares(Batch[Number]):
    """Squares numbers; "bad" names fail in several ways."""

    lock = "squares"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        (self.folder / "prepared").touch()

    def place(self, job: Number) -> Path:
        return self.folder / job.name

    def finished(self, job: Number) -> Document | None:
        path = self.place(job) / "done.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def run(self, job: Number, watch: JobWatch) -> Document:
        if job.name == "down":
            raise BbtvpError("the model is down")
        if job.name == "bug":
            raise ZeroDivisionError("a bug")
        if job.name == "killed":
            os._exit(9)
        self.place(job).mkdir(exist_ok=True)
        document = {"square": int(job.name) ** 2, "pid": os.getpid()}
        (self.place(job) / "done.json").write_text(json.dumps(document), "utf-8")
        return document

    def abandon(self) -> None:
        pass


def jobs(*names: object) -> list[Number]:
    return [Number(str(name)) for name in names]


def squares(found: list[JobResult[Number]]) -> list[int | None]:
    return [None if one.document is None else one.document["square"] for one in found]


WAYS = [(1, False), (3, False), (2, True)]


@pytest.mark.parametrize(("parallel", "processes"), WAYS)
def test_a_job_that_fails_stops_no_other(parallel: int, processes: bool) -> None:
    names = jobs(1, "down", 2, "bug", 3)
    found = run_batch(Squares(Path("out")), names, parallel=parallel, processes=processes)
    assert [one.job for one in found] == names
    assert squares(found) == [1, None, 4, None, 9]
    assert found[1].error == "the model is down"
    assert found[3].error == "ZeroDivisionError: a bug"
    said = json.loads(Path("out/bug", FAILURE).read_text("utf-8"))
    assert "Traceback" in said["bug"]
    assert "bug" not in json.loads(Path("out/down", FAILURE).read_text("utf-8"))


@pytest.mark.parametrize(("parallel", "processes"), WAYS)
def test_what_is_finished_is_not_run_again(parallel: int, processes: bool) -> None:
    events: list[BatchEvent] = []
    run_batch(Squares(Path("out")), jobs(2))
    found = run_batch(
        Squares(Path("out")),
        jobs(1, 2, 3),
        parallel=parallel,
        processes=processes,
        watch=events.append,
    )
    assert squares(found) == [1, 4, 9]
    assert [one.fresh for one in found] == [True, False, True]
    assert events[0] == BatchStarted(total=3, done=1)
    ended = [event for event in events if isinstance(event, JobEnded)]
    assert [(event.number, event.total) for event in ended] == [(1, 3), (2, 3), (3, 3)]
    assert ended[0].result.job == Number("2")


def test_processes_work_outside_this_one() -> None:
    found = run_batch(Squares(Path("out")), jobs(1, 2), parallel=2, processes=True)
    assert all(one.document and one.document["pid"] != os.getpid() for one in found)


def test_a_process_that_dies_is_one_error_and_the_rest_is_kept() -> None:
    names = jobs(1, 2, "killed")
    with pytest.raises(BbtvpError, match="a worker process died"):
        run_batch(Squares(Path("out")), names, parallel=2, processes=True)
    found = run_batch(Squares(Path("out")), jobs(1, 2), parallel=2, processes=True)
    assert squares(found) == [1, 4]


def test_a_grid_that_was_interrupted_goes_on() -> None:
    ended = 0

    def watch(event: BatchEvent) -> None:
        nonlocal ended
        ended += isinstance(event, JobEnded)
        if ended == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(Squares(Path("out")), jobs(*range(6)), watch=watch)
    found = run_batch(Squares(Path("out")), jobs(*range(6)), parallel=2)
    assert squares(found) == [0, 1, 4, 9, 16, 25]
    assert [one.fresh for one in found] == [False, False, True, True, True, True]


def test_a_thread_that_waits_for_a_model_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE", 0.05)
    place = Path("out").absolute()  # the thread outlives the test, and its working directory
    reply = threading.Event()
    waiting = threading.Event()

    class Waiting(Squares):
        def run(self, job: Number, watch: JobWatch) -> Document:
            if job.name == "1":
                waiting.set()
                reply.wait()
            return super().run(job, watch)

    def watch(event: BatchEvent) -> None:
        if isinstance(event, JobEnded):
            waiting.wait()
            raise KeyboardInterrupt

    try:
        with pytest.raises(StillRunning):
            run_batch(Waiting(place), jobs(1, 2, 3), parallel=2, watch=watch)
    finally:
        reply.set()


def test_no_job_at_once_is_refused() -> None:
    with pytest.raises(UsageError, match="0 jobs at once"):
        run_batch(Squares(Path("out")), jobs(1), parallel=0)
