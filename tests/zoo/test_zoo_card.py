"""The card's tables say what was measured."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bbtvp.zoo import suites
from bbtvp.zoo.catalogue import card, members
from bbtvp.zoo.training.card import CLEAN, ceiling_table, members_table, recipes_table

TASK = f"zoo/{suites.OLD[0]}"


def cell(model: str, vp: float, tvp: float) -> dict[str, Any]:
    return {
        "model": model,
        "task": TASK,
        "zero_shot": 0.4,
        "empty_frame": 0.45,
        "vp": vp,
        "tvp": tvp,
    }


def squeezed(text: str) -> str:
    """Without the padding of columns."""
    return re.sub(" +", " ", text)


def test_the_control_stands_beside_the_ceilings() -> None:
    text = ceiling_table([cell("zoo/llava", 0.5, 0.35), cell("zoo/blip2", 0.42, 0.47)])
    row = next(line for line in text.splitlines() if TASK in line)
    assert squeezed(row) == f"| {TASK} | +5 / +10 / -5 | +5 / +2 / +7 |"
    assert "over zero-shot, by the better frame: 1 of 2 cells (mean +8.5)" in text
    assert "over the empty frame, by the better frame: 0 of 2 cells (mean +3.5)" in text


def test_a_cell_that_was_not_measured_stays_empty() -> None:
    text = ceiling_table([cell("zoo/llava", 0.5, 0.5)])
    assert f"| zoo/{suites.OLD[1]} | |" in squeezed(text)


@pytest.mark.skipif(
    not members(), reason="no miniature has been trained: python -m bbtvp.zoo.training.train all"
)
def test_the_members_table_gives_sizes_and_means() -> None:
    name = members()[0]
    scores = {subject: 0.5 + i / 10 for i, subject in enumerate(CLEAN)}
    size = next(row["parameters"] for row in card() if row["model"] == f"zoo/{name}")
    text = members_table({name: scores})
    assert f"{size / 1e6:.2f} M | 50.0 | 60.0 | 70.0 | 80.0 | 90.0 | **70.0** |" in squeezed(text)


def test_the_recipes_table_gives_what_a_member_was_trained_with() -> None:
    row = squeezed(recipes_table(["llava-seed1"])).splitlines()[-1]
    assert row == (
        "| zoo/llava-seed1 | clip_vision_model | 56 / 8 | 1 | 2,500 + 1,600 | 60,000 | 1 |"
    )
