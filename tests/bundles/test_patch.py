"""A patch gives the new bundle byte for byte, from the old one alone, or it gives nothing."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbtvp.bundles import patch as patching
from bbtvp.bundles.patch import diff, patch
from bbtvp.bundles.signing import sign_bundle
from bbtvp.core.digest import canonical_json, digest, digest_json
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.signing import generate_key
from bbtvp.prompt import Exemplars, Prompt, PromptSpace, bundle, preset
from tests.support import bbtvp

OLD = Path("old.vprompt")
NEW = Path("new.vprompt")
PATCH = Path("x.vpatch")
MADE = Path("made.vprompt")
FACTS: dict[str, Any] = {"task": "pets", "evidence": [{"model": "zoo/llava", "gain": 0.1}]}


def saved(path: Path, name: str, seed: int, moved: float = 0.0, **facts: Any) -> None:
    """A random prompt of a preset; moved: how far each variable is from the one of that seed."""
    space = preset(name, 32)
    z = np.random.default_rng(seed).standard_normal(space.dim)
    z += moved * np.random.default_rng(seed + 1).standard_normal(space.dim)
    space.prompt(z).save(path, {**FACTS, **facts})


def remade() -> int:
    """The bytes of the patch from old to new, once it is seen to make the new one."""
    size = diff(OLD, NEW, PATCH).size
    assert PATCH.stat().st_size == size
    made = patch(OLD, PATCH, MADE)
    assert MADE.read_bytes() == NEW.read_bytes()
    assert made.digest == bundle.digest_of(NEW)
    return size


@pytest.mark.parametrize(
    ("name", "most"), [("tone", 700), ("default", 900), ("frame", 2700), ("tvp", 12_000)]
)
def test_a_refined_prompt(name: str, most: int) -> None:
    saved(OLD, name, 0)
    saved(NEW, name, 0, moved=1e-3)
    assert remade() < most


@pytest.mark.parametrize("name", ["default", "frame", "tvp"])
def test_new_evidence_alone(name: str) -> None:
    saved(OLD, name, 0)
    evidence = [*FACTS["evidence"], {"model": "zoo/paligemma", "gain": 0.07, "ci": [0.02, 0.12]}]
    saved(NEW, name, 0, evidence=evidence)
    assert remade() < 900
    kinds = {file["name"]: file["how"] for file in header()["files"]}
    assert {how for name, how in kinds.items() if name != "manifest.json"} <= {"same"}


def test_a_bundle_and_itself() -> None:
    saved(OLD, "frame", 0)
    NEW.write_bytes(OLD.read_bytes())
    assert remade() < 700


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_pair(data: st.DataObject) -> None:
    names = st.sampled_from(["tone", "frame", "default", "annotate", "tvp"])
    for path in (OLD, NEW):
        saved(path, data.draw(names), data.draw(st.integers(0, 3)), data.draw(st.floats(0, 1)))
    remade()


def test_a_signed_bundle() -> None:
    saved(OLD, "default", 0)
    saved(NEW, "default", 1)
    key = Path("lab.key")
    public = generate_key(key)
    sign_bundle(NEW, key)
    remade()
    Prompt.load(MADE, signed_by=[public])
    sign_bundle(OLD, key)  # whoever signed the old one, it is the same bundle
    patch(OLD, PATCH, MADE)


def test_bundles_that_are_folders() -> None:
    for path, seed in ((OLD, 0), (NEW, 1)):
        saved(path, "tvp", seed)
        saved(path.with_suffix(""), "tvp", seed)
    diff(Path("old"), Path("new"), PATCH)
    patch(Path("old"), PATCH, MADE)
    assert MADE.read_bytes() == NEW.read_bytes()


def header() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PATCH.read_bytes().partition(b"\n")[0])
    return found


# -- what may go into it ---------------------------------------------------------------------------
def shown(path: Path, *levels: int) -> None:
    """Save a prompt that shows an image of its task for each grey level."""
    pictures = [(np.full((16, 16, 3), level, np.uint8), "cat", "cat") for level in levels]
    layer = Exemplars.of(pictures, [tuple(range(len(levels)))])
    space = PromptSpace((layer, *preset("default", 64).layers), 64)
    space.prompt(space.embed(layer.start(0), ("exemplars",), space.neutral())).save(path)
    assert Prompt.load(path).contains_data


def test_training_images_go_into_it_only_if_that_is_said() -> None:
    saved(OLD, "default", 0)
    shown(NEW, 10, 90)
    with pytest.raises(UsageError, match=r"2 training images that old\.vprompt has not"):
        diff(OLD, NEW, PATCH)
    assert not PATCH.exists()
    assert diff(OLD, NEW, PATCH, with_data=True).contains_data
    assert header()["contains_data"]
    assert patch(OLD, PATCH, MADE).contains_data
    assert MADE.read_bytes() == NEW.read_bytes()


def test_training_images_that_both_have_stay_where_they_are() -> None:
    shown(OLD, 10, 90)
    shown(NEW, 90, 10)
    remade()
    assert not header()["contains_data"]


def test_a_frame_that_another_pillow_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    saved(OLD, "frame", 0)
    saved(NEW, "frame", 1)
    diff(OLD, NEW, PATCH)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(patching, "png_of", lambda frame: b"other bytes of the same picture")
        assert "made with --with-frame" in refused()
    diff(OLD, NEW, PATCH, with_frame=True)
    monkeypatch.setattr(patching, "png_of", lambda frame: b"other bytes of the same picture")
    patch(OLD, PATCH, MADE)
    assert MADE.read_bytes() == NEW.read_bytes()


# -- refusals --------------------------------------------------------------------------------------
def refused(old: Path = OLD, out: Path = MADE) -> str:
    """What is said of a patch that gives nothing."""
    before = out.read_bytes() if out.exists() else None
    with pytest.raises(BundleError) as caught:
        patch(old, PATCH, out)
    assert (out.read_bytes() if out.exists() else None) == before
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 500
    return line


@pytest.fixture
def made() -> None:
    """A patch between two prompts with a frame and a long z."""
    saved(OLD, "tvp", 0)
    saved(NEW, "tvp", 0, moved=0.1)
    diff(OLD, NEW, PATCH, with_frame=True)


@pytest.mark.usefixtures("made")
def test_a_patch_for_another_parent() -> None:
    saved(Path("third.vprompt"), "tvp", 5)
    MADE.write_bytes(b"there before")
    assert "is a patch for another bundle" in refused(Path("third.vprompt"))
    assert "is a patch for another bundle" in refused(NEW)


@pytest.mark.usefixtures("made")
def test_a_parent_that_is_damaged() -> None:
    OLD.write_bytes(OLD.read_bytes()[:-1])
    assert "old.vprompt" in refused()


@pytest.mark.usefixtures("made")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_altered_byte_of_a_patch_is_found(data: st.DataObject) -> None:
    whole = PATCH.read_bytes()
    altered = bytearray(whole)
    altered[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        PATCH.write_bytes(altered)
        refused()
        PATCH.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        refused()
    finally:
        PATCH.write_bytes(whole)


@pytest.mark.parametrize("content", [b"", b"{}", b"\n", b"null\n", b"[" * 100_000, b"PK\5\6" * 99])
def test_files_that_are_no_patch(content: bytes) -> None:
    saved(OLD, "tone", 0)
    PATCH.write_bytes(content)
    assert "is no patch" in refused()


def test_no_patch_there() -> None:
    saved(OLD, "tone", 0)
    assert "cannot be read" in refused()


def forged(change: Callable[[dict[str, Any]], object], payload: bytes | None = None) -> None:
    """The patch with another header and payload, and its own digest made to fit."""
    line, _, held = PATCH.read_bytes().partition(b"\n")
    altered = json.loads(line)
    held = held if payload is None else payload
    altered["payload"] = hashlib.sha256(held).hexdigest()
    change(altered)
    PATCH.write_bytes(canonical_json(altered).encode() + b"\n" + held)


@pytest.mark.usefixtures("made")
def test_a_bomb_is_not_inflated() -> None:
    """A small patch that stands for 1 GB: no more is made than the file may have."""
    packer = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(64)) + packer.flush()
    size = bundle.files_of(NEW)["manifest.json"]

    def bombed(found: dict[str, Any]) -> None:
        for file in found["files"]:
            file |= {"how": "same", "held": 0}
        found["files"][0] |= {"how": "deflate", "held": len(bomb), "size": len(size)}

    forged(bombed, bomb)
    assert "a part has another size" in refused()


def first(**change: Any) -> Callable[[dict[str, Any]], object]:
    return lambda found: found["files"][0].update(change)


LIES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda found: found.update(contains_data=True), "images of the task"),
    (lambda found: found.update(archive="0" * 64), "does not give what it says"),
    (lambda found: found.update(result="0" * 64), "another bundle than it says"),
    (lambda found: found.update(schema="bbtvp.patch/2"), "is no patch"),
    (lambda found: found.update(more=1), "is no patch"),
    (lambda found: found["files"].pop(), "do not fill it"),
    (lambda found: found["files"].extend(found["files"] * 40), "is no patch"),
    (first(size=64 << 20), "too large"),
    (first(size=65 << 20), "is no patch"),
    (first(held=-1), "is no patch"),
    (first(how="same"), "has another size"),
    (first(how="words"), "has another size"),
    (first(how="run"), "is no patch"),
    (first(how="drawn", held=0), "do not fill it"),
    (
        lambda found: found["files"].append(
            {"name": "exemplar-0.png", "how": "drawn", "size": 0, "held": 0}
        ),
        "images of the task",
    ),
    (
        lambda found: found["files"].append({"name": "x", "how": "drawn", "size": 0, "held": 0}),
        "x is not drawn",
    ),
    (first(name="../../manifest.json"), "is damaged"),
]


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(("lie", "said"), LIES)
def test_a_header_that_lies(lie: Callable[[dict[str, Any]], object], said: str) -> None:
    forged(lie)
    assert said in refused()


@pytest.mark.usefixtures("made")
def test_a_forger_who_computes_every_digest_makes_no_false_bundle() -> None:
    """The manifest's new digest, the archive's and the payload's: the frame is still not z's."""
    files = bundle.files_of(NEW)
    files["frame.png"] = bundle.files_of(OLD)["frame.png"]
    manifest = json.loads(files["manifest.json"])
    del manifest["digest"]
    manifest["files"]["frame.png"] = digest(files["frame.png"])
    manifest["digest"] = digest_json(manifest)
    files["manifest.json"] = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    held = [zlib.compress(data, wbits=-15) for data in files.values()]
    told = [
        {"name": name, "how": "deflate", "size": len(data), "held": len(part)}
        for (name, data), part in zip(files.items(), held, strict=True)
    ]
    archive = hashlib.sha256(bundle.packed(files)).hexdigest()
    forged(
        lambda found: found.update(files=told, archive=archive, result=manifest["digest"]),
        b"".join(held),
    )
    assert "is not the frame that z gives" in refused()


@pytest.mark.usefixtures("made")
def test_names_of_no_bundle() -> None:
    with pytest.raises(UsageError, match=r"ends in \.vprompt"):
        patch(OLD, PATCH, Path("folder"))


def test_the_commands() -> None:
    saved(OLD, "frame", 0)
    saved(NEW, "frame", 0, moved=0.1)
    ran = bbtvp("bundle", "diff", OLD, NEW, "-o", PATCH)
    assert ran.code == 0
    assert bundle.digest_of(NEW) in ran.err
    told = json.loads(bbtvp("bundle", "patch", OLD, PATCH, "-o", MADE, "--json").out)
    assert told["bundle"] == bundle.digest_of(NEW)
    assert told["bytes"] == NEW.stat().st_size
    assert MADE.read_bytes() == NEW.read_bytes()
    ran = bbtvp("bundle", "patch", NEW, PATCH, "-o", MADE)
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert "is a patch for another bundle" in line
