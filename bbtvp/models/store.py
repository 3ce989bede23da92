"""Replies that were paid for, kept across runs by the exact bytes of what was asked.

>>> import tempfile
>>> from bbtvp.models import Reply
>>> from bbtvp.models.store import ReplyStore, reply_key
>>> store = ReplyStore(Path(tempfile.mkdtemp()) / "replies.sqlite")
>>> key = reply_key("https://api.example/v1", b'{"text": "how many?"}', 0, "1")
>>> store.keep(key, Reply("three"), model="example/gpt")
>>> store.recall(key).text
'three'

One SQLite file serves all runs and all processes of a user. A reply is on the disk when `keep`
returns. Failures and refusals are never kept: they are asked again. Batches that a vendor works on
are noted here too, so that a run that was killed finds them again.

A `ReplyStore` belongs to endpoints and outlives a run; a `bbtvp.models.ReplyCache` belongs to one
run and also counts what the run spends.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

from filelock import FileLock

from bbtvp.core.digest import canonical_json, digest
from bbtvp.models.exchange import LabelScore, Reply, Usage
from bbtvp.models.store_file import VARIABLE, StoreFile

_PAGE = 1000
"""Rows that `entries` reads at a time."""


class StoreEntry(NamedTuple):
    """One kept reply: `when` in seconds since 1970, `bytes` of the reply itself."""

    key: str
    model: str
    when: float
    bytes: int


class BatchIntent(NamedTuple):
    """A batch that was about to be submitted. Whether it was, is not known.

    when: in seconds since 1970. keys: of its requests.
    """

    intent: str
    when: float
    keys: list[str]


def reply_key(url: str, body: bytes, replicate: int, version: str) -> str:
    """The key of a reply: 64 hex digits.

    url, body: all that was asked; the body holds the model's name and the pixels. version: of the
    code that reads replies. Code that reads them differently must not get what other code has read.
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
        self._file = StoreFile(self.path)
        self._queue: deque[_WaitingReply] = deque()

    def __repr__(self) -> str:
        return f"ReplyStore({str(self.path)!r})"

    # -- replies -----------------------------------------------------------------------------------
    def recall(self, key: str) -> Reply | None:
        """The reply kept under this key. It costs nothing now: no attempts, no dollars."""
        found = self._file.read("SELECT reply, check_sum FROM replies WHERE key = ?", key)
        if not found:
            return None
        packed, check_sum = found[0]
        if _check_sum(key, packed) != check_sum:
            raise self._file.damaged("a reply is not as it was written")
        return _unpacked(packed)

    def keep(self, key: str, reply: Reply, *, model: str) -> None:
        """Write a reply to the disk, unless the key has one already.

        A reply with a score that is NaN or infinite is not kept. If this raises, a later call that
        succeeds may still keep the reply.
        """
        try:
            packed = _packed(reply)
        except ValueError:  # NaN or infinite
            return
        waiting = _WaitingReply((key, model, time.time(), packed, _check_sum(key, packed)))
        self._queue.append(waiting)
        # Most of the time goes to the disk's confirmation that it has written. So the first of
        # several threads writes the replies of all that wait, in one transaction.
        with self._file.writing:
            if not waiting.kept:
                self._keep_all()

    def _keep_all(self) -> None:
        together = list(self._queue)
        rows = [waiting.row for waiting in together]
        self._file.write(
            lambda disk: disk.executemany(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)", rows
            )
        )
        for waiting in together:
            self._queue.popleft()
            waiting.kept = True

    def rows(self) -> int:
        """How many replies are kept."""
        return int(self._file.read("SELECT count(*) FROM replies")[0][0])

    def size(self) -> int:
        """Bytes on the disk."""
        self.rows()
        files = (self.path, Path(f"{self.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def entries(self) -> Iterator[StoreEntry]:
        """All kept replies, by key; replies that are kept meanwhile may be among them."""
        last = ""
        while page := self._file.read(
            "SELECT key, model, at, length(reply) FROM replies WHERE key > ? ORDER BY key LIMIT ?",
            last,
            _PAGE,
        ):
            for row in page:
                yield StoreEntry(*row)
            last = page[-1][0]

    def forget(self, keys: Iterable[str]) -> None:
        """Remove replies, and give their room back to the disk."""
        gone = [(key,) for key in keys]
        self._file.write(lambda disk: disk.executemany("DELETE FROM replies WHERE key = ?", gone))
        self._file.compact()

    # -- batches -----------------------------------------------------------------------------------
    def submitting(self) -> FileLock:
        """The lock to hold while a batch is submitted, by one process at a time.

        Intents that its holder sees belong to processes that have died.
        """
        self._file.connections()
        return FileLock(f"{self.path}.lock", mode=0o600)

    def intend(self, model: str, keys: Sequence[str]) -> str:
        """Note that a batch of these keys is about to be submitted; returns the intent's name."""
        intent = os.urandom(8).hex()
        row = (intent, model, time.time(), json.dumps(list(keys)))
        self._file.write(lambda disk: disk.execute("INSERT INTO intents VALUES (?, ?, ?, ?)", row))
        return intent

    def intents(self, model: str) -> list[BatchIntent]:
        """Batches of this model that may or may not have been submitted, oldest first."""
        rows = self._file.read(
            "SELECT intent, at, keys FROM intents WHERE model = ? ORDER BY at", model
        )
        return [BatchIntent(intent, when, json.loads(keys)) for intent, when, keys in rows]

    def withdraw(self, intent: str) -> None:
        """Remove an intent: nothing was submitted, or the batch is given up."""
        self._file.write(
            lambda disk: disk.execute("DELETE FROM intents WHERE intent = ?", (intent,))
        )

    def begin_batch(
        self, batch: str, model: str, keys: Sequence[str], *, intent: str | None = None
    ) -> None:
        """Note that the vendor has a batch of these keys, under the name `batch`.

        The intent is removed. Called again for a batch, it sets the keys that are still wanted.
        """

        def begin(disk: sqlite3.Connection) -> None:
            disk.execute("DELETE FROM intents WHERE intent = ?", (intent,))
            disk.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?) "
                "ON CONFLICT (batch) DO UPDATE SET keys = excluded.keys",
                (batch, model, time.time(), json.dumps(list(keys))),
            )

        self._file.write(begin)

    def open_batches(self, model: str) -> dict[str, list[str]]:
        """The keys of each batch that was begun and not ended, oldest first."""
        rows = self._file.read("SELECT batch, keys FROM batches WHERE model = ? ORDER BY at", model)
        return {batch: json.loads(keys) for batch, keys in rows}

    def end_batch(self, batch: str) -> None:
        """Note that all replies of a batch that can be had were collected."""
        self._file.write(lambda disk: disk.execute("DELETE FROM batches WHERE batch = ?", (batch,)))

    def close(self) -> None:
        """Close the file. Any later call opens it again."""
        self._file.close()


@final
class _WaitingReply:
    """A row that a thread wants written."""

    __slots__ = ("kept", "row")

    def __init__(self, row: tuple[str, str, float, bytes, int]) -> None:
        self.row = row
        self.kept = False


def _check_sum(key: str, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(key.encode()))


def _packed(reply: Reply) -> bytes:
    """The reply as JSON. Raises ValueError if a score is NaN or infinite."""
    scores = None
    if reply.scores is not None:
        scores = [[float(score.logprob), score.tokens] for score in reply.scores]
    content: dict[str, Any] = {
        "text": reply.text,
        "scores": scores,
        "tokens": [reply.usage.input_tokens, reply.usage.output_tokens],
    }
    if reply.cut:
        content["cut"] = True
    if reply.version:
        content["version"] = reply.version
    # A reply cut in the middle of an emoji holds half a surrogate pair: it is kept as it came.
    return canonical_json(content).encode("utf-8", "surrogatepass")


def _unpacked(packed: bytes) -> Reply:
    content = json.loads(packed.decode("utf-8", "surrogatepass"))
    scores = None
    if content["scores"] is not None:
        scores = tuple(LabelScore(*score) for score in content["scores"])
    input_tokens, output_tokens = content["tokens"]
    usage = Usage(input_tokens, output_tokens, attempts=0, usd=0.0)
    cut = content.get("cut", False)
    return Reply(content["text"], scores, usage, cut, content.get("version", ""))
