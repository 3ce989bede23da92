"""The response store: replies that were paid for, across runs, by the exact bytes of what was
asked.

One SQLite file for all runs and all processes of a user. A reply is on the disk when `keep`
returns; a kill, a full disk or a power cut loses nothing that was kept before. Failures and
refusals are never kept: they are asked again.

Threads that keep replies at the same time share one transaction, since what costs time is the
disk's word that it has written: the first writes for all who wait. Readers have a connection of
their own and never wait for a writer.

Batches that a vendor works on are noted here too, so that a run that was killed finds them again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, final

from filelock import FileLock

from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import BbtvpError
from bbtvp.models.exchange import LabelScore, Reply, Usage

VARIABLE = "BBTVP_STORE"
VERSION = 1
_APPLICATION = 0x62627476
"""Marks a SQLite file as a store of replies."""
_TABLES = """
CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT, at REAL, reply BLOB, check_sum INTEGER) WITHOUT ROWID;
CREATE TABLE batches (batch TEXT PRIMARY KEY, model TEXT, at REAL, keys TEXT) WITHOUT ROWID;
CREATE TABLE intents (intent TEXT PRIMARY KEY, model TEXT, at REAL, keys TEXT) WITHOUT ROWID;
"""
_BUSY = 60.0
"""Seconds to wait for another process. It holds the file for some milliseconds at a time."""
_LOCAL = (
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
)
"""File systems of one machine. On all others, two machines that share a file would not see each
other's WAL index.
"""
_PAGE = 1000

_opening = threading.Lock()
"""Closing a file drops every lock that this process has on it, SQLite's too: so none is created
while one is opened.
"""


class StoreError(BbtvpError):
    """A response store that cannot be used: damaged, of a newer version, read-only, on a full disk."""


class Entry(NamedTuple):
    """One kept reply: `when` in seconds since 1970, `bytes` of the reply itself."""

    key: str
    model: str
    when: float
    bytes: int


class Intent(NamedTuple):
    """A batch that was about to be handed in: whether it was, nobody knows. `when` in seconds since
    1970.
    """

    intent: str
    when: float
    keys: list[str]


def reply_key(url: str, body: bytes, replicate: int, version: str) -> str:
    """The key of a reply: 64 hex digits.

    url and body are all that was asked (model and pixels are in the body); version is the
    adapter's: one that reads replies differently must not be served what another read.
    """
    return digest(url.encode(), body, str(replicate).encode(), version.encode())


def default_path() -> Path:
    """`$BBTVP_STORE`, else bbtvp/replies.sqlite in the user's cache folder."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "bbtvp" / "replies.sqlite"


@final
class ReplyStore:
    """Replies by key, in a file that is made at first use and that only its owner may read.

    May be used from any thread, and by several processes at once. Every method raises StoreError if
    the file cannot be used; the first call finds out, before anything is paid for.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        self._queue: deque[_Waiting] = deque()
        self._writing = threading.RLock()
        self._reading = threading.Lock()
        self._disk: _Disk | None = None
        self._inherited: list[_Disk] = []

    def __repr__(self) -> str:
        return f"ReplyStore({str(self.path)!r})"

    # -- replies -----------------------------------------------------------------------------------
    def recall(self, key: str) -> Reply | None:
        """The reply kept under this key. It costs nothing now: no attempts, no dollars."""
        found = self._read("SELECT reply, check_sum FROM replies WHERE key = ?", key)
        if not found:
            return None
        packed, check_sum = found[0]
        if zlib.crc32(packed, zlib.crc32(key.encode())) != check_sum:
            raise self._damaged("a reply is not as it was written")
        return _unpacked(packed)

    def keep(self, key: str, reply: Reply, *, model: str) -> None:
        """Write a reply to the disk. One that is there already stays; one with a score that is no
        number is no reply.

        If this raises, a later call that succeeds may still keep the reply.
        """
        try:
            packed = _packed(reply)
        except ValueError:  # NaN or infinite
            return
        check_sum = zlib.crc32(packed, zlib.crc32(key.encode()))
        waiting = _Waiting((key, model, time.time(), packed, check_sum))
        self._queue.append(waiting)
        with self._writing:
            if not waiting.kept:
                self._keep_all()

    def _keep_all(self) -> None:
        together = list(self._queue)
        rows = [waiting.row for waiting in together]
        self._write(
            lambda disk: disk.executemany(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)", rows
            )
        )
        for waiting in together:
            self._queue.popleft()
            waiting.kept = True

    def rows(self) -> int:
        """How many replies are kept."""
        return int(self._read("SELECT count(*) FROM replies")[0][0])

    def size(self) -> int:
        """Bytes on the disk."""
        self.rows()
        files = (self.path, Path(f"{self.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def entries(self) -> Iterator[Entry]:
        """All kept replies, by key; those that others keep meanwhile may be among them."""
        last = ""
        while page := self._read(
            "SELECT key, model, at, length(reply) FROM replies WHERE key > ? ORDER BY key LIMIT ?",
            last,
            _PAGE,
        ):
            yield from (Entry(*row) for row in page)
            last = page[-1][0]

    def forget(self, keys: Iterable[str]) -> None:
        """Remove replies, and give their room back to the disk."""
        gone = [(key,) for key in keys]
        self._write(lambda disk: disk.executemany("DELETE FROM replies WHERE key = ?", gone))
        with (
            self._writing,
            suppress(sqlite3.OperationalError),
        ):  # another process may be reading: next time
            disk = self._open().writer
            disk.executescript(
                "PRAGMA incremental_vacuum"
            )  # execute() would take one step, which frees one page
            disk.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # -- batches -----------------------------------------------------------------------------------
    def submitting(self) -> FileLock:
        """To be held while a batch is handed in: one process at a time. Intents that it then sees
        are of the dead.
        """
        self._open()
        return FileLock(f"{self.path}.lock", mode=0o600)

    def intend(self, model: str, keys: Sequence[str]) -> str:
        """Note that a batch of these keys is about to be handed in; gives the name of the note."""
        intent = os.urandom(8).hex()
        row = (intent, model, time.time(), json.dumps(list(keys)))
        self._write(lambda disk: disk.execute("INSERT INTO intents VALUES (?, ?, ?, ?)", row))
        return intent

    def intents(self, model: str) -> list[Intent]:
        """Batches of this model of which it is not known whether they were handed in, oldest first."""
        rows = self._read("SELECT intent, at, keys FROM intents WHERE model = ? ORDER BY at", model)
        return [Intent(intent, when, json.loads(keys)) for intent, when, keys in rows]

    def withdraw(self, intent: str) -> None:
        """Nothing was handed in, or it is given up."""
        self._write(lambda disk: disk.execute("DELETE FROM intents WHERE intent = ?", (intent,)))

    def begin_batch(
        self, batch: str, model: str, keys: Sequence[str], *, intent: str | None = None
    ) -> None:
        """A batch of these keys is with the vendor, who calls it `batch`; what was intended is
        done.

        Called again for a batch, it sets the keys that are still wanted of it.
        """

        def begin(disk: sqlite3.Connection) -> None:
            disk.execute("DELETE FROM intents WHERE intent = ?", (intent,))
            disk.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?) ON CONFLICT (batch) DO UPDATE SET keys = excluded.keys",
                (batch, model, time.time(), json.dumps(list(keys))),
            )

        self._write(begin)

    def open_batches(self, model: str) -> dict[str, list[str]]:
        """The keys of each batch that was begun and not ended, oldest first."""
        rows = self._read("SELECT batch, keys FROM batches WHERE model = ? ORDER BY at", model)
        return {batch: json.loads(keys) for batch, keys in rows}

    def end_batch(self, batch: str) -> None:
        """All that can be had of a batch was collected."""
        self._write(lambda disk: disk.execute("DELETE FROM batches WHERE batch = ?", (batch,)))

    # -- the file ----------------------------------------------------------------------------------
    def close(self) -> None:
        """Let go of the file. Any later call opens it again."""
        with self._writing, self._reading:
            disk = self._disk
            self._disk = None
            if disk is not None and disk.process == os.getpid():
                disk.reader.close()
                disk.writer.close()

    def _read(self, sql: str, *values: Any) -> list[Any]:
        disk = self._open()
        try:
            with self._reading:
                return disk.reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def _write(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Make a change as one transaction; it is on the disk when this returns."""
        with self._writing:
            writer = self._open().writer
            try:
                writer.execute("BEGIN IMMEDIATE")
                change(writer)
                writer.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._trouble(error) from error
            finally:  # after an interrupt, too
                if writer.in_transaction:
                    writer.execute("ROLLBACK")

    def _open(self) -> _Disk:
        disk = self._disk
        if disk is not None and disk.process == os.getpid():
            return disk
        with self._writing:
            if self._disk is not None and self._disk.process != os.getpid():
                self._inherited.append(
                    self._disk
                )  # a child must neither use nor close what its parent opened
                self._disk = None
            if self._disk is None:
                self._disk = self._begin()
            return self._disk

    def _begin(self) -> _Disk:
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
                return _Disk(writer, reader, os.getpid())
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror or error}; {_ELSEWHERE}") from error

    def _trouble(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return self._damaged(str(error))
        if name.startswith("SQLITE_FULL"):
            return StoreError(f"{self.path}: the disk is full; make room, or {_ELSEWHERE}")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreError(
                f"{self.path} is held by another process; wait for it, or {_ELSEWHERE}"
            )
        return StoreError(f"{self.path}: {error}; make it writable, or {_ELSEWHERE}")

    def _damaged(self, how: str) -> StoreError:
        return StoreError(f"{self.path} is damaged ({how}); {_away(self.path)}")


class _Disk(NamedTuple):
    """The connections of one process."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    process: int


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)


def _fault(disk: sqlite3.Connection, path: Path) -> str:
    """What is wrong with the file, if anything: read before anything is written."""
    disk.execute("BEGIN")  # one view of it: another process may be making it a store
    new = _is_new(disk)
    ours, version = (
        disk.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    disk.execute("COMMIT")
    if ours != _APPLICATION and not new:
        return f"is another program's; {_ELSEWHERE}"
    return f"was written by a newer bbtvp; upgrade, or {_away(path)}" if version > VERSION else ""


def _is_new(disk: sqlite3.Connection) -> bool:
    return bool(disk.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _prepare(disk: sqlite3.Connection, path: Path) -> None:
    """Make a new file a store; fails now if an old one cannot be written."""
    disk.execute("PRAGMA synchronous = FULL")
    disk.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone does not reach the disk
    if _is_new(disk):
        disk.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _choose_journal(disk, wal=on_one_machine(path))
    disk.execute("BEGIN IMMEDIATE")
    if _is_new(disk):
        for statement in _TABLES.strip().split("\n"):
            disk.execute(statement)
        disk.execute(f"PRAGMA application_id = {_APPLICATION}")
        disk.execute(f"PRAGMA user_version = {VERSION}")
    disk.execute("COMMIT")


_ELSEWHERE = f"name another file ({VARIABLE}=FILE), or go on without (-M store=false)"


def _away(path: Path) -> str:
    return f"move it away (mv {path} {path}.old, and {path.name}-wal likewise), or go on without (-M store=false)"


@final
class _Waiting:
    """A reply that a thread wants kept."""

    __slots__ = ("kept", "row")

    def __init__(self, row: tuple[str, str, float, bytes, int]) -> None:
        self.row = row
        self.kept = False


def _choose_journal(disk: sqlite3.Connection, *, wal: bool) -> None:
    """WAL, or where it does not work the rollback journal: as safe, but readers and writers wait
    for each other.
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
                time.sleep(
                    0.01
                )  # others are opening the new file too; here SQLite itself does not wait
            elif mode == "WAL" and name.startswith(("SQLITE_IOERR_SHM", "SQLITE_PROTOCOL")):
                mode = "DELETE"
            else:
                raise
        else:
            return


def on_one_machine(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a file lies on a file system of this machine alone; True where the system does not
    say.
    """
    try:
        rows = [line.split() for line in mounts.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return True
    home = path.absolute().parent.resolve()
    points = [(Path(row[1].replace("\\040", " ")), row[2]) for row in rows if len(row) > 2]
    kinds = [(len(point.parts), kind) for point, kind in points if home.is_relative_to(point)]
    return (
        not kinds or max(enumerate(kinds), key=lambda item: (item[1][0], item[0]))[1][1] in _LOCAL
    )


def _packed(reply: Reply) -> bytes:
    """The reply as JSON. Raises ValueError if a score is NaN or infinite."""
    scores = (
        None
        if reply.scores is None
        else [[float(score.logprob), score.tokens] for score in reply.scores]
    )
    content = {
        "text": reply.text,
        "scores": scores,
        "tokens": [reply.usage.input_tokens, reply.usage.output_tokens],
    }
    # A reply cut in the middle of an emoji holds half a surrogate pair: it is kept as it came.
    return canonical_json(content).encode("utf-8", "surrogatepass")


def _unpacked(packed: bytes) -> Reply:
    content = json.loads(packed.decode("utf-8", "surrogatepass"))
    scores = (
        None
        if content["scores"] is None
        else tuple(LabelScore(*score) for score in content["scores"])
    )
    tokens_in, tokens_out = content["tokens"]
    return Reply(content["text"], scores, Usage(tokens_in, tokens_out, attempts=0, usd=0.0))
