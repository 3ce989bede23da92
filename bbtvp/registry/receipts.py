"""Receipts of proofs as evidence: what a customer found on data and models that stay private."""

from __future__ import annotations

from bbtvp.core.errors import DataError
from bbtvp.core.signing import signer_of
from bbtvp.registry.records import EvidenceRecord, EvidenceRow
from bbtvp.verify.receipt import SIGNED_AS, parsed_receipt


def receipt_record(path: str, data: bytes) -> EvidenceRecord:
    """The rows of a receipt that lies at this path.

    Raises DataError for what is no receipt or has another digest than its name says, and
    BundleError for a signature that is not of this receipt.
    """
    receipt = parsed_receipt(data, path)
    named = path.rpartition("/")[2].partition(".")[0]
    if named != receipt.digest:
        raise DataError("its digest is not the one that it is named by")
    signer = signer_of(receipt.digest, receipt.signature_of(), kind=SIGNED_AS)
    task = receipt.task.name or f"private task {receipt.task.commitment[:12]}"
    rows = [
        EvidenceRow.model_validate(
            {
                "prompt": receipt.prompt,
                "model": row.model,
                "version": row.version,
                "date": receipt.date,
                "task": task,
                "images": row.n,
                "zero_shot": row.zero_shot,
                "empty_frame": row.empty_frame,
                "prompted": row.prompted,
                "gain": row.gain,
                "ci": row.gain_ci95,
                "p": row.p,
                "verdict": receipt.verdict.word,
                "role": row.role,
                "receipt": receipt.digest,
                "signed_by": signer,
            }
        )
        for row in receipt.models
    ]
    return EvidenceRecord(rows=tuple(rows))
