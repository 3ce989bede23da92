"""Every mode and every way in which a file can be no image."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bbtvp.core.errors import DataError
from bbtvp.prompt import open_image, to_rgb

RED = (255, 0, 0)
CLEAR_RED = (255, 0, 0, 0)
WHITE = (255, 255, 255)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "color", "name", "expected"),
    [
        ("RGB", (1, 2, 3), "a.png", (1, 2, 3)),
        ("L", 77, "a.png", (77, 77, 77)),
        ("1", 1, "a.png", WHITE),
        ("LA", (0, 255), "a.png", (0, 0, 0)),
        ("LA", (0, 0), "a.png", WHITE),
        ("RGBA", (9, 8, 7, 255), "a.png", (9, 8, 7)),
        ("RGBA", CLEAR_RED, "a.png", WHITE),
        ("RGBA", (0, 0, 0, 51), "a.png", (204, 204, 204)),
        ("CMYK", (0, 255, 255, 0), "a.tiff", RED),
        ("YCbCr", (128, 128, 128), "a.tiff", (128, 128, 128)),
        ("I;16", 0x80FF, "a.png", (0x80,) * 3),
        ("I;16", 0xFFFF, "a.tiff", (255,) * 3),
        ("I", 7, "a.tiff", (128,) * 3),
        ("F", 0.25, "a.tiff", (128,) * 3),
    ],
)
def test_a_mode_becomes_rgb(
    mode: str,
    color: int | float | tuple[int, ...],
    name: str,
    expected: tuple[int, ...],
    tmp_path: Path,
) -> None:
    pixels = open_image(saved(Image.new(mode, (3, 2), color), tmp_path / name))
    assert pixels.shape == (2, 3, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == expected).all()


@pytest.mark.parametrize("mode", ["RGBa", "PA", "RGBX", "HSV", "I;16B", "I;16L"])
def test_a_mode_that_lives_in_memory_only_becomes_rgb(mode: str) -> None:
    assert to_rgb(Image.new(mode, (3, 2))).shape == (2, 3, 3)


def test_a_palette_keeps_its_colors_and_its_transparent_entry_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 255, 0])
    image.putpixel((1, 0), 1)
    assert open_image(saved(image, tmp_path / "a.png")).tolist() == [[[255, 0, 0], [0, 255, 0]]]
    assert open_image(saved(image, tmp_path / "b.png", transparency=1)).tolist() == [
        [[255, 0, 0], [255, 255, 255]]
    ]
    assert open_image(saved(image, tmp_path / "c.gif", transparency=0)).tolist() == [
        [[255, 255, 255], [0, 255, 0]]
    ]


def test_a_transparent_color_of_rgb_is_white(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (1, 1), RED), tmp_path / "a.png", transparency=RED)
    assert open_image(path).tolist() == [[[255, 255, 255]]]


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    pixels = open_image(saved(image, tmp_path / "a.png", exif=exif))
    assert pixels.tolist() == [[[255, 0, 0]], [[0, 0, 255]]]


@pytest.mark.parametrize(
    ("values", "dtype"), [([-5, 0, 5], np.int32), ([0.0, 0.5, 1.0], np.float32)]
)
def test_32_bit_grey_is_stretched_over_its_range(
    values: list[float], dtype: type, tmp_path: Path
) -> None:
    path = saved(Image.fromarray(np.array([values], dtype)), tmp_path / "a.tiff")
    assert open_image(path)[0, :, 0].tolist() == [0, 128, 255]


def test_the_image_is_not_changed() -> None:
    image = Image.new("P", (2, 2))
    to_rgb(image)
    assert image.mode == "P"


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_image(path)
    line = str(caught.value)
    assert str(path) in line
    assert line.count(str(path)) == 1
    assert "\n" not in line
    return line


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.png")


def test_a_folder(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    assert "empty" in refused(path)


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("question,answer\n")
    assert "not an image" in refused(path)


def test_a_format_that_would_start_another_program(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (4, 4)), tmp_path / "a.eps")
    assert "not an image" in refused(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp", "a.webp", "a.tiff"])
def test_a_truncated_file(name: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path)


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    return header + struct.pack(">I", 100) + b"IDAT"


@pytest.mark.parametrize("side", [8001, 9500, 60000])
def test_an_enormous_image_is_refused_before_it_is_decoded(side: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(
        png_header(side, side)
    )  # there is nothing to decode: only the size can be the reason
    limit = Image.MAX_IMAGE_PIXELS
    assert "64 megapixels" in refused(path)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_an_image_without_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 0 5 255\n")
    refused(path)
    with pytest.raises(DataError, match="no pixels"):
        to_rgb(Image.new("RGB", (0, 5)))


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.array([[1.0, np.nan]], np.float32)), tmp_path / "a.tiff")
    assert "not finite" in refused(path)


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
        stream, kind
    )
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP"]))
def test_damaged_bytes_give_pixels_or_one_clear_line(
    data: st.DataObject, kind: str, tmp_path: Path
) -> None:
    content = bytearray(encoded(kind))
    for place in data.draw(
        st.lists(st.integers(0, min(len(content), 120) - 1), min_size=1, max_size=4)
    ):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        pixels = open_image(path)
    except DataError as error:
        line = str(error)
    else:
        line = f"{path}"
        assert pixels.dtype == np.uint8
    assert line.startswith(str(path))
