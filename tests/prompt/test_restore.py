"""What each restoration does to a picture, and what it leaves alone."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt import Placement, Prompt, PromptSpace, Restore, Tone
from bbtvp.prompt.restore import _OPERATIONS

HERE = tuple(
    name
    for name, operation in _OPERATIONS.items()
    if not operation.needs_opencv or find_spec("cv2") is not None
)
"""Those whose library is installed."""

ALL = Restore(HERE)


def scene(seed: int = 0) -> Pixels:
    """A coloured picture with a gradient, edges and a little noise, (64, 64, 3)."""
    rng = np.random.default_rng(seed)
    picture = np.empty((64, 64, 3))
    picture[...] = np.linspace(60, 180, 64)[:, None, None]
    picture[16:40, 20:44] = (200, 90, 60)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def restored(pixels: Pixels, *operations: str, canvas: int = 64) -> Pixels:
    space = PromptSpace((ALL,), canvas)
    return space.render(ALL.start(*operations), pixels)


def distance(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_nothing_chosen_changes_no_bit() -> None:
    space = PromptSpace((ALL,), 64)
    assert np.array_equal(space.render(space.neutral(), scene()), scene())


@pytest.mark.parametrize("name", HERE)
def test_each_operation_changes_the_picture_and_never_what_lies_around_it(name: str) -> None:
    layer = Restore((name,))
    space = PromptSpace((Placement(0.5), layer), 128)
    rendered = space.render(layer.start(name), scene())
    placed = space.render(space.neutral(), scene())
    inside = space.geometry.box.of(rendered)
    assert not np.array_equal(inside, space.geometry.box.of(placed))
    inside[...] = space.geometry.box.of(placed)
    assert np.array_equal(rendered, placed)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_of_one_colour_stays_nearly_as_it_is(
    name: str, shape: tuple[int, int], level: int
) -> None:
    flat = np.full((*shape, 3), level, np.uint8)
    plain = PromptSpace((ALL,), 64).render(np.zeros(len(ALL.start())), flat)
    changed = np.abs(restored(flat, name).astype(int) - plain).max()
    # The histogram of a tile of a few pixels is no histogram: there CLAHE may move the level.
    assert changed <= (64 if name == "clahe" else 1)


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
@pytest.mark.parametrize("gain", [0.3, 0.6])
def test_the_strength_follows_the_picture(name: str, gain: float) -> None:
    """A dark and a pale copy come back to nearly the same picture: no fixed curve does that."""
    dark = (scene() * gain).astype(np.uint8)
    pale = (scene() * gain + 255 * (1 - gain)).astype(np.uint8)
    before = distance(dark, pale)
    assert distance(restored(dark, name), restored(pale, name)) < before / 4


def test_white_balance_undoes_a_cast() -> None:
    neutral = scene()
    neutral[...] = neutral.mean(axis=2, keepdims=True)
    cast = (neutral * (1.0, 0.7, 0.5)).astype(np.uint8)
    means = restored(cast, "white-balance").mean(axis=(0, 1))
    assert np.ptp(means) < 1 < np.ptp(cast.mean(axis=(0, 1)))


def test_flattening_undoes_uneven_light() -> None:
    even = np.full((64, 64, 3), 160, np.uint8)
    lit = (even * np.linspace(0.3, 1.0, 64)[None, :, None]).astype(np.uint8)
    assert restored(lit, "flatten").std() < lit.std() / 2


@pytest.mark.parametrize("name", sorted({"median", "wide-median", "smooth"} & set(HERE)))
def test_noise_falls_and_edges_stay(name: str) -> None:
    step = np.full((64, 64, 3), 60, np.uint8)
    step[:, 32:] = 200
    noisy = np.clip(step + np.random.default_rng(1).normal(0, 8, step.shape), 0, 255).astype(
        np.uint8
    )
    cleaned = restored(noisy, name).astype(float)
    assert cleaned[:, :28].std() < noisy[:, :28].std() * 0.6
    assert cleaned[:, 34].mean() - cleaned[:, 29].mean() > 100


def test_noise_is_treated_before_light() -> None:
    once = restored(scene(), "median")
    assert np.array_equal(restored(scene(), "median", "equalize"), restored(once, "equalize"))


def test_restoration_comes_before_tone() -> None:
    space = PromptSpace((Tone(), Restore()), 64)
    assert [layer.kind for layer in space.layers] == ["placement", "restore", "tone"]


def test_each_operation_and_each_pair_is_a_start() -> None:
    space = PromptSpace((ALL,), 64)
    chosen = [space.params(z)["restore"] for z in space.starts()[1:]]
    names = [[v for v in each.values() if v != "none"] for each in chosen]
    pairs, alone = names[: -len(HERE)], names[-len(HERE) :]
    assert alone == [[name] for name in HERE]
    assert ["median", "autocontrast"] in pairs and all(len(pair) == 2 for pair in pairs)
    assert sum(count for _, count in space.choices) == space.dim


@pytest.mark.parametrize("operations", [("medians",), ("median", "median"), ()])
def test_operations_that_are_none(operations: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"did you mean median|twice|leave the layer out"):
        Restore(operations)


def test_what_opencv_is_needed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a prompt that uses it needs it, and a search says so before it asks anything."""
    monkeypatch.setitem(sys.modules, "cv2", None)
    layer = Restore(("equalize", "clahe"))
    space = PromptSpace((layer,), 64)
    Prompt(space, layer.start("equalize")).render(scene())
    refused: list[Any] = [lambda: space.renderer(layer.start("clahe")), space.starts]
    for attempt in refused:
        with pytest.raises(UsageError, match=r"needs OpenCV .*bbtvp\[restore\]"):
            attempt()
