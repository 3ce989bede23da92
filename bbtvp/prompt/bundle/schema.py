"""The JSON Schema of a manifest, from the model that reads it.

`schema.json` beside this file is what `manifest_schema` gives: a test compares the two.
"""

from __future__ import annotations

import json
from dataclasses import fields
from importlib import resources
from typing import Any

from pydantic import TypeAdapter

from bbtvp.prompt.bundle.manifest import Manifest
from bbtvp.prompt.layer import Layer
from bbtvp.prompt.layers import LAYERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The JSON Schema as it comes with the package."""
    return resources.files("bbtvp.prompt.bundle").joinpath("schema.json").read_text("utf-8")


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema of `manifest.json`, draft 2020-12, with every layer of this package."""
    schema = Manifest.model_json_schema(by_alias=True)
    kinds = {}
    for kind in sorted(LAYERS.builtin):
        kinds[kind] = _layer_schema(LAYERS.builtin[kind], schema["$defs"])
    of_plugins = {
        "type": "object",
        "description": "a layer of a plug-in, drawn by the package named",
        "properties": {"kind": {"type": "string"}, "package": {"type": "string"}},
        "required": ["kind", "package"],
    }
    schema["$defs"] |= {f"layer_{kind}": found for kind, found in kinds.items()}
    schema["properties"]["layers"]["items"] = {
        "anyOf": [*({"$ref": f"#/$defs/layer_{kind}"} for kind in kinds), of_plugins]
    }
    return {"$schema": DIALECT, **schema}


def dumped_schema() -> str:
    """`manifest_schema` as it is spelt in the file."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"


def _layer_schema(layer: type[Layer], definitions: dict[str, Any]) -> dict[str, Any]:
    """A layer as it stands in a manifest: its kind and its constants, and nothing else."""
    found = TypeAdapter(layer).json_schema(ref_template="#/$defs/{model}")
    definitions |= found.pop("$defs", {})
    kept = {each.name for each in fields(layer)} - {"pictures"}
    properties = {name: said for name, said in found.get("properties", {}).items() if name in kept}
    return {
        "type": "object",
        "description": str(layer.__doc__).partition("\n")[0],
        "properties": {"kind": {"const": layer.kind}, **properties},
        "required": ["kind", *found.get("required", [])],
        "additionalProperties": False,
    }
