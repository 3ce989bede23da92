"""Additive patterns: the overlay, the same for every image, and the coordinator, which looks at the
image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt import Coordinator, Frame, Layer, Overlay, Placement, PromptSpace, Tone
from bbtvp.prompt.basis import Pattern
from bbtvp.prompt.coordinator import described
from tests.prompt.scenes import blank, noise

LAYERS: dict[str, Layer] = {
    "dct": Overlay(),
    "blocks": Overlay("blocks", size=4),
    "pixels": Overlay("pixels"),
    "coordinator": Coordinator(width=4),
}


def space_of(name: str, side: int = 32) -> PromptSpace:
    return PromptSpace((LAYERS[name],), side)


def levels(space: PromptSpace, z: np.ndarray[Any, Any], pixels: Pixels) -> np.ndarray[Any, Any]:
    return space.render(z, pixels).astype(int) - pixels


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("side", [8, 33, 224])
def test_z_of_zero_changes_no_bit(name: str, side: int) -> None:
    space = space_of(name, side)
    for pixels in (noise(side, side), blank(side, 0), blank(side, 255)):
        assert np.array_equal(space.render(space.neutral(), pixels), pixels)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(sorted(LAYERS)),
    seed=st.integers(0, 999),
    scale=st.sampled_from([1e-300, 0.1, 1.0, 30.0, 1e6, 1.7e308]),
    level=st.sampled_from([0, 17, 128, 255, None]),
)
def test_no_pixel_changes_by_more_than_the_amplitude_nor_leaves_the_gamut(
    name: str, seed: int, scale: float, level: int | None
) -> None:
    space = space_of(name)
    pixels = noise(32, 32, seed) if level is None else blank(32, level)
    z = np.clip(np.random.default_rng(seed).standard_normal(space.dim), -1, 1) * scale
    change = levels(space, z, pixels)
    assert np.abs(change).max() <= 32
    if level == 0:
        assert change.min() >= 0
    if level == 255:
        assert change.max() <= 0
    assert np.array_equal(space.renderer(z)(space.prepare(pixels)) - pixels.astype(int), change)


@pytest.mark.parametrize("name", LAYERS)
def test_random_z_is_visible(name: str) -> None:
    space = space_of(name, 64)
    spreads = [
        levels(space, np.random.default_rng(seed).standard_normal(space.dim), blank(64, 128)).std()
        for seed in range(5)
    ]
    assert 8 < np.mean(spreads) < 26


@settings(max_examples=100, deadline=None)
@given(canvas=st.integers(0, 255), change=st.integers(-255, 255))
def test_adding_in_eight_bits_is_adding_and_clipping(canvas: int, change: int) -> None:
    pixels = blank(2, canvas)
    Pattern(np.full((2, 2, 3), change, np.int16)).add_to(pixels)
    assert (pixels == min(max(canvas + change, 0), 255)).all()


# the overlay


@pytest.mark.parametrize(("name", "dim"), [("dct", 72), ("blocks", 48), ("pixels", 3 * 32 * 32)])
def test_the_number_of_variables_of_an_overlay(name: str, dim: int) -> None:
    space = space_of(name)
    assert space.dim == len(set(space.names)) == dim


def test_an_overlay_over_every_pixel_has_the_size_of_vp() -> None:
    assert PromptSpace((Overlay("pixels"),), 224).dim == 150_528


@pytest.mark.parametrize("name", ["dct", "blocks", "pixels"])
def test_every_overlay_variable_moves_what_its_name_says(name: str) -> None:
    space = space_of(name, 8)
    for place, unit in enumerate(np.eye(space.dim)[:60]):
        change = levels(space, 3 * unit, blank(8, 128))
        channel = ("red", "green", "blue").index(space.names[place].split(".")[1].split("_")[0])
        assert change[..., channel].any()
        assert not np.delete(change, channel, axis=2).any()
    if name == "blocks":
        change = levels(
            space, np.eye(space.dim)[space.names.index("overlay.blue_2_3")], blank(8, 128)
        )
        assert sorted(map(tuple, np.argwhere(change).tolist())) == [
            (y, x, 2) for y in (4, 5) for x in (6, 7)
        ]


def test_an_overlay_is_the_same_over_every_image_and_comes_after_tone() -> None:
    space = PromptSpace((Tone(("brightness",)), Overlay(amplitude=0.1)), 32)
    z = np.random.default_rng(0).standard_normal(space.dim)
    z[space.slices["tone"]] = 1.0
    bare = z.copy()
    bare[space.slices["overlay"]] = 0.0
    first, second = (
        space.render(z, pixels).astype(int) - space.render(bare, pixels)
        for pixels in ((noise(32, 32, 1) // 2 + 40).astype(np.uint8), blank(32, 90))
    )
    assert np.array_equal(first, second)


def test_the_frame_layer_is_kept_apart_from_what_is_drawn_over_it() -> None:
    space = PromptSpace((Placement(0.5), Frame("color"), Overlay()), 32)
    z = np.random.default_rng(0).standard_normal(space.dim)
    alone = PromptSpace((Placement(0.5), Frame("color")), 32).prompt(z[:3]).frame
    assert alone is not None
    assert np.array_equal(space.prompt(z).frame, alone)


def test_bad_patterns() -> None:
    with pytest.raises(UsageError, match="overlay basis 'dtc'; did you mean dct"):
        Overlay("dtc")  # type: ignore[arg-type]
    for values in (
        {"size": 0},
        {"size": 5000},
        {"amplitude": 0.0},
        {"amplitude": 1.1},
        {"amplitude": float("nan")},
    ):
        with pytest.raises(UsageError, match=next(iter(values))):
            Overlay(**values)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="holds no frequency"):
        PromptSpace((Overlay(size=200),), 8)
    with pytest.raises(UsageError, match="no 9 tiles"):
        PromptSpace((Overlay("blocks", size=9),), 8)
    for bad in (
        {"width": 0},
        {"width": 65},
        {"p_eps": 0.0},
        {"p_eps": 0.5},
        {"p_eps": float("nan")},
    ):
        with pytest.raises(UsageError, match=next(iter(bad))):
            Coordinator(**bad)  # type: ignore[arg-type]


# the coordinator


@pytest.mark.parametrize(("width", "dim"), [(16, 2_667), (40, 9_915)])
def test_the_number_of_weights(width: int, dim: int) -> None:
    space = PromptSpace((Coordinator(width),), 64)
    assert space.dim == len(set(space.names)) == dim


def test_a_pattern_depends_on_the_image() -> None:
    space = space_of("coordinator", 64)
    z = np.random.default_rng(0).standard_normal(space.dim)
    patterns = [levels(space, z, blank(64, level)) for level in (60, 61, 190)]
    apart = [np.abs(patterns[0] - other).mean() for other in patterns[1:]]
    assert apart[0] < 1 < apart[1]


def test_at_zero_the_last_stage_has_a_slope_and_the_others_wait_for_it() -> None:
    space = space_of("coordinator", 64)
    pixels = (noise(64, 64) // 2 + 64).astype(np.uint8)
    parts: dict[str, list[int]] = {}
    for place, name in enumerate(space.names):
        parts.setdefault(name.split(".")[1].rsplit("_", 1)[0], []).append(place)
    moved = {}
    for part, places in parts.items():
        z = space.neutral()
        z[places] = 1.0
        moved[part] = np.abs(levels(space, z, pixels)).max()
    assert set(moved) == {"trigger", "weight0", "bias0", "weight1", "bias1", "weight2", "bias2"}
    assert [part for part, change in moved.items() if change] == ["weight2", "bias2"]
    z = np.zeros(space.dim)
    z[parts["weight2"]] = 1.0
    before = levels(space, z, pixels)
    z[parts["trigger"]] = 1.0
    assert np.abs(levels(space, z, pixels) - before).max() > 2


def test_the_start_is_seeded() -> None:
    one, other = (PromptSpace((Coordinator(4),), 32) for _ in range(2))
    z = np.ones(one.dim)
    assert np.array_equal(one.render(z, noise(32, 32)), other.render(z, noise(32, 32)))


def test_the_descriptor_by_hand() -> None:
    flat = described(blank(56, 64))
    assert flat.shape == (8, 7, 7)
    assert np.allclose(flat[:3], (64 / 255 - 0.5) / 0.25)
    assert np.abs(flat[3:]).max() < 1e-9
    stripes = blank(28, 0)
    stripes[:, ::2] = 255
    textured = described(stripes)
    assert np.allclose(textured[:3, :, :], 0)
    assert np.allclose(textured[3:6], 5.0)
    assert np.allclose(textured[6, :, :-1], 10.0)
    assert np.abs(textured[7]).max() < 1e-9
