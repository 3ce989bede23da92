"""Results as plain text, legible in any terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bbtvp.verify import Proof, Row

HEAD = ("model", "role", "n", "zero-shot", "empty frame", "prompted", "gain", "95 % interval", "McNemar p")
GUIDED = ("sentence only", "image only")
"""Further columns, for a prompt with a sentence."""


def proof_table(proof: Proof) -> str:
    """One line per model, the transfer mean below; shares in percent, gains in points."""
    guided = any(row.sentence_only is not None for row in proof.rows)
    head = (*HEAD, *GUIDED) if guided else HEAD
    lines = [head, *((*_cells(row), *(_halves(row) if guided else ())) for row in proof.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [_line(line, widths) for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    if proof.transfer is not None:
        others = sum(row.role == "target" for row in proof.rows)
        whom = f"mean over {others} models that were" if others > 1 else "on a model that was"
        text.append(f"transfer: {100 * proof.transfer:+.1f} points, {whom} never queried")
    missing = sum(row.failed for row in proof.rows)
    if missing:
        text.append(f"failed queries: {missing} (missing data, in no figure above)")
    return "\n".join(text)


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.gain_ci95
    p = "< 0.0001" if row.mcnemar_p < 1e-4 else f"{row.mcnemar_p:.4f}"
    shares = map(_share, (row.zero_shot, row.empty_frame, row.prompted))
    return (
        row.model, row.role, str(row.n), *shares, f"{100 * row.gain:+.1f}", f"[{100 * low:+.1f}, {100 * high:+.1f}]", p,
    )  # fmt: skip


def _halves(row: Row) -> tuple[str, ...]:
    return tuple("-" if share is None else _share(share) for share in (row.sentence_only, row.image_only))


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right])
