"""What each layer does to pixels, and what it leaves alone."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt import Frame, Placement, PromptSpace, Tone, preset
from bbtvp.prompt.basis import spread
from bbtvp.prompt.enlarge import enlarged
from bbtvp.prompt.layer import Size
from bbtvp.prompt.placement import Shape

ALL_TONES = ("contrast", "brightness", "gamma", "saturation", "sharpness")


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tone(variable: str, z: float, pixels: Pixels) -> Pixels:
    return PromptSpace((Tone((variable,)),), pixels.shape[0]).render(np.array([z]), pixels)


# Placement


def test_the_geometry_of_tvp() -> None:
    space = PromptSpace((Placement(164 / 224), Frame("pixels")), 224)
    assert space.geometry.box == (30, 30, 194, 194)
    assert space.dim == (224**2 - 164**2) * 3 == 69_840


def test_a_canvas_sized_image_passes_unchanged() -> None:
    pixels = noise(32, 32)
    for search in ((), ("zoom", "x", "y")):
        space = PromptSpace((Placement(search=search),), 32)
        assert np.array_equal(space.render(space.neutral(), pixels), pixels)


@pytest.mark.parametrize(
    ("height", "width", "top", "left"),
    [(20, 40, 8, 0), (40, 20, 0, 8), (1, 500, 15, 0), (500, 1, 0, 15)],
)
def test_an_image_is_fitted_centred_and_never_stretched(
    height: int, width: int, top: int, left: int
) -> None:
    space = PromptSpace((Placement(),), 32)
    white = np.full((height, width, 3), 255, np.uint8)
    rendered = space.render(space.neutral(), white)
    expected = np.full((32, 32, 3), 128, np.uint8)
    expected[top : 32 - top - (height == 1), left : 32 - left - (width == 1)] = 255
    assert np.array_equal(rendered, expected)


def covered(space: PromptSpace, *z: float) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what a white square image covers."""
    white = np.full((32, 32, 3), 255, np.uint8)
    rows, columns = np.nonzero((space.render(np.array(z), white) == 255).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_zoom_shrinks_within_its_range_and_never_grows_beyond_the_inside() -> None:
    space = PromptSpace((Placement(0.5, ("zoom",)),), 64)
    assert covered(space, 0.0) == (16, 16, 48, 48)
    left, top, right, bottom = covered(space, -1e9)
    assert left == top
    assert 0 <= (64 - right) - left <= 1
    assert right == bottom
    assert 0.58 <= (right - left) / 32 <= 0.65
    assert covered(space, 1e9) == (16, 16, 48, 48)


def test_zooming_in_shows_the_middle() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[24:40, 24:40] = 255
    space = PromptSpace((Placement(search=("zoom",)),), 64)
    before, after = ((space.render(np.array([z]), pixels) > 128).mean() for z in (0.0, 9.0))
    assert after / before == pytest.approx(np.exp(0.5) ** 2, rel=0.1)


def test_a_crop_shows_at_least_three_quarters_and_grows_one_way_only() -> None:
    pixels = noise(64, 64)
    space = PromptSpace((Placement(search=("crop",)),), 64)
    for z in (-1e9, -1.0, 0.0):
        assert np.array_equal(space.render(np.array([z]), pixels), pixels)
    assert space.params(np.array([1e9]))["placement"]["zoom"] == pytest.approx(1 / 0.75)
    assert 0.89 < 1 / float(space.params(np.array([1.0]))["placement"]["zoom"]) < 0.91
    middle = np.zeros((64, 64, 3), np.uint8)
    middle[8:56, 8:56] = 255
    assert space.render(np.array([1e9]), middle)[2:-2, 2:-2].min() == 255


def test_offsets_move_a_small_image_and_pan_a_large_one() -> None:
    small = PromptSpace((Placement(0.5, ("x", "y")),), 64)
    assert covered(small, 1e9, -1e9) == (32, 0, 64, 32)
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3)).copy()
    large = PromptSpace((Placement(search=("zoom", "x")),), 64)
    left, right = (large.render(np.array([9.0, x]), ramp) for x in (-1e9, 1e9))
    assert left[:, 0].max() == 0
    assert right[:, -1].min() == 252


def test_a_large_source_is_reduced_once_for_all_z() -> None:
    space = PromptSpace((Placement(search=("zoom",)),), 32)
    prepared = space.prepare(noise(400, 300))
    assert prepared.copies(space.geometry)[-1].image.size == (40, 53)
    assert prepared.held == sum(
        copy.size.width * copy.size.height for copy in prepared.copies(space.geometry)
    )
    z = np.array([0.7])
    assert np.array_equal(space.render(z, prepared), space.render(z, noise(400, 300)))


def test_reducing_changes_pictures_of_twice_the_size_only() -> None:
    plain, reducing = (PromptSpace((Placement(reduce=way),), 32) for way in (False, True))
    for side in (20, 32, 63):
        pixels = noise(side, side)
        assert np.array_equal(
            reducing.render(np.zeros(0), pixels), plain.render(np.zeros(0), pixels)
        )
    pixels = noise(64, 64)
    assert not np.array_equal(
        reducing.render(np.zeros(0), pixels), plain.render(np.zeros(0), pixels)
    )


def test_with_a_zoom_a_reduced_picture_is_resampled_once() -> None:
    space = PromptSpace((Placement(search=("zoom",), reduce=True),), 32)
    pixels = noise(50, 50)
    renderer = space.renderer(np.array([-1.0]))
    shown = renderer.box(pixels).of(renderer(pixels))
    once = Image.fromarray(pixels).resize(shown.shape[:2], Image.Resampling.BILINEAR)
    assert np.array_equal(shown, np.asarray(once))
    assert space.prepare(pixels).held == 50 * 50


def test_a_picture_of_a_whole_multiple_becomes_its_means() -> None:
    space = PromptSpace((Placement(reduce=True),), 32)
    pixels = noise(96, 96)
    means = pixels.reshape(32, 3, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(space.render(space.neutral(), pixels) - means).max() <= 1


def test_a_reduced_picture_keeps_its_place() -> None:
    ramp = np.repeat(np.linspace(0, 255, 333, dtype=np.uint8), 3).reshape(1, 333, 3)
    pixels = np.repeat(ramp, 201, axis=0)
    for shape in get_args(Shape):
        plain, reducing = (
            PromptSpace((Placement(reduce=way),), 100, shape).render(np.zeros(0), pixels)
            for way in (False, True)
        )
        assert np.abs(plain.astype(int) - reducing)[20:-20, 2:-2].max() <= 1


def test_early_prompts_keep_their_digest() -> None:
    assert "reduce" not in Placement().config()
    assert Placement(reduce=True).config()["reduce"] is True


@pytest.mark.parametrize("shape", ["square", "picture"])
def test_a_prepared_picture_gives_the_bytes_of_the_picture_itself(shape: Shape) -> None:
    space = preset("default", 96, shape)
    pixels = noise(200, 130)
    prepared = space.prepare(pixels)
    for seed in range(20):
        z = np.random.default_rng(seed).standard_normal(space.dim)
        assert np.array_equal(space.render(z, prepared), space.render(z, pixels))


@pytest.mark.parametrize("inside", [0.0, -1.0, 1.01, float("nan")])
def test_an_inside_that_is_no_fraction(inside: float) -> None:
    with pytest.raises(UsageError, match="inside"):
        Placement(inside)


def test_unknown_and_repeated_variables() -> None:
    with pytest.raises(UsageError, match="did you mean zoom"):
        Placement(search=("zom",))
    with pytest.raises(UsageError, match="twice"):
        Tone(("gamma", "gamma"))
    with pytest.raises(UsageError, match="leave the layer out"):
        Tone(())


# Tone


def test_no_tone_changes_no_bit() -> None:
    levels = np.arange(3 * 16 * 16, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    space = PromptSpace((Tone(ALL_TONES),), 16)
    for pixels in (levels, noise(16, 16)):
        assert np.array_equal(space.render(space.neutral(), pixels), pixels)


@pytest.mark.parametrize("variable", ["saturation", "sharpness"])
def test_the_float_path_alone_changes_no_bit(variable: str) -> None:
    """A gain that rounds away takes the long way round and must come back to the same levels."""
    pixels = noise(24, 24)
    assert np.array_equal(tone(variable, 1e-7, pixels), pixels)


@pytest.mark.parametrize("variable", ALL_TONES)
def test_one_step_of_tone_is_noticeable_but_modest(variable: str) -> None:
    pixels = (noise(64, 64) // 2 + 64).astype(np.uint8)
    change = np.abs(tone(variable, 1.0, pixels).astype(int) - pixels).mean()
    assert 4 < change < 45


def test_contrast_undoes_a_strong_low_contrast_shift() -> None:
    pixels = noise(64, 64)
    washed = np.rint(pixels * 0.2 + 150).astype(np.uint8)
    restored = tone("contrast", 3.0, washed).astype(int)
    assert restored.std() == pytest.approx(np.clip(pixels * 1.0 + 70, 0, 255).std(), rel=0.15)
    assert restored.std() > 4 * washed.std()
    assert np.abs(tone("contrast", -3.0, pixels).std() / pixels.std() - 0.2) < 0.03


def test_brightness_gamma_and_their_signs() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert tone("brightness", 1e9, grey).max() == 227
    assert tone("brightness", -1.0, grey).max() < 100
    assert tone("gamma", 1.0, grey).max() < 100 < tone("gamma", -1.0, grey).max()


def test_saturation_removes_color_but_not_luma() -> None:
    pixels = noise(32, 32)
    dull = tone("saturation", -1e9, pixels).astype(float)
    assert np.ptp(dull, axis=2).mean() < 0.1 * np.ptp(pixels, axis=2).mean()
    luma = [0.299, 0.587, 0.114]
    assert np.abs(dull @ luma - pixels @ luma).max() < 1.5
    grey = np.repeat(noise(16, 16)[..., :1], 3, axis=2)
    assert np.abs(tone("saturation", 2.0, grey).astype(int) - grey).max() <= 1


def test_sharpness_raises_or_lowers_the_steps_between_neighbours() -> None:
    pixels = (noise(32, 32) // 4 + 96).astype(np.uint8)

    def steps(image: Pixels) -> float:
        return float(np.abs(np.diff(image.astype(int), axis=1)).mean())

    assert steps(tone("sharpness", -2.0, pixels)) < 0.6 * steps(pixels)
    assert steps(tone("sharpness", 1.0, pixels)) > 1.3 * steps(pixels)
    flat = np.full((9, 9, 3), (10, 200, 90), np.uint8)
    assert np.array_equal(tone("sharpness", 3.0, flat), flat)


def test_the_blur_is_the_binomial_kernel() -> None:
    dot = np.zeros((9, 9, 3), np.uint8)
    dot[4, 4] = 255
    row = np.array([1, 4, 6, 4, 1]) / 16
    share = np.exp(-2.0)  # the sharpness at its lower bound: so much of the image is left
    expected = (1 - share) * 255 * np.outer(row, row)
    expected[2, 2] += share * 255
    assert np.abs(tone("sharpness", -1e9, dot)[2:7, 2:7, 1] - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("height", "width"), [(224, 224), (190, 141), (37, 223), (1, 97), (97, 1), (3, 2), (9, 5)]
)
@pytest.mark.parametrize("factor", [1, 2, 5, 6, 9, 14, 32])
def test_a_reduced_picture_is_enlarged_as_pillow_does_it(
    factor: int, height: int, width: int
) -> None:
    box = (0.0, 0.0, width / factor, height / factor)
    for mode in ("RGB", "L"):
        small = Image.fromarray(noise(height, width, factor)).convert(mode).reduce(factor)
        expected = small.resize((width, height), Image.Resampling.BILINEAR, box=box)
        assert np.array_equal(enlarged(small, (width, height), factor), np.asarray(expected))


# Frame


@pytest.mark.parametrize("init", [0.0, 0.5, 1.0, 0.2])
@pytest.mark.parametrize("basis", ["pixels", "blocks", "dct", "color"])
def test_the_initial_color_is_exact(basis: str, init: float) -> None:
    space = PromptSpace((Placement(0.5), Frame(basis, init=init)), 32)  # type: ignore[arg-type]
    rendered = space.render(space.neutral(), noise(16, 16))
    rendered[8:24, 8:24] = round(init * 255 + 1e-9)
    assert (rendered == int(init * 255 + 0.5)).all()


@pytest.mark.parametrize(
    ("basis", "dim"), [("pixels", (32**2 - 16**2) * 3), ("blocks", 1296), ("dct", 72), ("color", 3)]
)
def test_the_number_of_variables(basis: str, dim: int) -> None:
    space = PromptSpace((Placement(0.5), Frame(basis)), 32)  # type: ignore[arg-type]
    assert space.dim == len(space.names) == len(set(space.names)) == dim


@pytest.mark.parametrize("basis", ["pixels", "blocks", "dct", "color"])
def test_every_frame_variable_moves_the_frame(basis: str) -> None:
    space = PromptSpace((Placement(0.5), Frame(basis, size=8 if basis == "blocks" else 24)), 8)  # type: ignore[arg-type]
    neutral = space.render(space.neutral(), noise(8, 8))
    pixels = space.prepare(noise(8, 8))
    for unit in np.eye(space.dim):
        assert not np.array_equal(space.render(unit, pixels), neutral)


def test_a_tile_variable_is_the_tile_and_channel_of_its_name() -> None:
    space = PromptSpace((Placement(0.5), Frame("blocks", size=8)), 64)
    assert space.dim == (8**2 - 4**2) * 3
    z = space.neutral()
    z[space.names.index("frame.green_7_3")] = 1.0
    changed = np.argwhere(
        space.render(z, noise(8, 8)) != space.render(space.neutral(), noise(8, 8))
    )
    assert {tuple(place) for place in changed.tolist()} == {
        (y, x, 1) for y in range(56, 64) for x in range(24, 32)
    }


def test_a_tile_that_only_touches_the_border_counts() -> None:
    space = PromptSpace(
        (Placement(0.7), Frame("blocks", size=4)), 64
    )  # inside: 45 px from 9 to 54, tiles of 16
    assert space.dim == (4**2 - 2**2) * 3
    z = np.full(space.dim, 9.0)
    rendered = space.render(z, np.zeros((9, 9, 3), np.uint8))
    assert (rendered[9:54, 9:54] == 0).all()
    rendered[9:54, 9:54] = 255
    assert (rendered == 255).all()


def test_tiles_of_a_searched_placement_are_those_that_it_can_show() -> None:
    dims = [
        PromptSpace((Placement(1.0, search), Frame("blocks", size=8)), 64).dim // 3
        for search in ((), ("crop",), ("zoom",), ("x",), ("zoom", "x"))
    ]
    assert dims == [0, 0, 8**2 - 4**2, 0, 8**2]
    space = PromptSpace((Placement(1.0, ("zoom", "crop")), Frame("blocks", size=8)), 64)
    small = space.render(
        np.array([-1e9, 0.0, *np.full(space.dim - 2, 9.0)]), np.zeros((9, 9, 3), np.uint8)
    )
    assert set(np.unique(small)) == {0, 255}


@pytest.mark.parametrize("side", [8, 33, 224])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_tiles_cover_the_canvas_and_differ_by_a_pixel_at_most(size: int, side: int) -> None:
    numbers = np.arange(size)[:, None, None].repeat(size, axis=1)
    spreads = spread(numbers, Placement().geometry(Size(2 * side, side)))
    assert spreads.shape == (side, 2 * side, 1)
    assert np.ptp(np.bincount(spreads[:, 0, 0])) <= 1


def test_a_pixel_variable_is_the_pixel_and_channel_of_its_name() -> None:
    space = PromptSpace((Placement(0.5), Frame("pixels")), 8)
    z = space.neutral()
    z[space.names.index("frame.green_7_3")] = 1.0
    changed = np.argwhere(
        space.render(z, noise(8, 8)) != space.render(space.neutral(), noise(8, 8))
    )
    assert changed.tolist() == [[7, 3, 1]]


def test_random_low_frequencies_are_visible_and_smooth() -> None:
    space = PromptSpace((Placement(0.7), Frame("dct")), 64)
    frame = space.prompt(np.random.default_rng(0).standard_normal(72)).frame
    assert frame is not None
    assert frame[..., :3].std() > 30
    assert np.abs(np.diff(frame[..., :3].astype(int), axis=0)).mean() < 8


def test_the_low_frequencies_are_orthogonal_and_of_equal_weight() -> None:
    layer = Frame("dct", size=10, amplitude=0.5)
    side = 32
    geometry = Placement(0.5).geometry(Size(side, side))
    fields = []
    for unit in np.eye(30)[::3]:
        value = (layer.field(unit * 10, geometry)[..., 0] + 0.0).clip(1, 254) / 255
        fields.append((np.log(value / (1 - value)) - np.log(128 / 127)).ravel())
    gram = np.array(fields) @ np.array(fields).T / side**2
    assert np.abs(gram / gram[0, 0] - np.eye(10)).max() < 0.03


def test_bad_frames() -> None:
    with pytest.raises(UsageError, match="frame basis 'dtc'; did you mean dct"):
        Frame("dtc")  # type: ignore[arg-type]
    for bad in (
        {"size": 0},
        {"size": 2000},
        {"init": 1.5},
        {"init": float("nan")},
        {"amplitude": 0.0},
    ):
        with pytest.raises(UsageError, match=next(iter(bad))):
            Frame(**bad)
    with pytest.raises(UsageError, match="holds no frequency"):
        PromptSpace((Frame("dct", size=200),), 8)
    with pytest.raises(UsageError, match="holds no 9 tiles"):
        PromptSpace((Frame("blocks", size=9),), 8)
    with pytest.raises(UsageError, match="fixed placement"):
        PromptSpace((Placement(search=("zoom",)), Frame("pixels")), 32)


@settings(max_examples=40, deadline=None)
@given(
    z=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    basis=st.sampled_from(["color", "dct", "blocks"]),
)
def test_a_frame_never_touches_the_image_nor_tone_the_frame(z: list[float], basis: str) -> None:
    pixels = noise(16, 16)
    framed = PromptSpace((Placement(0.5), Frame(basis, size=1)), 32)  # type: ignore[arg-type]
    plain = framed.render(framed.neutral(), pixels)
    assert np.array_equal(framed.render(np.array(z), pixels)[8:24, 8:24], plain[8:24, 8:24])
    toned = PromptSpace((Placement(0.5), Tone(("contrast", "saturation", "sharpness"))), 32)
    changed = (toned.render(np.array(z), pixels) != plain).any(axis=2)
    changed[8:24, 8:24] = False
    assert not changed.any()
