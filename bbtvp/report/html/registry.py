"""A registry as a page: which prompt holds on which version of which model, since when."""

from __future__ import annotations

from datetime import date
from types import MappingProxyType
from typing import Any

from bbtvp.core import clock
from bbtvp.registry import PromptRegistry, RegistryEntry
from bbtvp.registry.entries import Standing, shutdown
from bbtvp.registry.records import CheckRecord, EvidenceRow
from bbtvp.report.html.template import rendered
from bbtvp.report.html.words import NONE, Words, interval, percent, points

_SAID = MappingProxyType(
    {
        "verified": "registry_verified",
        "ends": "registry_ends",
        "undecided": "registry_undecided",
        "stale": "registry_stale",
        "failed": "registry_failed",
        "ended": "registry_ended",
        "retired": "registry_retired",
        "unproven": "registry_unproven",
    }
)
_FOUND = MappingProxyType(
    {"holds": "registry_holds", "stale": "registry_stale", "open": "registry_open"}
)


def registry_page(
    registry: PromptRegistry, language: str = "en", *, day: date | None = None
) -> str:
    """The registry as one HTML document, as of a day, by default today.

    Raises UsageError for a language other than "en" and "ja".
    """
    words = Words(language)
    when = day or clock.today()
    entries = registry.entries()
    models = sorted({model for entry in entries for model in entry.models})
    proofs = [(entry, row) for entry in entries for row in reversed(entry.evidence)]
    checks = [(entry, one) for entry in entries for one in reversed(entry.checks)]
    return rendered(
        "registry.html",
        words,
        title="registry_title",
        name=registry.url.rstrip("/").rpartition("/")[2] or registry.url,
        day=when.isoformat(),
        prompts=len(entries),
        proofs=len(proofs),
        notes=registry.index.notes,
        damaged=list(registry.index.damaged.items()),
        models=[{"name": model, "ends": _end(shutdown(model), when, words)} for model in models],
        matrix=[_matrix_row(entry, models, when, words) for entry in entries],
        rows=[_proof(entry, row, words) for entry, row in proofs],
        checks=[_check(entry, one, words) for entry, one in checks],
    )


def _end(ends: date | None, day: date, words: Words) -> str:
    if ends is None:
        return ""
    return words("registry_ended_on" if ends < day else "registry_ends_on", day=ends.isoformat())


def _matrix_row(entry: RegistryEntry, models: list[str], day: date, words: Words) -> dict[str, Any]:
    asked = {one.model: one for one in entry.standings(day)}
    retired = ""
    if entry.retired:
        since = entry.retired.since.isoformat()
        retired = words("registry_retired_since", day=since, reason=entry.retired.reason)
    return {
        "short": entry.short,
        "task": entry.facts.task or NONE,
        "retired": retired,
        "signer": _signer(entry.facts.signed_by, words),
        "cells": [_cell(asked[model], words) if model in asked else None for model in models],
    }


def _signer(key: str | None, words: Words) -> str:
    return words("registry_signed_by", signer=f"{key[:12]}…") if key else ""


def _cell(standing: Standing, words: Words) -> dict[str, str]:
    row = standing.row
    last = standing.check or row
    said = words(_SAID[standing.status])
    if standing.status == "ends" and standing.ends:
        said = words("registry_ends_on", day=standing.ends.isoformat())
    versions = standing.check.versions if standing.check else ()
    return {
        "status": standing.status,
        "word": said,
        "gain": f"{points(row.gain)} {interval(row.ci)}" if row else NONE,
        "date": str(last.date) if last and last.date else NONE,
        "version": ", ".join(versions) or (row.version if row else "") or "",
    }


def _proof(entry: RegistryEntry, row: EvidenceRow, words: Words) -> list[str]:
    verdict = {"go": "word_go", "no-go": "word_no-go", "undecided": "word_undecided"}
    return [
        entry.short,
        row.model,
        row.version or NONE,
        str(row.date or NONE),
        words(verdict[row.verdict]) if row.verdict in verdict else NONE,
        percent(row.zero_shot),
        percent(row.prompted),
        points(row.gain),
        interval(row.ci),
        str(row.images),
        row.receipt[:12] if row.receipt else NONE,
        f"{row.signed_by[:12]}…" if row.signed_by else NONE,
    ]


def _check(entry: RegistryEntry, one: CheckRecord, words: Words) -> list[str]:
    return [
        entry.short,
        one.model,
        ", ".join(one.versions) or NONE,
        one.date.isoformat(),
        words(_FOUND[one.found]),
        percent(one.then),
        percent(one.now),
        str(one.images),
        str(one.queries),
        one.reason,
    ]
