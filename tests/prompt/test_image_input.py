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
from PIL import ExifTags, Image

from bbtvp.core.errors import DataError
from bbtvp.prompt import open_image, to_rgb
from bbtvp.prompt.image import image_suffixes, read_header

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
        ("F", 0.25, "a.tiff", (64,) * 3),
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


def grey(*values: int) -> list[int]:
    return [value >> 8 for value in values]


RAMP = (0, 255, 256, 20_000, 40_000, 65_535)


def tiff(
    path: Path, data: bytes, *, photometric: int, bits: int = 16, width: int = len(RAMP), order="<"
) -> Path:
    """An uncompressed TIFF of one row, in either byte order."""
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 0)]
    tags += [(277, 1), (278, 1), (279, len(data))]
    start = 8 + 2 + 12 * len(tags) + 4
    content = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    for tag, value in tags:
        content += struct.pack(order + "HHII", tag, 4, 1, start if tag == 273 else value)
    path.write_bytes(content + b"\0\0\0\0" + data)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.jp2"])
def test_sixteen_bits_keep_the_upper_eight_in_every_format(name: str, tmp_path: Path) -> None:
    values = np.tile(np.array(RAMP, np.uint16), (16, 3))
    path = saved(Image.fromarray(values), tmp_path / name)
    assert open_image(path)[0, : len(RAMP), 0].tolist() == grey(*RAMP)


@pytest.mark.parametrize("head", [b"P5 6 1 65535\n", b"P2 6 1 65535\n"])
def test_a_pgm_of_sixteen_bits_is_read_as_the_same_png_is(head: bytes, tmp_path: Path) -> None:
    plain = " ".join(map(str, RAMP)).encode()
    data = np.array(RAMP, ">u2").tobytes() if head.startswith(b"P5") else plain
    (tmp_path / "a.pgm").write_bytes(head + data)
    assert open_image(tmp_path / "a.pgm")[0, :, 0].tolist() == grey(*RAMP)


@pytest.mark.parametrize("most", [1023, 4095])
def test_a_pgm_is_scaled_by_the_range_that_it_declares(most: int, tmp_path: Path) -> None:
    values = (0, most // 4, most // 2, most)
    head = f"P5 4 1 {most}\n".encode()
    (tmp_path / "a.pgm").write_bytes(head + np.array(values, ">u2").tobytes())
    expected = [255 * value / most for value in values]
    assert open_image(tmp_path / "a.pgm")[0, :, 0].tolist() == pytest.approx(expected, abs=1)


def test_a_picture_that_uses_little_of_its_range_is_not_stretched(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + np.array([512, 1024], ">u2").tobytes())
    assert open_image(tmp_path / "a.pgm")[0, :, 0].tolist() == [2, 4]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_sixteen_bits_in_both_byte_orders(order: str, tmp_path: Path) -> None:
    data = np.array(RAMP, order + "u2").tobytes()
    path = tiff(tmp_path / "a.tif", data, photometric=1, order=order)
    assert open_image(path)[0, :, 0].tolist() == grey(*RAMP)


def test_a_tiff_whose_zero_is_white_is_inverted(tmp_path: Path) -> None:
    wide = tiff(tmp_path / "a.tif", np.array(RAMP, "<u2").tobytes(), photometric=0)
    narrow = tiff(tmp_path / "b.tif", bytes(grey(*RAMP)), photometric=0, bits=8)
    expected = [255 - value for value in grey(*RAMP)]
    assert open_image(wide)[0, :, 0].tolist() == expected
    assert open_image(narrow)[0, :, 0].tolist() == expected


def test_a_tiff_of_twelve_bits_is_scaled_by_its_range(tmp_path: Path) -> None:
    # Two pixels, 0x0FF and 0xFFF, in three bytes.
    path = tiff(tmp_path / "a.tif", bytes([0x0F, 0xFF, 0xFF]), photometric=1, bits=12, width=2)
    assert open_image(path)[0, :, 0].tolist() == [0x0F, 0xFF]


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path: Path) -> None:
    values = np.array([[256, 512]], np.uint16)
    path = saved(Image.fromarray(values), tmp_path / "a.png", transparency=256)
    assert open_image(path)[0, :, 0].tolist() == [255, 2]


def test_grey_of_sixteen_bits_is_turned_as_its_camera_was(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(Image.fromarray(np.array([[0, 65535]], np.uint16)), tmp_path / "a.png", exif=exif)
    assert open_image(path)[:, :, 0].tolist() == [[0], [255]]


def test_float_grey_is_read_from_black_to_white(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.1, 0.5, 1.0]], np.float32)
    assert open_image(saved(Image.fromarray(values), tmp_path / "a.tiff"))[0, :, 0].tolist() == [
        *(0, 26, 128, 255)
    ]
    dark = open_image(saved(Image.fromarray(values / 10), tmp_path / "b.tiff"))
    assert dark.max() == 26, "two pictures on one scale stay comparable"


@pytest.mark.parametrize(
    ("values", "dtype", "said"),
    [
        ([0.0, 255.0], np.float32, "float grey from 0 to 255 declares no range; scale it"),
        ([-1.0, 1.0], np.float32, "float grey from -1 to 1 declares no range"),
        ([-5, 5], np.int32, "32-bit or signed grey declares no range; save it with 8 or 16 bits"),
    ],
)
def test_grey_without_a_range_is_refused(
    values: list[float], dtype: type, said: str, tmp_path: Path
) -> None:
    assert said in refused(saved(Image.fromarray(np.array([values], dtype)), tmp_path / "a.tiff"))


@pytest.mark.parametrize("name", ["a.avif", "a.jfif", "a.webp", "a.jp2", "a.qoi", "a.dib", "a.pcx"])
def test_what_pillow_decodes_is_read(name: str, tmp_path: Path) -> None:
    kind = "JPEG" if name == "a.jfif" else None
    path = saved(Image.new("RGB", (16, 16), (200, 30, 30)), tmp_path / name, format=kind)
    assert Path(name).suffix in image_suffixes()
    assert np.abs(open_image(path).astype(int) - (200, 30, 30)).max() < 8


def test_a_format_that_starts_another_program_has_no_suffix_here() -> None:
    assert image_suffixes().isdisjoint({".eps", ".ps", ".pdf", ".mpg", ".txt", ""})


def test_a_header_says_what_a_file_holds(tmp_path: Path) -> None:
    frames = [Image.new("L", (20, 10), shade) for shade in (0, 100, 200)]
    for name in ("a.tiff", "a.gif", "a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert read_header(tmp_path / name) == (20, 10, False, 3)
        assert not open_image(tmp_path / name).any(), "the first picture is the one that is read"
    path = saved(Image.new("RGBA", (4, 5)), tmp_path / "b.png")
    assert read_header(path) == (4, 5, True, 1)


def test_a_header_is_read_without_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(30, 20))
    assert read_header(path)[:2] == (30, 20)
    with pytest.raises(DataError, match=r"a.eps: not an image"):
        read_header(saved(Image.new("RGB", (4, 4)), tmp_path / "a.eps"))


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.png", "a.tiff"])
def test_a_header_has_the_size_after_the_rotation(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    exif = Image.Exif()
    for turn in range(1, 9):
        exif[ExifTags.Base.Orientation] = turn
        Image.new("RGB", (40, 20)).save(path, exif=exif)
        shape = open_image(path).shape
        assert read_header(path)[:2] == (shape[1], shape[0])


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
