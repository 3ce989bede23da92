"""The proofs that a run folder keeps of its prompt, and where proofs and checks lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bbtvp.runs.documents import read_document
from bbtvp.runs.recording import Recording
from bbtvp.runs.records import FILE as JOURNAL

FOLDER = "verify"
"""Where they lie in a run folder, each in a folder of its own."""

RIVALS_DOCUMENT = "rivals.json"
"""The table of the rivals that were asked beside a proof, in the proof's folder."""

_DIGITS = 12
"""Digits of a digest that a folder is named by."""


@final
@dataclass(frozen=True)
class KeptProof:
    """One proof: its folder, the document that `verify` wrote, and its journal.

    rivals: the table of the rivals that were asked beside it; None if none were.
    """

    folder: Path
    document: Mapping[str, Any]
    recording: Recording
    rivals: Mapping[str, Any] | None = None

    @property
    def task(self) -> str:
        """Digest of the task that the proof was made on."""
        return str(self.recording.config["task"])

    @property
    def rows(self) -> dict[str, Mapping[str, Any]]:
        """The rows of the document, by model."""
        return {row["model"]: row for row in self.document["models"]}


def check_folder(run: Path, kind: str, prompt: str, task: str) -> Path:
    """Where a run folder keeps a check of a prompt on a task. prompt, task: digests."""
    return run / kind / f"{prompt[:_DIGITS]}-{task[:_DIGITS]}"


def check_folders(run: Path, kind: str, prompt: str) -> list[Path]:
    """The folders of the checks of this kind of a prompt, on any task."""
    return sorted((run / kind).glob(f"{prompt[:_DIGITS]}-*"))


def check_document(kind: str) -> str:
    """The name of the document that a check of this kind writes in its folder when it ends."""
    return "proof.json" if kind == FOLDER else f"{kind}.json"


def kept_proofs(folder: Path, prompt: str, own_task: str) -> tuple[KeptProof, ...]:
    """The finished proofs of a prompt in a run folder, those on the run's own task first.

    prompt, own_task: digests. Raises JournalError if a proof is damaged.
    """
    found = []
    for place in check_folders(folder, FOLDER, prompt):
        document = read_document(place / check_document(FOLDER))
        if document and (place / JOURNAL).exists():
            rivals = read_document(place / RIVALS_DOCUMENT)
            found.append(KeptProof(place, document, Recording.read(place), rivals))
    return tuple(sorted(found, key=lambda proof: proof.task != own_task))
