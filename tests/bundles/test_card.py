"""The card of a bundle says what the bundle says, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bbtvp.bundles.card import card
from bbtvp.cli import cli
from bbtvp.prompt import Prompt, PromptSpace, preset
from bbtvp.prompt.bundle import digest_of
from bbtvp.prompt.placement import Placement

DATA = Path(__file__).parents[1] / "prompt" / "data"
DOCS = Path(__file__).parents[2] / "docs" / "bundle.md"


def saved(path: Path, name: str = "default", **meta: object) -> Path:
    space = preset(name, 64)
    space.prompt(np.random.default_rng(1).standard_normal(space.dim)).save(path, meta)
    return path


def test_all_that_is_known_is_on_the_card(tmp_path: Path) -> None:
    entry = {
        "model": "openai/gpt-6-luna",
        "version": "luna-2026-09",
        "date": "2026-11-30",
        "images": 400,
        "zero_shot": 0.5,
        "empty_frame": 0.51,
        "prompted": 0.575,
        "gain": 0.075,
        "ci": [0.031, 0.12],
        "verdict": "go",
    }
    path = saved(
        tmp_path / "p.vprompt",
        task="pets",
        question="Which?",
        labels=["cat", "dog"],
        evidence=[entry],
        harms=["Reads blue text worse."],
        licence="CC-BY-4.0",
        source_models=["zoo/glint"],
        queries={"search": 90, "validation": 6},
    )
    text = card(path)
    assert "| openai/gpt-6-luna | luna-2026-09 | 2026-11-30 |  | 400 | 50.0 | 51.0 | 57.5 |" in text
    assert "| +7.5 | +3.1 to +12.0 | go |" in text
    for said in ("Reads blue text worse.", "CC-BY-4.0", "zoo/glint", "96 image queries"):
        assert said in text
    assert f"bundle: `{digest_of(path)}`" in text
    assert f"prompt: `{Prompt.load(path).digest}`" in text
    assert "1. Decode the image" in text
    assert "5. Send the pixels losslessly" in text


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    text = card(saved(tmp_path / "p.vprompt"))
    assert "whether it helps is not known" in text
    assert "licence: not said" in text
    assert "which does not mean that there are none" in text


def test_an_old_bundle_has_a_card_and_says_that_it_holds_data() -> None:
    text = card(DATA / "schema-1-words.vprompt")
    assert "**It holds 2 images of its task**" in text
    assert "saw no gain" in card(DATA / "schema-1-default.vprompt")


def test_the_texts_of_a_stranger_stay_texts(tmp_path: Path) -> None:
    text = card(
        saved(tmp_path / "p.vprompt", task="<b>x</b>\n# Signed by me", harms=["[a](b) | `c`"])
    )
    assert r"\<b\>x\</b\> \# Signed by me" in text
    assert r"\[a\](b) \| \`c\`" in text


@pytest.mark.parametrize("command", ["show", "card", "schema"])
def test_the_commands(command: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "p.vprompt", task="pets")
    words = ["bundle", command, *([] if command == "schema" else [str(path)])]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0
    assert {"show": digest_of(path), "card": "# Visual prompt", "schema": "contains_data"}[
        command
    ] in done.stdout


def test_show_is_for_people(tmp_path: Path) -> None:
    arms = [{"arm": "unprompted", "accuracy": 1 / 3}, {"arm": "tone", "accuracy": None}]
    path = saved(
        tmp_path / "p.vprompt",
        labels=["cat", "dog"],
        validation=arms,
        settings={"warm": False, "proposer": None},
    )
    lines = CliRunner().invoke(cli, ["bundle", "show", str(path)]).stdout.splitlines()
    assert "labels: cat, dog" in lines
    assert "validation: arm unprompted, accuracy 0.3333; arm tone, accuracy none" in lines
    assert "settings: warm no, proposer none" in lines


def test_the_card_says_in_words_how_to_place_the_image(tmp_path: Path) -> None:
    place = Placement(inside=0.75, search=("zoom",), reduce=True)
    space = PromptSpace([place], canvas=64)
    space.prompt(np.zeros(space.dim)).save(tmp_path / "p.vprompt")
    line = next(line for line in card(tmp_path / "p.vprompt").splitlines() if "Scale" in line)
    assert line.startswith(
        "3. Scale the image into the middle 0.75 of the canvas, its shape kept ("
    )
    assert line.endswith("). Where it is larger, average whole squares of pixels first.")


def test_show_as_json(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.vprompt", task="pets")
    found = json.loads(CliRunner().invoke(cli, ["bundle", "show", str(path), "--json"]).stdout)
    assert found["bundle"] == digest_of(path)
    assert found["task"] == "pets"


def test_every_field_is_in_the_specification() -> None:
    schema = json.loads(CliRunner().invoke(cli, ["bundle", "schema"]).stdout)
    text = DOCS.read_text("utf-8")
    named = [*schema["properties"], *schema["$defs"]["EvidenceEntry"]["properties"]]
    assert [name for name in named if f"`{name}`" not in text] == []
