"""A migration as one page: the decisions, why, what it costs, and when models end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bbtvp.jobs.migrate_many import MigrationReport
from bbtvp.jobs.migration import Migration, ServingCost
from bbtvp.report.html.template import rendered
from bbtvp.report.html.words import NONE, Words, interval, percent, points

_KEYS = {
    "keep": "migrate_keep",
    "refined": "migrate_refined",
    "needs none": "migrate_none",
    "drop": "migrate_drop",
    "undecided": "migrate_undecided",
}
"""The words of each decision, in the order in which they are counted."""


def migrate_page(report: MigrationReport, language: str = "en") -> str:
    """The report as one HTML document.

    Raises UsageError for a language other than "en" and "ja".
    """
    words = Words(language)
    counts = Counter[str](one.decision for one in report.migrations)
    rule = report.migrations[0].rule if report.migrations else None
    return rendered(
        "migrate.html",
        words,
        title="migrate_title",
        name=f"{report.old} → {', '.join(report.new)}",
        counts=[
            {"name": words(key), "count": counts.get(decision, 0)}
            for decision, key in _KEYS.items()
        ],
        endings=list(report.endings),
        rows=[_row(one, words) for one in report.migrations],
        details=[_detail(one, words) for one in report.migrations],
        costs=list(dict.fromkeys(row for one in report.migrations for row in _costs(one, words))),
        unmoved=[[one.prompt, one.new or NONE, one.why] for one in report.unmoved],
        rule="" if rule is None else str(rule),
        queries=f"{report.queries:,}",
        money=words("money", usd=f"{report.usd:,.4f}") if report.usd else "",
    )


def _row(found: Migration, words: Words) -> list[str]:
    row = found.row
    refined = found.refined_row
    compared = found.compared
    return [
        found.prompt,
        found.new,
        words(_KEYS[found.decision]),
        percent(compared.before if compared else None),
        percent(row.zero_shot if row else None),
        percent(row.prompted if row else None),
        f"{points(row.gain)} {interval(row.gain_ci95)}" if row else NONE,
        f"{points(refined.gain)} {interval(refined.gain_ci95)}" if refined else NONE,
    ]


def _detail(found: Migration, words: Words) -> dict[str, Any]:
    more = found.more_images
    return {
        "name": f"{found.prompt} ({found.task}) → {found.new}",
        "word": words(_KEYS[found.decision]),
        "reasons": list(found.reasons),
        "more": words("migrate_more", images=f"{more:,}") if more else "",
        "bundle": found.bundle or "",
    }


def _costs(found: Migration, words: Words) -> list[tuple[str, ...]]:
    names = {
        "old with the prompt": words("migrate_old_with", model=found.old),
        "new with the prompt": words("migrate_new_with", model=found.new),
        "new without": words("migrate_new_without", model=found.new),
    }
    return [
        (found.prompt, names[name], *_figures(cost, words))
        for name, cost in (found.costs or {}).items()
    ]


def _figures(cost: ServingCost, words: Words) -> list[str]:
    tokens = NONE if cost.tokens is None else f"{cost.tokens:,.0f}"
    return [tokens, _dollars(cost.usd, words), _dollars(cost.most_usd, words)]


def _dollars(usd: float | None, words: Words) -> str:
    if usd is None:
        return words("migrate_unpriced")
    return f"{usd:,.3f}" if usd else words("migrate_free")
