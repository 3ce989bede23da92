"""What the readers of folders and tables have in common."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from bbtvp.core.errors import DataError, unknown
from bbtvp.tasks.task import Sample

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""Accepted spellings of the three splits."""


class Row(NamedTuple):
    """One sample as found.

    `split` is None if it states none. `where` names the file and the line.
    """

    sample: Sample
    split: str | None
    where: str

    def without_labels(self) -> Row:
        """The same row, its options left to the task."""
        return self._replace(sample=dataclasses.replace(self.sample, labels=None))

    def answered(self, answer: str) -> Row:
        """The same row with its answer written in another way."""
        if answer == self.sample.answer:
            return self
        return self._replace(sample=dataclasses.replace(self.sample, answer=answer))


def split_named(text: str) -> str:
    """The split that `text` spells; DataError with the nearest spelling."""
    found = SPLITS.get(text.casefold())
    if found is None:
        raise DataError(str(unknown("split", text, SPLITS)))
    return found
