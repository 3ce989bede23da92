"""Killed at any instant and started again by the same command: the same prompt to the bit, nothing
asked twice.

The exact guarantee: every call to the model whose replies were recorded is never made again. A kill
can lose one call, the one under way; its queries (at most `CALL`) are sent again once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from bbtvp.models import Model
from bbtvp.runs.folder import BUNDLE
from bbtvp.runs.records import FILE
from bbtvp.search import Run, optimize
from bbtvp.verify import verify
from tests.support import (
    ROOT,
    Eye,
    Flaky,
    Mortal,
    Recorder,
    bbtvp,
    folder_of_patterns,
    install_plugin,
    patterns,
)

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


class Whole(NamedTuple):
    """An uninterrupted run, its folder, and its calls to the model."""

    run: Run
    folder: Path
    calls: int


def search(model: Model, out: Path | None = None) -> Run:
    return optimize(patterns(), model, budget=320, prompt="tone", images=4, seed=7, out=out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    model = Recorder()
    run = search(model, folder)
    assert len(model.calls) >= 8
    return Whole(run, folder, len(model.calls))


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (FILE, BUNDLE)}


class Call(NamedTuple):
    """One call that a model answered."""

    process: str
    keys: tuple[str, ...]


def calls_in(log: Path) -> list[Call]:
    words = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [Call(process, tuple(keys)) for process, *keys in words]


def fork(model: Mortal, out: Path) -> BaseProcess:
    """The search in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=search, args=(model, out))
    process.start()
    return process


def finish(log: Path, out: Path) -> None:
    process = fork(Mortal(log), out)
    process.join()
    assert process.exitcode == 0


def recorded_calls(journal: bytes) -> int:
    """How many calls stand in whole lines."""
    return sum(b'"record":"replies' in line for line in journal.split(b"\n")[:-1])


def check_log(log: Path) -> None:
    """No key is answered twice, but those of a process's last call may be, since the kill may have
    lost it.
    """
    calls = calls_in(log)
    last = {call.process: i for i, call in enumerate(calls)}
    for i, call in enumerate(calls):
        later = {key for other in calls[i + 1 :] for key in other.keys}
        again = later & set(call.keys)
        assert not again or last[call.process] == i
        assert again in (set(), set(call.keys))
    assert max(Counter(key for call in calls for key in call.keys).values()) <= len(last)


# -- SIGKILL ---------------------------------------------------------------------------------------
@POSIX
def test_killed_before_any_answer(tmp_path: Path, whole: Whole) -> None:
    for fatal in range(1, whole.calls + 1):
        log = tmp_path / f"{fatal}.log"
        out = tmp_path / str(fatal)
        process = fork(Mortal(log, fatal=fatal), out)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        finish(log, out)
        assert files(out) == files(whole.folder)
        keys = [key for call in calls_in(log) for key in call.keys]
        assert len(keys) == len(set(keys)) == sum(whole.run.queries.values())


@POSIX
def test_killed_between_an_answer_and_its_record(tmp_path: Path, whole: Whole) -> None:
    """The one call that can be lost: it is made again, once, and nothing else is."""
    for fatal in (1, 2, whole.calls // 2, whole.calls):
        log = tmp_path / f"{fatal}.log"
        out = tmp_path / str(fatal)
        fork(Mortal(log, fatal=fatal, late=True), out).join()
        finish(log, out)
        assert files(out) == files(whole.folder)
        calls = calls_in(log)
        assert len(calls) == whole.calls + 1
        assert calls[fatal - 1].keys == calls[fatal].keys
        assert len({call.keys for call in calls}) == whole.calls


@POSIX
@pytest.mark.parametrize("most", [5, pytest.param(15, marks=pytest.mark.slow)])
def test_killed_again_and_again_at_any_instant(tmp_path: Path, whole: Whole, most: int) -> None:
    log = tmp_path / "log"
    out = tmp_path / "run"
    rng = np.random.default_rng(0)
    kills = 0
    while kills < most:
        process = fork(Mortal(log, delay=0.02), out)
        process.join(rng.uniform(0, 0.12))
        if process.exitcode is not None:  # it came to its end
            break
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        kills += 1
    finish(log, out)
    assert kills >= 3
    assert files(out) == files(whole.folder)
    check_log(log)


# -- the journal cut where a kill could have cut it ------------------------------------------------
def test_cut_at_any_byte_of_the_journal(tmp_path: Path, whole: Whole) -> None:
    journal = files(whole.folder)[FILE]
    for i, length in enumerate(np.random.default_rng(1).integers(0, len(journal), 15)):
        out = tmp_path / str(i)
        out.mkdir()
        (out / FILE).write_bytes(journal[:length])
        model = Recorder()
        run = search(model, out)
        assert files(out) == files(whole.folder), length
        assert run.prompt.z.tobytes() == whole.run.prompt.z.tobytes()
        assert len(model.calls) == whole.calls - recorded_calls(journal[:length])


def test_a_finished_run_asks_nothing_again(tmp_path: Path, whole: Whole) -> None:
    search(Eye(), tmp_path)
    model = Recorder()
    again = search(model, tmp_path)
    assert model.calls == []
    assert files(tmp_path) == files(whole.folder)
    assert (again.queries, again.arms, again.improved) == (
        whole.run.queries,
        whole.run.arms,
        whole.run.improved,
    )


def test_without_a_folder_the_prompt_is_the_same(whole: Whole) -> None:
    assert search(Eye()).prompt.z.tobytes() == whole.run.prompt.z.tobytes()


# -- with failures ---------------------------------------------------------------------------------
def test_a_finished_run_with_failures_decides_the_same_again(tmp_path: Path) -> None:
    """What failed is not asked again once a choice was made of the rest, even though the model
    would answer now.
    """
    first = search(Flaky(share=0.2), tmp_path)
    before = files(tmp_path)
    model = Recorder()
    again = search(model, tmp_path)
    assert model.calls == []
    assert first.failed == again.failed > 0
    assert files(tmp_path) == before


def test_failures_of_an_earlier_process_are_counted(tmp_path: Path) -> None:
    whole = search(Flaky(share=0.3, seed=3), tmp_path / "a")
    journal = files(tmp_path / "a")[FILE].splitlines(keepends=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / FILE).write_bytes(b"".join(journal[:8]))
    resumed = search(Eye(), tmp_path / "b")
    assert 0 < resumed.failed < whole.failed


# -- verification ----------------------------------------------------------------------------------
def test_verification_goes_on_where_it_stopped(tmp_path: Path, whole: Whole) -> None:
    prompt = whole.run.prompt
    task = patterns()
    proof = verify(prompt, task, [Eye()], out=tmp_path)
    journal = next((tmp_path / "verify").glob(f"*/{FILE}"))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:100])
    model = Recorder()
    again = verify(prompt, task, [model], out=tmp_path)
    assert (again.rows, again.queries) == (proof.rows, proof.queries)
    assert len(model.calls) == 1
    assert b"".join(lines) == journal.read_bytes()


# -- signals, through the command line -------------------------------------------------------------
@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_exits_130_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    log = tmp_path / "log"
    out = tmp_path / "run"
    site = install_plugin(tmp_path / "site")
    images = folder_of_patterns(tmp_path / "images", per_class=20)
    arguments = ["optimize", "--task", str(images), "--model", "eye/slow", "--prompt", "tone"]
    arguments += ["--queries", "200", "-S", "images=4", "--out", str(out)]
    monkeypatch.setenv("EYE_LOG", str(log))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(site)]))
    command = [sys.executable, "-c", STARTED_IN_FRONT, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(log, lines=3)
        process.send_signal(getattr(signal, name))
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert told.endswith(
        "interrupted; what was answered is kept: run the same command to continue\n"
    )
    assert "Traceback" not in told
    monkeypatch.syspath_prepend(site)
    done = bbtvp(*arguments)
    assert done.code == 0
    assert "continuing: " in done.err
    assert done.out.strip() == str(out / BUNDLE)
    check_log(log)


STARTED_IN_FRONT = """
import signal
from bbtvp.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""A process started in the background ignores Ctrl-C, and so would the tests run there."""


def wait_for(log: Path, *, lines: int) -> None:
    """Until the process has made so many calls."""
    end = time.monotonic() + 60
    while len(calls_in(log)) < lines:
        assert time.monotonic() < end
        time.sleep(0.01)
