"""The SQLite file behind a `ReplyStore`: how it is made, opened, read and written.

A change is on the disk when `write` returns, so a kill, a full disk or a power cut loses nothing
that was written before. Readers have a connection of their own and never wait for a writer.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.core.errors import BbtvpError

VARIABLE = "BBTVP_STORE"
"""The environment variable that names the file."""

VERSION = 1
"""Of the tables; a file of a newer version is left alone."""

_APPLICATION = 0x62627476
"""Marks a SQLite file as a store of replies."""

_TABLES = {
    "replies": "key TEXT PRIMARY KEY, model TEXT, at REAL, reply BLOB, check_sum INTEGER",
    "batches": "batch TEXT PRIMARY KEY, model TEXT, at REAL, keys TEXT",
    "intents": "intent TEXT PRIMARY KEY, model TEXT, at REAL, keys TEXT",
}
"""The columns of each table."""

_BUSY = 60.0
"""Seconds to wait for another process, which holds the file for some milliseconds at a time."""

_ONE_MACHINE = frozenset(
    {
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "f2fs",
        "tmpfs",
        "overlay",
        "jfs",
        "bcachefs",
    }
)
"""File systems of one machine. On all others, two machines that share a file do not see each
other's WAL index.
"""

_ELSEWHERE = f"name another file ({VARIABLE}=FILE), or go on without (-M store=false)"

_opening = threading.Lock()
"""Held while a file is created or opened. Closing a file drops every lock that this process has on
it, those of SQLite too.
"""


class StoreError(BbtvpError):
    """A store that cannot be used: damaged, of a newer version, read-only, or on a full disk."""


@final
class StoreFile:
    """One SQLite file, made at first use, that only its owner may read.

    May be used from any thread, and by several processes at once. Every method raises StoreError if
    the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writing = threading.RLock()
        """Held by the thread that writes."""
        self._reading = threading.Lock()
        self._open: _Connections | None = None
        self._inherited: list[_Connections] = []

    def read(self, sql: str, *values: Any) -> list[Any]:
        """All rows of a query."""
        open_now = self.connections()
        try:
            with self._reading:
                return open_now.reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def write(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Make a change as one transaction; it is on the disk when this returns."""
        with self.writing:
            writer = self.connections().writer
            try:
                writer.execute("BEGIN IMMEDIATE")
                change(writer)
                writer.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._explained(error) from error
            finally:  # after an interrupt, too
                if writer.in_transaction:
                    writer.execute("ROLLBACK")

    def compact(self) -> None:
        """Give the room of removed rows back to the disk; not while another process reads."""
        with self.writing, suppress(sqlite3.OperationalError):
            writer = self.connections().writer
            # execute() would take one step, which frees one page.
            writer.executescript("PRAGMA incremental_vacuum")
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file. Any later call opens it again."""
        with self.writing, self._reading:
            open_now = self._open
            self._open = None
            if open_now is not None and open_now.process == os.getpid():
                open_now.reader.close()
                open_now.writer.close()

    def damaged(self, how: str) -> StoreError:
        """The error for content that is not as it was written."""
        return StoreError(f"{self.path} is damaged ({how}); {_move_away(self.path)}")

    def connections(self) -> _Connections:
        """The connections of this process, opened at the first call."""
        open_now = self._open
        if open_now is not None and open_now.process == os.getpid():
            return open_now
        with self.writing:
            if self._open is not None and self._open.process != os.getpid():
                # A child process must neither use nor close what its parent opened.
                self._inherited.append(self._open)
                self._open = None
            if self._open is None:
                self._open = self._connect()
            return self._open

    def _connect(self) -> _Connections:
        """Connections to a file that is known to be ours, of this version, and open to writing."""
        try:
            with ExitStack() as stack:
                with _opening:
                    self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    with suppress(FileExistsError):
                        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
                    writer = stack.enter_context(closing(_connection(self.path)))
                if fault := _fault(writer, self.path):
                    raise StoreError(f"{self.path} {fault}")
                _prepare(writer, self.path)
                reader = stack.enter_context(closing(_connection(self.path)))
                stack.pop_all()
                return _Connections(writer, reader, os.getpid())
        except sqlite3.Error as error:
            raise self._explained(error) from error
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror or error}; {_ELSEWHERE}") from error

    def _explained(self, error: sqlite3.Error) -> StoreError:
        """An error of SQLite, with what can be done about it."""
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return self.damaged(str(error))
        if name.startswith("SQLITE_FULL"):
            return StoreError(f"{self.path}: the disk is full; make room, or {_ELSEWHERE}")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreError(
                f"{self.path} is held by another process; wait for it, or {_ELSEWHERE}"
            )
        return StoreError(f"{self.path}: {error}; make it writable, or {_ELSEWHERE}")


class _Connections(NamedTuple):
    """The connections that one process has to the file."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    process: int


def on_one_machine(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a file lies on a file system of this machine alone.

    mounts: the table of mounted file systems. True where the system has none.
    """
    try:
        rows = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return True
    folder = path.absolute().parent.resolve()
    deepest = -1
    kind = ""
    for row in rows:
        if len(row) < 3:
            continue
        point = Path(row[1].replace("\\040", " "))
        if folder.is_relative_to(point) and len(point.parts) >= deepest:  # a later mount hides
            deepest = len(point.parts)
            kind = row[2]
    return deepest < 0 or kind in _ONE_MACHINE


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)


def _fault(disk: sqlite3.Connection, path: Path) -> str:
    """What is wrong with the file, if anything. It is read before anything is written."""
    disk.execute("BEGIN")  # one view of the file, which another process may be preparing
    new = _is_new(disk)
    ours = _pragma(disk, "application_id") == _APPLICATION
    version = _pragma(disk, "user_version")
    disk.execute("COMMIT")
    if not ours and not new:
        return f"is another program's; {_ELSEWHERE}"
    if version > VERSION:
        return f"was written by a newer bbtvp; upgrade, or {_move_away(path)}"
    return ""


def _pragma(disk: sqlite3.Connection, name: str) -> int:
    return int(disk.execute(f"PRAGMA {name}").fetchone()[0])


def _is_new(disk: sqlite3.Connection) -> bool:
    return bool(disk.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _prepare(disk: sqlite3.Connection, path: Path) -> None:
    """Make a new file a store. Fails now if an old one cannot be written."""
    disk.execute("PRAGMA synchronous = FULL")
    disk.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone does not reach the disk
    if _is_new(disk):
        disk.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _choose_journal(disk, wal=on_one_machine(path))
    disk.execute("BEGIN IMMEDIATE")
    if _is_new(disk):
        for table, columns in _TABLES.items():
            disk.execute(f"CREATE TABLE {table} ({columns}) WITHOUT ROWID")
        disk.execute(f"PRAGMA application_id = {_APPLICATION}")
        disk.execute(f"PRAGMA user_version = {VERSION}")
    disk.execute("COMMIT")


def _choose_journal(disk: sqlite3.Connection, *, wal: bool) -> None:
    """Set the write-ahead log, or the rollback journal where the log does not work.

    Both are as safe. With the rollback journal, readers and writers wait for each other.
    """
    deadline = time.monotonic() + _BUSY
    mode = "WAL" if wal else "DELETE"
    while True:
        try:
            disk.execute(f"PRAGMA journal_mode = {mode}")
            disk.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            name = error.sqlite_errorname
            if name.startswith("SQLITE_BUSY") and time.monotonic() < deadline:
                # Other processes are opening the new file; SQLite itself does not wait here.
                time.sleep(0.01)
            elif mode == "WAL" and name.startswith(("SQLITE_IOERR_SHM", "SQLITE_PROTOCOL")):
                mode = "DELETE"
            else:
                raise
        else:
            return


def _move_away(path: Path) -> str:
    return (
        f"move it away (mv {path} {path}.old, and {path.name}-wal likewise), "
        "or go on without (-M store=false)"
    )
