"""`bbtvp verify`: the verdict on top and as the exit code, the plan before anything is asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bbtvp.prompt import preset
from bbtvp.verify.inputs import open_prompt
from tests.support import LABELS, SIDE, bbtvp, folder_of_patterns, install_plugin


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eye/…` as an installed plug-in."""
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return folder_of_patterns(tmp_path / "images", per_class=60)


def prompt(contrast: float, **facts: object) -> Path:
    path = Path(f"contrast{contrast}.vprompt")
    preset("tone", SIDE).prompt(np.array([contrast, 0.0, 0.0])).save(
        path, {"source_model": "eye/near", **facts}
    )
    return path


def command(images: Path, contrast: float, *more: object) -> tuple[object, ...]:
    return ("verify", prompt(contrast), "--task", images, "--model", "eye/near", *more)


def test_go_is_0_and_stands_on_top(images: Path) -> None:
    ran = bbtvp(*command(images, 3.0, "--model", "eye/far"))
    lines = ran.out.strip().splitlines()
    assert ran.code == 0
    assert lines[0].startswith("verdict: go: eye/near gains +") and "on 72 images" in lines[0]
    assert lines[-1].endswith("--details")
    assert "72 test images show that a gain of " in ran.err


def test_no_go_is_4_and_undecided_5(images: Path) -> None:
    """A prompt that flattens what is seen; one that does nothing."""
    flat = bbtvp(*command(images, -3.0, "--min-gain", 50))
    assert (flat.code, flat.out.strip().split(": ")[1]) == (4, "no-go")
    nothing = bbtvp(*command(images, 0.0, "--json"))
    assert nothing.code == 5
    verdict = json.loads(nothing.out)["verdict"]
    assert verdict["word"] == "undecided" and verdict["more_images"] > 100
    assert "2 points" in verdict["rule"]["text"] and verdict["rule"]["min_gain"] == 0.02
    assert verdict["reasons"][0]["text"].startswith("eye/near gains +0.0 points")


def test_details_and_the_baseline_that_can_be_turned_off(images: Path) -> None:
    with_it = bbtvp(*command(images, 3.0, "--details"))
    assert "over an output calibration" in with_it.out and "mostly taken for" in with_it.out
    assert "rule: go if" in with_it.out
    without = bbtvp(*command(images, 3.0, "--details", "--calibration", 0))
    assert "output calibration" not in without.out
    assert "at most 216 image queries over 1 model" in without.err


def test_looking_early_says_what_it_spared(images: Path) -> None:
    ran = bbtvp(*command(images, 3.0, "--sequential"))
    assert ran.code == 0
    assert "looking early saved " in ran.err and "was settled after " in ran.out


@pytest.mark.parametrize(
    ("searched", "labels"),
    [
        ({"question": "which?", "metric": "anls"}, None),
        ({"question": "which?", "labels": list(LABELS)}, tuple(LABELS)),
        ({}, tuple(sorted(LABELS))),
    ],
)
def test_a_table_has_the_labels_of_the_search_or_none_as_there(
    searched: dict[str, object], labels: tuple[str, ...] | None, images: Path
) -> None:
    files = sorted(images.rglob("*.png"))
    rows = "".join(f"{file},{file.parent.name}\n" for file in files)
    Path("table.csv").write_text("image,answer\n" + rows)
    task = open_prompt(prompt(0.0, **searched)).task("table.csv")
    assert task.labels == labels


def test_dry_run_asks_nothing_and_says_what_can_be_seen(images: Path) -> None:
    ran = bbtvp(*command(images, 3.0, "--model", "eye/down", "--dry-run", "--out", "run"))
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert (
        lines[0]
        == "eye/near: zero shot, empty frame, prompted on 72 test images; at most 280 image queries"
    )
    assert lines[2] == "together: at most 560 image queries"
    assert lines[3].startswith(
        "72 test images show that a gain of 19.9 points passes the minimum (80 % power"
    )
    assert not Path("run").exists()
    plan = json.loads(bbtvp(*command(images, 3.0, "--dry-run", "--json")).out)
    assert (plan["queries"], plan["images"], plan["detectable_gain"]) == (280, 72, 0.199)


def test_what_an_endpoint_costs_at_most_is_said(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    ran = bbtvp(*command(images, 3.0, "--model", "openai/gpt-4o", "--dry-run"))
    assert ran.code == 0
    (line,) = (line for line in ran.out.splitlines() if line.startswith("openai/gpt-4o: 3"))
    assert "352 image queries" in line and "at most $" in line


def test_impossible_minimums_are_usage(images: Path) -> None:
    assert bbtvp(*command(images, 3.0, "--min-gain", 100)).code == 2
    assert bbtvp(*command(images, 3.0, "--max-harm", -1)).code == 2


def test_help_names_the_exit_codes() -> None:
    assert "0 go, 4 no-go, 5 undecided" in " ".join(bbtvp("verify", "--help").out.split())
