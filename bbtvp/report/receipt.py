"""A receipt on a terminal: what it claims."""

from __future__ import annotations

from bbtvp.core.table import text_table
from bbtvp.report.figures import interval, p_value, points, share
from bbtvp.report.terminal import HEAD
from bbtvp.verify.receipt import Receipt
from bbtvp.verify.receipt_parts import ReceiptModel


def receipt_text(receipt: Receipt) -> str:
    """Lines for people. Whatever a stranger wrote is shown as printable text on its own line."""
    settings = receipt.settings
    task = receipt.task
    queries = receipt.queries
    verdict = receipt.verdict
    signature = receipt.signature
    signed = "none" if signature is None else f"of {signature.public_key}, unchecked"
    margins = f"over {points(settings.min_gain)} points, no loss over {100 * settings.max_harm:g}"
    asked = f"{queries.sent:,}, {queries.failed:,} failed, {queries.refused:,} of them refused"
    lines = [
        f"receipt {receipt.digest} of {receipt.date}, bbtvp {receipt.bbtvp}",
        f"signature: {signed}",
        f"prompt {receipt.prompt}",
        f"bundle {receipt.bundle or '-'}",
        f"task: {task.images} test images, {task.metric}, commitment {task.commitment}",
        *_told(receipt),
        f"verdict: {verdict.word} ({', '.join(verdict.reasons)}); a go takes {margins}",
        *(f"note: {code}" for code in verdict.notes),
        f"image queries: {asked}",
        "",
    ]
    rows = [(*HEAD[:-1], "p", "version"), *map(_cells, receipt.models)]
    return "\n".join([*map(_printable, lines), text_table(rows, left=2)])


def _told(receipt: Receipt) -> list[str]:
    """What the owner of the task allowed to be told of it."""
    task = receipt.task
    labels = None if task.labels is None else ", ".join(task.labels)
    said = {"name": task.name, "question": task.question, "labels": labels}
    return [f"  {name}: {value}" for name, value in said.items() if value is not None]


def _cells(model: ReceiptModel) -> tuple[str, ...]:
    return (
        _printable(model.model),
        model.role,
        str(model.n),
        *map(share, (model.zero_shot, model.empty_frame, model.prompted)),
        points(model.gain),
        interval(model.gain_ci95),
        p_value(model.p),
        _printable(model.version or "not reported"),
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
