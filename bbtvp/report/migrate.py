"""A migration as plain text, legible in any terminal."""

from __future__ import annotations

from bbtvp.core.table import text_table
from bbtvp.jobs.migrate_many import MigrationReport, Unmoved
from bbtvp.jobs.migration import Migration
from bbtvp.report.figures import interval, points, share

_HEAD = (
    "prompt",
    "task",
    "new model",
    "decision",
    "old, prompted",
    "new, without",
    "new, prompted",
    "gain",
    "95 % interval",
    "refined",
    "image queries",
)
_NONE = "-"


def migrate_text(report: MigrationReport) -> str:
    """One line for each pair, then the reasons, what could not be done, and what it cost."""
    blocks = []
    if report.endings:
        blocks.append("\n".join(report.endings))
    if report.migrations:
        rows = [_HEAD, *(_cells(one) for one in report.migrations)]
        blocks.append(text_table(rows, left=4))
        blocks.append("\n".join(line for one in report.migrations for line in _reasons(one)))
        blocks += ["\n".join(lines)] if (lines := _costs(report)) else []
        blocks.append(f"rule of a proof: {report.migrations[0].rule}")
    blocks += ["\n".join(moved_line(one) for one in report.unmoved)] if report.unmoved else []
    paid = f", ${report.usd:.4f}" if report.usd else ""
    return "\n\n".join([*blocks, f"spent: {report.queries:,} image queries{paid}"])


def moved_line(found: Migration | Unmoved) -> str:
    """What became of one pair, in a line."""
    if isinstance(found, Unmoved):
        where = f" to {found.new}" if found.new else ""
        return f"{found.prompt}{where}: not moved: {found.why}"
    return f"{found.prompt} to {found.new}: {found.decision}"


def _reasons(found: Migration) -> list[str]:
    lines = [f"{moved_line(found)}: {'; '.join(found.reasons)}"]
    if found.more_images:
        lines.append(f"  about {found.more_images:,} more test images would decide it")
    if found.bundle:
        lines.append(f"  deploy: {found.bundle}")
    return lines


def _costs(report: MigrationReport) -> list[str]:
    """For each pair what an image takes at the models; nothing where all of them are local."""
    lines = []
    for found in report.migrations:
        costs = found.costs or {}
        if all(cost.most_usd == 0 for cost in costs.values()):
            continue
        parts = [f"{name}: {cost_words(cost.tokens, cost.usd)}" for name, cost in costs.items()]
        lines.append(f"an image of {found.prompt}, {found.new}: {'; '.join(parts)}")
    return lines


def cost_words(tokens: float | None, usd: float | None) -> str:
    """Image tokens, and the US dollars of 1,000 images, as far as they are known."""
    counted = "image tokens unknown" if tokens is None else f"{tokens:,.0f} image tokens"
    return f"{counted}, {dollars_words(usd)} for 1,000 images"


def dollars_words(usd: float | None) -> str:
    """US dollars; "price unknown" without a price, "free" for a local model."""
    if usd is None:
        return "price unknown"
    return f"${usd:,.3f}" if usd else "free"


def _cells(found: Migration) -> tuple[str, ...]:
    row = found.row
    refined = found.refined_row
    compared = found.compared
    return (
        found.prompt,
        found.task,
        found.new,
        found.decision,
        share(compared.before) if compared and compared.before is not None else _NONE,
        share(row.zero_shot) if row else _NONE,
        share(row.prompted) if row else _NONE,
        points(row.gain) if row else _NONE,
        interval(row.gain_ci95) if row else _NONE,
        points(refined.gain) if refined else _NONE,
        f"{found.queries:,}",
    )
