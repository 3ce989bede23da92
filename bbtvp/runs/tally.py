"""What a journal says so far, read while its run goes on.

The journal is not locked, and each update reads only what is new.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.core.errors import JournalError
from bbtvp.runs.records import (
    DAMAGED,
    ConfigRecord,
    JournalRecord,
    RepliesRecord,
    Spending,
    StepRecord,
    read_records,
)

UNPROMPTED = "unprompted"
"""The name under which the images without a prompt are validated."""


class ValidationMeans(NamedTuple):
    """A prompt, or none, on the validation images: means over those that were answered.

    None if no image was answered.
    """

    name: str
    loss: float | None
    accuracy: float | None

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


@final
class Tally(Spending):
    """Sums over the journal at `path`, which may not be there yet.

    generations: how many of each stage are journalled. validated: by name, in the order of their
    validation. loss: mean over the candidates of the last generation. failure: the reason of the
    last failed query.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin(0)

    def _begin(self, inode: int) -> None:
        super().__init__()
        self._inode = inode
        self._offset = 0
        self._lines = 0
        self.config: Mapping[str, Any] = {}
        self.failure: str | None = None
        self.generations: Counter[str] = Counter()
        self.validated: dict[str, ValidationMeans] = {}
        self.loss: float | None = None

    @property
    def total(self) -> int:
        """Image queries of all phases."""
        return self.spent.total()

    @property
    def best(self) -> ValidationMeans | None:
        """The prompt of the lowest validation loss so far."""
        known = [
            one
            for one in self.validated.values()
            if one.name != UNPROMPTED and one.loss is not None
        ]
        return min(known, key=lambda one: one.loss or 0.0, default=None)

    def update(self) -> None:
        """Read on from where the last update ended, or anew if the file is another one.

        Raises JournalError for a line that no run of this version wrote.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._begin(0)
            return
        with file:
            found = os.fstat(file.fileno())
            if found.st_ino != self._inode or found.st_size < self._offset:
                self._begin(found.st_ino)
            file.seek(self._offset)
            for place, record in read_records(file, self._path, lines=self._lines):
                self._take(record)
                self._lines += 1
                self._offset = place.end

    def _take(self, record: JournalRecord) -> None:
        self.add_spending(record)
        if isinstance(record, ConfigRecord):
            self.config = record.values
        elif isinstance(record, RepliesRecord):
            failures = [query.failure for query in record.queries if query.failure is not None]
            self.failure = failures[-1] if failures else self.failure
        elif isinstance(record, StepRecord):
            try:
                self._take_step(record)
            except DAMAGED as error:
                raise JournalError(f"{self._path}, step {record.name} is damaged") from error

    def _take_step(self, step: StepRecord) -> None:
        content = step.content
        kind, _, name = step.name.partition("/")
        stage, _, number = step.name.rpartition("/")
        if kind == "validation":
            self.validated[name] = ValidationMeans(
                name, _mean(content["losses"]), _mean(content["correct"])
            )
        elif "evaluations" in content and number.isdecimal():
            self.generations[stage] += 1
            self.loss = _mean([row["loss"] for row in content["evaluations"]])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
