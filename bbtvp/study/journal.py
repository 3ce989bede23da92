"""The journal is the run: an append-only file of JSON lines from which a killed run continues exactly.

    {"record": "config", …}                        first line: what this run is
    {"record": "replies", "phase": …, "got": […]}  one line per call to the model: all of its outcomes, or none
    {"record": "spent", "phase": …, …}             an attempt at a paid model, before it is made; then what it cost
    {"record": "step", "id": …, …}                 what was made of them: a generation, a choice, the end

A line is written before anything is made of it. A torn last line (a crash in the middle of a write) is cut off on
opening; a damaged line is an error. Failures are counted but not remembered: they are asked again.

So a kill loses at most the call that was under way: its queries are asked again. What a paid model was asked in it
stays counted, at the most it can have cost where that is not known: caps hold for all processes of a run together.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, final

from filelock import FileLock, Timeout

from bbtvp.core.digest import canonical_json
from bbtvp.core.errors import JournalError
from bbtvp.query import LabelScore, Memory, Outcome, Probe, Reply, Usage

SCHEMA = "bbtvp.journal/1"
FILE = "journal.jsonl"
LOCK = "journal.lock"
_DAMAGED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What reading a record raises that `_append` never wrote."""


@final
class Journal(Memory):
    """Replies and steps of one run, in memory and, if it has a folder, on disk."""

    def __init__(self, config: Mapping[str, Any], folder: Path | None = None) -> None:
        """Open or begin a journal.

        Raises JournalError for another configuration or version, a damaged file, or a run that is still going on, and
        OSError if the disk refuses.
        """
        self.config = json.loads(canonical_json({"schema": SCHEMA, **config}))
        self.spent: Counter[str] = Counter()
        self.failed, self.refused, self.usd = 0, 0, 0.0
        self._replies: dict[str, Reply] = {}
        self._steps: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._path = folder / FILE if folder else None
        self._file: BinaryIO | None = None
        self._closing = ExitStack()
        if self._path is not None:
            self._open(self._path)

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(FileLock(path.with_name(LOCK), timeout=0))
            except Timeout as error:
                raise JournalError(
                    f"{path.parent} is in use by another process; wait for it, or name another (--out)"
                ) from error
            begun = self._load(path)
            self._file = stack.enter_context(path.open("ab"))
            if not begun:
                self._append({"record": "config", **self.config})
            self._closing = stack.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    # -- replies: the memory of the meter ----------------------------------------------------------
    def recall(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def record(self, phase: str, asked: Sequence[tuple[str, Outcome]], *, noted: bool = False) -> None:
        """Append the outcomes of one call to the model, as one line."""
        got = [[key, *_packed(outcome)] for key, outcome in asked]
        self._append({"record": "replies", "phase": phase, "got": got, **({"noted": True} if noted else {})})
        self._remember(phase, got, noted)

    def note(self, phase: str, queries: int, usd: float) -> None:
        with self._lock:
            if self._file is None or not self._file.closed:  # a thread may outlive an interrupted run
                self._append({"record": "spent", "phase": phase, "queries": queries, "usd": usd})
                self._spend(phase, queries, usd)

    def _spend(self, phase: str, queries: int, usd: float) -> None:
        self.spent[phase] += queries
        self.usd += usd

    def _remember(self, phase: str, got: Sequence[Sequence[Any]], noted: bool) -> None:
        for key, counts, text, scores, failure, *refused in got:
            usage = Usage(*counts)
            if not noted:
                self._spend(phase, usage.attempts, usage.usd)
            if failure is None:
                found = None if scores is None else tuple(LabelScore(*score) for score in scores)
                self._replies[key] = Reply(text, found, usage)
            else:
                self.failed += 1
                self.refused += bool(refused)

    # -- steps: what was decided -------------------------------------------------------------------
    def step(self, name: str) -> dict[str, Any] | None:
        """The step written under this name, if the run has come that far before."""
        return self._steps.get(name)

    def write_step(self, name: str, **content: Any) -> dict[str, Any]:
        """Append a step and force it to disk; gives it back as a later reader would see it."""
        step: dict[str, Any] = json.loads(canonical_json(content))
        self._append({"record": "step", "id": name, **step})
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._take_step(name, step)
        return step

    def write_probe(self, spec: str, probe: Probe) -> None:
        """Count a probe of the model of this spec, once in a run, whichever process paid for it."""
        if f"probe/{spec}" not in self._steps:
            self.write_step(f"probe/{spec}", queries=probe.queries, usd=probe.usd, findings=probe.findings)

    def _take_step(self, name: str, step: dict[str, Any]) -> None:
        self._steps[name] = step
        if name.startswith("probe/"):
            self.spent["probe"] += step["queries"]
            self.usd += step["usd"]

    # -- file --------------------------------------------------------------------------------------
    def _append(self, record: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(_line(record))
            self._file.flush()

    def _load(self, path: Path) -> bool:
        """Replay what is there; whether there was anything."""
        if not path.is_file():  # nothing yet; opening says what is wrong with a folder
            return False
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and not _line({"record": "config", **self.config}).startswith(data):
            raise JournalError(f"{path} is not the beginning of this run; name another folder (--out)")
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._replay(json.loads(line), number)
            except _DAMAGED as error:
                raise JournalError(
                    f"{path}, line {number} is damaged; restore the file or start anew elsewhere (--out)"
                ) from error
        return bool(whole)

    def _replay(self, record: dict[str, Any], number: int) -> None:
        kind = record.pop("record", None)
        if number == 1:
            self._check_config(kind, record)
        elif kind == "replies":
            self._remember(record["phase"], record["got"], record.get("noted", False))
        elif kind == "spent":
            self._spend(record["phase"], record["queries"], record["usd"])
        elif kind == "step":
            self._take_step(record.pop("id"), record)
        else:
            raise JournalError(f"{self._path}, line {number}: unknown record {kind!r}; a newer bbtvp wrote it, upgrade")

    def _check_config(self, kind: object, found: dict[str, Any]) -> None:
        if kind != "config" or found.get("schema") != SCHEMA:
            raise JournalError(f"{self._path} is not a {SCHEMA} journal; name another folder (--out)")
        differing = [key for key in sorted({*found, *self.config}) if found.get(key) != self.config.get(key)]
        if differing:
            pairs = ((key, found.get(key), self.config.get(key)) for key in differing[:3])
            changes = ", ".join(f"{key}: {there!r:.60} there, {here!r:.60} here" for key, there, here in pairs)
            folder = self._path.parent if self._path else ""
            raise JournalError(f"{folder} holds another run ({changes}); name another folder (--out)")


def _line(record: Mapping[str, Any]) -> bytes:
    # A reply cut in the middle of an emoji holds half a surrogate pair: it is kept as it came.
    return (canonical_json(record) + "\n").encode("utf-8", "surrogatepass")


def _packed(outcome: Outcome) -> tuple[Any, ...]:
    usage = list(outcome.usage)
    if isinstance(outcome, Reply):
        return usage, outcome.text, None if outcome.scores is None else [list(s) for s in outcome.scores], None
    return usage, None, None, outcome.reason, *([True] if outcome.refused else [])
