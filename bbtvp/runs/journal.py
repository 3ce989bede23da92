"""The journal is the run: an append-only file from which a killed run continues exactly.

`bbtvp/runs/records.py` describes its lines. A line is written before anything is made of it. A torn
last line (a crash in the middle of a write) is cut off on opening; a damaged line is an error.
Failed queries are counted but not remembered: they are asked again.

A kill loses at most the call that was under way: its queries are asked again. What a paid model was
asked in that call stays counted, at the most it can have cost where the cost is not known. So caps
hold for all processes of a run together.
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, final

from bbtvp.core.digest import canonical_json
from bbtvp.core.errors import JournalError
from bbtvp.core.lock import hold
from bbtvp.models import Outcome, Probe, Reply, ReplyCache
from bbtvp.runs.records import (
    DAMAGED,
    FILE,
    PROBE,
    REPLIES,
    SCHEMA,
    ConfigRecord,
    JournalRecord,
    Place,
    QueryRecord,
    RepliesRecord,
    Spending,
    SpentRecord,
    StepRecord,
    VersionRecord,
    read_records,
)
from bbtvp.runs.upgrade import removed_from_config

_PREFIX = 32
"""Digits of a key, which is a digest, that tell it from all others of a run."""

_DECODER = json.JSONDecoder()


@final
class Journal(Spending, ReplyCache):
    """Replies and steps of one run, on disk if it has a folder. Safe to use from many threads.

    Memory holds only where each lies in the file: about 130 bytes per image query.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path | None = None) -> None:
        """Open or begin a journal.

        Raises JournalError for another configuration or version, a damaged file, or a run that is
        still going on, and OSError if the disk refuses.
        """
        super().__init__()
        self.config = json.loads(canonical_json({"schema": SCHEMA, **config}))
        self._replies: dict[str, Place] = {}
        self._steps: dict[str, Place] = {}
        self._versions: defaultdict[str, list[str]] = defaultdict(list)
        self._last_place = Place(0, 0)
        self._last_line = ""
        self._lock = threading.Lock()
        self._path = folder / FILE if folder else None
        self._file: io.FileIO | io.BytesIO = io.BytesIO()
        self._end = 0
        self._closing = ExitStack()
        if self._path is not None:
            self._open(self._path)

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise JournalError(
                f"{path.parent} is not a folder, nor can it be; name another (--out)"
            ) from error
        with ExitStack() as stack:
            owner = stack.enter_context(hold(path.parent))
            if path.is_file():
                self._load(path)
            self._file = stack.enter_context(path.open("a+b", buffering=0))
            self._cut_torn_line()
            if not self._end:
                self._append({"record": "config", **self.config})
            owner._replace(queries=self.spent.total()).write(path.parent)
            self._closing = stack.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._closing.close()

    # -- replies -----------------------------------------------------------------------------------
    def recall(self, key: str) -> Reply | None:
        with self._lock:
            place = self._replies.get(key[:_PREFIX])
            if place is None:
                return None
            # Replies are often asked for in the order in which they came.
            if self._last_place != place:
                self._last_line = self._read(place)
                self._last_place = place
            line = self._last_line
        # Only one row is decoded, so that the time does not depend on the size of the call. No text
        # in the line looks like the beginning of a row, since a quote in a text is escaped.
        begin = line.rfind(f"[{canonical_json(key)},")
        if begin < 0:
            return None
        try:
            row, _ = _DECODER.raw_decode(line, begin)
            outcome = QueryRecord.of_row(row).outcome()
        except DAMAGED as error:
            raise JournalError(
                f"{self._path}, the reply {key!r} is damaged; "
                "restore the file or start anew elsewhere (--out)"
            ) from error
        return outcome if isinstance(outcome, Reply) else None

    def record(
        self, phase: str, asked: Sequence[tuple[str, Outcome]], *, noted: bool = False
    ) -> None:
        """Append the outcomes of one call to the model, as one line."""
        replies = RepliesRecord(
            phase, [QueryRecord.of(key, outcome) for key, outcome in asked], noted
        )
        document: dict[str, Any] = {
            "record": REPLIES[int(any(query.version for query in replies.queries))],
            "phase": phase,
            "got": [query.row for query in replies.queries],
        }
        if noted:
            document["noted"] = True
        with self._lock:
            self._take(replies, self._append(document))

    def note(self, phase: str, queries: int, usd: float) -> None:
        with self._lock:
            if self._file.closed:  # a thread may outlive an interrupted run
                return
            spent = SpentRecord(phase, queries, usd)
            self._take(spent, self._append({"record": "spent", **spent._asdict()}))

    # -- steps: what was decided -------------------------------------------------------------------
    def step(self, name: str) -> dict[str, Any] | None:
        """The step written under this name, if the run has come that far before."""
        with self._lock:
            place = self._steps.get(name)
            if place is None:
                return None
            content: dict[str, Any] = json.loads(self._read(place))
        del content["record"]
        del content["id"]
        return content

    def write_step(self, name: str, **content: Any) -> dict[str, Any]:
        """Append a step and force it to disk; gives it back as a later reader would see it."""
        step: dict[str, Any] = json.loads(canonical_json(content))
        with self._lock:
            place = self._append({"record": "step", "id": name, **step})
            if isinstance(self._file, io.FileIO):
                os.fsync(self._file.fileno())
            self._take(StepRecord(name, step), place)
        return step

    def write_probe(self, spec: str, probe: Probe) -> None:
        """Count a probe of the model of this spec, once in a run, whichever process paid for it."""
        if PROBE + spec not in self._steps:
            self.write_step(
                PROBE + spec, queries=probe.queries, usd=probe.usd, findings=probe.findings
            )

    def saw_version(self, spec: str, version: str) -> None:
        if version in self.versions(spec):
            return
        seen = VersionRecord(spec, version)
        with self._lock:
            self._take(seen, self._append({"record": "version", **seen._asdict()}))

    def versions(self, spec: str) -> tuple[str, ...]:
        return tuple(self._versions.get(spec, ()))

    # -- file --------------------------------------------------------------------------------------
    def _take(self, record: JournalRecord, place: Place) -> None:
        """Count a record, and remember where it lies."""
        self.add_spending(record)
        if isinstance(record, StepRecord):
            self._steps[record.name] = place
        elif isinstance(record, VersionRecord):
            self._versions[record.model].append(record.version)
        elif isinstance(record, RepliesRecord):
            for query in record.queries:
                if query.failure is None:
                    self._replies[query.key[:_PREFIX]] = place

    def _append(self, document: Mapping[str, Any]) -> Place:
        """Write a line, in one piece unless the disk is full; where it lies."""
        line = _line(document)
        begin = self._cut_torn_line()
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]
        place = Place(begin, len(line))
        self._end = place.end
        return place

    def _cut_torn_line(self) -> int:
        """Cut off the torn line of a write that broke off, and give the end of the file.

        A write breaks off by a crash, a full disk or an interrupt.
        """
        size = self._file.seek(0, os.SEEK_END)
        if size > self._end:
            self._file.seek(self._end)
            self._end += self._file.read(size - self._end).rfind(b"\n") + 1
            self._file.truncate(self._end)
            self._file.seek(0, os.SEEK_END)
        return self._end

    def _read(self, place: Place) -> str:
        self._file.seek(place.offset)
        return self._file.read(place.length).decode("utf-8", "surrogatepass")

    def _load(self, path: Path) -> None:
        """Replay the whole lines that are there."""
        with path.open("rb") as file:
            for place, record in read_records(file, path):
                if isinstance(record, ConfigRecord):
                    self._check_config(record.values, path)
                self._take(record, place)
                self._end = place.end
        if not self._end:
            self._check_torn_config(path)

    def _check_torn_config(self, path: Path) -> None:
        """The only line is torn: it must be the beginning of the one that this run writes first."""
        expected = _line({"record": "config", **self.config})
        if not expected.startswith(path.read_bytes()):
            raise JournalError(
                f"{path} is not the beginning of this run; name another folder (--out)"
            )

    def _check_config(self, found: Mapping[str, Any], path: Path) -> None:
        if (said := removed_from_config(found)) is not None:
            raise JournalError(f"{path}: {said}")
        ours = self.config
        names = sorted({*found, *ours})
        differing = [name for name in names if found.get(name) != ours.get(name)]
        # A plan follows from the options, so it is named only where nothing plainer differs.
        nested = (dict, list)
        plain = [
            name
            for name in differing
            if not isinstance(found.get(name), nested) and not isinstance(ours.get(name), nested)
        ]
        differing = plain or differing
        if differing:
            changes = ", ".join(
                _difference(name, found.get(name), ours.get(name)) for name in differing[:3]
            )
            raise JournalError(
                f"{path.parent} holds another run ({changes}); name another folder (--out)"
            )


def _difference(name: str, there: object, here: object) -> str:
    if name == "task" and there and here:  # two digests, which tell a reader nothing
        return "the task has other images, questions or answers, or another metric"
    return f"{name}: {there!r:.60} there, {here!r:.60} here"


def _line(document: Mapping[str, Any]) -> bytes:
    # A reply cut in the middle of an emoji holds half a surrogate pair: it is kept as it came.
    return (canonical_json(document) + "\n").encode("utf-8", "surrogatepass")
