"""The index: a summary of every file of a registry, made from them and from nothing else.

It is a cache. Where the files can be listed, a reader compares the names, and reads what the index
lacks; so an index that an interrupted or slower writer left behind hides nothing. A static web
server lists nothing: there the index is believed, as far as names go.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, final

from bbtvp.core.digest import digest
from bbtvp.core.errors import BundleError, DataError
from bbtvp.core.origin import without_paths
from bbtvp.core.signing import Signature, signer_of
from bbtvp.prompt import Prompt
from bbtvp.prompt import bundle as bundles
from bbtvp.prompt.bundle import EvidenceEntry
from bbtvp.registry.places import Location
from bbtvp.registry.receipts import receipt_record
from bbtvp.registry.records import (
    BASELINES,
    BUNDLES,
    CHECKS,
    EVIDENCE,
    FOLDERS,
    INDEX,
    INDEX_LIMIT,
    MOST_TEXT,
    NAMES,
    RECEIPTS,
    RECORD_LIMIT,
    RETIRED,
    SCHEMA,
    BaselineFacts,
    BundleFacts,
    CheckRecord,
    Damaged,
    EvidenceRecord,
    EvidenceRow,
    ProbeBaseline,
    RegistryRecord,
    Retirement,
    document,
    packed_json,
    parsed,
    unpacked,
)

BUNDLE_LIMIT = 64 << 20
"""The most bytes of a bundle, as its reader has it; most have a thousandth of it."""

_NEEDED = ("images", "zero_shot", "prompted", "gain", "ci", "verdict")
"""What an entry of a bundle's evidence must say to count."""

_MOST_ROWS = 1000

Summaries: TypeAlias = Mapping[str, RegistryRecord]
"""Path → summary of the file: a record, or `Damaged`."""


@final
class RegistryIndex:
    """The summaries of all files of a place.

    notes: what was found that is not as it should be, in words.
    """

    def __init__(self, summaries: Summaries, notes: Iterable[str] = ()) -> None:
        self.summaries = dict(sorted(summaries.items()))
        self.notes = tuple(notes)

    @classmethod
    def read(cls, place: Location, *, anew: bool = False) -> RegistryIndex:
        """The index of a place, brought up to date.

        anew: make it from the files alone; only where they can be listed.
        """
        kept, problem = ({}, "") if anew and place.lists else _kept(place)
        notes = [problem] if problem else []
        if not place.lists:
            if problem:
                raise DataError(f"{place.url}: {problem}; ask its owner to run: registry index")
            return cls(kept)
        there = listed(place)
        missing = [path for path in there if path not in kept]
        if missing and kept:
            notes.append(f"{INDEX} was behind by {len(missing)} files")
        found = {path: kept[path] for path in there if path in kept}
        return cls(found | {path: summary_of(place, path) for path in missing}, notes)

    def packed(self) -> bytes:
        """The bytes of `index.json`: equal files give equal bytes."""
        files = {
            path: record.model_dump(mode="json", by_alias=True)
            for path, record in self.summaries.items()
        }
        return packed_json({"schema": SCHEMA, "files": files})

    @property
    def damaged(self) -> dict[str, str]:
        """Path → what is wrong with the file."""
        found = self.summaries.items()
        return {path: record.damaged for path, record in found if isinstance(record, Damaged)}


def listed(place: Location) -> list[str]:
    """The paths of all files of a registry that have a name as one of its records has."""
    return [
        f"{folder}/{name}"
        for folder in FOLDERS
        for name in place.names(folder)
        if NAMES[folder].fullmatch(name)
    ]


def summary_of(place: Location, path: str) -> RegistryRecord:
    """The summary of one file; `Damaged` for one that is not what its name says."""
    folder = path.partition("/")[0]
    try:
        data = place.read(path, BUNDLE_LIMIT if folder == BUNDLES else RECORD_LIMIT)
        if data is None:
            return Damaged(damaged="it is no plain file")
        return _MADE[folder](path, data)
    except (BundleError, DataError) as error:
        return Damaged(damaged=str(error)[:400])


@final
class ReadBundle(NamedTuple):
    """A bundle that was read: its digest, what a registry says of it, and its signature."""

    digest: str
    facts: BundleFacts
    signature: Signature | None


def read_bundle(data: bytes) -> ReadBundle:
    """A bundle from its bytes. BundleError if it cannot be read, or its signature is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"bundle{bundles.SUFFIX}"
        file.write_bytes(data)
        try:
            found = bundles.read(file)
            prompt = Prompt.load(file)
        except BundleError as error:
            raise BundleError(str(error).replace(f"{file}: ", "")) from error
    about = found.about
    signer = signer_of(found.digest, found.signature, kind="bundle")
    facts = BundleFacts(
        prompt=prompt.digest,
        task=_text(about.task),
        question=_text(about.question),
        sources=tuple(_text(without_paths(name)) for name in about.source_models[:100]),
        parent=about.parent,
        licence=_text(about.licence),
        contains_data=prompt.contains_data,
        bytes=len(data),
        signed=found.signature is not None,
        signed_by=signer,
        evidence=evidence_of(prompt.digest, about.evidence, signer),
    )
    return ReadBundle(found.digest, facts, found.signature)


def evidence_of(
    prompt: str, entries: Sequence[EvidenceEntry], signer: str | None
) -> tuple[EvidenceRow, ...]:
    """The rows of a bundle's own evidence that have all figures; others prove nothing here."""
    rows = []
    for entry in entries[:_MOST_ROWS]:
        model = without_paths(entry.model)
        found = {**entry.model_dump(), "model": model, "prompt": prompt, "task": entry.task or ""}
        found["signed_by"] = signer
        if None in [found[name] for name in _NEEDED]:
            continue
        with suppress(DataError):  # figures out of range
            rows.append(parsed(EvidenceRow, found))
    return tuple(rows)


def _kept(place: Location) -> tuple[dict[str, RegistryRecord], str]:
    """The summaries of `index.json`, and what is wrong with it."""
    data = place.read(INDEX, INDEX_LIMIT)
    if data is None:
        return {}, f"{INDEX} is missing"
    try:
        found = document(data)
        if found.get("schema") != SCHEMA or not isinstance(found.get("files"), dict):
            return {}, f"{INDEX} is not of the schema {SCHEMA}"
        return {path: _record(path, value) for path, value in found["files"].items()}, ""
    except DataError as error:
        return {}, f"{INDEX} is damaged ({error})"


def _record(path: str, value: Any) -> RegistryRecord:
    folder, _, name = path.partition("/")
    if folder not in NAMES or not NAMES[folder].fullmatch(name):
        raise DataError(f"{path[:100]!r} is no file of a registry")
    if isinstance(value, dict) and "damaged" in value:
        return parsed(Damaged, value)
    return parsed(_SUMMARIES[folder], value)


def _text(value: str | None) -> str:
    return (value or "")[:MOST_TEXT]


def _bundle(path: str, data: bytes) -> RegistryRecord:
    found = read_bundle(data)
    match = NAMES[BUNDLES].fullmatch(path.partition("/")[2])
    if match is None or match[1] != found.digest:
        raise DataError("its digest is not the one that it is named by")
    return found.facts


def checked(path: str, data: bytes) -> bytes:
    """The bytes of a record, which must have the digest that it is named by; else DataError."""
    folder, _, name = path.partition("/")
    match = NAMES[folder].fullmatch(name)
    if match is None or match[1] != digest(data):
        raise DataError("its digest is not the one that it is named by")
    return data


def _plain(kind: type[RegistryRecord]) -> Callable[[str, bytes], RegistryRecord]:
    return lambda path, data: unpacked(kind, checked(path, data))


def _baseline(path: str, data: bytes) -> RegistryRecord:
    found = unpacked(ProbeBaseline, checked(path, data))
    return BaselineFacts(
        prompt=found.prompt,
        model=found.model,
        task=found.task,
        date=found.date,
        images=len(found.samples),
    )


_MADE: Mapping[str, Callable[[str, bytes], RegistryRecord]] = MappingProxyType(
    {
        BUNDLES: _bundle,
        RECEIPTS: receipt_record,
        EVIDENCE: _plain(EvidenceRecord),
        RETIRED: _plain(Retirement),
        BASELINES: _baseline,
        CHECKS: _plain(CheckRecord),
    }
)
_SUMMARIES: Mapping[str, type[RegistryRecord]] = MappingProxyType(
    {
        BUNDLES: BundleFacts,
        RECEIPTS: EvidenceRecord,
        EVIDENCE: EvidenceRecord,
        RETIRED: Retirement,
        BASELINES: BaselineFacts,
        CHECKS: CheckRecord,
    }
)
