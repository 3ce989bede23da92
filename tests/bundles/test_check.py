"""What a bundle gives away is found, and honest bundles give nothing away."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bbtvp.bundles.check import check_bundle
from bbtvp.cli import cli
from bbtvp.core.errors import BundleError
from bbtvp.prompt import Exemplars, Frame, Placement, Prompt, PromptSpace, Tone, preset
from bbtvp.tasks import Sample, Task
from tests.prompt.bundles import forged

RNG = np.random.default_rng(0)


def photo(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture of some smooth shapes, (60, 60, 3)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((60, 60), Image.Resampling.BICUBIC))


def task() -> Task:
    samples = [Sample(f"ward/{at}", "cat" if at % 2 else "dog", photo(at)) for at in range(12)]
    return Task(
        "pets", "Which?", ("cat", "dog"), *(tuple(samples[at : at + 4]) for at in (0, 4, 8))
    )


def saved(path: Path, prompt: Prompt | None = None, **meta: object) -> Path:
    space = preset("default", 64)
    prompt = prompt or space.prompt(np.random.default_rng(1).standard_normal(space.dim))
    prompt.save(path, meta)
    return path


@pytest.mark.parametrize("name", ["tvp", "frame", "tone", "default", "annotate", "words"])
def test_an_honest_bundle_gives_nothing_away(name: str, tmp_path: Path) -> None:
    space = preset(name, 64)
    prompt = space.prompt(np.random.default_rng(1).standard_normal(space.dim))
    facts = {
        "task": "pets",
        "question": "Which animal/bird is in the image, e.g. a cat?",
        "labels": ["cat", "dog"],
        "source_models": ["openai/gpt-6-luna", "hf/llava-hf/llava-1.5-7b-hf", "zoo/glint"],
        "queries": {"search": 96},
        "licence": "https://creativecommons.org/licenses/by/4.0/",
        "parent": "0123456789abcdef" * 4,
    }
    assert check_bundle(saved(tmp_path / "p.vprompt", prompt, **facts), task()) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("/home/alice/photos/cat", "a path"),
        ("hf//data/models/llava", "a path"),
        ("~/secret/x", "a path"),
        (r"C:\Users\alice", "a path"),
        ("cat_017.png", "a file name"),
        ("https://models.corp.example/v1", "an address"),
        ("10.0.3.7", "an address"),
        ("gpu7.internal", "a host"),
        ("node4:8000", "a host"),
        ("alice@example.org", "an e-mail address"),
        ("sk-proj-0123456789abcdefghij", "a key"),
        ("ghp_0123456789abcdefghij", "a key"),
        ("Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MEFCQ0RF", "a key"),
        ("ward/3", "the id of a sample"),
    ],
)
@pytest.mark.parametrize("field", ["task", "labels", "settings", "mine"])
def test_a_leak_is_found_wherever_it_stands(
    field: str, text: str, what: str, tmp_path: Path
) -> None:
    value: object = {"labels": ["cat", text], "settings": {"deep": {"er": text}}}.get(field, text)
    leaks = check_bundle(saved(tmp_path / "p.vprompt", None, **{field: value}), task())
    assert [leak for leak in leaks if leak.where.startswith((field, "meta")) and what in leak.what]


def test_a_secret_of_the_environment_and_a_name_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "open sesame")
    monkeypatch.setattr("getpass.getuser", lambda: "margarethe")
    path = saved(tmp_path / "p.vprompt", None, notes="by Margarethe: open sesame!")
    assert [leak.what for leak in check_bundle(path)] == [
        "a secret of this environment",
        "the name of this user or machine (margarethe)",
    ]


def test_a_key_of_the_manifest_is_a_text_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.vprompt", None, queries={"/home/alice/x": 3})
    assert "a path" in str(check_bundle(path))


def test_declared_images_are_no_leak(tmp_path: Path) -> None:
    exemplars = Exemplars.of([(photo(0), "A cat.", "cat")], [(0,)])
    space = PromptSpace((exemplars, Tone()), 64)
    prompt = space.prompt(space.embed(exemplars.start(0), ("exemplars",), space.neutral()))
    assert check_bundle(saved(tmp_path / "p.vprompt", prompt), task()) == []


def test_an_old_bundle_with_images_that_are_not_declared_is_found(tmp_path: Path) -> None:
    Prompt.load(Path(__file__).parents[1] / "prompt/data/schema-1-words.vprompt").save(tmp_path)

    def as_first(manifest: dict[str, Any]) -> None:
        for name in ("contains_data", "apply", "words", "task"):
            manifest.pop(name, None)
        manifest.update(schema="bbtvp.prompt/1", meta={})

    forged(tmp_path, as_first)
    assert "2 images of a task, not declared" in str(check_bundle(tmp_path))


def test_a_frame_that_is_an_image_of_the_task_is_found(tmp_path: Path) -> None:
    space = PromptSpace((Placement(0.5), Frame("pixels")), 64)
    picture = np.asarray(Image.fromarray(photo(5)).resize((64, 64)), np.float64)
    inside = np.zeros((64, 64), bool)
    inside[16:48, 16:48] = True
    share = np.clip(picture[~inside] / 255, 0.01, 0.99)
    z = (np.log(share / (1 - share)) / 1.5).reshape(-1)
    leaks = check_bundle(saved(tmp_path / "p.vprompt", space.prompt(z)), task())
    assert {leak.where for leak in leaks} == {"frame.png", "what is drawn"}
    assert all("image 2 of the validation split" in leak.what for leak in leaks)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def test_bytes_behind_the_pixels_are_found(tmp_path: Path) -> None:
    space = preset("frame", 24)
    saved(tmp_path, space.prompt(np.ones(space.dim)))
    png = (tmp_path / "frame.png").read_bytes()
    (tmp_path / "frame.png").write_bytes(png[:-12] + chunk(b"IDAT", b"hidden") + png[-12:])
    forged(tmp_path, lambda manifest: None)
    assert "frame.png: 6 bytes that no pixel needs" in map(str, check_bundle(tmp_path))


def test_metadata_of_a_foreign_picture_is_found(tmp_path: Path) -> None:
    space = preset("frame", 24)
    saved(tmp_path, space.prompt(np.ones(space.dim)))
    png = (tmp_path / "frame.png").read_bytes()
    (tmp_path / "frame.png").write_bytes(png[:33] + chunk(b"tEXt", b"Author\0alice") + png[33:])
    forged(tmp_path, lambda manifest: None)
    with pytest.raises(BundleError, match=r"frame\.png holds more than pixels \(a chunk 'tEXt'\)"):
        check_bundle(tmp_path)


def test_metadata_of_a_picture_is_not_written(tmp_path: Path) -> None:
    made = Exemplars.of([(photo(0), "A cat.", "cat")], [(0,)])
    ((name, png),) = made.pictures.items()
    tagged = png[:33] + chunk(b"tEXt", b"Author\0alice") + png[33:]
    layer = Exemplars(made.exemplars, made.sets, pictures={name: tagged})
    space = PromptSpace((layer,), 64)
    prompt = space.prompt(layer.start(0))
    saved(tmp_path, prompt)
    assert b"alice" not in (tmp_path / name).read_bytes()
    assert np.array_equal(Prompt.load(tmp_path).context()[0].image, photo(0))


def test_the_command(tmp_path: Path) -> None:
    good = saved(tmp_path / "good.vprompt", None, task="pets")
    bad = saved(tmp_path / "bad.vprompt", None, task="/home/alice/pets")
    run = CliRunner().invoke
    assert run(cli, ["bundle", "check", str(good)]).exit_code == 0
    found = run(cli, ["bundle", "check", str(bad), "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout)["leaks"][0]["where"] == "task"
