"""Where runs stand: told from their folders, while they are written, killed, damaged."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bbtvp.cli.status import _fitted
from bbtvp.core.files import atomic_write_json
from bbtvp.core.lock import Owner, hold
from bbtvp.core.rng import stream
from bbtvp.jobs.progress import SearchProgress, plan_of
from bbtvp.jobs.status import JobStatus, StatusMonitor, runs_in
from bbtvp.models import Reply, Usage
from bbtvp.runs.journal import Journal
from bbtvp.runs.records import FILE, decoded
from bbtvp.runs.tally import Tally
from bbtvp.search.plan import Plan, Rung, Stage
from tests.jobs.made import edit, lines, made, proved
from tests.support import ROOT, Eye, Flaky, Vendor, bbtvp, install_plugin


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = install_plugin(tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    return site


def only(folder: Path | str) -> JobStatus:
    (job,) = StatusMonitor([Path(folder)]).statuses()
    return job


# -- the tally -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "model", [lambda: Flaky(share=0.2), lambda: Vendor(flaky=0.2)], ids=["flaky", "vendor"]
)
def test_a_tally_of_any_beginning_of_a_journal_is_the_journals_own(model: Any) -> None:
    made("run", [model()])
    whole = Path("run", FILE).read_bytes()
    config = {
        key: value for key, value in lines("run")[0].items() if key not in ("record", "schema")
    }
    first = whole.index(b"\n") + 1
    for number, cut in enumerate(stream(0, "cuts").integers(first, len(whole), 12)):
        folder = Path(f"cut-{number}")
        folder.mkdir()
        (folder / FILE).write_bytes(whole[:cut])
        tally = Tally(folder / FILE)
        tally.update()
        assert (folder / FILE).stat().st_size == cut, "it only reads"
        with Journal(config, folder) as journal:
            assert tally.spent == journal.spent
            assert (tally.failed, tally.usd) == (journal.failed, pytest.approx(journal.usd))


def test_a_tally_reads_each_line_once_and_a_torn_one_when_it_is_whole() -> None:
    run = made("run", [Flaky(share=0.2)])
    whole = Path("run", FILE).read_bytes()
    path = Path("growing.jsonl")
    at = 0
    tally = Tally(path)
    tally.update()
    progress = SearchProgress(tally)
    assert (tally.total, progress.stage, progress.share) == (0, None, None), "nothing is there yet"
    for cut in [*sorted(stream(1, "cuts").integers(0, len(whole), 40).tolist()), len(whole)]:
        with path.open("ab") as file:
            file.write(whole[at:cut])
        at = cut
        tally.update()
        done = whole[:cut].rfind(b"\n") + 1
        with path.open("r+b") as file:  # what was read is not looked at again
            file.write(b"#" * done)
    assert tally.total == sum(run.queries.values())
    assert tally.failed == run.failed > 0
    assert tally.failure == "HTTP 503"
    assert tally.best is not None
    assert tally.best.loss == pytest.approx(run.arms[1].loss)
    assert tally.validated["unprompted"].accuracy == pytest.approx(run.arms[0].accuracy)
    assert SearchProgress(tally).share == 1.0


def test_a_tally_begins_again_with_another_file() -> None:
    made("run")
    tally = Tally(Path("run", FILE))
    tally.update()
    before = tally.total
    shutil.copy(Path("run", FILE), "copy")
    Path("copy").replace(Path("run", FILE))
    tally.update()
    assert tally.total == before > 0
    Path("run", FILE).unlink()
    tally.update()
    assert tally.total == 0


def test_half_a_surrogate_pair_in_a_reply_is_read() -> None:
    with Journal({"budget": 1}, Path("run")) as journal:
        journal.record("search", [("k", Reply("\ud83d", usage=Usage(attempts=3)))])
    tally = Tally(Path("run", FILE))
    tally.update()
    assert tally.total == 3


def test_a_plan_is_read_from_what_the_journal_keeps_of_it() -> None:
    stages = (
        Stage("tone", ("tone",), 7, 4, 9, 28),
        Stage("frame", ("frame", "overlay"), 8, 4, 5, 32),
    )
    plan = Plan(stages, 24, prime=3, rungs=(Rung(2, 16),), repeats=2)
    kept = json.loads(json.dumps(asdict(plan)))
    assert plan_of({"plan": kept}) == plan
    for other in (
        None,
        {},
        "Plan(validation=3)",
        {**kept, "newer": 1},
        {**kept, "stages": 3},
        {**kept, "stages": [{}]},
    ):
        assert plan_of({"plan": other}) is None


def test_the_stage_and_the_share_follow_the_steps() -> None:
    stages = (Stage("tone", ("tone",), 5, 2, 4, 10), Stage("frame", ("frame",), 5, 2, 2, 10))
    plan = Plan(stages, 10)
    seen = []
    with Journal({"plan": asdict(plan), "budget": 90}, Path("run")) as journal:
        rows = [{"loss": 0.5}, {"loss": None}]
        for name in (
            "validation/unprompted",
            "tone/0",
            "tone/1",
            "validation/tone",
            "frame/0",
            "validation/frame",
        ):
            content = (
                {"evaluations": rows}
                if name[-1].isdecimal()
                else {"losses": [0.2, None], "correct": [1, None]}
            )
            journal.write_step(name, **content)
            tally = Tally(Path("run", FILE))
            tally.update()
            progress = SearchProgress(tally)
            stage = progress.stage
            assert stage is not None
            seen.append((stage.name, tally.generations[stage.name], progress.share))
    total = 40 + 20 + 30
    assert seen == [
        ("tone", 0, 10 / total),
        ("tone", 1, 20 / total),
        ("tone", 2, 30 / total),
        ("frame", 0, 60 / total),  # it ended early, and is done
        ("frame", 1, 70 / total),
        ("frame", 1, 1.0),
    ]
    assert (tally.loss, tally.validated["tone"]) == (0.5, ("tone", 0.2, 1.0))


def test_each_look_reads_only_the_lines_that_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(line: bytes) -> Any:
        read.append(len(line))
        return decoded(line)

    with Journal({"budget": 200_000}, Path("run")):
        pass
    path = Path("run", FILE)
    monitor = StatusMonitor([Path("run")])
    monkeypatch.setattr("bbtvp.runs.records.decoded", counted)
    monitor.statuses()
    queries = 0
    for new in (100, 0, 7, 0):
        before = path.stat().st_size
        with path.open("a") as file:
            for _ in range(new):
                got = [
                    [f"{queries + i:064x}", [900, 10, 1, 0.0], "two", None, None] for i in (0, 1)
                ]
                line = {"record": "replies", "phase": "search", "got": got}
                file.write(json.dumps(line) + "\n")
                queries += 2
        read.clear()
        (job,) = monitor.statuses()
        assert job.queries == queries
        assert len(read) == new
        assert sum(read) == path.stat().st_size - before


# -- time left -------------------------------------------------------------------------------------
def test_time_left_is_at_the_pace_of_the_owner_and_unknown_where_clocks_disagree() -> None:
    made("run", budget=100)
    tally = Tally(Path("run", FILE))
    records = lines("run")
    at = next(i for i, record in enumerate(records) if record.get("id") == "tone/1")
    Path("run", FILE).write_text("".join(json.dumps(record) + "\n" for record in records[: at + 1]))
    tally.update()
    now = datetime.now(UTC)
    progress = SearchProgress(tally)
    share = progress.share
    asked = tally.total
    assert share is not None
    assert 0 < share < 1

    def left(ago: float, before: int | None) -> float | None:
        since = (now - timedelta(seconds=ago)).isoformat()
        return progress.seconds_left(Owner("host", 1, since, before), now)

    assert left(60, 0) == pytest.approx(min(asked * (1 - share) / share, 100 - asked) * 60 / asked)
    resumed = left(60, asked // 2)
    assert resumed is not None
    assert resumed > 1.9 * (left(60, 0) or 0), "what another process asked says nothing of the pace"
    assert left(60, None) is left(60, asked) is left(0, 0) is left(-60, 0) is None
    assert progress.seconds_left(None, now) is None
    assert progress.seconds_left(Owner("host", 1, "an unknown time", 0), now) is None


# -- states ----------------------------------------------------------------------------------------
def test_a_run_is_done_or_stopped_or_running() -> None:
    run = made("run")
    before = {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")}
    job = only("run")
    assert (job.state, job.stage, job.owner, job.error) == ("done", "tone", None, None)
    assert job.generation == job.generations
    assert (job.queries, job.cap, job.checks) == (sum(run.queries.values()), 100, 0)
    assert (job.task, job.models) == ("images", ("eye/near",))
    assert {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")} == before, (
        "nothing was touched"
    )

    Path("run", "prompt.vprompt").unlink()
    assert only("run").state == "stopped"
    with hold(Path("run")):
        held = only("run")
        assert held.state == "running"
        assert held.owner is not None
        assert held.owner.pid == os.getpid()


def test_a_check_under_way_is_the_stage_and_one_that_was_cut_off_is_not_done() -> None:
    made("run")
    proved("run", "eye/near", "eye/far")
    (place,) = Path("run/verify").iterdir()
    asked = [row for record in lines(place) for row in record.get("got", ())]
    job = only("run")
    assert (job.state, job.checks) == ("done", len(asked))
    assert job.checks > job.queries
    with hold(place):
        job = only("run")
        assert (job.state, job.stage, job.generation, job.seconds_left) == (
            "running",
            "verify",
            None,
            None,
        )
    (place / "proof.json").unlink()
    assert only("run").state == "stopped"


def test_jobs_of_a_batch() -> None:
    rows = [
        {"folder": name, "name": f"{name} it", "task": "images"}
        for name in ("done", "new", "cut", "bad", "old")
    ]
    for name in ("done", "cut", "old"):
        made(Path("batch", name))
    atomic_write_json(Path("batch/jobs.json"), {"schema": "bbtvp.jobs/1", "jobs": rows})
    for row in (rows[0], {**rows[4], "task": "another"}):
        described = {key: value for key, value in row.items() if key != "folder"}
        atomic_write_json(Path("batch", row["folder"], "result.json"), {"job": described})
    Path("batch/cut/prompt.vprompt").unlink()
    atomic_write_json(
        Path("batch/bad/failure.json"), {"error": "no such model", "exit_code": 2, "when": "now"}
    )

    def states() -> dict[str, str]:
        return {job.name: job.state for job in StatusMonitor([Path("batch")]).statuses()}

    after = {
        "done it": "done",
        "new it": "waiting",
        "cut it": "stopped",
        "bad it": "failed",
        "old it": "stopped",
    }
    assert states() == after
    with hold(Path("batch"), "jobs"):  # its batch is running, and will come to it
        assert states() == {**after, "cut it": "waiting", "old it": "waiting"}
        with hold(Path("batch/cut")):
            assert states()["cut it"] == "running"
    with hold(Path("batch/bad")):
        assert states()["bad it"] == "running"

    ran = bbtvp("status", "batch")
    assert ran.code == 1
    assert "bad it: no such model" in ran.out
    assert "1 done, 1 waiting, 2 stopped, 1 failed; " in ran.err


def test_one_unreadable_job_hides_no_other() -> None:
    made("runs/good")
    for name, damage in (
        ("torn", b'{"record": "what"\n'),
        ("newer", b'{"record":"config","schema":"bbtvp.journal/9"}\n'),
    ):
        Path("runs", name).mkdir()
        Path("runs", name, FILE).write_bytes(damage)
    shutil.copytree("runs/good", "runs/next")
    edit("runs/next/run.json", schema="bbtvp.run/9")
    found = {job.name: job for job in StatusMonitor([Path("runs")]).statuses()}
    assert {name: job.state for name, job in found.items()} == {
        "good": "done",
        "torn": "unreadable",
        "newer": "unreadable",
        "next": "unreadable",
    }
    assert "line 1 is damaged" in (found["torn"].error or "")
    assert "upgrade" in (found["newer"].error or "")
    assert "upgrade" in (found["next"].error or "")
    assert bbtvp("status", "runs").code == 1


def test_runs_are_found_in_folders_of_folders() -> None:
    made("all/alone")
    shutil.copytree("all/alone", "all/many/a")
    shutil.copytree("all/alone", "all/many/b")
    Path("all/empty").mkdir()
    assert [name for name, _, _ in runs_in(Path("all"))] == ["alone", "many/a", "many/b"]
    assert [name for name, _, _ in runs_in(Path("all/alone"))] == ["alone"]
    for folder, said in (("all/empty", "holds no run"), ("nowhere", "is no folder")):
        ran = bbtvp("status", folder)
        assert ran.code == 2
        assert said in ran.err


# -- the command -----------------------------------------------------------------------------------
JOB = {
    "name": str,
    "folder": str,
    "state": str,
    "task": str,
    "models": list,
    "stage": str,
    "generation": int,
    "generations": int,
    "loss": float,
    "validation": dict,
    "queries": dict,
    "usd": dict,
    "seconds_left": type(None),
    "owner": type(None),
    "error": type(None),
    "last_failed_query": str,
}


def test_the_document() -> None:
    made("run", [Vendor(Flaky(share=0.1))], usd=0.5)
    ran = bbtvp("status", "run", "--json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document.keys() == {"schema", "states", "jobs"}
    assert (document["schema"], document["states"]) == ("bbtvp.status/1", {"done": 1})
    (job,) = document["jobs"]
    assert {key: type(value) for key, value in job.items()} == JOB
    assert job["queries"].keys() == {"spent", "cap", "checks", "failed"}
    assert job["usd"] == {"spent": pytest.approx(0.001 * job["queries"]["spent"]), "cap": 0.5}
    assert job["validation"].keys() == {"unprompted", "best"}
    assert job["validation"]["best"].keys() == {"name", "loss", "accuracy"}
    table = bbtvp("status", "run")
    assert table.out.splitlines()[0].split() == [
        "job",
        "state",
        "stage",
        "loss",
        "validation",
        "queries",
        "failed",
        "US$",
        "left",
    ]
    assert "run: the last failed query: HTTP 503" in table.out


def test_a_run_is_watched_from_outside_killed_and_seen_to_have_stopped(
    plugin: Path, tmp_path: Path
) -> None:
    from tests.jobs.made import images

    path = os.pathsep.join([str(plugin), str(ROOT)])
    env = {
        **os.environ,
        "PYTHONPATH": path,
        "EYE_LOG": str(tmp_path / "log"),
        "OMP_NUM_THREADS": "1",
    }
    command = (
        "optimize",
        "--task",
        str(images()),
        "--model",
        "eye/slow",
        "--prompt",
        "tone",
        "--queries",
        "400",
        "-S",
        "images=2",
        "--out",
        "run",
    )
    monitor = StatusMonitor([Path("run")])
    with subprocess.Popen(
        [sys.executable, "-m", "bbtvp.cli", *command], env=env, stderr=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                if Path("run", FILE).exists():
                    (job,) = monitor.statuses()
                    if job.generation and job.seconds_left is not None:
                        break
                time.sleep(0.05)
            assert job.state == "running"
            assert job.owner is not None
            assert job.owner.pid == process.pid
            assert job.unprompted is not None
            assert job.seconds_left is not None
            assert job.seconds_left > 0
        finally:
            process.kill()
    (job,) = monitor.statuses()
    assert (job.state, job.owner, job.seconds_left) == ("stopped", None, None)


# -- watch -----------------------------------------------------------------------------------------
def test_watch_tells_in_lines_until_all_are_done() -> None:
    run = made("whole")
    records = Path("whole", FILE).read_bytes().splitlines(keepends=True)
    Path("run").mkdir()
    Path("run", FILE).write_bytes(records[0])

    def write() -> None:
        for line in records[1:]:
            with Path("run", FILE).open("ab") as file:
                file.write(line)
            time.sleep(0.03)
        shutil.copy("whole/prompt.vprompt", "run/prompt.vprompt")

    writer = threading.Thread(target=write)
    writer.start()
    ran = bbtvp("watch", "run", "--every", "0.1")
    writer.join()
    assert (ran.code, ran.err) == (0, "")
    told = ran.out.splitlines()
    assert told[0].startswith("run: stopped, tone 0/")
    assert told[-1].startswith("run: done, tone ")
    assert f"image queries {sum(run.queries.values())}/100" in told[-1]
    assert len(set(told)) == len(told) > 2


def test_watch_draws_over_its_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    made("runs/one")
    atomic_write_json(
        Path("runs/two/failure.json"), {"error": "lost", "exit_code": 1, "when": "now"}
    )
    looks = iter([False, True])
    stopped = Path("runs/one/prompt.vprompt").read_bytes()
    Path("runs/one/prompt.vprompt").unlink()

    def sleep(_: float) -> None:
        assert not next(looks), "it should have ended"
        Path("runs/one/prompt.vprompt").write_bytes(stopped)

    monkeypatch.setattr("bbtvp.cli.status.time.sleep", sleep)
    monkeypatch.setattr("tests.support.io.StringIO", Screen)
    ran = bbtvp("watch", "runs")
    assert ran.code == 1
    first, second = ran.out.split("\x1b[6A")
    assert first.count("\n") == 6, "head, rule, two jobs, the error, the summary"
    assert "two: lost" in first
    assert "1 stopped, 1 failed" in first
    assert "1 done, 1 failed" in second


def test_a_table_fits_its_screen() -> None:
    lines = [f"line {i} {'x' * 200}" for i in range(50)]
    fitted = _fitted(lines, os.terminal_size((80, 24)))
    assert len(fitted) == 23
    assert fitted[0] == lines[0][:80]
    assert fitted[-2] == "… 28 more"
    assert fitted[-1] == lines[-1][:80]
    assert _fitted(lines[:3], os.terminal_size((80, 24))) == [line[:80] for line in lines[:3]]


def test_an_interrupt_leaves_watch_quietly() -> None:
    made("run", [Eye()])
    Path("run/prompt.vprompt").unlink()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "bbtvp.cli", "watch", "run", "--every", "0.2"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("run: stopped, ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


# -- docs ------------------------------------------------------------------------------------------
def test_the_documentation_names_every_schema() -> None:
    from bbtvp.cli import gc
    from bbtvp.jobs import compare, reproduce, run, status
    from bbtvp.prompt import bundle
    from bbtvp.runs import journal, record

    text = (ROOT / "docs/runs.md").read_text("utf-8")
    for module in (gc, compare, reproduce, run, status, bundle, journal, record):
        assert f"`{module.SCHEMA}`" in text, module.__name__
