"""The search for the cheapest size that is read no worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.errors import UsageError
from bbtvp.models import FunctionModel
from bbtvp.prompt import Placement, PromptSpace, Tone, preset
from bbtvp.prompt.layer import Size
from bbtvp.search import SearchConfig, optimize
from bbtvp.search.preflight import look_ahead
from bbtvp.search.saving import is_no_worse, of_size, prices, with_sizes
from bbtvp.search.setup import set_up
from bbtvp.tasks import Sample, Task
from bbtvp.verify import Rule, verify
from tests.support import Vendor, patterns

SIDE = 48


def large(count: int, seed: int) -> list[Sample]:
    """Pictures whose left or right half is bright."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        pixels = rng.integers(0, 90, (SIDE, 2 * SIDE, 3), dtype=np.uint8)
        answer = ("left", "right")[i % 2]
        half = slice(0, SIDE) if answer == "left" else slice(SIDE, None)
        pixels[:, half] += 120
        found.append(Sample(f"{seed}-{i}", answer, pixels))
    return found


def task() -> Task:
    return replace(
        patterns(),
        name="halves",
        labels=("left", "right"),
        train=tuple(large(40, 1)),
        validation=tuple(large(160, 2)),
        test=tuple(large(160, 3)),
    )


def reader(least: int) -> FunctionModel:
    """A model that sees which half is bright if the picture is at least so many pixels wide."""

    def answer(image: Image.Image, question: str) -> str:
        if image.width < least:
            return "left"
        pixels = np.asarray(image)
        return "left" if pixels[:, : image.width // 2].mean() > pixels.mean() else "right"

    return FunctionModel(answer, name="test/halves", deterministic=True)


def test_the_smallest_size_that_is_read_as_well_is_kept(tmp_path: Path) -> None:
    config = SearchConfig(goal="cost", queries=1200, prompt="tone", seed=3)
    run = optimize(task(), reader(SIDE // 2), config=config, out=tmp_path / "run")
    assert run.improved
    assert run.prompt.theta["placement"]["size"] == "1/4"
    assert run.prompt.render(task().test[0].pixels()).shape == (SIDE // 4, SIDE // 2, 3)
    assert run.arms[-1].name == "size 1/4" and run.arms[-1].kept
    assert sum(run.queries.values()) <= 1200
    proof = verify(tmp_path / "run" / "prompt.vprompt", task(), reader(SIDE // 2))
    assert proof.verdict.word == "go"
    assert proof.verdict.rule == Rule(min_gain=-0.02)
    assert any(note.code == "image-cost" for note in proof.notes)


def test_a_size_at_which_the_model_sees_less_is_not_kept() -> None:
    run = optimize(task(), reader(2 * SIDE), goal="cost", queries=1200, prompt="tone", seed=3)
    assert not any(arm.name.startswith("size") for arm in run.arms)
    assert run.prompt.is_identity


def test_accuracy_is_the_goal_by_default_and_asks_about_no_size() -> None:
    config = SearchConfig(queries=300, prompt="tone")
    assert config.goal == "accuracy"
    assert "goal" not in config.identity()


def test_no_worse_takes_enough_images() -> None:
    right = np.zeros(100)
    assert not is_no_worse(right, right)
    assert is_no_worse(np.zeros(200), np.zeros(200))
    one_lost = np.zeros(200)
    one_lost[:8] = 1
    assert not is_no_worse(np.zeros(200), one_lost)
    graded = np.random.default_rng(0).uniform(0.2, 0.4, 100)
    assert is_no_worse(graded, graded + 0.001)
    assert not is_no_worse(graded, graded + 0.03)
    assert not is_no_worse(np.full(3, np.nan), np.zeros(3))


@pytest.mark.parametrize(("images", "told"), [(132, True), (133, False)])
def test_too_few_validation_images_are_told_before_anything_is_asked(
    images: int, told: bool
) -> None:
    assert is_no_worse(np.zeros(images), np.zeros(images)) is not told
    few = replace(task(), validation=tuple(large(images, 2)))
    config = SearchConfig(goal="cost", queries=1200, prompt="tone")
    model = reader(8)
    found = look_ahead(few, [model], config, set_up(few, [model], config))
    said = f"{images} validation images cannot show that a smaller size does no worse"
    assert any(warning.startswith(said) for warning in found.warnings) is told


def test_a_size_has_the_price_of_its_tokens() -> None:
    space = with_sizes(PromptSpace((Tone(),), 1024, "picture"))
    found = prices(space, Vendor(), Size(800, 400))
    assert found["1"] == 800 * 400 and found["1/2"] == 400 * 200
    assert found["3"] == 1024 * 512


def test_sizes_take_the_place_of_an_enlargement() -> None:
    space = with_sizes(preset("default", 64, "picture", enlarges=True))
    assert space.placement.search == ("shrink", "size")


def test_sizes_join_a_space_once_and_not_where_images_are_kept() -> None:
    space = with_sizes(preset("tone", 64))
    assert with_sizes(space) is space
    z = of_size(space, space.neutral(), "1/2")
    assert space.params(z)["placement"]["size"] == "1/2"
    with pytest.raises(UsageError, match="leaves them as they are"):
        with_sizes(preset("words", 64))
    with pytest.raises(UsageError, match="needs one canvas"):
        with_sizes(preset("tvp", 64))
    with pytest.raises(UsageError, match="searches no size"):
        of_size(preset("tone", 64), np.zeros(3), "1/2")
    assert Placement(search=("size",)).size_places == slice(0, 6)
