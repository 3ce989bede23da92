"""The trainer: what it learns from is right, and a run that was killed ends as if it had not
been.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bbtvp.zoo import scenes
from bbtvp.zoo.member import Member
from bbtvp.zoo.training import train
from bbtvp.zoo.training.pool import MIX, Pool, augment, make_pool
from bbtvp.zoo.training.recipes import RECIPES, TrainingRecipe, recipe_of
from bbtvp.zoo.training.train import Perception, instruction_step, perception_step, run_stage

STEPS = 6
BATCH = 8


@pytest.fixture(scope="module")
def pool() -> Pool:
    return make_pool(60, seed=3)


def quick(family: str) -> TrainingRecipe:
    return TrainingRecipe(family, perception=2, instruction=2, batch=4)


class Killed(Exception):
    """The process ends here."""


def stage(
    family: str,
    name: str,
    pool: Pool,
    folder: Path,
    *,
    die_at: int | None = None,
    steps: int = STEPS,
) -> dict[str, Tensor]:
    """Run one stage of a member's training in `folder`, from its last checkpoint; the weights that
    come out.
    """
    member = Member.untrained(family, torch.device("cpu"))
    torch.manual_seed(5)
    heads = Perception()
    perceives = name == "perception"
    module = nn.ModuleDict({"model": member.model, "heads": heads}) if perceives else member.model
    whole = perception_step(member, pool, heads) if perceives else instruction_step(member, pool)
    taken = 0

    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        nonlocal taken
        taken += 1
        if taken == die_at:
            raise Killed
        return whole(rows, rng)

    run_stage(name, module, step, pool, folder, steps=steps, batch=BATCH, seed=0)
    return {key: value.detach().clone() for key, value in member.model.state_dict().items()}


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llava", "perception"),
        ("llava", "instruction"),
        pytest.param("paligemma", "instruction", marks=pytest.mark.slow),
        pytest.param("blip2", "instruction", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_continues_to_the_same_weights(
    family: str, name: str, pool: Pool, tmp_path: Path
) -> None:
    """The last step leaves a checkpoint, and during warm-up no rate depends on the number of steps:
    a run of two steps therefore leaves what a longer one would have left there.
    """
    whole = stage(family, name, pool, tmp_path / "whole")
    stage(family, name, pool, tmp_path / "killed", steps=2)
    with pytest.raises(Killed):
        stage(family, name, pool, tmp_path / "killed", die_at=3)
    assert json.loads((tmp_path / "killed" / f"{name}.json").read_text())["step"] == 2
    again = stage(family, name, pool, tmp_path / "killed")
    assert all(torch.equal(tensor, again[key]) for key, tensor in whole.items())


def test_a_finished_stage_is_not_run_again(pool: Pool, tmp_path: Path) -> None:
    first = stage("llava", "perception", pool, tmp_path, steps=2)
    again = stage("llava", "perception", pool, tmp_path, steps=2, die_at=1)
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())


def test_training_changes_the_model_and_lowers_the_loss(pool: Pool, tmp_path: Path) -> None:
    member = Member.untrained("llava", torch.device("cpu"))
    step = instruction_step(member, pool)
    rows = torch.arange(40)

    def loss() -> float:
        with torch.no_grad():
            return float(step(rows, torch.Generator().manual_seed(0)))

    before = loss()
    run_stage("instruction", member.model, step, pool, tmp_path, steps=30, batch=8, seed=0)
    assert loss() < before - 0.5


# -- what it learns from ---------------------------------------------------------------------------
def test_a_pool_is_reproducible_and_holds_every_kind(pool: Pool) -> None:
    again = make_pool(60, seed=3)
    assert torch.equal(pool.pixels, again.pixels) and torch.equal(pool.answers, again.answers)
    assert not torch.equal(pool.pixels, make_pool(60, seed=4).pixels)
    assert math.isclose(sum(MIX.values()), 1) and {*MIX} == {*scenes.KINDS}


def test_a_pools_targets_agree_with_its_questions(pool: Pool) -> None:
    for i in range(len(pool.pixels)):
        text = pool.texts[pool.questions[i, 0]]
        word = pool.words[pool.answers[i, 0]]
        if text == "what digit is this?":
            assert scenes.DIGITS[int(pool.digit[i]) - 1] == word
        elif text == "how many objects are there?":
            assert scenes.COUNTS[int((pool.things[i, :, 2] > 0).sum()) - 1] == word
        elif text.startswith("is there a "):
            color, shape = text.split()[3:5]
            assert pool.present[i, scenes.CATEGORIES.index((color, shape))] == (word == "yes")


def test_augmentation_keeps_pixels_in_range_and_tells_where_things_went(pool: Pool) -> None:
    """A bright dot must be found where the map says; letterboxed images keep it inside."""
    white = torch.zeros(64, 3, 64, 64, dtype=torch.uint8)
    white[:, :, 40:48, 12:20] = 255
    x, theta = augment(white, 56, torch.Generator().manual_seed(0))
    assert x.shape == (64, 3, 56, 56) and float(x.min()) >= 0 and float(x.max()) <= 1
    boxed = theta[:, 0, 0] > 1
    assert 0.15 < boxed.float().mean() < 0.65
    target = torch.tensor([16 / 32 - 1, 44 / 32 - 1])
    where = ((target - theta[:, :, 2]) / theta[:, [0, 1], [0, 1]] + 1) / 2 * 56
    for i in torch.nonzero(~boxed).flatten().tolist():
        column, row = where[i].long().tolist()
        assert x[i, :, row, column].mean() > x[i].mean() + 0.2


def test_patch_labels_name_what_lies_at_a_patch() -> None:
    category = scenes.CATEGORIES.index(("blue", "square"))
    things = torch.zeros(1, 6, 4)
    things[0, 0] = torch.tensor([-0.5, 0.5, 0.3, category])
    shape, color = train.patch_labels(things, torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]), 49)
    found = torch.nonzero(shape[0].reshape(7, 7))
    assert 1 <= len(found) <= 6 and (found[:, 0] >= 4).all() and (found[:, 1] <= 2).all()
    assert {int(v) for v in shape[shape > 0]} == {1 + scenes.SHAPES.index("square")}
    assert {int(v) for v in color[color > 0]} == {1 + list(scenes.COLORS).index("blue")}


def test_the_rate_warms_up_and_falls_to_a_twentieth() -> None:
    rates = np.array([train.rate(step, 500, 1.0) for step in range(500)])
    assert rates[0] < 0.02 and rates.argmax() in (59, 60) and rates.max() == 1
    assert (np.diff(rates[60:]) < 0).all() and 0.05 <= rates[-1] < 0.051


def test_every_parameter_has_one_optimiser_and_an_inherited_tower_a_tenth_of_the_rate() -> None:
    member = Member.untrained("instructblip", torch.device("cpu"))
    engines = train.optimisers(member.model, slow=member.tower.parameters())
    held = {
        id(p): group["lr"]
        for engine in engines
        for group in engine.param_groups
        for p in group["params"]
    }
    assert sum(len(group["params"]) for engine in engines for group in engine.param_groups) == len(
        held
    )
    assert {*held} == {id(p) for p in member.model.parameters()}
    tower = {held[id(p)] for p in member.tower.parameters()}
    assert tower == {rate / 10 for rate in {*held.values()} - tower}


def test_help_names_the_members() -> None:
    command = [sys.executable, "-m", "bbtvp.zoo.training.train", "--help"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "instructblip" in found.stdout and "--device" in found.stdout


def test_a_child_without_its_parent_says_what_to_train_first(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"python -m bbtvp\.zoo\.training\.train llava first"):
        train.train("minigpt4", quick("minigpt4"), pool, tmp_path, tmp_path)


def test_a_member_is_trained_and_written_as_a_hugging_face_folder(
    pool: Pool, tmp_path: Path
) -> None:
    from bbtvp.adapters import hf

    train.train("small", quick("llava"), pool, tmp_path / "work", tmp_path / "out")
    files = {file.name: file for file in (tmp_path / "out/small").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {*files}
    assert files["model.safetensors"].stat().st_size < 2 * 1_300_000 + 100_000, "float16"
    assert hf.load(str(tmp_path / "out/small")).capabilities.image_side == 56


def test_a_recipe_gives_the_same_weights_again(pool: Pool, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        train.train("llava-seed1", quick("llava"), pool, tmp_path / folder, tmp_path / folder)
    one, two = (
        (tmp_path / folder / "llava-seed1/model.safetensors").read_bytes()
        for folder in ("one", "two")
    )
    assert one == two


def test_a_member_without_a_recipe_is_trained_by_the_defaults() -> None:
    assert recipe_of("llava") == TrainingRecipe("llava")
    assert recipe_of("llava-seed1").family == "llava" and recipe_of("llava-seed1").seed == 1
    seeds = [recipe.seed for recipe in RECIPES.values()]
    assert len({*seeds, recipe_of("llava").seed}) == len(seeds) + 1, "scenes of their own"
