"""docs/models.md: its code runs as it is printed, and its first block is short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bbtvp
from bbtvp.models import Request

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")
LINES = 5
"""The most from a Python function to a verdict."""


def block(name: str) -> str:
    """The Python block that follows <!-- name -->."""
    found = re.search(
        rf"<!-- {name} -->\n```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None, name
    return found[1]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of circles, which are black and white, and of squares, which are grey."""
    rng = np.random.default_rng(0)
    for label, spread in (("circle", 90), ("square", 20)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(60):
            pixels = rng.normal(128, spread, (24, 24, 1)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels.repeat(3, axis=2)).save(tmp_path / f"photos/{label}/{i}.png")
    monkeypatch.chdir(tmp_path)


def run_block(name: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(block(name), str(PAGE), "exec"), space)
    return space


def test_from_a_function_to_a_verdict(photos: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert len([line for line in block("first").splitlines() if line.strip()]) <= LINES
    run_block("first")
    printed = capsys.readouterr().out
    assert re.match(r"verdict: (go|no-go|undecided): ", printed)
    assert "python/mine" in printed


def test_options(photos: None) -> None:
    run = run_block("options")["run"]
    assert [model.spec for model in run.models] == ["python/paid", "python/shares"]
    assert 0 < run.usd <= 1


def test_a_factory() -> None:
    space = run_block("factory")
    model = space["load"]("colours", concurrency=2)
    red = np.full((8, 8, 3), (200, 0, 0), np.uint8)
    (outcome,) = model.query([Request(red, "which colour?")])
    assert (model.spec, outcome.text) == ("acme/colours", "red")
    with pytest.raises(bbtvp.UsageError, match="acme/green"):
        space["load"]("green")


def test_the_messages_are_as_the_page_says() -> None:
    page = PAGE.read_text("utf-8")

    def said(function: Any, **options: Any) -> str:
        model = bbtvp.FunctionModel(function, name="mine", **options)
        requests = [Request(np.zeros((4, 4, 3), np.uint8), "?", ("red", "blue"))] * 4
        return model.query(requests[: options.get("batch") or 1])[0].reason

    assert said(lambda image, question: 7) in page
    assert said(lambda image, question: ["red"] * 3, batch=4) in page
    assert said(lambda image, question: {"red": 0.5}, logprobs=True) in page
