"""Bundles that must be refused, and how they come to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.digest import digest, digest_json
from bbtvp.core.errors import BundleError
from bbtvp.prompt import Prompt


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Prompt.load(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


def forged(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The manifest changed, and every digest made to fit."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["digest"]
    manifest["files"] = {name: digest((folder / name).read_bytes()) for name in manifest["files"]}
    change(manifest)
    manifest["digest"] = digest_json(manifest)
    path.write_bytes((json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
