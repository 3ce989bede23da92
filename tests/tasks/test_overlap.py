"""Pictures that come again: the same bytes, saved again, resized, and pictures that only look
alike.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.rng import stream
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.overlap import Overlap, fingerprint, overlap

LABELS = ("left", "right")


def photo(seed: int, side: int = 160) -> Pixels:
    """Soft patches of colour, an edge and grain, as a photo has."""
    rng = stream(seed, "photo")
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(coarse, np.float64)
    pixels[:, side // 2 :] *= 0.8
    return np.rint(pixels + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)


def jpeg(quality: int) -> Callable[[Pixels], Pixels]:
    def change(pixels: Pixels) -> Pixels:
        stream_ = io.BytesIO()
        Image.fromarray(pixels).save(stream_, "JPEG", quality=quality)
        return np.asarray(Image.open(stream_).convert("RGB"))

    return change


def resized(scale: float) -> Callable[[Pixels], Pixels]:
    def change(pixels: Pixels) -> Pixels:
        size = tuple(round(scale * side) for side in pixels.shape[1::-1])
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))

    return change


def brighter(pixels: Pixels) -> Pixels:
    return (pixels * 1.1 + 5).clip(0, 255).astype(np.uint8)


def task(shown: list[Pixels], train: int = 20, **more: tuple[Sample, ...]) -> Task:
    splits = {
        "train": tuple(Sample(f"t{i}", LABELS[i % 2], photo(i)) for i in range(train)),
        "validation": tuple(Sample(f"v{i}", LABELS[i % 2], photo(100 + i)) for i in range(10)),
        "test": tuple(Sample(f"e{i}", LABELS[i % 2], pixels) for i, pixels in enumerate(shown)),
    }
    return Task("photos", "left or right?", LABELS, **(splits | more))


def test_different_pictures_share_nothing() -> None:
    assert overlap(task([photo(1000 + i) for i in range(50)])) == Overlap()


def test_equal_pixels_are_found_in_train_and_validation() -> None:
    assert overlap(task([photo(1000), photo(3), photo(105)])) == Overlap(equal=(1, 2))


@pytest.mark.parametrize(
    "change",
    [jpeg(90), jpeg(50), jpeg(30), resized(0.5), resized(1.7), brighter],
    ids=["jpeg90", "jpeg50", "jpeg30", "half", "larger", "brighter"],
)
def test_the_same_picture_saved_again_is_found(change: Callable[[Pixels], Pixels]) -> None:
    found = overlap(task([photo(1000), *(change(photo(i)) for i in range(20)), photo(1001)]))
    assert found == Overlap(alike=tuple(range(1, 21)))
    assert found.places == frozenset(range(1, 21))


def test_another_colour_is_another_picture() -> None:
    """One shape in red and in blue: the grey hashes are near, the pictures are not."""
    images = []
    for colour in ((220, 40, 40), (40, 40, 220)):
        pixels = np.full((64, 64, 3), 200, np.uint8)
        pixels[20:44, 20:44] = colour
        images.append(pixels)
    assert (fingerprint(images[0]).bits ^ fingerprint(images[1]).bits).bit_count() <= 12
    assert (
        overlap(task([images[1]], train=2, validation=(Sample("v", "left", images[0]),)))
        == Overlap()
    )


def test_a_blank_picture_has_a_fingerprint() -> None:
    assert not fingerprint(np.full((32, 32, 3), 128, np.uint8)).thumbnail.any()


def test_a_file_is_read_once_for_all_its_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo(5)).save(path)
    read: list[str] = []
    pixels = Sample.pixels

    def counting(sample: Sample) -> Pixels:
        read.append(sample.id)
        return pixels(sample)

    monkeypatch.setattr(Sample, "pixels", counting)
    asked = tuple(Sample(f"q{i}", LABELS[i % 2], path) for i in range(4))
    assert overlap(task([], test=asked)) == Overlap(alike=(), equal=(0, 1, 2, 3))
    assert sum(name.startswith("q") for name in read) == 1
