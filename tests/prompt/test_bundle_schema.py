"""Schema 2 of the bundle: documented fields, old bundles, newer ones, and what is not known."""

from __future__ import annotations

import json
import os
import zipfile
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.digest import digest_json
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.signing import Signature
from bbtvp.prompt import Prompt, preset
from bbtvp.prompt import bundle as bundles
from tests.prompt.bundles import forged, refused

DATA = Path(__file__).parent / "data"

OLD = {
    "schema-1-default": "11adc36f9f13658c21f9f49ff060feeb70a88bae08d9e7be05668b246a785a81",
    "schema-1-tvp": "2526add9d43c753f01d474884426e131a53f3bc4ee0bfd0aba625a90d626511f",
    "schema-1-words": "d16ed8eba53e0ca14820c451b15dbb3df14b716d4a2e49e8cce7886435ef01cc",
}
"""Bundles that were written before schema 2, and the digest that each prompt had then."""


def saved(path: Path, **meta: object) -> Path:
    space = preset("frame", 24)
    z = np.random.default_rng(3).standard_normal(space.dim)
    space.prompt(z).save(path, meta)
    return path


def manifest_of(path: Path) -> dict[str, object]:
    found = json.loads((path / "manifest.json").read_bytes())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", OLD)
def test_a_bundle_of_schema_1_loads_and_is_written_again_as_schema_2(
    name: str, tmp_path: Path
) -> None:
    path = DATA / f"{name}.vprompt"
    pixels = np.random.default_rng(9).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    old = Prompt.load(path)
    assert old.digest == OLD[name]
    held = bundles.read(path)
    assert held.digest == json.loads(zipfile.ZipFile(path).read("manifest.json"))["digest"]
    old.save(tmp_path / "new.vprompt", held.meta)
    new = Prompt.load(tmp_path / "new.vprompt")
    assert new.digest == OLD[name]
    assert np.array_equal(new.render(pixels), old.render(pixels))
    assert bundles.read(tmp_path / "new.vprompt").meta == held.meta


def test_the_facts_of_an_old_search_are_fields() -> None:
    held = bundles.read(DATA / "schema-1-default.vprompt")
    about = held.about
    assert (about.task, about.labels, about.metric) == ("pets", ["cat", "dog"], "anls")
    assert (about.improved, about.max_tokens, about.usd) == (False, 7, 0.25)
    assert about.source_models == ["zoo/glint", "zoo/ember"]
    assert held.free == {"note": {"é": [1, None]}}
    assert held.meta["question"] == "Which animal is it?"
    assert (held.parent, held.evidence, held.signature) == (None, (), None)
    assert bundles.read(DATA / "schema-1-words.vprompt").about.contains_data


def test_a_fact_of_an_old_bundle_that_no_field_can_hold_stays_free(tmp_path: Path) -> None:
    saved(tmp_path)

    def as_first(manifest: dict[str, object]) -> None:
        manifest["schema"] = "bbtvp.prompt/1"
        manifest["meta"] = {"task": ["not", "a", "name"], "question": "Which?"}
        del manifest["contains_data"], manifest["apply"]

    forged(tmp_path, as_first)
    held = bundles.read(tmp_path)
    assert held.about.question == "Which?"
    assert held.free == {"task": ["not", "a", "name"]}


@pytest.mark.parametrize("where", [(), ("evidence", 0)])
def test_unknown_fields_survive(where: tuple[str | int, ...], tmp_path: Path) -> None:
    entry = {"model": "openai/gpt-6", "gain": 1, "ci": [0.5, 1.25]}
    saved(tmp_path, evidence=[entry])

    def add(manifest: dict[str, object]) -> None:
        place: object = manifest
        for step in where:
            place = place[step]  # type: ignore[index]
        place["later"] = {"deep": [1, 2.5, None]}  # type: ignore[index]

    forged(tmp_path, add)
    held = bundles.read(tmp_path)
    bundles.write(tmp_path / "again", held)
    assert manifest_of(tmp_path / "again") == manifest_of(tmp_path)
    assert bundles.digest_of(tmp_path / "again") == bundles.digest_of(tmp_path) == held.digest
    Prompt.load(tmp_path / "again")


def test_documented_facts_become_fields_and_others_stay_free(tmp_path: Path) -> None:
    saved(tmp_path, task="pets", parent="0" * 64, licence="CC-BY-4.0", mine=[1])
    manifest = manifest_of(tmp_path)
    assert (manifest["task"], manifest["licence"]) == ("pets", "CC-BY-4.0")
    assert manifest["meta"] == {"mine": [1]}
    assert bundles.read(tmp_path).parent == "0" * 64


@pytest.mark.parametrize("meta", [{"task": 5}, {"labels": "cat"}, {"parent": "no digest"}])
def test_a_documented_fact_of_another_type_is_refused(
    meta: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"meta: {next(iter(meta))}"):
        saved(tmp_path / "p", **meta)


def test_the_digest_is_the_one_of_the_written_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.vprompt", task="pets")
    held = bundles.read(path)
    assert held.digest == bundles.digest_of(path)
    changed = replace(held, about=held.about.model_copy(update={"parent": held.digest}))
    assert changed.digest != held.digest
    bundles.write(tmp_path / "child.vprompt", changed)
    assert bundles.digest_of(tmp_path / "child.vprompt") == changed.digest


@pytest.mark.parametrize("target", ["p.vprompt", "folder"])
def test_a_signature_stands_outside_the_digest(target: str, tmp_path: Path) -> None:
    path = saved(tmp_path / target)
    held = bundles.read(path)
    signature = Signature(b64encode(bytes(32)).decode(), b64encode(bytes(64)).decode())
    bundles.write(path, replace(held, signature=signature))
    again = bundles.read(path)
    assert again.signature == signature
    assert again.digest == held.digest
    Prompt.load(path)
    bundles.write(path, replace(again, signature=None))
    assert bundles.read(path).signature is None


@pytest.mark.parametrize("content", [b"{}\n", b"[]\n", b'{"algorithm": "ed25519"}\n', b"x"])
def test_a_signature_that_is_none(content: bytes, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "signature.json").write_bytes(content)
    assert "signature.json" in refused(tmp_path)


@pytest.mark.parametrize("further", [None, "layers.bin", "signature.sig"])
def test_a_newer_bundle_is_said_to_be_newer_whatever_else_it_holds(
    further: str | None, tmp_path: Path
) -> None:
    held = json.dumps({"schema": "bbtvp.prompt/3", "unheard": "of"}).encode()
    with zipfile.ZipFile(tmp_path / "p.vprompt", "w") as archive:
        archive.writestr("manifest.json", held)
        if further:
            archive.writestr(further, b"more")
    line = refused(tmp_path / "p.vprompt")
    assert "'bbtvp.prompt/3' is not bbtvp.prompt/2" in line
    assert "pip install -U bbtvp" in line


def test_the_digest_does_not_lean_on_the_order_of_fields(tmp_path: Path) -> None:
    saved(tmp_path)
    manifest = manifest_of(tmp_path)
    turned = dict(reversed(manifest.items()))
    (tmp_path / "manifest.json").write_text(
        json.dumps(turned, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert bundles.digest_of(tmp_path) == manifest["digest"]
    assert digest_json({k: v for k, v in manifest.items() if k != "digest"}) == manifest["digest"]


def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "frame.png").unlink()
    os.mkfifo(tmp_path / "frame.png")
    with pytest.raises(BundleError, match=r"frame\.png is no file"):
        bundles.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"words": "Obey. {question}"}, "this version asks in other words"),
        ({"contains_data": True}, "contains_data is true, and no image"),
    ],
)
def test_what_the_manifest_says_must_be_so(
    change: dict[str, object], line: str, tmp_path: Path
) -> None:
    saved(tmp_path)
    forged(tmp_path, lambda manifest: manifest.update(change))
    assert line in refused(tmp_path)


def test_images_that_are_not_declared_are_refused(tmp_path: Path) -> None:
    Prompt.load(DATA / "schema-1-words.vprompt").save(tmp_path)
    forged(tmp_path, lambda manifest: manifest.update(contains_data=False))
    assert "contains_data is false, and images of a task are in it" in refused(tmp_path)


def test_the_text_of_a_stranger_does_not_flood_the_error_line(tmp_path: Path) -> None:
    prompt = preset("tone", 24)
    prompt.prompt(prompt.neutral()).save(tmp_path)
    forged(tmp_path, lambda manifest: manifest["layers"][1].update(variables=["A" * 100_000]))
    assert len(refused(tmp_path)) < 1500
