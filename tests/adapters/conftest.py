"""Untrained miniatures, saved as a user would save a model: exactness needs no training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bbtvp.zoo.families import FAMILIES, build_clip

Folder = Callable[[str], Path]


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of an untrained member of the zoo, made once and not to be changed."""
    root = tmp_path_factory.mktemp("untrained")

    def folder(name: str) -> Path:
        if not (root / name).exists():
            torch.manual_seed(len(name))
            model, processor = build_clip() if name == "clip" else FAMILIES[name].build()
            model.eval().save_pretrained(root / name)
            processor.save_pretrained(root / name)
        return root / name

    return folder


@pytest.fixture
def damaged(untrained: Folder, tmp_path: Path) -> Folder:
    """A copy of a member's folder, to be damaged."""

    def folder(name: str) -> Path:
        return Path(shutil.copytree(untrained(name), tmp_path / name))

    return folder
