"""Composition: any z gives deployable pixels, and what is prepared once is what is rendered."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import DataError, UsageError
from bbtvp.prompt import (
    Coordinator,
    Frame,
    Guidance,
    Legend,
    Marks,
    Overlay,
    Placement,
    PromptSpace,
    Tone,
    preset,
)

PRESETS = ("tvp", "frame", "tone", "default+frame", "annotate")
SPACES = {name: preset(name, 32) for name in PRESETS}
DEFAULT = SPACES["default+frame"].dim
"""Zoom, however many variables restoration and tone have by now, and 72 of the frame."""


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def draw_z(dim: int, seed: int, scale: float) -> Vector:
    return np.clip(np.random.default_rng(seed).standard_normal(dim), -1, 1) * scale


scales = st.sampled_from([0.0, 1e-300, 1.0, 30.0, 1e5, 1.7e308])


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(PRESETS),
    seed=st.integers(0, 999),
    scale=scales,
    height=st.integers(1, 60),
    width=st.integers(1, 60),
)
def test_any_finite_z_and_any_image_give_one_uint8_canvas(
    name: str, seed: int, scale: float, height: int, width: int
) -> None:
    space = SPACES[name]
    pixels = noise(height, width, seed)
    before = pixels.copy()
    z = draw_z(space.dim, seed, scale)
    rendered = space.render(z, pixels)
    assert rendered.shape == (32, 32, 3)
    assert rendered.dtype == np.uint8
    assert np.array_equal(rendered, space.render(z, space.prepare(pixels)))
    assert np.array_equal(rendered, space.renderer(z)(pixels))
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("name", ["tone", "default+frame", "annotate"])
@pytest.mark.parametrize("canvas", [8, 33, 224])
def test_z_of_zero_is_the_identity(name: str, canvas: int) -> None:
    space = preset(name, canvas)
    pixels = noise(canvas, canvas)
    assert np.array_equal(space.render(space.neutral(), pixels), pixels)


@pytest.mark.parametrize(
    ("name", "dim"),
    [("tvp", 69_840), ("frame", 72), ("tone", 3), ("default+frame", DEFAULT), ("annotate", 25)],
)
def test_presets_at_224(name: str, dim: int) -> None:
    space = preset(name)
    assert space.dim == len(space.names) == dim
    assert space.slices[space.layers[-1].kind].stop == dim
    assert space.render(space.neutral(), noise(50, 70)).shape == (224, 224, 3)


def test_an_unknown_preset() -> None:
    with pytest.raises(UsageError, match="unknown prompt preset 'tpv'; did you mean tvp"):
        preset("tpv")


def test_a_renderer_keeps_nothing_of_an_image() -> None:
    space = SPACES["default+frame"]
    renderer = space.renderer(draw_z(space.dim, 3, 1.0))
    first = renderer(noise(20, 40))
    first_copy = first.copy()
    renderer(noise(40, 20, 1))
    assert np.array_equal(first, first_copy)
    assert np.array_equal(renderer(noise(20, 40)), first)


def test_the_order_of_layers_is_fixed() -> None:
    one = PromptSpace((Frame("color"), Tone(), Placement(0.5)), 32)
    other = PromptSpace((Placement(0.5), Tone(), Frame("color")), 32)
    assert one == other
    assert one.names[0] == "tone.brightness"
    assert one.slices == {"placement": slice(0, 0), "tone": slice(0, 3), "frame": slice(3, 6)}


EVERY = PromptSpace(
    (
        Guidance(),
        Legend(("cat", "dog")),
        Marks(),
        Coordinator(width=2),
        Overlay("blocks", size=3),
        Frame("color"),
        Tone(("contrast",)),
        Placement(0.75, ("crop",)),
    ),
    96,
)


def test_all_layers_together_in_the_order_of_rendering() -> None:
    assert list(EVERY.slices) == [
        *("placement", "tone", "frame", "overlay", "coordinator", "marks", "legend", "guidance"),
    ]
    assert EVERY.choices[0][0] == EVERY.slices["marks"].start
    pixels = noise(72, 72)
    neutral = EVERY.render(EVERY.neutral(), pixels)
    assert np.array_equal(neutral[12:84, 12:84], pixels)
    for seed in range(20):
        rendered = EVERY.render(draw_z(EVERY.dim, seed, 10.0**seed), noise(50, 80, seed))
        assert rendered.shape == (96, 96, 3)


def test_what_is_drawn_last_lies_above() -> None:
    z = draw_z(EVERY.dim, 0, 3.0)
    look = Marks().start(3, layout="rows", anchors="digits", place="margin", ink="black")
    z = EVERY.embed(np.array([0.0, 1.0]), ["legend"], EVERY.embed(look, ["marks"], z))
    z[EVERY.names.index("marks.alpha")] = 1e9
    rendered = EVERY.render(z, noise(72, 72))
    insets = EVERY.renderer(z).insets(EVERY.geometry)
    strips = rendered[:, : insets.left], rendered[: insets.top], rendered[-insets.bottom :]
    assert all(np.median(strip) == 255 for strip in strips)
    middle = rendered[insets.top : -insets.bottom, (96 + insets.left) // 2]
    assert (middle == 0).all(axis=1).sum() == 2


def test_the_frame_of_a_prompt_with_a_margin_is_clear_where_the_image_goes() -> None:
    space = PromptSpace((Placement(0.75), Frame("dct"), Marks()), 96)
    z = space.embed(draw_z(72, 0, 2.0), ["frame"], space.neutral())
    z = space.embed(Marks().start(3, layout="rows", anchors="digits", place="margin"), ["marks"], z)
    prompt = space.prompt(z)
    frame = prompt.frame
    margin = prompt.renderer.insets(prompt.space.geometry).left
    assert frame is not None
    outside = frame[..., 3] == 255
    outside[:margin] = outside[:, :margin] = False
    assert 0.1 < outside.mean() < 0.6
    assert np.array_equal(frame[outside][:, :3], prompt.render(noise(40, 40))[outside])


def test_compositions_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="two layers of one kind"):
        PromptSpace((Tone(), Tone()))
    for canvas in (0, 7, 100_000):
        with pytest.raises(UsageError, match="canvas"):
            PromptSpace((Tone(),), canvas)


@pytest.mark.parametrize("bad", [np.zeros(2), np.zeros(4), np.zeros((3, 1)), np.array(0.0)])
def test_a_z_of_another_shape(bad: Vector) -> None:
    space = SPACES["tone"]
    for use in (space.renderer, space.prompt, space.empty_frame, space.params):
        with pytest.raises(UsageError, match=r"give \(3,\)"):
            use(bad)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_z_that_is_not_finite(bad: float) -> None:
    space = SPACES["tone"]
    for use in (space.renderer, space.prompt, space.empty_frame, space.params):
        with pytest.raises(UsageError, match="not finite"):
            use(np.array([0.0, bad, 0.0]))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_pixels_that_are_none(bad: Pixels) -> None:
    with pytest.raises(UsageError, match=r"give uint8 \(H, W, 3\)"):
        SPACES["tone"].prepare(bad)


def test_an_image_prepared_for_another_placement() -> None:
    prepared = SPACES["tvp"].prepare(noise(20, 20))
    z = SPACES["frame"].neutral()
    assert SPACES["frame"].render(z, prepared).shape == (32, 32, 3)
    for space in (SPACES["tone"], preset("frame", 40)):
        with pytest.raises(UsageError, match="another placement"):
            space.render(space.neutral(), prepared)


# parts of z


@given(seed=st.integers(0, 99), kinds=st.sets(st.sampled_from(["placement", "tone", "frame"])))
def test_embed_sets_these_layers_and_no_other(seed: int, kinds: set[str]) -> None:
    space = SPACES["default+frame"]
    base = draw_z(space.dim, seed, 1.0)
    active = np.full(space.dim_of(kinds), 9.0)
    z = space.embed(active, kinds, base)
    for kind, part in space.slices.items():
        assert np.array_equal(z[part], np.full_like(z[part], 9.0) if kind in kinds else base[part])
    assert not (base == 9).any()


def test_embed_refuses_other_lengths_and_kinds() -> None:
    space = SPACES["default+frame"]
    with pytest.raises(UsageError, match=r"2 values for the \d variables of tone"):
        space.embed(np.zeros(2), ["tone"], space.neutral())
    with pytest.raises(UsageError, match="unknown layer 'ton'; did you mean tone"):
        space.dim_of(["ton"])


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(PRESETS), seed=st.integers(0, 99))
def test_the_empty_frame_places_the_same_and_does_nothing_else(name: str, seed: int) -> None:
    space = SPACES[name]
    pixels = noise(20, 30, seed)
    z = draw_z(space.dim, seed, 1.0)
    control = space.empty_frame(z).render(pixels)
    placed = space.prompt(z)
    assert space.empty_frame(z).theta["placement"] == placed.theta["placement"]
    only_placed = PromptSpace((space.placement,), 32).render(z[space.slices["placement"]], pixels)
    assert np.array_equal(control, only_placed)


# a prompt


def test_apply_is_render_for_images_of_any_mode() -> None:
    prompt = SPACES["default+frame"].prompt(draw_z(DEFAULT, 5, 1.0))
    pixels = noise(30, 20)
    for mode in ("RGB", "RGBA"):
        given = Image.fromarray(pixels).convert(mode)
        image = prompt.apply(given)
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), prompt.render(pixels))
        assert np.array_equal(np.asarray(given)[..., :3], pixels)
    with pytest.raises(DataError):
        prompt.apply(Image.new("RGB", (0, 0)))


def test_a_prompt_holds_its_own_z() -> None:
    z = np.zeros(3)
    prompt = SPACES["tone"].prompt(z)
    z[0] = 5
    assert not prompt.z.any()
    with pytest.raises(ValueError, match="read-only"):
        prompt.z[0] = 5


@pytest.mark.parametrize("name", PRESETS)
def test_theta_is_json_of_the_named_parameters(name: str) -> None:
    prompt = SPACES[name].prompt(draw_z(SPACES[name].dim, 1, 1.0))
    theta = prompt.theta
    assert json.loads(json.dumps(theta)) == theta
    assert theta.keys() == {layer.kind for layer in SPACES[name].layers}


def test_theta_at_zero_is_neutral() -> None:
    theta = SPACES["default+frame"].prompt(np.zeros(DEFAULT)).theta
    assert theta["placement"] == {"zoom": 1, "x": 0, "y": 0}
    assert theta["tone"] == {name: name != "brightness" for name in theta["tone"]}
    assert not any(theta["frame"].values())
    assert PromptSpace((Frame("color"),), 32).prompt(np.zeros(3)).theta["frame"] == {
        "red": 128,
        "green": 128,
        "blue": 128,
    }
    assert PromptSpace((Frame("pixels"),), 32).prompt(np.zeros(0)).theta["frame"]["red"] == 128


def test_the_digest_tells_prompts_apart() -> None:
    z = draw_z(3, 0, 1.0)
    space = PromptSpace((Placement(0.5), Frame("color")), 32)
    others = [
        space.prompt(z + np.array([0, 0, 1e-15])),
        PromptSpace((Placement(0.5), Frame("color")), 40).prompt(z),
        PromptSpace((Placement(0.6), Frame("color")), 32).prompt(z),
        PromptSpace((Placement(0.5), Frame("color", init=0.4)), 32).prompt(z),
    ]
    digests = {prompt.digest for prompt in (space.prompt(z), *others)}
    assert len(digests) == 5
    assert space.prompt(z.copy()).digest in digests
    assert space.prompt(-np.zeros(3)).digest == space.prompt(np.zeros(3)).digest


def test_the_frame_is_what_is_deployed_around_a_square_image() -> None:
    prompt = SPACES["default+frame"].prompt(
        SPACES["default+frame"].embed(np.array([3.0]), ["placement"], draw_z(DEFAULT, 2, 1.0))
    )
    frame = prompt.frame
    rendered = prompt.render(noise(50, 50))
    assert frame is not None
    outside = frame[..., 3] == 255
    assert 0.3 < outside.mean() < 0.7
    assert np.array_equal(frame[outside][:, :3], rendered[outside])
    assert SPACES["tone"].prompt(np.zeros(3)).frame is None
