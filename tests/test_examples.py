"""The examples: what a user copies must run, offline, as it stands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bbtvp
from bbtvp.zoo import catalogue
from bbtvp.zoo.families import FAMILIES

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
MAX_LINES = 60
STANDARD = {"__future__", "argparse", "collections", "pathlib", "tempfile", "typing"}
OPTIONS = ("--model", "--task", "--queries", "--seed", "--out", "--device", "--dtype")
REAL = {
    "llava": "hf/llava-hf/llava-1.5-7b-hf",
    "paligemma": "hf/google/paligemma-3b-mix-224",
    "blip2": "hf/Salesforce/blip2-flan-t5-xl",
    "minigpt4": "hf/Salesforce/blip2-opt-2.7b",
    "instructblip": "hf/Salesforce/instructblip-vicuna-7b",
    "idefics3": "hf/HuggingFaceM4/Idefics3-8B-Llama3",
    "private_images": "hf/llava-hf/llava-1.5-7b-hf",
}
"""The real model that each script says how to use."""

examples = pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])


def run(script: Path, *arguments: str) -> str:
    """What the script prints; it must succeed, and say nothing about an error."""
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_every_family_has_an_example_and_the_table_names_them_all() -> None:
    assert {script.stem for script in SCRIPTS} == {*FAMILIES, "private_images"} == {*REAL}
    table = (FOLDER / "README.md").read_text("utf-8")
    for script in SCRIPTS:
        assert f"[{script.name}]({script.name})" in table
        assert REAL[script.stem] in table


@examples
def test_an_example_is_short_and_says_which_model_it_stands_for(script: Path) -> None:
    source = script.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert source.count("\n") < MAX_LINES
    assert REAL[script.stem] in docstring
    assert f"python examples/{script.name} " in docstring and "--device cuda --dtype bfloat16" in docstring
    catalogued = catalogue.STANDS_FOR.get(script.stem, "")
    assert "/" not in catalogued or f"hf/{catalogued}" == REAL[script.stem]


@examples
def test_an_example_uses_the_public_names_alone(script: Path) -> None:
    tree = ast.parse(script.read_text("utf-8"))
    packages = {*imports(tree)}
    ours = {name for name in packages if name.startswith("bbtvp")}
    assert ours <= {"bbtvp", "bbtvp.prompt"}
    assert {name.split(".")[0] for name in packages - ours} <= STANDARD | {"PIL"}
    used = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "bbtvp"
    }
    assert {"load_model", "optimize", "verify"} <= used <= {*bbtvp.__all__}


@examples
def test_the_command_in_the_docstring_uses_options_that_exist(script: Path) -> None:
    tree = ast.parse(script.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "add_argument" in ast.unparse(node.func)]
    known = {ast.literal_eval(call.args[0]) for call in calls}
    assert known >= {*OPTIONS}
    assert {*re.findall(r"--[a-z]+", ast.get_docstring(tree) or "")} <= known


@examples
def test_help_works_and_shows_the_command_for_the_real_model(script: Path) -> None:
    shown = run(script, "--help")
    assert REAL[script.stem] in shown and all(option in shown for option in OPTIONS)


# -- runs -------------------------------------------------------------------------------------------------------------
def untrained(family: str, folder: Path) -> str:
    """The spec of an untrained member: it answers, if not well."""
    torch.manual_seed(0)
    model, processor = FAMILIES[family].build()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"hf/{folder}"


def check(printed: str, out: Path) -> None:
    """A gain was printed, and the bundle that was saved can be loaded and applied."""
    assert re.search(r"gain [+-]\d+\.\d%", printed), printed
    assert f"saved {out}" in printed
    prompted = bbtvp.Prompt.load(out).apply(Image.new("RGB", (80, 40), "red"))
    assert prompted.size[0] == prompted.size[1] >= 56


def test_a_folder_of_ones_own_goes_start_to_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)).save(tmp_path / f"pets/{name}/{i}.png")
    out, prompted = tmp_path / "pets.vprompt", tmp_path / "prompted"
    printed = run(
        FOLDER / "private_images.py", "--folder", str(tmp_path / "pets"), "--question", "which animal is this?",
        "--model", untrained("llava", tmp_path / "model"), "--queries", "150", "--out", str(out),
        "--prompted", str(prompted),
    )  # fmt: skip
    check(printed, out)
    images = sorted(prompted.iterdir())
    assert f"{len(images)} images held out" in printed and len(images) == 12
    with Image.open(images[0]) as image:
        assert image.size == (70, 70)


@pytest.mark.slow
@examples
def test_an_example_runs_on_the_miniature(script: Path, tmp_path: Path) -> None:
    needed = {"private_images": {"llava"}, "llava": {"llava", "paligemma"}, "paligemma": {"paligemma", "clip"}}
    wanted = needed.get(script.stem, {script.stem})
    missing = {name for name in wanted if not (catalogue.weights() / name / "config.json").is_file()}
    if missing:
        pytest.skip(f"not trained: {', '.join(sorted(missing))}; python -m bbtvp.zoo.train all")
    out = tmp_path / "found.vprompt"
    check(run(script, "--queries", "150", "--out", str(out)), out)
