"""Canvases of each picture's own shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt import (
    Coordinator,
    Frame,
    Guidance,
    Layer,
    Legend,
    Margin,
    Marks,
    Overlay,
    Placement,
    PreparedImages,
    Prompt,
    PromptSpace,
    Restore,
    Tone,
    preset,
)
from bbtvp.prompt.placement import SIZES

TONES = ("contrast", "brightness", "gamma", "sharpness", "clarity", "saturation")
LAYERS: dict[str, tuple[Layer, ...]] = {
    "default": (Placement(search=("zoom",)), Tone(TONES), Frame("dct")),
    "framed": (Placement(0.7, ("x", "y", "crop")), Frame("color")),
    "annotate": (Placement(search=("crop",)), Tone(("contrast",)), Marks(), Guidance()),
    "patterns": (Placement(0.8), Overlay("dct"), Coordinator()),
    "tiles": (Overlay("blocks", size=8),),
    "legend": (Legend(("cat", "dog", "a long name")), Frame("dct")),
}


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def drawn(space: PromptSpace, seed: int) -> Prompt:
    return space.prompt(np.random.default_rng(seed).standard_normal(space.dim) * 1.5)


def picture_space(name: str, canvas: int = 96) -> PromptSpace:
    return PromptSpace(LAYERS[name], canvas, "picture")


@pytest.mark.parametrize("name", LAYERS)
def test_a_square_picture_of_the_canvas_side_gives_the_bytes_of_a_square_space(name: str) -> None:
    own, square = picture_space(name), PromptSpace(LAYERS[name], 96)
    for seed in range(8):
        z = drawn(own, seed).z
        pixels = noise(96, 96, seed)
        assert np.array_equal(own.render(z, pixels), square.render(z, pixels))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", [(60, 90), (200, 50), (31, 96), (1, 5000), (5000, 1), (1, 1)])
def test_the_canvas_has_the_shape_of_the_picture(name: str, shape: tuple[int, int]) -> None:
    prompt = drawn(picture_space(name), 3)
    rendered = prompt.render(noise(*shape))
    scale = min(1, 96 / max(shape))
    assert rendered.shape == (*(max(1, round(side * scale)) for side in shape), 3)


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_nothing_searched_leaves_a_small_picture_to_the_bit(height: int, width: int) -> None:
    space = PromptSpace(LAYERS["default"], 512, "picture")
    pixels = noise(height, width)
    assert np.array_equal(space.render(space.neutral(), pixels), pixels)


@given(st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=50, deadline=None)
def test_a_large_picture_fills_its_canvas(height: int, width: int) -> None:
    space = PromptSpace((Placement(search=("zoom",)), Frame("color")), 64, "picture")
    pixels = np.full((height, width, 3), 7, np.uint8)
    assert (space.render(space.neutral(), pixels) == 7).all()


def test_placing_a_wide_picture_alone_costs_no_pixel() -> None:
    pixels = noise(24, 96)
    square = preset("default", 96)
    wide = PromptSpace(square.layers, 96, "picture")
    z = np.random.default_rng(0).standard_normal(wide.dim)
    z[0] = 0  # no zoom
    assert np.array_equal(wide.empty_frame(z).render(pixels), pixels)
    assert square.empty_frame(z).render(pixels).shape == (96, 96, 3)


def test_pictures_of_many_shapes_in_turn_do_not_disturb_each_other() -> None:
    prompt = drawn(picture_space("annotate"), 5)
    shapes = [(40 + 3 * i, 120 - 4 * i) for i in range(20)]
    first = [prompt.render(noise(*shape)) for shape in shapes]
    again = [prompt.render(noise(*shape)) for shape in reversed(shapes)][::-1]
    assert all(map(np.array_equal, first, again))


def test_an_image_prepared_for_one_shape_of_canvas_is_refused_by_the_other() -> None:
    own, square = picture_space("framed"), PromptSpace(LAYERS["framed"], 96)
    with pytest.raises(UsageError, match="prepared for another placement or canvas"):
        square.render(square.neutral(), own.prepare(noise(40, 50)))


@pytest.mark.parametrize(
    "layers", [(Frame("pixels"),), (Frame("blocks", size=4),), (Overlay("pixels"),)]
)
def test_a_basis_of_pixels_needs_one_canvas_for_all(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(UsageError, match="needs one canvas for all pictures"):
        PromptSpace((Placement(0.7), *layers), 64, "picture")
    with pytest.raises(UsageError, match="needs one canvas for all pictures"):
        PromptSpace((Placement(0.7, ("size",)), *layers), 64)


def test_a_shape_that_is_not_known() -> None:
    with pytest.raises(UsageError, match="canvas shape 'round'"):
        PromptSpace((Placement(),), 64, "round")  # type: ignore[arg-type]


# the size that is sent


@pytest.mark.parametrize(
    ("size", "expected"),
    [("1", (40, 60)), ("1/2", (20, 30)), ("1/3", (13, 20)), ("2", (64, 96)), ("3", (64, 96))],
)
def test_a_size_is_a_multiple_of_the_pictures_own(size: str, expected: tuple[int, int]) -> None:
    placement = Placement(search=("zoom", "size"))
    space = PromptSpace((placement, Tone()), 96, "picture")
    z = space.embed(placement.start(size), ("placement",), space.neutral())
    prepared = space.prepare(noise(40, 60))
    assert space.render(z, prepared).shape == (*expected, 3)
    assert space.params(z)["placement"]["size"] == size


def test_a_square_canvas_is_sent_smaller_but_never_larger() -> None:
    placement = Placement(search=("size",))
    space = PromptSpace((placement,), 60)
    sides = [space.render(placement.start(size), noise(9, 9)).shape[0] for size in SIZES]
    assert sides == [60, 30, 20, 15, 60, 60]


def test_sizes_are_a_choice_and_each_is_a_start() -> None:
    space = PromptSpace((Placement(search=("zoom", "size")),), 96, "picture")
    assert space.choices == ((1, len(SIZES)),)
    found = [space.params(z)["placement"]["size"] for z in space.starts()]
    assert found == list(SIZES)
    with pytest.raises(UsageError, match="unknown size"):
        Placement(search=("size",)).start("5")


def test_a_picture_is_enlarged_or_not_and_that_is_a_start() -> None:
    placement = Placement(search=("shrink", "enlarge"))
    space = PromptSpace((placement, Restore(("median",))), 96, "picture")
    assert space.choices[0] == (1, 2)
    shapes = [space.render(z, noise(40, 60)).shape[:2] for z in space.starts()]
    assert sorted(shapes) == [*[(40, 60)] * 3, (64, 96)]
    with pytest.raises(UsageError, match="unknown size"):
        space.placement.start("3")
    with pytest.raises(UsageError, match="both choose the size"):
        Placement(search=("size", "enlarge"))


def test_shrinking_is_the_half_of_zooming_that_cuts_nothing_off() -> None:
    zoom = PromptSpace((Placement(search=("zoom",)), Margin()), 64)
    shrink = PromptSpace((Placement(search=("shrink",)), Margin()), 64)
    picture = noise(64, 64)
    for z in (0.3, 2.0, 50.0):
        smaller = shrink.render(np.array([z]), picture)
        assert np.array_equal(smaller, zoom.render(np.array([-z]), picture))
        assert np.array_equal(shrink.render(np.array([-z]), picture), picture)


# bundles


def test_a_bundle_keeps_the_shape_and_a_square_one_does_not_say_it(tmp_path: Path) -> None:
    prompt = drawn(picture_space("default"), 1)
    prompt.save(tmp_path / "own.vprompt")
    loaded = Prompt.load(tmp_path / "own.vprompt")
    assert loaded.space == prompt.space
    assert loaded.digest == prompt.digest
    assert np.array_equal(loaded.render(noise(50, 80)), prompt.render(noise(50, 80)))
    assert "shape" not in PromptSpace(LAYERS["default"], 96).config()


# what is kept


def test_only_so_many_pixels_are_kept_prepared() -> None:
    space = PromptSpace((Placement(),), 64, "picture")
    kept = PreparedImages(space.prepare, most=64 * 64 * 2)
    opened: list[int] = []

    def opening(number: int) -> Pixels:
        opened.append(number)
        return noise(64, 64, number)

    for number in (0, 1, 1, 0, 2, 2, 1, 0):
        prepared = kept.get(str(number), lambda number=number: opening(number))
        assert np.array_equal(space.render(space.neutral(), prepared), noise(64, 64, number))
    assert opened == [0, 1, 2, 0]


@pytest.mark.parametrize("shape", [(3, 5), (64, 64), (41, 77), (300, 500)])
def test_a_tone_in_parts_is_the_tone_of_the_whole(shape: tuple[int, int]) -> None:
    pixels = noise(*shape)
    space = PromptSpace((Tone(TONES),), 512, "picture")
    z = np.random.default_rng(2).standard_normal(space.dim)
    whole = space.render(z, pixels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bbtvp.prompt.levels._BAND", 1)
        patch.setattr("bbtvp.prompt.levels._FEWEST_ROWS", 7)
        assert np.array_equal(space.render(z, pixels), whole)
