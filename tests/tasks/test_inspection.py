"""What a look at a task's images finds, and that it finds all of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.errors import DataError
from bbtvp.core.rng import stream
from bbtvp.prompt import open_image
from bbtvp.tasks import Sample, Task, inspection
from bbtvp.tasks.inspection import Inspection, inspect
from bbtvp.tasks.overlap import overlap

LABELS = ("left", "right")


def picture(number: int, side: int = 32) -> Image.Image:
    pixels = stream(number, "picture").integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Twelve different pictures."""
    paths = [tmp_path / "pictures" / f"{number}.png" for number in range(12)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        picture(number).save(path)
    return paths


def samples(paths: Iterable[Path], group: str | None = None) -> tuple[Sample, ...]:
    return tuple(
        Sample(path.name, LABELS[place % 2], path, group=group) for place, path in enumerate(paths)
    )


def task(paths: list[Path]) -> Task:
    """Six files in train, two in validation, the rest in test."""
    parts = (paths[:6], paths[6:8], paths[8:])
    return Task("pictures", "?", LABELS, *(samples(part) for part in parts))


def test_nothing_is_said_of_what_is_in_order(files: list[Path]) -> None:
    assert inspect(task(files)) == Inspection(12, 12, (), (), (), (), (), {}, (), (), True)


def test_a_box_in_pixels_that_leaves_its_picture_is_named(files: list[Path]) -> None:
    inside = "[0, 0, 32, 32]"
    boxes = [Sample(path.name, inside, path) for path in files]
    boxes[0] = replace(boxes[0], answer="[0, 0, 33, 20]")
    boxes[7] = replace(boxes[7], answer="[0, 0, 20, 40]", image=np.zeros((32, 32, 3), np.uint8))
    parts = (tuple(boxes[:6]), tuple(boxes[6:8]), tuple(boxes[8:]))
    found = inspect(Task("pictures", "?", None, *parts, metric="iou-pixels"))
    assert len(found.misfits) == 2
    said = r"sample '0.png': .*'\[0, 0, 33, 20\]' is no box within .*32 x 32 px, and 1 more like it"
    with pytest.raises(DataError, match=said):
        found.check()


def test_every_file_that_cannot_be_read_is_named_at_once(files: list[Path]) -> None:
    files[0].write_bytes(b"")
    files[1].write_text("<html>not found</html>")
    files[6].write_bytes(files[6].read_bytes()[:-400])
    files[7].unlink()
    found = inspect(task(files))
    assert {path for path, _ in found.unreadable} == {files[0], files[1], files[6], files[7]}
    with pytest.raises(DataError) as caught:
        found.check()
    said = str(caught.value)
    assert said.startswith("4 of 12 images cannot be read: ")
    assert said.endswith("; mend or remove them, and run it again") and "\n" not in said
    for part in ("0.png: the file is empty", "1.png: not an image", "6.png", "7.png: no such file"):
        assert part in said


def test_one_file_is_named_as_it_is_when_it_is_opened(files: list[Path]) -> None:
    files[0].write_bytes(b"")
    with pytest.raises(DataError) as opened:
        open_image(files[0])
    with pytest.raises(DataError) as caught:
        inspect(task(files)).check()
    assert str(caught.value) == str(opened.value)


def test_a_test_image_that_cannot_be_read_is_said_and_does_not_stop_the_search(
    files: list[Path],
) -> None:
    files[9].write_bytes(b"")
    found = inspect(task(files))
    assert [path for path, _ in found.unreadable] == [files[9]]
    assert found.held_out == found.unreadable
    found.check()
    with pytest.raises(DataError, match=r"9.png: the file is empty"):
        overlap(task(files))


def test_thumbnails_pages_and_transparency_are_counted(files: list[Path]) -> None:
    picture(0, side=15).save(files[0])
    pages = files[1].with_suffix(".tiff")
    picture(1).save(pages, save_all=True, append_images=[picture(2)])
    picture(2).convert("RGBA").save(files[2])
    found = inspect(task([files[0], pages, *files[2:]]))
    assert found.small == (files[0],)
    assert found.several == (pages,)
    assert found.transparent == (files[2],)


def test_pictures_that_come_again_are_found_in_validation_and_test(files: list[Path]) -> None:
    files[6].write_bytes(files[2].read_bytes())
    Image.open(files[3]).save(files[8].with_suffix(".bmp"))
    again = [*files[:8], files[8].with_suffix(".bmp"), *files[9:]]
    found = inspect(task(again)).repeated
    assert {split: shared.equal for split, shared in found.items()} == {
        "validation": (0,),
        "test": (0,),
    }


def test_of_many_files_the_headers_are_read_and_equal_files_are_found(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files[6].write_bytes(files[2].read_bytes())
    files[11].write_bytes(files[6].read_bytes())
    files[10].write_bytes(files[9].read_bytes())
    files[5].write_bytes(b"")
    cut = files[9].read_bytes()[:-400]
    files[9].write_bytes(cut)
    found = inspect(task(files), most_pixels=3 * 32 * 32)
    assert (found.images, found.decoded, found.thorough) == (12, 3, False)
    assert [path for path, _ in found.unreadable] == [files[5]]
    assert {split: shared.equal for split, shared in found.repeated.items()} == {
        "validation": (0,),
        "test": (3,),
    }
    monkeypatch.setattr(inspection, "MOST_FILES", 2)
    assert inspect(task(files)).decoded == 2


def test_files_of_one_size_that_differ_in_the_middle_are_not_equal(tmp_path: Path) -> None:
    grey = np.zeros((400, 400, 3), np.uint8)
    paths = []
    for number in range(12):
        pixels = grey.copy()
        pixels[200, 200] = number
        paths.append(tmp_path / f"{number}.bmp")
        Image.fromarray(pixels).save(paths[-1])
    assert len({path.stat().st_size for path in paths}) == 1
    assert inspect(task(paths), most_pixels=1).repeated == {}


def test_pixels_in_memory_are_compared_as_they_are() -> None:
    pixels = [np.asarray(picture(number)) for number in (0, 1, 2, 3, 4, 1)]
    made = [Sample(str(place), LABELS[place % 2], image) for place, image in enumerate(pixels)]
    found = inspect(Task("made", "?", LABELS, *(tuple(made[i : i + 2]) for i in (0, 2, 4))))
    assert found.repeated["test"].equal == (1,)
    assert (found.images, found.decoded) == (6, 0)


def test_a_group_in_two_stated_splits_is_named(files: list[Path]) -> None:
    parts = (samples(files[:4], "a"), samples(files[4:8], "b"), samples(files[8:], "a"))
    assert inspect(Task("pictures", "?", LABELS, *parts)).divided == ("a",)
