"""What each restoration does to a picture, and what it leaves alone."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.prompt import Placement, Prompt, PromptSpace, Restore, Tone
from bbtvp.prompt.blur import wide_blur
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


@pytest.mark.parametrize(
    "name", [name for name in HERE if _OPERATIONS[name].group not in ("pose", "blur")]
)
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


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (260, 301), (900, 611)])
@pytest.mark.parametrize("name", ["white-balance", "flatten"])
def test_it_is_the_plain_formula_to_the_bit(name: str, shape: tuple[int, int]) -> None:
    """The last picture's sums are beyond the whole numbers that float32 holds."""
    rng = np.random.default_rng(len(name))
    pixels = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    pixels[..., 0] //= 2
    values = pixels.astype(np.float32)
    if name == "flatten":
        wide = Image.fromarray(wide_blur(Image.fromarray(pixels), max(shape) / 8)).convert("L")
        light = np.maximum(np.asarray(wide, np.float32), 1)[..., None]
        values *= light.mean() / light
    else:
        means = np.maximum(values.mean(axis=(0, 1)), 1)
        values *= np.clip(means.mean() / means, 1 / 4, 4)
    expected = (np.clip(values, 0, 255) + 0.5).astype(np.uint8)
    layer = Restore((name,))
    space = PromptSpace((layer,), 2048, "picture")
    assert np.array_equal(space.render(layer.start(name), pixels), expected)


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


def test_a_colour_spreads_over_what_is_equally_bright_and_no_further() -> None:
    """Two halves of two levels of luma, with the chroma of each in blotches."""
    rng = np.random.default_rng(3)
    planes = np.empty((64, 64, 3), np.uint8)
    planes[...] = (60, 128, 170)
    planes[:, 32:] = (180, 90, 128)
    blotched = planes.copy()
    blotched[..., 1:] += rng.integers(0, 24, (32, 32, 2), np.uint8).repeat(2, 0).repeat(2, 1)
    sharp, damaged = (
        np.asarray(Image.fromarray(each, "YCbCr").convert("RGB")) for each in (planes, blotched)
    )
    mended = restored(damaged, "chroma").astype(int)
    assert mended[:, :32].std(axis=(0, 1)).max() < damaged[:, :32].std(axis=(0, 1)).max() / 3
    step = np.abs(mended[:, 30] - mended[:, 33]).mean()
    assert step > 0.9 * np.abs(sharp[:, 30].astype(int) - sharp[:, 33]).mean()
    clean = restored(sharp, "chroma")
    assert np.abs(clean.astype(int) - sharp).max() <= 3, "the rounding of two conversions"


def moved(image: Image.Image, degrees: float, length: float) -> Pixels:
    """As by a camera that moves by so many pixels while it takes the picture."""
    turned = math.radians(degrees)
    steps = np.linspace(-length / 2, length / 2, 41)
    copies = [
        np.asarray(
            image.transform(
                image.size,
                Image.Transform.AFFINE,
                (1, 0, step * math.cos(turned), 0, 1, step * math.sin(turned)),
                Image.Resampling.BILINEAR,
                fillcolor=image.getpixel((0, 0)),
            ),
            float,
        )
        for step in steps
    ]
    return np.rint(np.mean(copies, axis=0)).astype(np.uint8)


def drawing(size: int, ground: int) -> Image.Image:
    image = Image.new("RGB", (size, size), (ground,) * 3)
    draw = ImageDraw.Draw(image)
    part = size // 16
    draw.rectangle((4 * part, 5 * part, 7 * part, 8 * part), fill=(200, 60, 90))
    draw.ellipse((9 * part, 9 * part, 12 * part, 12 * part), fill=(60, 140, 200))
    return image


@pytest.mark.parametrize("degrees", [0, 30, 90, 160])
@pytest.mark.parametrize("size", [64, 100, 500])
@pytest.mark.parametrize("ground", [20, 235])
def test_a_motion_is_undone(degrees: float, size: int, ground: int) -> None:
    sharp = drawing(size, ground)
    blurred = moved(sharp, degrees, size / 5)
    mended = restored(blurred, "deblur", canvas=size)
    assert distance(mended, np.asarray(sharp)) < 0.7 * distance(blurred, np.asarray(sharp))


@pytest.mark.parametrize("size", [64, 100, 500])
@pytest.mark.parametrize("ground", [20, 235])
def test_a_soft_picture_is_refocused(size: int, ground: int) -> None:
    sharp = np.asarray(drawing(size, ground))
    blurred = np.asarray(drawing(size, ground).filter(ImageFilter.GaussianBlur(size / 25)))
    mended = restored(blurred, "refocus", canvas=size)
    assert distance(mended, sharp) < 0.9 * distance(blurred, sharp)


def test_what_is_in_focus_is_left() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for picture in (np.asarray(drawing(64, 20)), noise):
        assert np.array_equal(restored(picture, "refocus"), picture)


def test_what_shows_no_motion_is_not_sharpened() -> None:
    sharp = drawing(64, 20)
    soft = sharp.filter(ImageFilter.GaussianBlur(4))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for picture in (np.asarray(sharp), np.asarray(soft), noise):
        assert np.array_equal(restored(picture, "deblur"), picture)


@pytest.mark.parametrize("degrees", [-40, -20, -7, 7, 20, 40])
@pytest.mark.parametrize("size", [200, 600])
def test_a_turned_picture_is_turned_back(degrees: int, size: int) -> None:
    upright = np.full((size, size, 3), 200, np.uint8)
    upright[size * 3 // 8 : size * 5 // 8, size // 3 : size * 2 // 3] = 40
    image = Image.fromarray(upright)
    turned = np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(200,) * 3))
    space = PromptSpace((ALL,), size)
    mended = space.render(ALL.start("deskew"), turned)
    assert distance(mended, upright) < distance(turned, upright) / 2


@pytest.mark.parametrize("size", [40, 64, 300])
def test_what_has_no_edges_at_right_angles_stays_as_it_is(size: int) -> None:
    rows, columns = np.mgrid[:size, :size] - size / 2
    disc = np.full((size, size, 3), 220, np.uint8)
    disc[np.hypot(rows, columns) < size / 3] = 30
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    space = PromptSpace((ALL,), size)
    for picture in (disc, noise):
        assert np.array_equal(space.render(ALL.start("deskew"), picture), picture)


@pytest.mark.parametrize("share", [0.55, 0.7, 0.8])
@pytest.mark.parametrize("turned", [False, True])
def test_an_ellipse_becomes_a_circle(share: float, turned: bool) -> None:
    """As a disc seen from above or from one side; none of it is lost."""
    rows, columns = np.mgrid[-90:110, -120:80]
    disc = np.full((200, 200, 3), 220, np.uint8)
    disc[np.hypot(rows / share, columns) < 60] = 30
    mended = restored(disc.swapaxes(0, 1) if turned else disc, "unsqueeze", canvas=200)
    inside = mended[..., 0] < 125
    down, across = (int(inside.any(axis=axis).sum()) for axis in (1, 0))
    assert 0.9 < down / across < 1.1
    assert not inside[[0, -1]].any() and not inside[:, [0, -1]].any()


@pytest.mark.parametrize("size", [40, 64, 300])
def test_what_is_seen_square_on_is_not_stretched(size: int) -> None:
    rows, columns = np.mgrid[:size, :size] - size / 2
    disc = np.full((size, size, 3), 220, np.uint8)
    disc[np.hypot(rows, columns) < size / 3] = 30
    square = np.full((size, size, 3), 60, np.uint8)
    square[size // 4 : size * 3 // 4, size // 4 : size * 3 // 4] = 210
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    for picture in (disc, square, noise):
        assert np.array_equal(restored(picture, "unsqueeze", canvas=size), picture)


def test_a_picture_without_a_margin_is_shown_whole_when_it_is_stretched() -> None:
    stripes = np.full((200, 200, 3), 90, np.uint8)
    stripes[::20] = stripes[1::20] = 180
    stripes[:, 0] = (250, 0, 0)
    stripes[:, -1] = (0, 0, 250)
    mended = restored(stripes, "unsqueeze", canvas=200)
    red, blue = ((mended[..., at].astype(int) - mended[..., 1]) > 100 for at in (0, 2))
    assert red.any() and blue.any()


def marked(rows: slice, columns: slice) -> Pixels:
    """A grey page of 64 pixels with a dark mark."""
    page = np.full((64, 64, 3), 200, np.uint8)
    page[rows, columns] = 40
    return page


def test_trimming_cuts_an_even_margin_off_and_keeps_what_is_marked() -> None:
    page = marked(slice(30, 54), slice(28, 58))
    trimmed = restored(page, "trim")
    grown = (trimmed < 120).sum() / (page < 120).sum()
    assert trimmed.shape == page.shape
    assert 2 < grown <= 1.7**2
    assert (trimmed[[0, -1]] > 180).all() and (trimmed[:, [0, -1]] > 180).all(), "all of the mark"


@pytest.mark.parametrize(
    "whole", [marked(slice(4, 60), slice(4, 60)), marked(slice(0, 64), slice(30, 34)), scene()]
)
def test_trimming_leaves_a_picture_without_an_even_margin(whole: Pixels) -> None:
    assert np.array_equal(restored(whole, "trim"), whole)


def test_a_small_mark_is_enlarged_by_the_limit_alone() -> None:
    trimmed = restored(marked(slice(30, 34), slice(30, 34)), "trim")
    assert 1.4 < np.sqrt((trimmed < 120).all(axis=2).sum() / 16) < 1.9


def test_noise_is_treated_before_light() -> None:
    once = restored(scene(), "median")
    assert np.array_equal(restored(scene(), "median", "equalize"), restored(once, "equalize"))


def test_restoration_comes_before_tone() -> None:
    space = PromptSpace((Tone(), Restore()), 64)
    assert [layer.kind for layer in space.layers] == ["placement", "restore", "tone"]


def test_each_operation_is_a_start_and_each_against_noise_with_autocontrast_before_it() -> None:
    space = PromptSpace((ALL,), 64)
    chosen = [space.params(z)["restore"] for z in space.starts()[1:]]
    names = [[v for v in each.values() if v != "none"] for each in chosen]
    assert sorted(each for each in names if len(each) == 1) == sorted([name] for name in HERE)
    pairs = [each for each in names if len(each) == 2]
    noise = [name for name in HERE if _OPERATIONS[name].group == "noise"]
    first, *others = ([name, "autocontrast"] for name in noise)
    assert pairs == [first, ["destripe", "median"], *others]
    assert all(names.index(pair) < names.index([name]) for pair in pairs for name in pair)
    assert len(names[0]) == 2, "a small budget reaches a pair"
    assert sum(count for _, count in space.choices) == space.dim


def test_looks_of_the_layers_beside_it_are_starts_in_turn() -> None:
    placement = Placement(search=("zoom",))
    tone = Tone(("contrast", "sharpness", "saturation"))
    space = PromptSpace((placement, Restore(("median",)), tone), 64)
    said = [space.describe(z) for z in space.starts()]
    assert said[1:3] == ["restore noise median", "placement zoom 0.683"]
    assert said[3:] == ["tone sharpness 0.342"]
    assert len(PromptSpace((placement, tone), 64).starts()) == 1, "tone alone needs no race"


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


def test_a_bundle_that_needs_opencv_says_so_in_one_line_when_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    space = PromptSpace((Restore(("smooth", "median")),), 32)
    space.prompt(Restore(("smooth", "median")).start("smooth")).save(tmp_path / "p.vprompt")
    space.prompt(Restore(("smooth", "median")).start("median")).save(tmp_path / "free.vprompt")
    monkeypatch.setitem(sys.modules, "cv2", None)
    Prompt.load(tmp_path / "free.vprompt")
    with pytest.raises(BundleError, match=r"p\.vprompt: .*pip install .*bbtvp\[restore\]"):
        Prompt.load(tmp_path / "p.vprompt")
