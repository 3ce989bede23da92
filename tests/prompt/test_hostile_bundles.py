"""Hostile bundles end in one line, and what loads renders: see tests/benchmarks/hostile_bundles.py.

Warnings are errors here, as in all tests: no number overflows on its way to a pixel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.errors import BundleError
from bbtvp.prompt import Prompt
from tests.prompt.hostile import Attacker

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def attack(numbers: range, folder: Path) -> tuple[int, int]:
    """How many were refused, and how many rendered."""
    lines: list[str] = []
    for number in numbers:
        place = folder / str(number)
        place.mkdir()
        path = Attacker(1, number).write(place)
        before = sorted(place.rglob("*"))
        try:
            prompt = Prompt.load(path)
            prompt.render(IMAGE)
            prompt.ask("Which?")
            prompt.context()
        except BundleError as error:
            lines.append(str(error))
        assert sorted(place.rglob("*")) == before
    assert [line for line in lines if "\n" in line] == []
    return len(lines), len(numbers) - len(lines)


def test_some_hundreds(tmp_path: Path) -> None:
    refused, rendered = attack(range(300), tmp_path)
    assert refused > 150
    assert rendered > 20


@pytest.mark.slow
def test_some_thousands(tmp_path: Path) -> None:
    attack(range(300, 5000), tmp_path)
