"""From pixels to bytes, and what vendors do to them: golden values that they publish, and rules
that must hold.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.images import (
    check,
    decoded,
    encode,
    fitting_canvas,
    input_tokens,
    largest_canvas,
    plan,
    shrunk,
)
from bbtvp.endpoint.limits import SHIPPED, Limits
from bbtvp.endpoint.resizing import ResizeResult, ResizeStep

IMAGES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)).flatmap(
    lambda shape: arrays.arrays(np.uint8, shape)
)
SIDES = st.integers(1, 4096)
MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-5-nano-2025-08-07"),
    ("openai", "never-heard-of"),
    ("azure", "gpt-4o"),
    ("azure", "my-deployment"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-7"),
    ("gemini", "gemini-1.5-flash"),
    ("gemini", "gemini-2.5-flash"),
    ("gemini", "gemini-3.5-flash"),
    ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ("bedrock", "amazon.nova-lite-v1:0"),
    ("bedrock", "meta.llama4-scout"),
    ("openai-api", "qwen3-vl:8b"),
    ("hf", "org/name"),
    ("somebody-else", "model"),
]
KNOWN = [pair for pair in MODELS if largest_canvas(*pair) is not None]


def photo(side: int = 224) -> Pixels:
    """Smooth colours and a little noise."""
    rng = np.random.default_rng(0)
    across = np.linspace(0, 200, side)
    smooth = np.stack(
        [
            across[:, None] + 0 * across,
            across + 0 * across[:, None],
            200 - across[:, None] + 0 * across,
        ],
        2,
    )
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


# -- bytes -----------------------------------------------------------------------------------------
@given(IMAGES)
@settings(max_examples=60)
def test_a_png_keeps_every_pixel(pixels: Pixels) -> None:
    picture = encode(pixels)
    assert picture.media == "image/png"
    assert np.array_equal(decoded(picture), pixels)


def test_a_view_that_is_not_contiguous_keeps_every_pixel() -> None:
    pixels = photo()[::-2, 1::3]
    assert not pixels.flags.c_contiguous
    assert np.array_equal(decoded(encode(pixels)), pixels)


def test_a_png_is_sound_and_holds_pixels_alone() -> None:
    data = encode(photo()).data
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    names = []
    at = 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        assert int.from_bytes(data[at + 8 + length : at + 12 + length], "big") == zlib.crc32(
            name + body
        )
        names.append(name)
        at += 12 + length
    assert names == [b"IHDR", b"IDAT", b"IEND"]


def test_equal_pixels_give_equal_bytes() -> None:
    for format in ("png", "jpeg", "webp"):
        assert encode(photo(), format).data == encode(photo().copy(), format).data


def test_a_png_is_hardly_larger_than_pillow_s() -> None:
    file = io.BytesIO()
    Image.fromarray(photo()).save(file, "PNG")
    assert len(encode(photo()).data) < 1.15 * len(file.getvalue())


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_a_lossy_format_is_close_and_smaller_with_less_quality(format: str) -> None:
    fine = encode(photo(), format, 90)
    coarse = encode(photo(), format, 30)
    assert fine.media == f"image/{format}" and fine.format == format
    assert len(coarse.data) < len(fine.data) < len(encode(photo()).data)
    error = np.abs(decoded(fine).astype(int) - photo())
    assert 0 < error.mean() < 4


def test_a_jpeg_keeps_colour_at_full_resolution_and_holds_no_metadata() -> None:
    with Image.open(io.BytesIO(encode(photo(), "jpeg").data)) as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
        assert not image.getexif() and "icc_profile" not in image.info


def test_another_format_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown image format 'jpg'; did you mean jpeg"):
        encode(photo(), "jpg")


# -- golden values ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("service", "model", "size", "steps", "tokens"),
    [
        # OpenAI's guide, as kept at a64.in/tools/openai-vision-cost-calculator.html
        ("openai", "gpt-4o", (1024, 1024), ["768 x 768", "4 tiles"], 765),
        ("openai", "gpt-4o", (2048, 4096), ["768 x 1536", "6 tiles"], 1105),
        ("openai", "gpt-4o", (512, 512), [], 255),
        # The same guide: 1,452 patches for 1800 x 2400 px, which is shrunk to 1056 x 1408; times
        # 1.62 for this model
        ("openai", "gpt-4.1-mini", (1024, 1024), [], 1659),
        ("openai", "gpt-4.1-mini", (1800, 2400), ["1056 x 1408"], 2353),
        # platform.claude.com, vision: ceil(w / 28) * ceil(h / 28), and the largest sizes that are
        # not scaled
        ("anthropic", "claude-sonnet-4-5", (1092, 1092), [], 39 * 39),
        ("anthropic", "claude-sonnet-4-5", (951, 1268), ["padded"], 34 * 46),
        ("anthropic", "claude-sonnet-4-5", (896, 1344), [], 32 * 48),
        ("anthropic", "claude-sonnet-4-5", (784, 1568), [], 28 * 56),
        (
            "anthropic",
            "claude-sonnet-4-5",
            (200, 200),
            ["padded at the bottom and right to 224 x 224"],
            64,
        ),
        ("anthropic", "claude-sonnet-4-5", (2184, 2184), ["1092 x 1092"], 39 * 39),
        # ai.google.dev, tokens: 258 for an older model, whatever the size
        ("gemini", "gemini-1.5-pro", (224, 224), ["up to 768 x 768"], 258),
        (
            "gemini",
            "gemini-1.5-pro",
            (1536, 768),
            ["down to 768 x 384", "padded to 768 x 768"],
            258,
        ),
        ("gemini", "gemini-3.5-flash", (512, 512), [], 1120),
    ],
)
def test_published_values(
    service: str, model: str, size: tuple[int, int], steps: list[str], tokens: int
) -> None:
    found = plan(service, model, size)
    assert found.tokens == tokens
    assert len(found.steps) == len(steps)
    assert all(part in str(step) for part, step in zip(steps, found.steps, strict=True))


@pytest.mark.parametrize(
    ("service", "model", "size", "most"),
    [
        (
            "anthropic",
            "claude-3-5-sonnet-latest",
            1092,
            1590,
        ),  # the older table: width * height / 750
        ("anthropic", "claude-3-5-sonnet-latest", 1000, 1334),
        ("openai", "gpt-4o", 224, 255),  # a small image is not scaled up
        ("gemini", "gemini-2.5-flash", (960, 540), 6 * 258),  # ai.google.dev's own example of crops
        (
            "bedrock",
            "amazon.nova-lite-v1:0",
            900,
            1300,
        ),  # docs.aws.amazon.com/nova, modalities-image
        ("bedrock", "amazon.nova-lite-v1:0", 1300, 2600),
        ("bedrock", "amazon.nova-lite-v1:0", (900, 1400), 1800),
    ],
)
def test_a_bound_takes_the_dearest_published_value(
    service: str, model: str, size: int | tuple[int, int], most: int
) -> None:
    assert most <= plan(service, model, size).at_most <= 1.5 * most


def test_a_named_model_is_not_taken_for_its_dearer_or_cheaper_sister() -> None:
    assert plan("openai", "gpt-4o", 512).tokens == 255
    assert plan("openai", "gpt-4o-mini", 512).tokens == 2833 + 5667
    assert plan("openai", "gpt-5.9", 512).tokens is None


def test_bedrock_and_azure_do_as_the_model_s_own_service_does() -> None:
    there = plan("anthropic", "claude-sonnet-4-5", 1300)
    here = plan("bedrock", "eu.anthropic.claude-sonnet-4-5-v1:0", 1300)
    assert (here.steps, here.tokens) == (there.steps, there.tokens)
    assert here.sources["resize"].startswith("as anthropic: vendor docs")
    assert plan("azure", "gpt-4o", 1024).tokens == plan("openai", "gpt-4o", 1024).tokens
    assert plan("azure", "my-deployment", 1024).scale is None


def test_what_a_local_processor_was_seen_to_do_is_taken_over() -> None:
    step = ResizeStep("scaled down to", 56, 56)
    found = plan("hf", "org/name", 112, measured=ResizeResult((step,), 0.5, None, 0, ("seen",)))
    assert [str(step) for step in found.steps] == ["scaled down to 56 x 56 px"]
    assert (found.scale, found.survives, found.at_most) == (0.5, False, 4096)
    assert found.warnings[0] == "seen" and "scaled down to 50%" in found.warnings[1]
    assert plan("hf", "org/name", 112).survives is None


# -- what must hold --------------------------------------------------------------------------------
@pytest.mark.parametrize(("service", "model"), MODELS)
@given(small=SIDES, large=SIDES)
@settings(max_examples=25)
def test_tokens_do_not_fall_as_the_canvas_grows(
    service: str, model: str, small: int, large: int
) -> None:
    small, large = sorted((small, large))
    less = plan(service, model, small)
    more = plan(service, model, large)
    assert less.at_most <= more.at_most
    assert (less.tokens or 0) <= (more.tokens or 0)
    assert (less.tokens or 0) <= less.at_most
    assert input_tokens(service, model, small, 10) <= input_tokens(service, model, large, 11)


@given(width=SIDES, height=SIDES)
@settings(max_examples=150)
def test_an_image_never_leaves_larger_than_its_rule_allows(width: int, height: int) -> None:
    tiles = plan("openai", "gpt-4o", (width, height))
    w, h = (tiles.steps[-1].width, tiles.steps[-1].height) if tiles.steps else (width, height)
    assert max(w, h) <= 2048 and min(w, h) <= 768
    patches = plan("openai", "gpt-5-nano", (width, height))
    w, h = (patches.steps[-1].width, patches.steps[-1].height) if patches.steps else (width, height)
    assert -(-w // 32) * -(-h // 32) <= 1536
    padded = plan("anthropic", "claude-haiku-4-5", (width, height))
    w, h = (padded.steps[-1].width, padded.steps[-1].height) if padded.steps else (width, height)
    assert w % 28 == h % 28 == 0 and max(w, h) <= 1568 and w * h <= 1568 * 28 * 28
    assert padded.scale is not None and padded.scale <= 1


@given(width=st.integers(200, 4096), height=st.integers(200, 4096))
@settings(max_examples=100)
def test_a_shape_is_kept_within_a_pixel(width: int, height: int) -> None:
    for service, model in (("openai", "gpt-4o"), ("anthropic", "claude-haiku-4-5")):
        found = plan(service, model, (width, height))
        scaled = [step for step in found.steps if step.what.startswith("scaled")]
        if scaled and found.scale is not None:
            assert abs(scaled[0].width - width * found.scale) <= 1
            assert abs(scaled[0].height - height * found.scale) <= 1 + height / scaled[0].width / 2


@pytest.mark.parametrize(("service", "model"), KNOWN)
def test_the_largest_canvas_passes_and_the_next_does_not(service: str, model: str) -> None:
    largest = largest_canvas(service, model)
    assert largest is not None
    assert plan(service, model, largest).scale == 1
    check(service, model, largest, 1000)
    assert shrunk(service, model, largest) is None
    following = plan(service, model, largest + 1)
    assert (
        following.scale is None
        or following.scale < 1
        or any("refuses" in word for word in following.warnings)
    )


def test_the_largest_canvases_are_those_that_are_published() -> None:
    found = {model: largest_canvas(service, model) for service, model in KNOWN}
    assert (found["gpt-4o"], found["gpt-4.1-mini"], found["claude-sonnet-4-5"]) == (
        768,
        39 * 32,
        1092,
    )
    assert largest_canvas("openai-api", "anything") is None


@pytest.mark.parametrize(("service", "model"), MODELS)
@given(wanted=st.integers(8, 2048))
@settings(max_examples=20)
def test_a_canvas_that_fits_is_refused_by_nobody(service: str, model: str, wanted: int) -> None:
    fitting = fitting_canvas(service, model, wanted)
    check(service, model, fitting, 1000)
    assert shrunk(service, model, fitting) is None
    if (service, model) in KNOWN:
        assert plan(service, model, fitting).scale == 1
    if plan(service, model, wanted).scale == 1:
        assert fitting == wanted


@given(st.integers(0, 4000))
def test_text_counts_by_its_length_and_the_image_never_by_its_file(characters: int) -> None:
    image = plan("openai", "gpt-4o", 512).at_most
    found = input_tokens("openai", "gpt-4o", 512, characters)
    assert image + characters / 2 <= found <= image + characters / 2 + 200


# -- refusals --------------------------------------------------------------------------------------
def test_an_image_that_is_scaled_down_is_told_with_the_size_that_passes() -> None:
    check("openai", "gpt-4o", (3000, 2000), 90_000)  # a photo that is sent as it is
    told = shrunk("openai", "gpt-4o", 1024)
    assert told == (
        "openai/gpt-4o scales an image of 1024 x 1024 px, and a prompt with it, to 768 x 768; "
        "a square of 768 px passes as it is"
    )
    assert shrunk("openai", "gpt-4o", 768) is None
    assert shrunk("gemini", "gemini-3-pro", 5000) is None  # how it resizes is not documented


def test_an_image_that_is_too_large_is_refused_with_the_size_that_is_needed() -> None:
    with pytest.raises(UsageError, match=r"over 8000 px on a side; use --canvas 8000 or less"):
        check("anthropic", "claude-sonnet-4-5", 9000, 1000)


def test_a_file_that_is_too_large_is_refused_with_a_canvas_that_would_do() -> None:
    with pytest.raises(
        UsageError,
        match=r"over 7,500,000 bytes, .* has 15,000,000; use --canvas 707 or less, or -M "
        r"format=jpeg",
    ):
        check("anthropic", "claude-sonnet-4-5", 1000, 15_000_000)
    with pytest.raises(UsageError, match=r"use --canvas 707 or less$"):
        check("anthropic", "claude-sonnet-4-5", 1000, 15_000_000, format="jpeg")


def test_scaling_up_is_a_warning_and_no_refusal() -> None:
    check("bedrock", "amazon.nova-lite-v1:0", 224, 1000)
    assert "scaled up to 400%" in " ".join(plan("bedrock", "amazon.nova-lite-v1:0", 224).warnings)


def test_a_frame_that_is_lost_is_said_to_be() -> None:
    found = plan("openai", "gpt-4o", 1600)
    assert found.survives is False
    assert "does not survive" in " ".join(found.warnings)
    assert plan("openai", "gpt-4o", 800).survives is True


def test_small_images_are_read_worse() -> None:
    assert "under 200 px" in " ".join(plan("anthropic", "claude-sonnet-4-5", 196).warnings)
    assert plan("anthropic", "claude-sonnet-4-5", 224).warnings == ()


@pytest.mark.parametrize("size", [0, (4, 0), -1])
def test_a_canvas_without_pixels_is_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="has no pixels"):
        plan("openai", "gpt-4o", size)


# -- the data file ---------------------------------------------------------------------------------
def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_shipped_file_is_dated_and_each_value_has_a_source_with_a_tag() -> None:
    table = Limits.load()
    assert table.checked is not None
    tags = (
        "vendor docs",
        "the vendor's own client",
        "reported by third parties, unverified",
        "unknown",
        "the processor",
    )
    for row in table.shipped:
        assert all(source.startswith(tags) for source in row.sources.values()), row
    assert SHIPPED.read_text().isascii()


OWN = """
[[limits]]
service = "openai"
model = "gpt-4o"
formats = ["jpeg"]
side = 640
resize = { kind = "square", side = 640, tokens = 300 }
sources = { formats = "me", side = "me", resize = "a measurement" }
"""


def test_a_file_of_your_own_wins_value_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Limits.load(write(tmp_path / "own.toml", OWN))
    found = plan("openai", "gpt-4o", 640, bytes=21_000_000, limits=own)
    assert (found.tokens, found.sources["resize"]) == (300, "a measurement")
    assert "20,000,000 bytes" in found.warnings[1]  # what the file does not say is as shipped
    with pytest.raises(UsageError, match="openai does not accept png; use one of jpeg"):
        check("openai", "gpt-4o", 640, 1000, limits=own)
    assert plan("openai", "gpt-4o-mini", 512, limits=own).tokens == 8500
    monkeypatch.setenv("BBTVP_LIMITS", str(tmp_path / "own.toml"))
    assert plan("openai", "gpt-4o", 640).tokens == 300


ROW = '[[limits]]\nservice = "x"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limits = = 1", r"own.toml: not TOML: .*line 1"),
        (ROW + "sied = 3", r"own.toml: limits 1 sied: unknown key 'sied'; did you mean side"),
        (
            ROW + 'side = 0\nsources.side = "a"',
            r"own.toml: limits 1 side: input should be greater .*got 0",
        ),
        (
            ROW + 'side = "8"\nsources.side = "a"',
            r"limits 1 side: input should be a valid integer, got '8'",
        ),
        (ROW + "side = 3", r"limits 1: side has no source; add sources.side"),
        (ROW + 'sources.size = "a"', r"sources.size names no value of a row"),
        (ROW + 'resize = { kind = "tile" }\nsources.resize = "a"', r"limits 1 resize: .*'tiles'"),
        (
            ROW + 'resize = { kind = "budget" }\nsources.resize = "a"',
            r"limits 1 resize budget tokens: field required",
        ),
        ('[[limits]]\nmodel = "x"', r"limits 1 service: field required"),
        ('checked = "soon"', r"own.toml: checked: input should be a valid date, got 'soon'"),
    ],
)
def test_a_bad_file_is_refused_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Limits.load(write(tmp_path / "own.toml", text))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name, message in (("none", r"cannot be read \(No such file"), ("bytes", "not TOML")):
        with pytest.raises(UsageError, match=rf"{name}\.toml: {message}"):
            Limits.load(tmp_path / f"{name}.toml")


def test_services_that_are_like_each_other_are_found_out(tmp_path: Path) -> None:
    text = "".join(
        f'[[limits]]\nservice = "{a}"\nresize = {{ kind = "like", service = "{b}" }}'
        '\nsources.resize = "x"\n'
        for a, b in (("a", "b"), ("b", "a"))
    )
    with pytest.raises(UsageError, match="limits of a: a like b like a is a circle"):
        plan("a", "m", 224, limits=Limits.load(write(tmp_path / "own.toml", text)))
