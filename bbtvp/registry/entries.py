"""What is known of each prompt of a registry, and how it stands with each model.

| word | meaning |
|---|---|
| verified | the last proof said go |
| undecided | the last proof neither showed nor excluded the gain |
| failed | the last proof said no-go, or showed harm to this model |
| stale | a check after the last proof found that the prompt no longer holds |
| ends | verified, and the vendor shuts the model down on a known day |
| ended | that day has passed |
| retired | the owner of the registry took the prompt back |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar, final

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.known import known
from bbtvp.registry.records import (
    BUNDLES,
    RETIRED,
    BaselineFacts,
    BundleFacts,
    CheckRecord,
    EvidenceRecord,
    EvidenceRow,
    RegistryRecord,
    Retirement,
)

STATUSES = ("verified", "ends", "undecided", "stale", "failed", "ended", "retired", "unproven")
"""The words for how a prompt stands, the best first; unproven: no model was asked."""

_ROUTED = ("openai-api", "batch")
"""Providers whose models are named SERVICE/MODEL."""

Kind = TypeVar("Kind", bound=RegistryRecord)


@final
@dataclass(frozen=True)
class Standing:
    """How a prompt stands with one model.

    status: one of `STATUSES`. row: the last proof. check: the last check, if it is not older. ends:
    the day on which the vendor shuts the model down, None if none is known.
    """

    model: str
    status: str
    row: EvidenceRow | None = None
    check: CheckRecord | None = None
    ends: date | None = None

    def __str__(self) -> str:
        return f"ends on {self.ends}" if self.status == "ends" else self.status

    def as_json(self) -> dict[str, Any]:
        """The standing, with the row and the check that it rests on."""
        return {
            "model": self.model,
            "status": self.status,
            "ends": None if self.ends is None else self.ends.isoformat(),
            "evidence": self.row and self.row.model_dump(mode="json"),
            "check": self.check and self.check.model_dump(mode="json", by_alias=True),
        }


@final
@dataclass(frozen=True)
class RegistryEntry:
    """One bundle of a registry, and all that the registry knows of its prompt.

    digest: of the bundle. evidence, checks: the oldest first.
    """

    digest: str
    facts: BundleFacts
    evidence: tuple[EvidenceRow, ...] = ()
    checks: tuple[CheckRecord, ...] = ()
    baselines: tuple[BaselineFacts, ...] = ()
    retired: Retirement | None = None

    @property
    def short(self) -> str:
        """The digits of the digest that name it to people."""
        return self.digest[:12]

    @property
    def models(self) -> list[str]:
        """The models that were asked, by name."""
        return sorted({row.model for row in self.evidence} | {c.model for c in self.checks})

    def standing(self, model: str, day: date) -> Standing:
        """How the prompt stands with a model on this day."""
        rows = [row for row in self.evidence if row.model == model]
        row = rows[-1] if rows else None
        since = _day(row)
        checks = [one for one in self.checks if one.model == model and one.date >= since]
        check = checks[-1] if checks else None
        ends = shutdown(model)
        status = self._status(row, check)
        if ends is not None and status == "verified":
            status = "ended" if ends < day else "ends"
        return Standing(model, status, row, check, ends)

    def standings(self, day: date) -> list[Standing]:
        """How the prompt stands with each model."""
        return [self.standing(model, day) for model in self.models]

    def status(self, day: date) -> str:
        """The best of the models' words; retired for a prompt that was taken back."""
        if self.retired:
            return "retired"
        found = {standing.status for standing in self.standings(day)}
        return next((word for word in STATUSES if word in found), "unproven")

    def as_json(self, day: date) -> dict[str, Any]:
        """The entry, and how it stands with each model."""
        return {
            "bundle": self.digest,
            **self.facts.model_dump(mode="json", exclude={"evidence"}),
            "status": self.status(day),
            "retired": self.retired and self.retired.model_dump(mode="json", by_alias=True),
            "models": [standing.as_json() for standing in self.standings(day)],
        }

    def _status(self, row: EvidenceRow | None, check: CheckRecord | None) -> str:
        if self.retired:
            return "retired"
        if check is not None and check.found == "stale":
            return "stale"
        return "unproven" if row is None else row_status(row)


def row_status(row: EvidenceRow) -> str:
    """What a proof's row says of its model: verified, undecided or failed.

    A proof's verdict is about all its models. A model that the search never asked is verified only
    where its own interval is above 0.
    """
    low, high = row.ci
    if row.verdict == "no-go" or high < 0:
        return "failed"
    shown = row.role != "target" or low > 0
    return "verified" if row.verdict == "go" and shown else "undecided"


def shutdown(model: str) -> date | None:
    """The day on which the vendor shuts a model down; None if none is known.

    model: its spec, such as "openai/gpt-4o".
    """
    service, _, name = model.partition("/")
    if service in _ROUTED:
        service, _, name = name.partition("/")
    return known(service, name).shutdown


def entries_of(summaries: Mapping[str, RegistryRecord]) -> list[RegistryEntry]:
    """The entries of the summaries of an index, by digest."""
    rows = sorted(
        [row for record in _of(EvidenceRecord, summaries) for row in record.rows]
        + [row for facts in _bundles(summaries).values() for row in facts.evidence],
        key=lambda row: (_day(row), row.model_dump_json()),
    )
    checks = sorted(_of(CheckRecord, summaries), key=lambda one: (one.date, one.found, one.now))
    baselines = list(_of(BaselineFacts, summaries))
    retired: dict[str, Retirement] = {}
    for path, record in summaries.items():
        if path.startswith(f"{RETIRED}/") and isinstance(record, Retirement):
            first = retired.get(record.bundle)
            if first is None or record.since < first.since:
                retired[record.bundle] = record
    return [
        RegistryEntry(
            digest=digest,
            facts=facts,
            evidence=tuple(row for row in rows if row.prompt == facts.prompt),
            checks=tuple(one for one in checks if one.prompt == facts.prompt),
            baselines=tuple(one for one in baselines if one.prompt == facts.prompt),
            retired=retired.get(digest),
        )
        for digest, facts in _bundles(summaries).items()
    ]


def entry_named(entries: Iterable[RegistryEntry], name: str) -> RegistryEntry:
    """The entry whose bundle or prompt digest begins with these digits.

    UsageError for none, for several, and for fewer than four digits.
    """
    found = [
        one for one in entries if one.digest.startswith(name) or one.facts.prompt.startswith(name)
    ]
    if len(name) < 4 or not found:
        raise UsageError(
            f"no entry {name!r}; give the first digits of its digest, at least four, as "
            "bbtvp registry list shows them"
        )
    if len(found) > 1:
        names = ", ".join(one.short for one in found[:5])
        raise UsageError(f"{name!r} names {len(found)} entries ({names}); give more digits")
    return found[0]


def _bundles(summaries: Mapping[str, RegistryRecord]) -> dict[str, BundleFacts]:
    return {
        path.removeprefix(f"{BUNDLES}/").partition(".")[0]: record
        for path, record in summaries.items()
        if isinstance(record, BundleFacts)
    }


def _of(kind: type[Kind], summaries: Mapping[str, RegistryRecord]) -> Iterable[Kind]:
    return (record for record in summaries.values() if isinstance(record, kind))


def _day(row: EvidenceRow | None) -> date:
    """The day of a proof; one without a date is older than all."""
    return date.min if row is None or row.date is None else row.date
