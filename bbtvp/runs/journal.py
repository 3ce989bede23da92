"""The journal is the run: an append-only file of JSON lines from which a killed run continues
exactly.

    {"record": "config", …}                        first line: what this run is
    {"record": "replies", "phase": …, "got": […]}  one line per call to the model: all of its outcomes, or none
    {"record": "spent", "phase": …, …}             an attempt at a paid model, before it is made; then what it cost
    {"record": "step", "id": …, …}                 what was made of them: a generation, a choice, the end

A line is written before anything is made of it. A torn last line (a crash in the middle of a write)
is cut off on opening; a damaged line is an error. Failures are counted but not remembered: they are
asked again.

So a kill loses at most the call that was under way: its queries are asked again. What a paid model
was asked in it stays counted, at the most it can have cost where that is not known: caps hold for
all processes of a run together.
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, final

from bbtvp.core.digest import canonical_json
from bbtvp.core.errors import JournalError
from bbtvp.core.lock import hold
from bbtvp.models import LabelScore, Memory, Outcome, Probe, Reply, Usage
from bbtvp.runs.removed import removed_from_config, upgraded_config

SCHEMA = "bbtvp.journal/1"
FILE = "journal.jsonl"
Place: TypeAlias = tuple[int, int]
"""Where a line lies in the file, and how long it is."""

_PREFIX = 32
"""Digits of a key, which is a digest, that tell it from all others of a run."""

_DECODER = json.JSONDecoder()

_DAMAGED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What reading a record raises that `_append` never wrote."""


@final
class Journal(Memory):
    """Replies and steps of one run, on disk if it has a folder. Safe to use from many threads.

    In memory is only where each lies: about 130 bytes per image query.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path | None = None) -> None:
        """Open or begin a journal.

        Raises JournalError for another configuration or version, a damaged file, or a run that is
        still going on, and OSError if the disk refuses.
        """
        self.config = json.loads(canonical_json({"schema": SCHEMA, **config}))
        self.spent: Counter[str] = Counter()
        self.failed = 0
        self.refused = 0
        self.usd = 0.0
        self._replies: dict[str, Place] = {}
        self._steps: dict[str, Place] = {}
        self._line: tuple[Place, str] = ((0, 0), "")
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
            self._mend()
            if not self._end:
                self._append({"record": "config", **self.config})
            owner._replace(queries=self.spent.total()).write(path.parent)
            self._closing = stack.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._closing.close()

    # -- replies: the memory of the meter ----------------------------------------------------------
    def recall(self, key: str) -> Reply | None:
        with self._lock:
            place = self._replies.get(key[:_PREFIX])
            if place is None:
                return None
            # replies are often asked for in the order in which they came
            if self._line[0] != place:
                self._line = place, self._read(place)
            line = self._line[1]
        # One row is read, not the line: what memory answers costs the same however the calls were
        # cut. No text in the line looks like the beginning of a row, since a quote in a text is
        # escaped.
        begin = line.rfind(f"[{canonical_json(key)},")
        try:
            return None if begin < 0 else _unpacked(_DECODER.raw_decode(line, begin)[0])
        except _DAMAGED as error:
            raise JournalError(
                f"{self._path}, the reply {key!r} is damaged; restore the file or start anew elsewhere (--out)"
            ) from error

    def record(
        self, phase: str, asked: Sequence[tuple[str, Outcome]], *, noted: bool = False
    ) -> None:
        """Append the outcomes of one call to the model, as one line."""
        got = [[key, *_packed(outcome)] for key, outcome in asked]
        with self._lock:
            place = self._append(
                {
                    "record": "replies",
                    "phase": phase,
                    "got": got,
                    **({"noted": True} if noted else {}),
                }
            )
            self._remember(phase, got, noted, place)

    def note(self, phase: str, queries: int, usd: float) -> None:
        with self._lock:
            if not self._file.closed:  # a thread may outlive an interrupted run
                self._append({"record": "spent", "phase": phase, "queries": queries, "usd": usd})
                self._spend(phase, queries, usd)

    def _spend(self, phase: str, queries: int, usd: float) -> None:
        self.spent[phase] += queries
        self.usd += usd

    def _remember(
        self, phase: str, got: Sequence[Sequence[Any]], noted: bool, place: Place
    ) -> None:
        for key, counts, _text, _scores, failure, *refused in got:
            usage = Usage(*counts)
            if not noted:
                self._spend(phase, usage.attempts, usage.usd)
            if failure is None:
                self._replies[key[:_PREFIX]] = place
            else:
                self.failed += 1
                self.refused += bool(refused)

    # -- steps: what was decided -------------------------------------------------------------------
    def step(self, name: str) -> dict[str, Any] | None:
        """The step written under this name, if the run has come that far before."""
        with self._lock:
            place = self._steps.get(name)
            return None if place is None else _content(json.loads(self._read(place)))

    def write_step(self, name: str, **content: Any) -> dict[str, Any]:
        """Append a step and force it to disk; gives it back as a later reader would see it."""
        step: dict[str, Any] = json.loads(canonical_json(content))
        with self._lock:
            place = self._append({"record": "step", "id": name, **step})
            if isinstance(self._file, io.FileIO):
                os.fsync(self._file.fileno())
            self._take_step(name, step, place)
        return step

    def write_probe(self, spec: str, probe: Probe) -> None:
        """Count a probe of the model of this spec, once in a run, whichever process paid for it."""
        if f"probe/{spec}" not in self._steps:
            self.write_step(
                f"probe/{spec}", queries=probe.queries, usd=probe.usd, findings=probe.findings
            )

    def _take_step(self, name: str, step: Mapping[str, Any], place: Place) -> None:
        self._steps[name] = place
        if name.startswith("probe/"):
            self._spend("probe", step["queries"], step["usd"])

    # -- file --------------------------------------------------------------------------------------
    def _append(self, record: Mapping[str, Any]) -> Place:
        """Write a line, in one piece unless the disk is full; where it lies."""
        line = _line(record)
        begin = self._mend()
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]
        self._end = begin + len(line)
        return begin, len(line)

    def _mend(self) -> int:
        """Cut off the torn line of a write that broke off: a crash, a full disk, an interrupt. The
        end of the file.
        """
        size = self._file.seek(0, os.SEEK_END)
        if size > self._end:
            self._file.seek(self._end)
            self._end += self._file.read(size - self._end).rfind(b"\n") + 1
            self._file.truncate(self._end)
            self._file.seek(0, os.SEEK_END)
        return self._end

    def _read(self, place: Place) -> str:
        self._file.seek(place[0])
        return self._file.read(place[1]).decode("utf-8", "surrogatepass")

    def _load(self, path: Path) -> None:
        """Replay the whole lines that are there."""
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    if number == 1 and not _line({"record": "config", **self.config}).startswith(
                        line
                    ):
                        raise JournalError(
                            f"{path} is not the beginning of this run; name another folder (--out)"
                        )
                    return
                try:
                    self._replay(json.loads(line), number, (self._end, len(line)))
                except _DAMAGED as error:
                    raise JournalError(
                        f"{path}, line {number} is damaged; restore the file or start anew elsewhere (--out)"
                    ) from error
                self._end += len(line)

    def _replay(self, record: dict[str, Any], number: int, place: Place) -> None:
        kind = record.pop("record", None)
        if number == 1:
            self._check_config(kind, record)
        elif kind == "replies":
            self._remember(record["phase"], record["got"], record.get("noted", False), place)
        elif kind == "spent":
            self._spend(record["phase"], record["queries"], record["usd"])
        elif kind == "step":
            self._take_step(record["id"], record, place)
        else:
            raise JournalError(
                f"{self._path}, line {number}: unknown record {kind!r}; a newer bbtvp wrote it, upgrade"
            )

    def _check_config(self, kind: object, found: dict[str, Any]) -> None:
        family, _, number = str(found.get("schema")).partition("/")
        ours, _, known = SCHEMA.partition("/")
        if kind != "config" or found.get("schema") != SCHEMA:
            if family == ours and number.isdecimal() and int(number) > int(known):
                raise JournalError(
                    f"{self._path} is a {family}/{number}: a newer bbtvp wrote it, upgrade"
                )
            raise JournalError(
                f"{self._path} is not a {SCHEMA} journal; name another folder (--out)"
            )
        if (said := removed_from_config(found)) is not None:
            raise JournalError(f"{self._path}: {said}")
        found = upgraded_config(found)
        differing = [
            key for key in sorted({*found, *self.config}) if found.get(key) != self.config.get(key)
        ]
        if differing:
            pairs = ((key, found.get(key), self.config.get(key)) for key in differing[:3])
            changes = ", ".join(
                f"{key}: {there!r:.60} there, {here!r:.60} here" for key, there, here in pairs
            )
            folder = self._path.parent if self._path else ""
            raise JournalError(
                f"{folder} holds another run ({changes}); name another folder (--out)"
            )


def _line(record: Mapping[str, Any]) -> bytes:
    # A reply cut in the middle of an emoji holds half a surrogate pair: it is kept as it came.
    return (canonical_json(record) + "\n").encode("utf-8", "surrogatepass")


def _packed(outcome: Outcome) -> tuple[Any, ...]:
    usage = list(outcome.usage)
    if isinstance(outcome, Reply):
        return (
            usage,
            outcome.text,
            None if outcome.scores is None else [list(s) for s in outcome.scores],
            None,
        )
    return usage, None, None, outcome.reason, *([True] if outcome.refused else [])


def _unpacked(row: Sequence[Any]) -> Reply:
    _key, counts, text, scores = row[:4]
    return Reply(
        text,
        None if scores is None else tuple(LabelScore(*score) for score in scores),
        Usage(*counts),
    )


def _content(record: dict[str, Any]) -> dict[str, Any]:
    """A step without what the journal added."""
    return {key: value for key, value in record.items() if key not in ("record", "id")}
