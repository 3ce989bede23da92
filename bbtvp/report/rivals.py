"""The table of rivals as plain text."""

from __future__ import annotations

from bbtvp.core.table import text_table
from bbtvp.report.figures import interval, points, share
from bbtvp.rivals import RivalRow, RivalTable

_NONE = "-"

HEAD = (
    "arm",
    "right",
    "gain",
    "95 % interval",
    "others",
    "queries to find",
    "queries / image",
    "tokens in",
    "tokens out",
    "$ / 1,000 images",
    "beaten by",
)


def rivals_text(table: RivalTable) -> str:
    """The advice, a line for each arm with the cheapest first, and notes."""
    lines = [HEAD, *map(rival_cells, table.rows)]
    text = [f"advice: {table.advice}", "", text_table(lines, left={0, len(HEAD) - 1})]
    text += [f"{row.name}: {row.note}" for row in table.rows if row.note]
    text += [f"left out: {name}, {reason}" for name, reason in table.left_out.items()]
    if any(row.use.usd_per_1000 is None for row in table.rows):
        text.append(f"{table.model} has no known price: sorted by image queries, then tokens")
    if table.detectable is not None:
        seen = f"{100 * table.detectable:.1f} points (80 % power, one comparison)"
        text.append(f"{table.images} test images show a difference of {seen}")
    missing = sum(row.failed for row in table.rows)
    if missing:
        text.append(f"failed queries: {missing} (missing data, in no figure above)")
    return "\n".join(text)


def rival_cells(row: RivalRow) -> tuple[str, ...]:
    """The cells of a row, below `HEAD`. Shares are in percent, gains in points."""
    use = row.use
    return (
        row.name,
        share(row.paired.after),
        points(row.paired.gain),
        interval(row.paired.ci),
        _NONE if row.mean_transfer is None else points(row.mean_transfer),
        f"{row.tuning.queries:,}" + (f" (${row.tuning.usd:.2f})" if row.tuning.usd else ""),
        f"{use.queries:g}",
        f"{use.input_tokens:,.0f}" if use.input_tokens else _NONE,
        f"{use.output_tokens:,.0f}" if use.output_tokens else _NONE,
        _NONE if use.usd_per_1000 is None else f"{use.usd_per_1000:,.3f}",
        ", ".join(row.beaten_by) or _NONE,
    )
