"""Real images in real folders, small enough to be quick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[[str], Path]


@pytest.fixture
def image(tmp_path: Path) -> Write:
    """Writes a 4 x 3 PNG at a path relative to tmp_path; its grey is the length of the path."""

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 4, 3), len(name) % 256, np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def pets(tmp_path: Path, image: Write) -> Path:
    """A folder of 10 cats and 20 dogs."""
    for name in [f"cat/{i}.png" for i in range(10)] + [f"dog/{i}.png" for i in range(20)]:
        image(f"pets/{name}")
    return tmp_path / "pets"
