"""examples/paper runs, on a model and images of one's own and on the miniatures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bbtvp.zoo.families import FAMILIES

FOLDER = Path(__file__).parents[3] / "examples" / "paper"
ROW = re.compile(
    r"(\S+) \| (.+) \| (\S+), (source|target) \| [\d.]+% \| [\d.]+% "
    r"\| ([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\] \| (\d+)"
)


def run(*arguments: str) -> str:
    command = [sys.executable, str(FOLDER / "paper.py"), *arguments]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(printed: str) -> list[tuple[str, ...]]:
    """(task, prompt, model, role, gain, low, high, queries) of each line of the table."""
    _, *lines = printed.splitlines()
    found = [match.groups() for line in lines if (match := ROW.fullmatch(line))]
    assert len(found) == len(lines), printed
    return found


def test_it_is_short_and_its_command_uses_options_that_exist() -> None:
    source = (FOLDER / "paper.py").read_text("utf-8")
    assert source.count("\n") < 120
    shown = run("--help")
    command = source.split('"""')[1]
    assert {*re.findall(r"--[a-z]+", command)} <= {
        *re.findall(r"--[a-z]+", shown.partition("options:")[2])
    }
    assert "[paper.py](paper.py)" in (FOLDER / "README.md").read_text("utf-8")


def test_vp_against_tvp_on_a_model_and_a_folder_of_ones_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, processor = FAMILIES["llava"].build()
    for saved in (model, processor):
        saved.save_pretrained(tmp_path / "model")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)).save(
                tmp_path / f"pets/{name}/{i}.png"
            )
    arguments = [
        "--source",
        f"hf/{tmp_path / 'model'}",
        "--targets",
        "zoo/llava",
        "--tasks",
        str(tmp_path / "pets"),
        "--queries",
        "400",
        "--limit",
        "8",
        "--out",
        str(tmp_path / "out"),
    ]
    printed = run(*arguments)
    found = rows(printed)
    assert [(row[1], row[3]) for row in found] == [
        (name, role)
        for name in ("empty frame", "VP", "TVP", "bbtvp's default")
        for role in ("source", "target")
    ]
    assert all(float(low) <= float(gain) <= float(high) for *_, gain, low, high, _ in found)
    assert {row[7] for row in found[:2]} == {"0"} and all(
        0 < int(row[7]) <= 400 for row in found[2:]
    )
    assert run(*arguments) == printed  # from what is finished


@pytest.mark.slow
def test_the_papers_own_way_on_the_miniatures(tmp_path: Path) -> None:
    found = rows(
        run(
            "--tasks",
            "zoo/shapes-blur",
            "--queries",
            "400",
            "--limit",
            "100",
            "--out",
            str(tmp_path),
        )
    )
    names = ["empty frame", "VP", "TVP", "VP, gradients", "TVP, gradients", "bbtvp's default"]
    assert [row[1] for row in found] == [name for name in names for _ in range(3)]
    assert {row[2] for row in found} == {"zoo/minigpt4", "zoo/blip2", "zoo/instructblip"}
    by_gradient = {row[1]: float(row[4]) for row in found if row[3] == "source"}
    assert by_gradient["TVP, gradients"] > 5
