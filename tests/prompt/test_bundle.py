"""A bundle gives back the prompt to the bit, or says in one line why not."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bbtvp.core.errors import UsageError
from bbtvp.prompt import Prompt, preset
from bbtvp.prompt import bundle as bundles
from tests.prompt.bundles import forged, refused

PRESETS = ("tvp", "frame", "tone", "default", "annotate")
LONG = "tvp"  # z in z.npy
SHORT = "frame"  # z in the manifest


def prompt_of(name: str, seed: int = 0) -> Prompt:
    space = preset(name, 24)
    return space.prompt(np.random.default_rng(seed).standard_normal(space.dim))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("target", ["p.vprompt", "folder"])
def test_a_round_trip_renders_identical_bytes(name: str, target: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for seed in range(3):
        prompt = prompt_of(name, seed)
        prompt.save(tmp_path / target, {"task": "digits", "accuracy": 0.7, "é": [1, None]})
        loaded = Prompt.load(tmp_path / target)
        assert np.array_equal(loaded.z, prompt.z)
        assert loaded.space == prompt.space
        assert loaded.digest == prompt.digest
        assert np.array_equal(loaded.render(pixels), prompt.render(pixels))
    assert bundles.read(tmp_path / target).meta == {
        "task": "digits",
        "accuracy": 0.7,
        "é": [1, None],
    }


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(z=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_every_float_survives(z: list[float], tmp_path: Path) -> None:
    prompt = preset("tone", 24).prompt(np.array(z))
    prompt.save(tmp_path / "p.vprompt")
    assert Prompt.load(tmp_path / "p.vprompt").z.tobytes() == prompt.z.tobytes()


def test_the_full_size_of_tvp(tmp_path: Path) -> None:
    prompt = preset("tvp").prompt(np.random.default_rng(0).standard_normal(69_840))
    prompt.save(tmp_path / "p.vprompt")
    assert np.array_equal(Prompt.load(str(tmp_path / "p.vprompt")).z, prompt.z)
    assert (tmp_path / "p.vprompt").stat().st_size < 1_000_000


@pytest.mark.parametrize("name", PRESETS)
def test_equal_prompts_give_equal_bytes(name: str, tmp_path: Path) -> None:
    for target in ("a.vprompt", "b.vprompt"):
        prompt_of(name).save(tmp_path / target, {"b": 1, "a": 2})
    assert (tmp_path / "a.vprompt").read_bytes() == (tmp_path / "b.vprompt").read_bytes()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        (LONG, {"manifest.json", "z.npy", "frame.png"}),
        (SHORT, {"manifest.json", "frame.png"}),
        ("tone", {"manifest.json"}),
    ],
)
def test_the_content(name: str, files: set[str], tmp_path: Path) -> None:
    prompt = prompt_of(name)
    prompt.save(tmp_path / "p")
    prompt.save(tmp_path / "p.vprompt")
    assert {path.name for path in (tmp_path / "p").iterdir()} == files
    with zipfile.ZipFile(tmp_path / "p.vprompt") as archive:
        assert set(archive.namelist()) == files
        assert all(archive.read(file) == (tmp_path / "p" / file).read_bytes() for file in files)
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["schema"] == "bbtvp.prompt/2"
    assert manifest["theta"] == prompt.theta


def test_a_folder_saved_over_leaves_nothing_of_the_old_bundle(tmp_path: Path) -> None:
    for name in (LONG, SHORT, "tone", LONG):
        prompt_of(name).save(tmp_path)
        assert Prompt.load(tmp_path).digest == prompt_of(name).digest


def test_other_files_in_the_folder_are_not_looked_at(tmp_path: Path) -> None:
    prompt_of(SHORT).save(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    Prompt.load(tmp_path)


@pytest.mark.parametrize(
    "meta", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}, {(1, 2): 3}]
)
def test_meta_that_is_not_json(meta: dict[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="meta is not JSON"):
        prompt_of("tone").save(tmp_path / "p", meta)
    assert not (tmp_path / "p").exists()


# damage


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), name=st.sampled_from([LONG, SHORT, "tone"]))
def test_any_altered_byte_of_the_file_is_found(
    data: st.DataObject, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.vprompt"
    prompt_of(name).save(path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    refused(path)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), file=st.sampled_from(["manifest.json", "z.npy", "frame.png"]))
def test_any_altered_byte_of_a_folder_is_found(
    data: st.DataObject, file: str, tmp_path: Path
) -> None:
    prompt_of(LONG).save(tmp_path)
    content = bytearray((tmp_path / file).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / file).write_bytes(content)
    refused(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:-1],
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b + b"x",
        lambda b: b"x" + b,
    ],
)
def test_a_file_cut_or_padded(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "p.vprompt"
    prompt_of(SHORT).save(path)
    path.write_bytes(change(path.read_bytes()))
    refused(path)


def test_a_missing_bundle_and_a_folder_that_is_none(tmp_path: Path) -> None:
    assert "no such bundle" in refused(tmp_path / "none.vprompt")
    assert "manifest.json is missing" in refused(tmp_path)


@pytest.mark.parametrize("file", ["z.npy", "frame.png"])
def test_a_missing_file(file: str, tmp_path: Path) -> None:
    prompt_of(LONG).save(tmp_path)
    (tmp_path / file).unlink()
    assert f"{file} is missing" in refused(tmp_path)


@pytest.mark.parametrize("extra", ["../evil.txt", "/evil.txt", "README.md", "manifest.json"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_anything_more_is_refused_and_nothing_is_written(
    extra: str, tmp_path: Path
) -> None:
    path = tmp_path / "inner" / "p.vprompt"
    prompt_of(SHORT).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(extra, "evil")
    assert re.search("not as bbtvp wrote it|no file of a bundle", refused(path))
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["p.vprompt"]


def test_a_compressed_bomb_is_not_inflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.vprompt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (4 << 20))
    assert "not as bbtvp wrote it" in refused(tmp_path / "p.vprompt")


def test_a_file_beyond_its_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(9 << 20)
    assert "manifest.json is over 2 MiB" in refused(tmp_path)


# alterations by someone who computes the digests anew


def test_another_z_does_not_give_the_frame(tmp_path: Path) -> None:
    prompt_of(SHORT).save(tmp_path)
    forged(tmp_path, lambda manifest: manifest["z"].__setitem__(0, manifest["z"][0] + 1))
    assert "frame.png is not the frame that z gives" in refused(tmp_path)


def test_another_frame_is_not_the_one_of_z(tmp_path: Path) -> None:
    prompt_of(LONG).save(tmp_path)
    frame = np.array(Image.open(tmp_path / "frame.png"))
    frame[0, 0, 0] ^= 1
    Image.fromarray(frame).save(tmp_path / "frame.png")
    forged(tmp_path, lambda manifest: None)
    assert "frame.png is not the frame that z gives" in refused(tmp_path)


def test_no_frame_at_all_is_not_the_one_of_z(tmp_path: Path) -> None:
    prompt_of(SHORT).save(tmp_path)
    forged(tmp_path, lambda manifest: manifest["files"].clear())
    (tmp_path / "frame.png").unlink()
    assert "frame.png is not the frame that z gives" in refused(tmp_path)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda m: m.update(schema="bbtvp.prompt/3"), "install a newer bbtvp"),
        (lambda m: m.update(schema=None), "install a newer bbtvp"),
        (lambda m: m.pop("schema"), "schema: Field required"),
        (lambda m: m.update(canvas=10**9), "canvas"),
        (lambda m: m.update(canvas="24"), "canvas"),
        (lambda m: m.update(canvas=25), "frame.png is not RGBA of 25 x 25 px"),
        (lambda m: m.pop("theta"), "theta"),
        (lambda m: m["theta"].update(frame={"a\nb": []}), r"theta.frame.a\nb"),
        (lambda m: m.update(z=None), "z must stand in"),
        (lambda m: m.update(z=m["z"][:-1]), "z has shape (71,)"),
        (lambda m: m.update(z=["0"] * 72), "z.0"),
        (lambda m: m["layers"][1].update(kind="paint"), "layer 'paint' is not known here"),
        (lambda m: m["layers"][1].update(kind=["frame"]), "is not known here"),
        (lambda m: m["layers"][1].update(glow=1), "unknown fields glow"),
        (lambda m: m["layers"][1].update({"a\nb": 1}), r"unknown fields a\nb"),
        (lambda m: m["layers"][1].update(init="white"), "layer 'frame'"),
        (lambda m: m["layers"][1].update(basis="dtc"), "layer 'frame'"),
        (lambda m: m["layers"][1].update(size=0), "layer 'frame': frame size is 0"),
        (lambda m: m["layers"].append(m["layers"][1]), "two layers of one kind"),
        (
            lambda m: m["files"].update({"../../etc/passwd": "0"}),
            "../../etc/passwd is missing, altered or not listed",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used(
    change: Callable[[dict[str, Any]], object], line: str, tmp_path: Path
) -> None:
    prompt_of(SHORT).save(tmp_path)
    forged(tmp_path, change)
    assert line in refused(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "[" * 100_000, '{"schema": NaN}', "\x00", '{"canvas": ' + "9" * 5000 + "}"],
)
def test_a_manifest_that_is_none(text: str, tmp_path: Path) -> None:
    prompt_of(SHORT).save(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    refused(tmp_path)


@pytest.mark.parametrize(
    "change", [lambda text: text + "\n", lambda text: text.replace(": ", ":", 1)]
)
def test_a_manifest_spelt_in_another_way(change: Callable[[str], str], tmp_path: Path) -> None:
    prompt_of(SHORT).save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert "manifest.json was altered" in refused(tmp_path)


def npy(array: np.ndarray[Any, Any], **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        npy(np.array([{"code": 1}], object), allow_pickle=True),
        npy(np.zeros(900, np.float32)),
        npy(np.zeros((30, 36))),
        npy(np.full(3, np.nan)),
        npy(np.zeros(8))[:-8],
        npy(np.zeros(1080)).replace(b"(1080,)", b"(1<<62)"),
    ],
)
def test_a_z_file_that_is_no_row_of_float64(content: bytes, tmp_path: Path) -> None:
    prompt_of(LONG).save(tmp_path)
    (tmp_path / "z.npy").write_bytes(content)
    forged(tmp_path, lambda manifest: None)
    refused(tmp_path)


@pytest.mark.parametrize(
    "stored", [lambda z: z.reshape(-1, 2), lambda z: z.view(np.int64), lambda z: z.astype(">f8")]
)
def test_the_right_numbers_in_another_shape_or_type(
    stored: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    prompt_of(LONG).save(tmp_path)
    (tmp_path / "z.npy").write_bytes(npy(stored(prompt_of(LONG).z)))
    forged(tmp_path, lambda manifest: None)
    assert "not one row of float64" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_frame_file_of_another_kind(kind: str, tmp_path: Path) -> None:
    prompt_of(SHORT).save(tmp_path)
    Image.new("L", (24, 24)).save(tmp_path / "frame.png", kind)
    forged(tmp_path, lambda manifest: None)
    assert "frame.png" in refused(tmp_path)


def test_rendering_loads_neither_pydantic_nor_torch() -> None:
    code = (
        "import bbtvp.prompt, sys; sys.exit(any(name in sys.modules for name in ('pydantic', "
        "'torch', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
