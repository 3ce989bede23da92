"""Bounds on JSON that strangers wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from bbtvp.core.bounds import check_bounds, check_members
from bbtvp.core.errors import BundleError, DataError
from bbtvp.prompt.bundle import manifest as manifests
from bbtvp.registry import records
from bbtvp.registry.trust import RegistryMarker
from bbtvp.verify import receipt_parts
from bbtvp.verify.receipt import Receipt, parsed_receipt


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0] * 11, "over 10 values"),
        ([[0] * 6, {"a": 1, "b": [1, 2]}], "over 10 values"),
        ([[[[0]]]], "deeper than 3 levels"),
        ([{str(i): 0 for i in range(5)}], "over 4 members"),
    ],
)
def test_more_than_is_allowed(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_bounds(value, values=10, levels=3, members=4)


@pytest.mark.parametrize("value", [None, 1, "text", [0] * 10, {"a": [1, 2]}, [[], {}]])
def test_what_is_allowed(value: Any) -> None:
    check_bounds(value, values=10, levels=3, members=4)


def test_a_typed_object_of_many_members_is_one_fault() -> None:
    class Held(BaseModel):
        found: Annotated[dict[str, int], BeforeValidator(check_members)]

    assert Held(found={"a": 1}).found == {"a": 1}
    with pytest.raises(ValidationError) as caught:
        Held.model_validate({"found": dict.fromkeys(map(str, range(1001)), "x")})
    assert caught.value.error_count() == 1


def sequences(schema: Any) -> list[Any]:
    """All schemas of lists and tuples of any length in a core schema, but for any JSON at all."""
    found = []
    if isinstance(schema, dict):
        if "JsonValue" in str(schema.get("ref")):
            return []
        kind = schema.get("type")
        found = [schema] if kind == "list" or schema.get("variadic_item_index") == 0 else []
        schema = list(schema.values())
    if isinstance(schema, (list, tuple)):
        found += [one for part in schema for one in sequences(part)]
    return found


FORMS = [
    manifests.Manifest,
    manifests._FirstManifest,
    Receipt,
    RegistryMarker,
    *receipt_parts.ReceiptPart.__subclasses__(),
    *records.RegistryRecord.__subclasses__(),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_list_of_a_strangers_file_stops_at_its_first_fault(form: type[BaseModel]) -> None:
    assert all(one.get("fail_fast") for one in sequences(form.__pydantic_core_schema__))


def test_the_lists_are_seen() -> None:
    class Held(BaseModel):
        plain: list[int] = []
        fast: Annotated[tuple[int, ...], Field(fail_fast=True)] = ()
        pair: tuple[int, int] = (0, 0)

    assert [one.get("fail_fast") for one in sequences(Held.__pydantic_core_schema__)] == [
        None,
        True,
    ]


def test_a_receipt_of_many_wrong_values_is_refused_before_it_is_validated() -> None:
    for document, said in (
        ({"models": [{"versions": [1] * 50_000}]}, "over 40000 values"),
        ({"models": [{"controls": {str(i): {} for i in range(101)}}]}, "over 100 members"),
    ):
        with pytest.raises(DataError, match=said):
            parsed_receipt(json.dumps(document).encode(), "r")


def test_a_manifest_of_many_members_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(manifests.dumped({f"a{i}": 0 for i in range(1001)}))
    with pytest.raises(BundleError, match="over 1000 members"):
        manifests.parsed((tmp_path / "manifest.json").read_bytes())
