"""Corruptions against their formulas, against colorsys, and against what a plan says of sizes."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from PIL import Image

from bbtvp.checks.corruptions import CORRUPTIONS, FAMILIES, choose, corrupt, find, vendors
from bbtvp.checks.imagenet_c import PUBLISHED, plasma
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.endpoint.images import decoded, encode, plan
from bbtvp.endpoint.limits import Limits
from bbtvp.zoo import scenes

DRAWN = (
    "gaussian-noise",
    "shot-noise",
    "impulse-noise",
    "speckle-noise",
    "glass-blur",
    "motion-blur",
    "snow",
    "fog",
    "spatter",
    "elastic",
)
RISING = (
    "gaussian-noise",
    "shot-noise",
    "impulse-noise",
    "speckle-noise",
    "defocus-blur",
    "gaussian-blur",
    "glass-blur",
    "motion-blur",
    "zoom-blur",
    "snow",
    "contrast",
    "pixelate",
)


def scene(side: int = 224) -> Pixels:
    pixels = scenes.draw("presence", stream(3, "scene")).pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def flat(level: int, side: int = 200) -> Pixels:
    return np.full((side, side, 3), level, np.uint8)


def moved(name: str, pixels: Pixels, severity: int) -> float:
    return float(np.abs(corrupt(name, pixels, severity).astype(int) - pixels).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_equal_draws_for_equal_names_and_others_for_other_samples(name: str) -> None:
    first = corrupt(name, scene(64), 3, seed=1, sample="a")
    assert np.array_equal(first, corrupt(name, scene(64), 3, seed=1, sample="a"))
    others = [
        corrupt(name, scene(64), 3, seed=1, sample="b"),
        corrupt(name, scene(64), 3, seed=2, sample="a"),
    ]
    assert all(np.array_equal(first, other) != (name in DRAWN) for other in others)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(8, 8), (40, 100), (90, 31)])
def test_any_picture_at_any_severity_is_still_a_picture(name: str, shape: tuple[int, int]) -> None:
    for pixels in (np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8)):
        for severity in (1, 5):
            found = corrupt(name, pixels, severity, sample="x")
            assert (found.dtype, found.ndim, found.shape[2]) == (np.uint8, 3, 3)
            assert found.shape == pixels.shape or CORRUPTIONS[name].family == "channel"


@pytest.mark.parametrize("name", RISING)
def test_each_severity_is_worse_than_the_last(name: str) -> None:
    losses = [moved(name, scene(), severity) for severity in range(1, 6)]
    assert losses == sorted(losses) and losses[0] < losses[-1]


def test_the_size_of_the_picture_does_not_matter_to_what_is_lost() -> None:
    for name in ("gaussian-blur", "defocus-blur", "zoom-blur", "snow", "spatter"):
        small = corrupt(name, scene(112), 5)
        large = corrupt(name, scene(448), 5)
        back = np.asarray(Image.fromarray(large).resize((112, 112), Image.Resampling.BOX))
        assert np.abs(back.astype(int) - small).mean() < 0.5 * moved(name, scene(112), 5), name


# -- by formula ------------------------------------------------------------------------------------
def test_noises_have_the_published_spread() -> None:
    for severity, (c,) in enumerate(PUBLISHED["gaussian-noise"].constants[:3], start=1):
        assert np.std(corrupt("gaussian-noise", flat(128), severity)) == pytest.approx(
            255 * c, rel=0.03
        )
    shot = corrupt("shot-noise", flat(51), 1) / 255
    assert (shot.mean(), shot.var()) == (
        pytest.approx(0.2, abs=0.002),
        pytest.approx(0.2 / 60, rel=0.03),
    )
    speckle = [np.std(corrupt("speckle-noise", flat(level), 1)) for level in (50, 100)]
    assert speckle == [pytest.approx(0.15 * level, rel=0.03) for level in (50, 100)]
    hit = corrupt("impulse-noise", flat(128), 5)
    assert np.mean(hit != 128) == pytest.approx(0.27, abs=0.005)
    assert {*np.unique(hit)} == {0, 128, 255}


def test_blurs_spread_a_point_as_wide_as_they_say() -> None:
    point = np.zeros((225, 225, 3), np.uint8)
    point[105:120, 105:120] = 255  # wide enough that rounding to levels takes nothing away
    before = spread(point)
    for severity, (sigma,) in enumerate(PUBLISHED["gaussian-blur"].constants, start=1):
        added = spread(corrupt("gaussian-blur", point, severity)) - before
        assert added == pytest.approx((sigma * 225 / 224) ** 2, rel=0.05)
    for severity, (radius,) in enumerate(PUBLISHED["defocus-blur"].constants, start=1):
        added = spread(corrupt("defocus-blur", point, severity)) - before
        assert added == pytest.approx(radius**2 / 4, rel=0.15)  # a disk's variance along one axis


def spread(pixels: Pixels) -> float:
    """The variance of the light along x, in px²."""
    light = pixels[..., 0].sum(axis=0).astype(float)
    x = np.arange(len(light))
    mean = (light * x).sum() / light.sum()
    return float((light * (x - mean) ** 2).sum() / light.sum())


def test_motion_drags_to_one_side_and_keeps_the_light() -> None:
    point = np.zeros((224, 224, 3), np.uint8)
    point[100:124, 100:124] = 255
    for sample in "abc":
        found = corrupt("motion-blur", point, 3, sample=sample).astype(float)
        assert found.sum() == pytest.approx(point.sum(), rel=0.01)
        x = (found[..., 0].sum(axis=0) * np.arange(224)).sum() / found[..., 0].sum()
        assert (
            3 < x - 111.5 < 8
        )  # the mean of |N(0, 8)| cut at 30 is 6.4, times the cosine of 45° at most


@pytest.mark.parametrize("severity", range(1, 6))
def test_brightness_and_saturation_against_colorsys(severity: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    pixels[0] = pixels[0, :, :1]  # greys
    pixels[1, 0] = 0
    raise_ = 0.1 * severity
    (times, plus) = PUBLISHED["saturate"].constants[severity - 1]
    brighter = corrupt("brightness", pixels, severity)
    saturated = corrupt("saturate", pixels, severity)
    for at in np.ndindex(9, 9):
        h, s, v = colorsys.rgb_to_hsv(*(pixels[at] / 255))
        assert brighter[at] == pytest.approx(
            255 * np.array(colorsys.hsv_to_rgb(h, s, min(v + raise_, 1))), abs=0.51
        )
        wanted = colorsys.hsv_to_rgb(h, min(s * times + plus, 1), v)
        assert saturated[at] == pytest.approx(255 * np.array(wanted), abs=0.51)


def test_contrast_by_hand() -> None:
    pixels = scene(50)
    means = pixels.mean(axis=(0, 1))
    assert corrupt("contrast", pixels, 5) == pytest.approx(
        0.05 * (pixels - means) + means, abs=0.51
    )


def test_pixelate_leaves_a_quarter_of_the_columns() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = corrupt("pixelate", noise, 5)
    assert len(np.unique(found.reshape(64, -1), axis=0)) == 16
    assert found[:4, :4].std(axis=(0, 1)) == pytest.approx(0)
    assert found[0, 0] == pytest.approx(noise[:4, :4].mean(axis=(0, 1)), abs=1)


def test_elastic_without_displacement_is_the_picture() -> None:
    x = scene(64) / 255
    still = PUBLISHED["elastic"].apply(x, (0, 0.01, 0), stream(0, "still"))
    assert still == pytest.approx(x)


def test_plasma_is_smoother_where_its_noise_decays_faster() -> None:
    rough, smooth = (plasma(100, decay, stream(0, "plasma")) for decay in (1.4, 2.0))
    assert rough.shape == smooth.shape == (128, 128)
    assert (rough.min(), rough.max()) == (0, 1)
    assert np.abs(np.diff(smooth)).mean() < 0.7 * np.abs(np.diff(rough)).mean()


# -- the way to a model ----------------------------------------------------------------------------
def test_what_is_sent_as_a_file_arrives_as_the_endpoint_code_would_send_it() -> None:
    for format in ("jpeg", "webp"):
        assert np.array_equal(
            corrupt(f"sent-as-{format}", scene(), 5), decoded(encode(scene(), format, 40))
        )


def test_sizes_on_the_way() -> None:
    pixels = scene(100)
    assert corrupt("crop", pixels, 3).shape == (80, 80, 3)
    assert np.array_equal(corrupt("crop", pixels, 3), pixels[10:90, 10:90])
    assert [corrupt("scaled-down", pixels, s).shape[0] for s in range(1, 6)] == [90, 75, 60, 50, 35]
    assert [corrupt("scaled-up", pixels, s).shape[0] for s in range(1, 6)] == [
        125,
        150,
        200,
        300,
        400,
    ]
    shot = corrupt("screenshot", pixels, 5)
    assert shot.shape == (54, 54, 3)
    assert abs(int(shot[0, 0, 0]) - 240) < 12


# -- vendors ---------------------------------------------------------------------------------------
MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-5"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-7"),
    ("gemini", "gemini-1.5-pro"),
    ("gemini", "gemini-2.5-pro"),
    ("bedrock", "amazon.nova-pro"),
    ("azure", "gpt-4o"),
)


@pytest.mark.parametrize(("service", "model"), MODELS)
@pytest.mark.parametrize("size", [(64, 64), (300, 200), (1024, 1024), (1600, 900)])
def test_a_vendors_picture_has_the_size_that_its_plan_says(
    service: str, model: str, size: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    told = plan(service, model, size)
    name = f"vendor:{service}/{model}"
    if told.scale is None:
        with pytest.raises(UsageError, match="is not told"):
            corrupt(name, pixels)
        return
    found = corrupt(name, pixels)
    last = next(
        ((s.width, s.height) for s in reversed(told.steps) if not s.what.startswith("cut")), size
    )
    assert found.shape == (last[1], last[0], 3)
    if not told.steps:
        assert np.array_equal(found, pixels)


def test_what_a_vendor_pads_keeps_its_corner() -> None:
    pixels = scene(64)
    found = corrupt("vendor:anthropic/claude-sonnet-4-5", pixels)
    assert found.shape == (84, 84, 3)
    assert np.array_equal(found[:64, :64], pixels)
    assert not found[64:].any()


def test_vendors_listed_resample_and_their_rules_differ() -> None:
    for canvas in (64, 224, 1024, 2000):
        names = vendors(canvas)
        assert len({*names}) == len(names) > 0
        pixels = np.random.default_rng(0).integers(0, 256, (canvas, canvas, 3), np.uint8)
        assert all(corrupt(name, pixels).shape != pixels.shape for name in names)
    assert [kind.name for kind in choose(["vendor"], 1024)] == list(vendors(1024))
    assert "vendor:openai/gpt-4o" in vendors(1024)
    assert "vendor:openai/gpt-4o-mini" not in vendors(1024)  # dearer, and nothing else


def test_every_rule_of_the_data_file_can_be_imitated_or_says_that_it_is_not_told() -> None:
    pixels = np.zeros((700, 1100, 3), np.uint8)
    for row in Limits.load().shipped:
        name = f"vendor:{row.service}/{row.model}"
        if plan(row.service, row.model, (1100, 700)).scale is None:
            with pytest.raises(UsageError, match="is not told"):
                corrupt(name, pixels)
        else:
            assert corrupt(name, pixels).ndim == 3


# -- names -----------------------------------------------------------------------------------------
def test_names() -> None:
    assert {kind.family for kind in choose(FAMILIES, 1024)} == {*FAMILIES}
    assert [kind.name for kind in choose(["noise"], 224)] == [
        n for n, kind in PUBLISHED.items() if kind.family == "noise"
    ]
    with pytest.raises(UsageError, match="did you mean motion-blur"):
        find("motion-blr")
    with pytest.raises(UsageError, match="unknown vendor plan"):
        find("vendor:opnai/gpt-4o")
    with pytest.raises(UsageError, match="did you mean weather"):
        choose(["wether"], 224)
    with pytest.raises(UsageError, match="no severity 6"):
        corrupt("fog", flat(1), 6)
    assert math.isclose(
        sum(len(kind.levels) for kind in CORRUPTIONS.values()), 5 * len(CORRUPTIONS)
    )
