"""Proofs that a run folder keeps, as evidence."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from bbtvp.core.origin import without_paths
from bbtvp.registry.records import EvidenceRecord, EvidenceRow, parsed
from bbtvp.runs.proofs import FOLDER as PROOFS
from bbtvp.runs.proofs import KeptProof, check_document


def run_evidence(prompt: str, proof: KeptProof) -> EvidenceRecord | None:
    """The rows of a proof that a run folder keeps; None if it asked no model."""
    file = proof.folder / check_document(PROOFS)
    day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date()
    rows = [_row(prompt, proof.document, row, day) for row in proof.document["models"]]
    return EvidenceRecord(rows=tuple(parsed(EvidenceRow, row) for row in rows)) if rows else None


def _row(prompt: str, proof: Any, row: Any, day: date) -> dict[str, Any]:
    """A proof's row as a row of evidence. proof: its document. row: one of its models."""
    return {
        "prompt": prompt,
        "model": without_paths(row["model"]),
        "version": row.get("version"),
        "date": day,
        "task": proof["task"],
        "images": row["n"],
        "zero_shot": row["zero_shot"],
        "empty_frame": row.get("empty_frame"),
        "prompted": row["prompted"],
        "gain": row["gain"],
        "ci": row["gain_ci95"],
        "p": row.get("mcnemar_p", row.get("sign_flip_p")),
        "verdict": proof["verdict"]["word"],
        "role": row.get("role"),
    }
