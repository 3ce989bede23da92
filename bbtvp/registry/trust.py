"""Whose bundles and receipts a registry takes, and which of them a reader believes.

The keys that a registry demands stand in its `registry.json`, and honest writers keep to them. A
reader who names keys believes neither that file nor the index: the signature of each bundle and
each receipt is then checked against its own file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, final

from pydantic import Field

from bbtvp.core.digest import digest
from bbtvp.core.errors import DataError, UsageError
from bbtvp.core.signing import Signature, check_signature, need_signing, public_key, sign
from bbtvp.registry.index import RegistryIndex, summary_of
from bbtvp.registry.places import Location
from bbtvp.registry.records import (
    BUNDLES,
    EVIDENCE,
    MARKER,
    RECEIPTS,
    RECORD_LIMIT,
    SCHEMA,
    BundleFacts,
    EvidenceRecord,
    RegistryRecord,
    document,
    packed_json,
    parsed,
)
from bbtvp.verify.receipt import SIGNED_AS

Key: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{43}=$")]


@final
class RegistryMarker(RegistryRecord):
    """What `registry.json` says. signed_by: the public keys that the registry demands."""

    signed_by: Annotated[tuple[Key, ...], Field(fail_fast=True, max_length=100)] = ()


def read_marker(place: Location) -> RegistryMarker | None:
    """The marker of a registry; None where there is none. UsageError for one of a newer version."""
    data = place.read(MARKER, RECORD_LIMIT)
    if data is None:
        return None
    try:
        found = document(data)
        schema = found.get("schema")
        if schema == SCHEMA:
            return parsed(RegistryMarker, found)
    except DataError as error:
        raise UsageError(f"{place.url}/{MARKER}: {error}; no registry is here") from error
    raise UsageError(
        f"{place.url} is a registry of the schema {schema!r:.80}, not {SCHEMA}; "
        "install a newer bbtvp: pip install -U bbtvp"
    )


def write_marker(place: Location, keys: Sequence[str]) -> None:
    """Write `registry.json`. UsageError where nothing can be written."""
    place.write(
        MARKER, packed_json({"schema": SCHEMA, **({"signed_by": list(keys)} if keys else {})})
    )


def trusted_keys(given: Iterable[str]) -> tuple[str, ...]:
    """The public keys that were named. UsageError for what is none, or without bbtvp[sign]."""
    keys = tuple(map(public_key, given))
    if keys:
        need_signing()
    return keys


def need_signer(
    found: str, signature: Signature | None, *trusted: Sequence[str], kind: str
) -> None:
    """Check a signature against each list of keys that is not empty.

    found: the digest of what is signed. BundleError where it is not signed by one of them.
    """
    for keys in trusted:
        if keys:
            check_signature(found, signature, keys, kind=kind)


def need_own_key(url: str, keys: Sequence[str], private: Path | None) -> None:
    """Check, before a query is sent, that the registry will take a receipt that this key signs.

    private: a key file; None for a receipt that is not signed. UsageError if it will not.
    """
    if not keys:
        return
    if private is None:
        raise UsageError(f"{url} takes signed receipts only; add --sign KEY, with a key it trusts")
    own = sign(digest(), private, kind=SIGNED_AS).public_key
    if own not in keys:
        raise UsageError(
            f"{url} does not trust {own}; ask its owner, or give another key with --sign"
        )


def believed(
    place: Location, index: RegistryIndex, keys: Sequence[str]
) -> dict[str, RegistryRecord]:
    """Path → summary of what these keys vouch for, read anew from the files themselves.

    Left out are bundles and receipts that no such key signed, and proofs that have no receipt.
    Checks, baselines and retirements, which nobody signs, stay: who writes them can also delete
    them.
    """
    made = {path: _own(place, path, record) for path, record in index.summaries.items()}
    return {path: record for path, record in made.items() if _is_vouched(path, record, keys)}


def _own(place: Location, path: str, record: RegistryRecord) -> RegistryRecord:
    signed = path.startswith((f"{BUNDLES}/", f"{RECEIPTS}/"))
    return summary_of(place, path) if signed else record


def _is_vouched(path: str, record: RegistryRecord, keys: Sequence[str]) -> bool:
    if path.startswith(f"{EVIDENCE}/"):
        return False
    if isinstance(record, BundleFacts):
        return record.signed_by in keys
    if isinstance(record, EvidenceRecord):
        return all(row.signed_by in keys for row in record.rows)
    return True
