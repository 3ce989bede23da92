"""One process per folder: a lock, and a note of who holds it.

The note is for the process that is refused, and for commands that watch the folder.

    NAME.lock    locked by the operating system while the process lives; the file itself stays
    NAME.held    in its place on a file system without file locks: it names the process, and stays
                 behind if the process is killed
    owner.json   {"host", "pid", "since", "queries"} while the folder is held; it stays after a
                 kill, and is then not believed

Without file locks (some network mounts) a marker left by a killed process is recognised on the host
that it ran on. On another host nothing can tell, and the error says what to delete.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, final

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from bbtvp.core.errors import JournalError

OWNER = "owner.json"
NAME = "journal"
_PATIENCE = 1.0
"""Seconds before a held folder is refused: whoever looks at the owner holds the lock for an
instant.
"""

_POLL = 0.01
"""Seconds between tries: often enough to come between the looks of a busy watcher."""

_MISSING = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a file system without locks answers."""


@final
class Owner(NamedTuple):
    """The process that holds a folder.

    since: when it took it, UTC, ISO 8601. queries: image queries that its journal had counted by
    then; None while it still reads them.
    """

    host: str
    pid: int
    since: str
    queries: int | None = None

    def write(self, folder: Path) -> None:
        """Tell who looks; whole or not at all. Raises OSError if the disk refuses."""
        part = folder / f".{OWNER}.{self.pid}"
        part.write_text(
            json.dumps(self._asdict(), indent=2) + "\n", "utf-8"
        )  # not synced: worthless after a power cut
        part.replace(folder / OWNER)


@contextmanager
def hold(folder: Path, name: str = NAME) -> Iterator[Owner]:
    """Hold a folder, which must exist; gives this process as its owner.

    Raises JournalError, with the owner's host and process, if another holds it, and OSError if the
    disk refuses.
    """
    with ExitStack() as stack:
        stack.callback(_acquired(folder, name).release)
        owner = Owner(
            socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds")
        )
        stack.callback(_forget, folder)
        owner.write(folder)
        yield owner


def owner_of(folder: Path, name: str = NAME) -> Owner | None:
    """Who holds a folder, None if nobody does; changes nothing there.

    An owner whose lock cannot be tried (a marker, a read-only folder) is believed unless it has
    ended on this host.
    """
    owner = _written(folder)
    if (folder / f"{name}.held").exists():
        return owner if owner and _lives(owner) else None
    lock = folder / f"{name}.lock"
    if not lock.exists():
        return None
    try:
        with FileLock(lock, timeout=0, fallback_to_soft=False):
            return None
    except Timeout:  # the file may still be a killed predecessor's
        return owner if owner and _lives(owner) else Owner("an unknown host", 0, "an unknown time")
    except OSError:
        return owner if owner and _lives(owner) else None


def _acquired(folder: Path, name: str) -> BaseFileLock:
    marker = folder / f"{name}.held"
    try:
        lock: BaseFileLock = FileLock(folder / f"{name}.lock", fallback_to_soft=False)
        try:
            lock.acquire(_PATIENCE, _POLL)
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            lock = SoftFileLock(marker)
            lock.acquire(_PATIENCE, _POLL)
    except Timeout as error:
        raise JournalError(_refusal(folder, owner_of(folder, name), marker)) from error
    return lock


def _refusal(folder: Path, owner: Owner | None, marker: Path) -> str:
    who = (
        f"process {owner.pid} on {owner.host} since {owner.since}"
        if owner and owner.pid
        else "another process"
    )
    advice = "wait for it, or name another (--out)"
    if marker.exists():
        advice += f"; there are no file locks here: if it has ended, delete {marker}"
    return f"{folder} is in use by {who}; {advice}"


def _forget(folder: Path) -> None:
    with suppress(OSError):  # a folder that is gone or read-only by now has no one to tell
        (folder / OWNER).unlink()


def _written(folder: Path) -> Owner | None:
    try:
        return Owner(**json.loads((folder / OWNER).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _lives(owner: Owner) -> bool:
    """Whether a process may be running: on another host nothing can tell."""
    if (
        owner.host != socket.gethostname() or sys.platform == "win32"
    ):  # there, signal 0 ends the process
        return True
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
