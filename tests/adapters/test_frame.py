"""What image processors do to a canvas, measured, against what their outputs show directly."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from bbtvp.adapters.hf.frame import ImageProcessor
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.models.preprocessing import CanvasRegion, Preprocessed

FRAME = 12


def made(kind: str, **settings: Any) -> ImageProcessor:
    return ImageProcessor(getattr(transformers, f"{kind}ImageProcessorPil")(**settings))


def measured(kind: str, width: int, height: int | None = None, **settings: Any) -> Preprocessed:
    return made(kind, **settings).measure(width, height or width, frame=FRAME)


def size(found: Preprocessed) -> tuple[int, int]:
    return found.views[0].width, found.views[0].height


# -- one kind each ---------------------------------------------------------------------------------
def test_a_canvas_of_the_processor_s_size_is_copied() -> None:
    found = measured("Siglip", 224)
    assert found.copied and found.whole and found.scale == 1
    assert (found.arrives, found.frame_arrives, found.padding) == (1, 1, 0)
    assert found.inputs == {"pixel_values": (1, 3, 224, 224)}


@pytest.mark.parametrize("side", [100, 448, 768])
def test_a_resize_is_told_by_its_scale(side: int) -> None:
    found = measured("Siglip", side)
    assert (size(found), found.copied, found.whole) == ((224, 224), False, True)
    assert found.scale == pytest.approx(224 / side)
    assert found.frame_arrives == 1


def test_a_center_crop_cuts_the_rim() -> None:
    settings = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
    found = measured("CLIP", 256, **settings)
    assert found.copied and found.views[0].box == CanvasRegion(16, 16, 240, 240)
    assert found.arrives == pytest.approx((224 / 256) ** 2, abs=0.03)
    assert found.frame_arrives == 0  # the outer 12 of 16 pixels that are cut
    assert made("CLIP", **settings).side() == 256


def test_a_shortest_edge_cuts_the_long_sides() -> None:
    found = measured("CLIP", 448, 224)
    assert found.views[0].box == CanvasRegion(112, 0, 336, 224) and found.copied


def test_a_fixed_square_stretches() -> None:
    view = measured("Siglip", 448, 224).views[0]
    assert view.scale == (0.5, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_pixels": 3136, "max_pixels": 210_000},
        {"size": {"shortest_edge": 3136, "longest_edge": 210_000}},
    ],
)
def test_pixel_counts_are_bounds_and_no_sides(settings: dict[str, Any]) -> None:
    found = measured("Qwen2VL", 768, **settings)
    assert (size(found), found.copied) == ((448, 448), False)
    processor = made("Qwen2VL", **settings)
    assert processor.side() is None
    assert (processor.fitting(768), processor.fitting(300)) == (448, 308)
    assert measured("Qwen2VL", 308, **settings).copied


def test_tiles_are_told_with_the_overview() -> None:
    fine, overview = measured(
        "LlavaNext",
        672,
        size={"shortest_edge": 336},
        crop_size={"height": 336, "width": 336},
    ).views
    assert (fine.width, fine.height, fine.tiles, fine.tile) == (672, 672, 4, (336, 336))
    assert (overview.width, overview.height, overview.tiles) == (336, 336, 1)


def test_tiles_of_several_families() -> None:
    idefics = measured(
        "Idefics3", 200, size={"longest_edge": 256}, max_image_size={"longest_edge": 64}
    )
    assert (size(idefics), idefics.views[0].tiles) == ((256, 256), 16)
    intern = measured(
        "GotOcr2", 448, size={"height": 224, "width": 224}, crop_to_patches=True, min_patches=4
    )
    assert (size(intern), intern.views[0].tiles) == ((448, 448), 4) and intern.scale == 1
    mllama = measured("Mllama", 448)
    assert (size(mllama), mllama.views[0].tiles, mllama.copied) == ((448, 448), 4, True)


def test_pan_and_scan_adds_crops() -> None:
    settings = {
        "do_pan_and_scan": True,
        "pan_and_scan_min_crop_size": 64,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    }
    found = measured("Gemma3", 512, 256, **settings)
    assert found.inputs["pixel_values"][0] > 1
    assert found.whole and size(found) == (448, 224)


def test_a_pad_to_a_square_is_told_as_padding() -> None:
    found = measured("Llava", 448, 224, do_pad=True)
    assert size(found) == (224, 112) and found.whole
    assert found.padding == pytest.approx(0.5, abs=0.03)


def test_patches_are_put_together() -> None:
    struct = measured("Pix2Struct", 720)
    assert (size(struct), struct.copied) == ((720, 720), True)
    naflex = measured("Siglip2", 256)
    assert (size(naflex), naflex.copied) == ((256, 256), True)
    wide = measured("Siglip2", 256, 128)
    assert size(wide) == (352, 176) and wide.padding > 0.05
    paddle = measured("PaddleOCRVL", 392)
    assert (size(paddle), paddle.copied, paddle.views[0].tiles) == ((392, 392), True, 1)


def test_what_depends_on_the_content_is_not_told() -> None:
    with pytest.raises(ModelError, match=r"NougatImageProcessorPil .* depends on the content"):
        measured("Nougat", 256)
    with pytest.raises(ModelError, match=r"cannot be measured: .*trimaps"):
        measured("VitMatte", 64)


# -- every class -----------------------------------------------------------------------------------
def classes() -> Iterator[Any]:
    """The image processors of transformers that can be imported here, one of each backend pair."""
    for package in pkgutil.iter_modules(transformers.models.__path__):
        found = importlib.import_module(f"transformers.models.{package.name}")
        for module in pkgutil.iter_modules(found.__path__):
            if not module.name.startswith("image_processing"):
                continue
            try:
                yield from _classes(f"{found.__name__}.{module.name}")
            except ImportError:  # torchvision
                continue


def _classes(module: str) -> Iterator[Any]:
    for name, found in vars(importlib.import_module(module)).items():
        here = inspect.isclass(found) and found.__module__ == module
        if here and hasattr(found, "preprocess") and not hasattr(transformers, f"{name}Pil"):
            yield found


def image(seed: int, side: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def tensors(processor: Any, pixels: Pixels) -> dict[str, Any]:
    found = processor([[Image.fromarray(pixels)]], return_tensors="pt")
    found = found if hasattr(found, "items") else {"pixel_values": found}
    return {
        key: np.asarray(value, float) for key, value in found.items() if hasattr(value, "dtype")
    }


def changed(processor: Any, before: Pixels, after: Pixels, names: Any) -> bool:
    one, two = tensors(processor, before), tensors(processor, after)
    return any(np.abs(one[name] - two[name]).max() > 0.02 * np.ptp(one[name]) for name in names)


def holds(processor: Any, found: Preprocessed) -> None:
    """Compare a statement with what a change of the rim, and a look at the tensors, show."""
    names = found.inputs
    pixels = image(0, found.width)
    left, top, right, bottom = found.views[0].box
    inner = pixels.copy()
    inner[top:bottom, left:right] = image(1, found.width)[top:bottom, left:right]
    outer = image(1, found.width)
    outer[top:bottom, left:right] = pixels[top:bottom, left:right]
    margin = max(2, round(3 / found.scale))
    beyond = pixels.copy()
    rows = np.ones(found.height, bool)
    rows[max(0, top - margin) : bottom + margin] = False
    columns = np.ones(found.width, bool)
    columns[max(0, left - margin) : right + margin] = False
    beyond[rows] = 255 - beyond[rows]
    beyond[:, columns] = 255 - beyond[:, columns]
    assert changed(processor, pixels, inner, names)
    if not (rows.any() or columns.any()):
        assert found.frame_arrives > 0.9
    elif len(found.views) == 1:
        assert not changed(processor, pixels, beyond, names)
    rim = pixels.copy()
    rim[:2] = 255 - rim[:2]
    assert changed(processor, pixels, rim, names) is (top == 0)
    for name, shape in tensors(processor, pixels).items():
        grid = name == "image_grid_thw"
        if grid:
            patch = processor.patch_size
            told = [found.views[0].height, found.views[0].width]
            padded = patch * shape.reshape(-1)[1:3]
            assert all(0 <= there - here < 64 for there, here in zip(padded, told, strict=True))
    if list(names) == ["pixel_values"] and len(names["pixel_values"]) == 4 and found.padding < 0.01:
        view = found.views[0]
        tall, wide = names["pixel_values"][-2:]
        assert view.tile == (wide, tall) or type(processor).__name__.startswith(UNUSUAL)


UNUSUAL = ("MiniCPM", "PaddleOCR", "ZoeDepth", "Swin2SR")
"""Whose tensors hold patches, or a picture whose rim is mirrored, so that shapes tell less."""
CONTENT = {"NougatImageProcessorPil"}
"""Which crop by what an image shows; the statement is that nothing can be said."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*classes()], ids=lambda kind: kind.__name__)
def test_the_statement_is_right_for_every_class(kind: Any) -> None:
    try:
        processor = kind()
        tensors(processor, image(0, 256))
    except (TypeError, ValueError, ImportError, NameError, AttributeError) as error:
        pytest.skip(f"{kind.__name__} cannot be built or run here: {error}"[:160])
    subject = ImageProcessor(processor)
    if kind.__name__ in CONTENT:
        with pytest.raises(ModelError, match="depends on the content"):
            subject.measure(256, 256, frame=FRAME)
        return
    for side in (256, min(768, subject.side() or subject.fitting(448))):
        holds(processor, subject.measure(side, side, frame=round(side * 30 / 224)))
