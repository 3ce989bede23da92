"""The files of a registry: what each kind holds, and how it is read from a stranger.

    registry.json                         the schema; made by `init`
    index.json                            a summary of every other file, which can be made again
    bundles/<bundle digest>.vprompt       prompts
    receipts/<digest>.json                receipts of proofs (bbtvp.verify.receipt)
    evidence/<digest>.json                rows of proofs without a receipt: those of run folders
    retired/<digest>.json                 a prompt is no longer to be used, why and since when
    baselines/<digest>.json               what a model answered about a probe on the first day
    checks/<date>-<digest>.json           what a later check found

A file is named by the digest of its content and never changes, so that two writers cannot lose each
other's work, and a file that was cut off is found. Every record is JSON of one of the classes here;
fields of a newer version are ignored, and a record that lacks one or is out of range is damaged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import DataError

SCHEMA = "bbtvp.registry/1"
MARKER = "registry.json"
INDEX = "index.json"
INDEX_LIMIT = 16 << 20
RECORD_LIMIT = 1 << 20
"""The most bytes of a record; a receipt of a hundred models has a tenth of it."""

BUNDLES = "bundles"
RECEIPTS = "receipts"
EVIDENCE = "evidence"
RETIRED = "retired"
BASELINES = "baselines"
CHECKS = "checks"
FOLDERS = (BUNDLES, RECEIPTS, EVIDENCE, RETIRED, BASELINES, CHECKS)

_HEX = r"[0-9a-f]{64}"
NAMES = MappingProxyType(
    {
        folder: re.compile(
            {
                BUNDLES: rf"({_HEX})\.vprompt",
                CHECKS: rf"\d{{4}}-\d\d-\d\d-({_HEX})\.json",
            }.get(folder, rf"({_HEX})\.json")
        )
        for folder in FOLDERS
    }
)
"""The names of the files of each folder; others are not looked at."""

MOST_TEXT = 4096
Text: TypeAlias = Annotated[
    str,
    Field(max_length=MOST_TEXT),
    AfterValidator(lambda text: "".join(one if one.isprintable() else " " for one in text)),
]
"""A text of a stranger's, without anything that a terminal would obey."""
Digest: TypeAlias = Annotated[str, Field(pattern=rf"^{_HEX}$")]
Share: TypeAlias = Annotated[float, Field(ge=-1, le=1)]
Score: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=10**9)]
Day: TypeAlias = date


class RegistryRecord(BaseModel):
    """A record: plain JSON, checked when it is read. Dates are days, UTC."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


@final
class Damaged(RegistryRecord):
    """A file that is not what its name says."""

    damaged: Text


@final
class EvidenceRow(RegistryRecord):
    """What one proof found for one prompt and one model. Shares and gains are 0..1 and −1..1.

    prompt: its digest; what was measured belongs to the prompt, whichever bundle holds it. version:
    of the model, as it reported it. images: those that were answered in all arms. ci: the 95 %
    interval of the gain. role: "source" for a model that the search asked. receipt: its digest.
    signed_by: the public key whose signature of the receipt or the bundle was checked.
    """

    prompt: Digest
    model: Text
    version: Text | None = None
    date: Day | None = None
    task: Text = ""
    images: Count = 0
    zero_shot: Score
    empty_frame: Score | None = None
    prompted: Score
    gain: Share
    ci: tuple[Share, Share]
    p: Score | None = None
    verdict: Text = ""
    role: Literal["source", "target"] | None = None
    receipt: Digest | None = None
    signed_by: Text | None = None


@final
class BundleFacts(RegistryRecord):
    """What a bundle says of itself. prompt: the digest of its prompt. sources: models searched on.

    contains_data: it shows images of its task. bytes: its size. signed: it holds a signature.
    signed_by: the public key whose signature was checked. evidence: what it says of proofs.
    """

    prompt: Digest
    task: Text = ""
    question: Text = ""
    sources: Annotated[tuple[Text, ...], Field(fail_fast=True, max_length=100)] = ()
    parent: Digest | None = None
    licence: Text = ""
    contains_data: bool = False
    bytes: Count = 0
    signed: bool = False
    signed_by: Text | None = None
    evidence: Annotated[tuple[EvidenceRow, ...], Field(fail_fast=True, max_length=1000)] = ()


@final
class EvidenceRecord(RegistryRecord):
    """The rows of one proof."""

    schema_: Literal["bbtvp.registry-evidence/1"] = Field(
        default="bbtvp.registry-evidence/1", alias="schema"
    )
    rows: Annotated[tuple[EvidenceRow, ...], Field(fail_fast=True, max_length=1000)]


@final
class Retirement(RegistryRecord):
    """A prompt is no longer to be used. since: the first day of that."""

    schema_: Literal["bbtvp.registry-retired/1"] = Field(
        default="bbtvp.registry-retired/1", alias="schema"
    )
    bundle: Digest
    reason: Text
    since: Day


Answers: TypeAlias = Annotated[tuple[Score | None, ...], Field(fail_fast=True, max_length=10_000)]


@final
class ProbeBaseline(RegistryRecord):
    """How a model scored on a probe on the first day, image by image.

    salt: of the samples' digests, hex. samples: salted digests of the probe's samples, which say
    nothing to who does not have the images. prompted: a row of scores for each time that all of
    them were asked, None for a failed query. zero_shot: one row, without the prompt. queries: what
    the baseline cost.
    """

    schema_: Literal["bbtvp.registry-baseline/1"] = Field(
        default="bbtvp.registry-baseline/1", alias="schema"
    )
    prompt: Digest
    model: Text
    versions: Annotated[tuple[Text, ...], Field(fail_fast=True)] = ()
    date: Day
    task: Text
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    samples: Annotated[tuple[Digest, ...], Field(fail_fast=True, min_length=1, max_length=10_000)]
    deterministic: bool = False
    prompted: Annotated[tuple[Answers, ...], Field(fail_fast=True, min_length=1, max_length=100)]
    zero_shot: Answers
    queries: Count = 0


@final
class BaselineFacts(RegistryRecord):
    """What the index says of a baseline. images: of its probe."""

    prompt: Digest
    model: Text
    task: Text
    date: Day
    images: Count


@final
class CheckRecord(RegistryRecord):
    """What a check found. then, now: mean scores with the prompt, over the same images.

    found: "holds"; "stale", if the prompted score fell or the gain did, or if the answers changed
    and a fall of `drop` is not excluded; or "open", if nothing changed as far as is known, and the
    image queries did not suffice to exclude a fall. version_changed: None where the model
    reports none. ci: an interval of now − then. gain_then, gain_now: None where there were no image
    queries left to ask without the prompt.
    """

    schema_: Literal["bbtvp.registry-check/1"] = Field(
        default="bbtvp.registry-check/1", alias="schema"
    )
    prompt: Digest
    model: Text
    versions: Annotated[tuple[Text, ...], Field(fail_fast=True)] = ()
    date: Day
    baseline: Digest
    found: Literal["holds", "stale", "open"]
    reason: Text
    version_changed: bool | None = None
    images: Count
    queries: Count
    failed: Count = 0
    then: Score
    now: Score
    ci: tuple[Share, Share]
    p: Score
    drop: Share
    gain_then: Share | None = None
    gain_now: Share | None = None
    gain_p: Score | None = None


Found = TypeVar("Found", bound=RegistryRecord)


def packed(record: RegistryRecord) -> bytes:
    """The bytes of a record: equal content gives equal bytes."""
    return packed_json(record.model_dump(mode="json", by_alias=True))


def packed_json(value: Any) -> bytes:
    """The bytes of a JSON value, in its one spelling."""
    return (canonical_json(value) + "\n").encode()


def unpacked(kind: type[Found], data: bytes) -> Found:
    """The record in these bytes. DataError, in a few words, for what is none."""
    return parsed(kind, document(data))


def document(data: bytes) -> Mapping[str, Any]:
    """The JSON object in these bytes. DataError, in a few words, for what is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError("it is not JSON") from error
    if not isinstance(found, dict):
        raise DataError("it is not a JSON object")
    return found


def parsed(kind: type[Found], value: Any) -> Found:
    """The record that a JSON value describes. DataError, in a few words, for what is none."""
    try:
        return kind.model_validate(value)
    except (ValidationError, RecursionError) as error:
        where = ""
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = f": {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DataError(f"it is not a record of this version{where}") from error


def name_of(folder: str, data: bytes, day: date | None = None) -> str:
    """The path of a record with this content."""
    prefix = "" if day is None else f"{day.isoformat()}-"
    return f"{folder}/{prefix}{digest(data)}.json"
