"""What a journal says so far, read while its run goes on: without its lock, and only what is new
each time.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

from pydantic_core import from_json

from bbtvp.core.errors import JournalError
from bbtvp.runs.journal import SCHEMA
from bbtvp.runs.removed import upgraded_config
from bbtvp.search.plan import Plan, Stage

UNPROMPTED = "unprompted"
DAMAGED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class Arm(NamedTuple):
    """A prompt, or none, on the validation images: means over those that were answered, None if
    none was.
    """

    name: str
    loss: float | None
    accuracy: float | None

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


@final
class Tally:
    """Sums over the journal at `path`, which may not be there yet.

    spent: image queries by phase, retries and failures counted. generations: of each stage, those
    that are journalled. arms: in the order of their validation. loss: mean over the candidates of
    the last generation. failure: why the last failed query did.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._forget(0)

    def _forget(self, inode: int) -> None:
        self._inode = inode
        self._offset = 0
        self._lines = 0
        self.config: dict[str, Any] = {}
        self.plan: Plan | None = None
        self.spent: Counter[str] = Counter()
        self.failed = 0
        self.usd = 0.0
        self.failure: str | None = None
        self.generations: Counter[str] = Counter()
        self.arms: dict[str, Arm] = {}
        self.loss: float | None = None

    @property
    def total(self) -> int:
        """Image queries of all phases."""
        return self.spent.total()

    def update(self) -> None:
        """Read on. A last line without an end is being written, or was torn by a crash: it is left
        for later.

        Raises JournalError for a line that no run of this version wrote.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._forget(0)
            return
        with file:
            found = os.fstat(file.fileno())
            if found.st_ino != self._inode or found.st_size < self._offset:
                self._forget(found.st_ino)
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._take(line)
                self._offset += len(line)

    def _take(self, line: bytes) -> None:
        self._lines += 1
        try:
            record = parsed(line)
            kind = record["record"]
            if self._lines == 1:
                self._begin(record)
            elif kind == "replies":
                self._count(record["phase"], record["got"], noted=record.get("noted", False))
            elif kind == "spent":
                self._spend(record["phase"], record["queries"], record["usd"])
            elif kind == "step":
                self._step(record["id"], record)
        except DAMAGED as error:
            raise JournalError(f"{self._path}, line {self._lines} is damaged") from error

    def _begin(self, record: dict[str, Any]) -> None:
        if record.get("schema") != SCHEMA:
            raise JournalError(
                f"{self._path} is not a {SCHEMA} journal; a newer bbtvp may have written it: upgrade"
            )
        self.config = upgraded_config(record)
        self.plan = plan_of(self.config.get("plan"))

    def _spend(self, phase: str, queries: int, usd: float) -> None:
        self.spent[phase] += queries
        self.usd += usd

    def _count(self, phase: str, got: Sequence[Sequence[Any]], *, noted: bool) -> None:
        for _, counts, _, _, failure, *_ in got:
            if not noted:
                self._spend(phase, counts[2], counts[3])
            if failure is not None:
                self.failed = self.failed + 1
                self.failure = failure

    def _step(self, name: str, step: Mapping[str, Any]) -> None:
        stage, _, rest = name.rpartition("/")
        if name.startswith("probe/"):
            self._spend("probe", step["queries"], step["usd"])
        elif name.startswith("validation/"):
            arm = name.removeprefix("validation/")
            self.arms[arm] = Arm(arm, _mean(step["losses"]), _mean(step["correct"]))
        elif "evaluations" in step and rest.isdecimal():
            self.generations[stage] += 1
            self.loss = _mean([row["loss"] for row in step["evaluations"]])

    # -- what follows from the plan ----------------------------------------------------------------
    @property
    def stage(self) -> Stage | None:
        """The stage under way: the first one, or the last one begun that its validation has not
        ended.
        """
        stages = self.plan.stages if self.plan else ()
        begun = [i for i, stage in enumerate(stages) if self.generations[stage.name]]
        at = begun[-1] if begun else 0
        ended = begun and stages[at].name in self.arms and at + 1 < len(stages)
        return stages[at + bool(ended)] if stages else None

    @property
    def best(self) -> Arm | None:
        """The prompt of the lowest validation loss so far."""
        known = [
            arm for arm in self.arms.values() if arm.name != UNPROMPTED and arm.loss is not None
        ]
        return min(known, key=lambda arm: arm.loss or 0.0, default=None)

    @property
    def share(self) -> float | None:
        """Share of the planned image queries that is done, 0 to 1: asked, answered from memory, or
        not needed.

        A stage that its validation has ended is done, however early.
        """
        plan = self.plan
        if plan is None or not plan.queries:
            return None
        done = plan.held * min(len(self.arms), 1 + len(plan.stages))
        done += plan.extra if self.generations else 0
        for stage in plan.stages:
            done += (
                stage.queries
                if stage.name in self.arms
                else stage.cost * self.generations[stage.name]
            )
        return min(1.0, done / plan.queries)


def parsed(line: bytes) -> Any:
    """A line of a journal."""
    try:
        return from_json(line)  # in a third of the time
    except ValueError:  # half a surrogate pair, which a reply cut in the middle of an emoji holds
        return json.loads(line)


def plan_of(described: Mapping[str, Any] | None) -> Plan | None:
    """The plan that a journal describes; None for that of another version."""
    try:
        return None if described is None else Plan.of(described)
    except DAMAGED:
        return None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
