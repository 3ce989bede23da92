"""Steps of the journal that belong to certain candidates, known again by a digest of their z."""

from __future__ import annotations

from typing import Any

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import digest
from bbtvp.core.errors import JournalError
from bbtvp.runs.journal import Journal


def journalled(journal: Journal, name: str, mark: str | None) -> dict[str, Any] | None:
    """The step of this name, if it was written. JournalError if it was written for another z."""
    done = journal.step(name)
    if done is not None and done["z"] != mark:
        raise JournalError(
            f"step {name} was journalled for other candidates; use the versions that the run names"
        )
    return done


def mark_of(z: Vector | Matrix) -> str:
    """Digest of candidates, by which a step knows them again."""
    return digest(np.ascontiguousarray(z, "<f8").tobytes())


def to_json(row: dict[str, Any]) -> dict[str, Any]:
    """NaN and infinity as null."""
    return {
        key: None if isinstance(value, float) and not np.isfinite(value) else value
        for key, value in row.items()
    }


def from_json(row: dict[str, Any]) -> dict[str, Any]:
    """Null as NaN."""
    return {key: float("nan") if value is None else value for key, value in row.items()}
