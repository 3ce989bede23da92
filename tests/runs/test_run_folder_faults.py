"""What can be wrong with a run folder: one clear line, the exit code, and nothing lost once the
trouble is gone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import JournalError
from bbtvp.core.lock import OWNER, Owner, hold, owner_of
from bbtvp.models import Reply
from bbtvp.runs.folder import BUNDLE
from bbtvp.runs.journal import Journal
from bbtvp.runs.records import FILE
from bbtvp.search import optimize
from tests.runs.test_journal import Full
from tests.support import Eye, Mortal, Recorder, bbtvp, patterns

CONFIG = {"task": "digits"}


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (FILE, BUNDLE)}


# -- who holds a folder ---------------------------------------------------------------------------
def occupy(folder: Path, ready: Any, name: str = "journal") -> None:
    with hold(folder, name):
        ready.set()
        time.sleep(60)


@contextmanager
def occupied(folder: Path, name: str = "journal") -> Iterator[BaseProcess]:
    """Another process holds the folder, until it is killed."""
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    process = fork.Process(target=occupy, args=(folder, ready, name))
    process.start()
    try:
        assert ready.wait(30)
        yield process
    finally:
        process.kill()
        process.join()


def listed(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_second_is_told_who_is_first(tmp_path: Path) -> None:
    with occupied(tmp_path) as first:
        refused = (
            rf"in use by process {first.pid} on {socket.gethostname()} since "
            rf"20\d\d-.*\+00:00; wait .*--out"
        )
        with pytest.raises(JournalError, match=refused):
            Journal(CONFIG, tmp_path)
        owner = owner_of(tmp_path)
        assert owner is not None
        assert (owner.host, owner.pid) == (socket.gethostname(), first.pid)
    with Journal(CONFIG, tmp_path):
        pass  # killed, the first holds nothing any more


def test_looking_changes_nothing_and_takes_nothing(tmp_path: Path) -> None:
    assert owner_of(tmp_path) is None
    assert owner_of(tmp_path / "absent") is None
    assert list(tmp_path.iterdir()) == []
    with Journal(CONFIG, tmp_path):
        before = listed(tmp_path)
        assert owner_of(tmp_path) == Owner(**json.loads((tmp_path / OWNER).read_text()))
        assert listed(tmp_path) == before
        with pytest.raises(JournalError, match="in use"):
            Journal(CONFIG, tmp_path)
    assert owner_of(tmp_path) is None
    assert not (tmp_path / OWNER).exists()


def test_a_killed_owner_is_none(tmp_path: Path) -> None:
    with occupied(tmp_path):
        pass
    assert (tmp_path / OWNER).exists()
    assert owner_of(tmp_path) is None


def test_the_owner_says_what_was_counted_before_it_began(tmp_path: Path) -> None:
    for already in (0, 2, 4):
        with Journal(CONFIG, tmp_path) as journal:
            owner = owner_of(tmp_path)
            assert owner is not None
            assert owner.queries == already
            journal.record("search", [(f"{already}{name}", Reply(text=name)) for name in "ab"])


def test_one_who_looks_does_not_make_one_who_comes_fail(tmp_path: Path) -> None:
    """A look takes the lock for an instant."""
    with Journal(CONFIG, tmp_path):
        pass
    fork = multiprocessing.get_context("fork")
    stop = fork.Event()

    def look() -> None:
        while not stop.is_set():
            owner_of(tmp_path)

    watcher = fork.Process(target=look)
    watcher.start()
    try:
        for _ in range(100):
            with Journal(CONFIG, tmp_path):
                pass
    finally:
        stop.set()
        watcher.join()


# -- no file locks --------------------------------------------------------------------------------
LOCKLESS = [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP]


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A file system that answers every lock with an error, for this process and those it forks."""

    def refuse(number: int) -> None:
        def flock(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    return refuse


@pytest.mark.parametrize("number", LOCKLESS, ids=errno.errorcode.get)
def test_without_file_locks_there_is_still_one_owner(
    tmp_path: Path, lockless: Callable[[int], None], number: int
) -> None:
    lockless(number)
    with occupied(tmp_path) as first:
        owner = owner_of(tmp_path)
        assert owner is not None
        assert owner.pid == first.pid
        refused = (
            rf"in use by process {first.pid} on .*; there are no file locks here: if it "
            rf"has ended, delete .*held"
        )
        with pytest.raises(JournalError, match=refused):
            Journal(CONFIG, tmp_path)
    assert (
        owner_of(tmp_path) is None
    )  # killed here: it is known to have ended, and its marker is taken over
    with Journal(CONFIG, tmp_path) as journal:
        journal.write_step("one", x=1)
    assert not (tmp_path / "journal.held").exists()


def test_without_file_locks_another_host_is_believed_until_its_marker_is_deleted(
    tmp_path: Path, lockless: Callable[[int], None]
) -> None:
    lockless(errno.ENOLCK)
    marker = tmp_path / "journal.held"
    marker.write_text("77\nelsewhere\n")
    Owner("elsewhere", 77, "2026-01-01T00:00:00+00:00").write(tmp_path)
    with pytest.raises(JournalError, match=f"process 77 on elsewhere since 2026.*delete {marker}"):
        Journal(CONFIG, tmp_path)
    marker.unlink()
    with Journal(CONFIG, tmp_path):
        assert owner_of(tmp_path) is not None


def test_without_file_locks_a_run_is_killed_and_goes_on(
    tmp_path: Path, lockless: Callable[[int], None]
) -> None:
    search(Eye(), tmp_path / "whole")
    lockless(errno.ENOLCK)
    process = multiprocessing.get_context("fork").Process(
        target=search, args=(Mortal(tmp_path / "log", fatal=5), tmp_path / "run")
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    search(Eye(), tmp_path / "run")
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def search(model: Any, out: Path) -> None:
    optimize(patterns(), model, budget=150, prompt="tone", images=4, seed=7, out=out)


# -- the disk, through the command line -----------------------------------------------------------
def command(out: Path) -> tuple[object, ...]:
    model = ("--task", "zoo/digits-low-contrast", "--model", "zoo/llava")
    return (
        "optimize",
        *model,
        "--prompt",
        "tone",
        "--queries",
        100,
        "-S",
        "images=4",
        "--out",
        out,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole")
    assert bbtvp(*command(out)).code == 0
    return files(out)


def check_goes_on(out: Path, whole: dict[str, bytes]) -> None:
    """The same command ends in the same journal and prompt, and says that it continues."""
    kept = (out / FILE).read_bytes().count(b'"record":"replies')
    done = bbtvp(*command(out))
    assert done.code == 0
    assert ("are not sent again" in done.err) == (kept > 0)
    assert files(out) == whole


def test_a_file_that_may_not_grow_is_torn_and_mended(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    """A real limit of the system: the write stops in the middle of a line."""
    out = tmp_path / "run"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole[FILE]) // 2, limits[1]))
    try:
        stopped = bbtvp(*command(out))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert stopped.code == 1
    assert stopped.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in stopped.err
    torn = (out / FILE).read_bytes()
    assert len(torn) == len(whole[FILE]) // 2
    assert not torn.endswith(b"\n")
    assert whole[FILE].startswith(torn)
    check_goes_on(out, whole)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes], share: float
) -> None:
    out = tmp_path / "run"
    real = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **named: Any) -> Any:
        if path.name != FILE or mode != "a+b":
            return real(path, mode, *args, **named)
        file = Full(path, "a+")
        file.room = int(share * len(whole[FILE]))
        return file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        stopped = bbtvp(*command(out))
    assert stopped.code == 1
    assert stopped.err.endswith(
        "error: no space left on the disk; free some and run the same command: what was answered "
        "is kept\n"
    )
    check_goes_on(out, whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_from_the_beginning(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / FILE).symlink_to("/dev/full")
    stopped = bbtvp(*command(out))
    assert stopped.code == 1
    assert "no space left on the disk" in stopped.err
    (out / FILE).unlink()
    check_goes_on_from_nothing(out, whole)


@pytest.mark.parametrize("place", ["run", "run/below"])
def test_a_file_in_the_place_of_the_folder(
    tmp_path: Path, whole: dict[str, bytes], place: str
) -> None:
    (tmp_path / "run").write_text("my notes")
    stopped = bbtvp(*command(tmp_path / place))
    assert stopped.code == 1
    assert f"error: {tmp_path / place} is not a folder" in stopped.err
    assert (tmp_path / "run").read_text() == "my notes"
    (tmp_path / "run").unlink()
    check_goes_on_from_nothing(tmp_path / place, whole)


def check_goes_on_from_nothing(out: Path, whole: dict[str, bytes]) -> None:
    assert bbtvp(*command(out)).code == 0
    assert files(out) == whole


def test_a_read_only_folder(whole: dict[str, bytes]) -> None:
    """As someone who may not write there: root may, as long as it holds its capabilities."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        root.chmod(0o755)
        out = root / "run"
        out.mkdir()
        (out / FILE).write_bytes(whole[FILE][: len(whole[FILE]) // 2])
        out.chmod(0o555)
        fork = multiprocessing.get_context("fork")
        said = fork.SimpleQueue()
        process = fork.Process(target=powerless, args=(out, said))
        process.start()
        code, told = said.get()
        process.join()
        assert code == 1
        assert "Permission denied" in told.splitlines()[-1]
        assert str(out) in told.splitlines()[-1]
        assert "Traceback" not in told
        out.chmod(0o755)
        check_goes_on(out, whole)
    finally:
        shutil.rmtree(root)


def powerless(out: Path, said: Any) -> None:
    if os.geteuid() == 0:
        version = 0x20080522
        none = (ctypes.c_uint32 * 6)()  # capset(2): no effective, permitted, inheritable ones
        assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(version, 0), none) == 0
    os.environ["BBTVP_STORE"] = str(out / "replies.sqlite")
    stopped = bbtvp(*command(out))
    said.put((stopped.code, stopped.err))


# -- the journal, through the command line --------------------------------------------------------
def test_a_journal_of_a_newer_version_is_left_as_it_is(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    path = tmp_path / FILE
    path.write_bytes(whole[FILE].replace(b"bbtvp.journal/1", b"bbtvp.journal/2", 1))
    before = path.read_bytes()
    stopped = bbtvp(*command(tmp_path))
    assert stopped.code == 1
    assert f"error: {path} is a bbtvp.journal/2: a newer bbtvp wrote it, upgrade\n" in stopped.err
    assert path.read_bytes() == before
    path.write_bytes(whole[FILE][:9000])
    check_goes_on(tmp_path, whole)


def test_a_damaged_line_is_named_and_left_as_it_is(tmp_path: Path, whole: dict[str, bytes]) -> None:
    path = tmp_path / FILE
    lines = whole[FILE].splitlines(keepends=True)
    damaged = b"".join([*lines[:3], b"\0" * (len(lines[3]) - 1) + b"\n", *lines[4:]])
    path.write_bytes(damaged)
    stopped = bbtvp(*command(tmp_path))
    assert stopped.code == 1
    assert (
        f"error: {path}, line 4 is damaged; restore the file or start anew elsewhere (--out)\n"
        in stopped.err
    )
    assert path.read_bytes() == damaged
    path.write_bytes(b"".join(lines[:6]))  # from a backup
    check_goes_on(tmp_path, whole)


@pytest.mark.parametrize("jump", [-1e9, -3600.0, 1e9])
def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes], jump: float
) -> None:
    """Wall clock and monotonic clock both, between two processes and in the middle of each."""
    clocks = {name: getattr(time, name) for name in ("time", "monotonic")}
    path = tmp_path / FILE
    path.write_bytes(whole[FILE][: len(whole[FILE]) // 3])
    for name, clock in clocks.items():
        ticks = iter(range(10**9))
        monkeypatch.setattr(
            time,
            name,
            lambda clock=clock, ticks=ticks: clock() + (jump if next(ticks) % 7 > 3 else 0),
        )
    check_goes_on(tmp_path, whole)


def test_two_commands_on_one_folder(tmp_path: Path, whole: dict[str, bytes]) -> None:
    path = tmp_path / FILE
    path.write_bytes(whole[FILE][: len(whole[FILE]) // 2])
    before = path.read_bytes()
    with occupied(tmp_path) as first:
        refused = bbtvp(*command(tmp_path))
        assert refused.code == 1
        assert (
            f"error: {tmp_path} is in use by process {first.pid} on {socket.gethostname()} since "
            in refused.err
        )
        assert path.read_bytes() == before
    check_goes_on(tmp_path, whole)


def test_what_was_paid_is_not_asked_again_after_a_full_disk(tmp_path: Path) -> None:
    """Every call whose line was whole when the disk filled is answered from there."""
    search(Eye(), tmp_path / "whole")
    size = (tmp_path / "whole" / FILE).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for share in (0.2, 0.6):
        out = tmp_path / str(share)
        first = Recorder()
        rest = Recorder()
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * size), limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                search(first, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        search(rest, out)
        keys = (
            [[request.key for request in call] for call in first.calls],
            [r.key for r in rest.asked],
        )
        again = [call for call in keys[0] if set(call) & set(keys[1])]
        assert len(again) <= 1  # the call whose line was torn
        assert files(out) == files(tmp_path / "whole")
