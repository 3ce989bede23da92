"""The manifest of a bundle: its fields, and how it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from bbtvp.core.bounds import check_bounds, check_members
from bbtvp.core.digest import digest_json
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.signing import Signature
from bbtvp.prompt.layer import MAX_CANVAS, MIN_CANVAS
from bbtvp.prompt.placement import Shape

MANIFEST = "manifest.json"
SCHEMA = "bbtvp.prompt/2"
AGAIN = "get the bundle from its author again"
NEWER = "install a newer bbtvp: pip install -U bbtvp"

FIRST_SCHEMA = "bbtvp.prompt/1"
_DEEPEST = 20
_MOST_VALUES = 100_000
_CONTROL = re.compile(r"(?<!\\)(?:\\\\)*\\(?:u00[01].|[bf])|[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""In a spelt manifest: control characters but tab and line ends, and those that turn text
around.
"""
_DIGEST = r"^[0-9a-f]{64}$"
_STRICT = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)
_OPEN = ConfigDict(extra="allow", **_STRICT)
"""Fields of a newer minor version are kept, and written again."""

Number: TypeAlias = int | float

_Texts: TypeAlias = Annotated[list[str], Field(fail_fast=True)]
_Members = BeforeValidator(check_members)
"""Of an object with typed values. Lists stop at their first fault: see `bbtvp.core.bounds`."""

_Model = TypeVar("_Model", bound=BaseModel)


@final
class EvidenceEntry(BaseModel):
    """What one proof found of one model. Accuracies and gains are shares, 0 to 1 and -1 to 1."""

    model_config = _OPEN

    model: str = Field(description="the model, as bbtvp names it")
    version: str | None = Field(None, description="the version that the endpoint reported")
    date: str | None = Field(None, description="when it was asked, YYYY-MM-DD")
    task: str | None = Field(None, description="the task's name; null where it is not told")
    images: int | None = Field(None, ge=0, description="test images that were answered in all arms")
    zero_shot: Number | None = Field(None, description="accuracy without the prompt")
    empty_frame: Number | None = Field(
        None, description="accuracy of the control: the image placed alike, and nothing drawn"
    )
    prompted: Number | None = Field(None, description="accuracy with the prompt")
    gain: Number | None = Field(None, description="prompted - zero_shot, on the same images")
    ci: list[Number] | None = Field(
        None, fail_fast=True, min_length=2, max_length=2, description="95 % interval of the gain"
    )
    p: Number | None = Field(None, ge=0, le=1, description="of no gain, paired, two-sided")
    verdict: str | None = Field(None, description="go, no-go or undecided")
    receipt: str | None = Field(
        None, pattern=_DIGEST, description="digest of the receipt that shows this entry"
    )


class About(BaseModel):
    """What is known of a prompt. Nothing of it changes what is drawn or asked.

    All fields may be missing. Those that are not known here are kept (`model_extra`).
    """

    model_config = _OPEN

    improved: bool = Field(True, description="false where validation showed no gain")
    goal: str | None = Field(None, description="what was searched for, where it is not accuracy")
    task: str | None = Field(None, description="the name of the task of the search")
    question: str | None = Field(
        None, description="the question of that task, with {fields} of its samples"
    )
    labels: list[str] | None = Field(
        None, fail_fast=True, description="the answers allowed; null: free answers"
    )
    metric: str | None = Field(None, description="how replies are scored, if not by accuracy")
    max_tokens: int | None = Field(None, description="tokens of the longest reply that it needs")
    reading: dict[str, JsonValue] | None = Field(
        None, description="how answers are read: the name of the reader, and its settings"
    )
    source_model: str | None = Field(None, description="the model of the search; the first of many")
    source_models: list[str] = Field([], fail_fast=True, description="all models of the search")
    source_versions: Annotated[dict[str, _Texts], _Members] = Field(
        {}, description="the versions that each of them reported"
    )
    settings: dict[str, JsonValue] = Field({}, description="the options of the search")
    queries: Annotated[dict[str, int], _Members] = Field(
        {}, description="image queries of the search, by what they were for"
    )
    usd: Number | None = Field(None, description="US dollars that the search cost")
    validation: list[dict[str, JsonValue]] = Field(
        [],
        fail_fast=True,
        description="the arms of the choice on validation images: arm, accuracy, loss",
    )
    evidence: list[EvidenceEntry] = Field(
        [], fail_fast=True, description="one entry per model and proof"
    )
    harms: list[str] = Field([], fail_fast=True, description="known harms, one sentence each")
    licence: str | None = Field(None, description="an SPDX expression, or a sentence")
    parent: str | None = Field(
        None, pattern=_DIGEST, description="digest of the bundle that this one was made from"
    )
    contains_data: bool = Field(False, description="whether images of the task are in the bundle")
    bbtvp: str | None = Field(None, description="the version of bbtvp that made the prompt")

    def facts(self) -> dict[str, Any]:
        """The fields that are not at their default, JSON-able."""
        return self.model_dump(mode="json", exclude_defaults=True)


@final
class Manifest(About):
    """`manifest.json`. Canvas, shape, layers and z decide the pixels, unknown fields nothing."""

    schema_: Literal["bbtvp.prompt/2"] = Field(alias="schema", description="the format's version")
    canvas: int = Field(
        ge=MIN_CANVAS, le=MAX_CANVAS, description="pixels of the canvas' longer side, at most"
    )
    shape: Shape = Field(
        "square", description="square: one canvas for all images; picture: of the image's own shape"
    )
    layers: list[dict[str, JsonValue]] = Field(
        fail_fast=True, description="each with its kind and its constants"
    )
    z: list[Number] | None = Field(
        fail_fast=True, description="all variables; null where they stand in z.npy"
    )
    theta: Annotated[dict[str, Annotated[dict[str, Number | str], _Members]], _Members] = Field(
        description="by kind of layer, the parameters that z stands for"
    )
    words: str | None = Field(None, description="what goes around {question}; null for no words")
    reply_tokens: int = Field(0, description="tokens that an answer to these words needs")
    apply: list[str] = Field(
        [], fail_fast=True, description="how to apply the prompt, step by step, in English"
    )
    meta: dict[str, JsonValue] = Field({}, description="anything that its author keeps with it")
    files: Annotated[dict[str, str], _Members] = Field(
        description="the SHA-256 of each other file but signature.json"
    )
    digest: str = Field(pattern=_DIGEST, description="SHA-256 of all else in this manifest")


@final
class _FirstManifest(BaseModel):
    """`manifest.json` of schema 1: all that is not drawn stands in meta."""

    model_config = ConfigDict(extra="forbid", **_STRICT)

    schema_: Literal["bbtvp.prompt/1"] = Field(alias="schema")
    canvas: int = Field(ge=MIN_CANVAS, le=MAX_CANVAS)
    shape: Shape = "square"
    layers: Annotated[list[dict[str, JsonValue]], Field(fail_fast=True)]
    z: Annotated[list[float], Field(fail_fast=True)] | None
    theta: Annotated[dict[str, Annotated[dict[str, float | str], _Members]], _Members]
    meta: dict[str, JsonValue]
    files: Annotated[dict[str, str], _Members]
    digest: str


def parsed(data: bytes) -> tuple[Manifest, str]:
    """The manifest of these bytes, as of the newest schema, and the schema that it is written in.

    BundleError for any other. A newer schema is said to be newer, whatever else it holds.
    """
    raw = _json(data, MANIFEST)
    if not isinstance(raw, dict):
        raise BundleError(f"{MANIFEST} holds no object; {AGAIN}")
    check_schema(raw)
    schema = str(raw.get("schema"))
    if schema == FIRST_SCHEMA:
        _validated(_FirstManifest, raw, MANIFEST)
    manifest = _validated(Manifest, _upgraded(raw) if schema == FIRST_SCHEMA else raw, MANIFEST)
    if digest_json({name: raw[name] for name in raw if name != "digest"}) != manifest.digest:
        raise BundleError(f"{MANIFEST} was altered: it does not match its own digest; {AGAIN}")
    return manifest, schema


def check_schema(raw: Mapping[str, Any]) -> None:
    """Raise BundleError for a manifest of a schema that is not known here."""
    if raw.get("schema", SCHEMA) not in (SCHEMA, FIRST_SCHEMA):
        raise BundleError(
            f"schema {raw['schema']!r:.60} is not {SCHEMA}, the newest one known here; {NEWER}"
        )


def parsed_signature(data: bytes, name: str) -> Signature:
    """The signature of these bytes. BundleError for any other."""
    raw = _json(data, name)
    try:
        signature = Signature.of_json(raw)
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from error
    if signature.as_json() != raw:
        raise BundleError(f"{name} holds more than a signature; {AGAIN}")
    return signature


def about_of(manifest: Manifest) -> About:
    """What a manifest says of the prompt, unknown fields included."""
    values = {name: getattr(manifest, name) for name in About.model_fields}
    return About.model_validate({**values, **(manifest.model_extra or {})})


def split(meta: Mapping[str, Any]) -> tuple[About, dict[str, Any]]:
    """The documented fields among free facts, and the others.

    UsageError for what is not JSON, or a documented field of another type.
    """
    plain = _plain(meta)
    known = {name: value for name, value in plain.items() if name in About.model_fields}
    try:
        about = About.model_validate(known)
    except ValidationError as error:
        raise UsageError(
            f"meta: {_first(error)}; give it another name, or as docs/bundle.md has it"
        ) from error
    return about, {name: value for name, value in plain.items() if name not in known}


def dumped(value: Any) -> bytes:
    """The one spelling of a JSON document. ValueError for what is not JSON."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _json(data: bytes, name: str) -> Any:
    raw = _bounded(data, name)
    try:
        text = data.decode()
        intact = dumped(raw) == data
    except (ValueError, RecursionError) as error:
        raise _not_json(name) from error
    if not intact:
        raise BundleError(f"{name} was altered: it is not as bbtvp spells it; {AGAIN}")
    if found := _CONTROL.search(text):
        raise BundleError(
            f"{name} holds a control character ({found.group().encode('unicode_escape')!r:.20}), "
            f"which can hide or turn what a person reads; {AGAIN}"
        )
    return raw


def _bounded(data: bytes, name: str) -> Any:
    """The JSON value of these bytes. BundleError for one too large to be a manifest."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _not_json(name) from error
    try:
        check_bounds(raw, values=_MOST_VALUES, levels=_DEEPEST)
        check_members(raw)
    except ValueError as error:
        raise BundleError(f"{name} {error}; {AGAIN}") from error
    return raw


def _not_json(name: str) -> BundleError:
    return BundleError(f"{name} is not JSON; {AGAIN}")


def _validated(model: type[_Model], raw: Any, name: str) -> _Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise BundleError(f"{name}: {_first(error)}; {AGAIN}") from error


def _first(error: ValidationError) -> str:
    """Where the first fault is, and what it is."""
    first = error.errors()[0]
    # A name may be a stranger's, and hold line breaks.
    where = repr(".".join(map(str, first["loc"])))[1:-1] or "content"
    return f"{where:.200}: {first['msg']:.200}"


def _upgraded(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of schema 1 as one of schema 2, with the digest that it had.

    Facts of meta become fields where they are what the field holds.
    """
    meta = dict(raw["meta"])
    facts = {}
    for name in About.model_fields:
        try:
            About.model_validate({name: meta[name]})
        except (KeyError, ValidationError):
            continue
        facts[name] = meta.pop(name)
    return {**raw, **facts, "schema": SCHEMA, "meta": meta}


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    """meta as it will be read back: tuples are lists, keys strings."""
    try:
        plain: dict[str, Any] = json.loads(dumped(dict(meta)))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"meta is not JSON ({error}); give plain numbers, strings, lists and dicts"
        ) from error
    return plain
