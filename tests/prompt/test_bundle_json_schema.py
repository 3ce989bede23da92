"""The JSON Schema of the package is the one of the model that reads, and bundles keep to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from bbtvp.prompt import Legend, Overlay, Prompt, PromptSpace, preset
from bbtvp.prompt.bundle.schema import dumped_schema, schema_text

DATA = Path(__file__).parent / "data"

PROMPTS = (
    "tvp",
    "frame",
    "tone",
    "default",
    "annotate",
    "words",
    "default+overlay",
    "tone+coordinator",
)


def validator() -> Draft202012Validator:
    schema = json.loads(schema_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def manifest_of(prompt: Prompt, folder: Path, **meta: object) -> Any:
    prompt.save(folder, meta)
    return json.loads((folder / "manifest.json").read_bytes())


def test_the_schema_of_the_package_is_the_one_of_the_reader() -> None:
    """Where it is of older code: write `dumped_schema()` into bbtvp/prompt/bundle/schema.json."""
    assert schema_text() == dumped_schema()


@pytest.mark.parametrize("name", PROMPTS)
def test_a_bundle_of_each_preset_keeps_to_the_schema(name: str, tmp_path: Path) -> None:
    space = preset(name, 64)
    prompt = space.prompt(np.random.default_rng(0).standard_normal(space.dim))
    validator().validate(manifest_of(prompt, tmp_path, task="pets", mine=[1]))


def test_layers_that_no_preset_has_keep_to_it_too(tmp_path: Path) -> None:
    validator().validate(
        manifest_of(Prompt.load(DATA / "schema-1-words.vprompt"), tmp_path / "words")
    )
    space = PromptSpace((Legend(("cat", "dog")), Overlay("blocks", 3)), 64, "square")
    validator().validate(manifest_of(space.prompt(space.neutral()), tmp_path / "legend"))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "bbtvp.prompt/1"},
        {"canvas": 4},
        {"canvas": "64"},
        {"layers": [{"kind": "frame", "glow": 1}]},
        {"layers": [{"kind": "unheard"}]},
        {"parent": "short"},
        {"evidence": [{"gain": 0.1}]},
        {"labels": "cat"},
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(
    change: dict[str, object], tmp_path: Path
) -> None:
    space = preset("tone", 64)
    manifest = manifest_of(space.prompt(space.neutral()), tmp_path)
    assert validator().is_valid(manifest)
    assert not validator().is_valid({**manifest, **change})


def test_a_field_of_a_newer_minor_version_is_allowed(tmp_path: Path) -> None:
    space = preset("tone", 64)
    manifest = manifest_of(space.prompt(space.neutral()), tmp_path, evidence=[{"model": "m"}])
    manifest["later"] = 1
    manifest["evidence"][0]["later"] = 1
    validator().validate(manifest)
