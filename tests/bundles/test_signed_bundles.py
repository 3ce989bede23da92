"""A bundle is taken only if the right key signed it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbtvp.bundles.signing import sign_bundle
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.signing import generate_key
from bbtvp.prompt import Prompt, bundle, preset
from tests.support import bbtvp

FORMS = ("p.vprompt", "folder")
OLD = Path(__file__).parents[1] / "prompt" / "data" / "schema-1-tvp.vprompt"


@pytest.fixture
def public(tmp_path: Path) -> str:
    return generate_key(tmp_path / "lab.key")


@pytest.fixture
def other(tmp_path: Path) -> str:
    return generate_key(tmp_path / "other.key")


def prompt(seed: int = 0) -> Prompt:
    space = preset("default", 24)
    return space.prompt(np.random.default_rng(seed).standard_normal(space.dim))


def saved(name: str = "p.vprompt", seed: int = 0) -> Path:
    path = Path(name)
    prompt(seed).save(path, {"task": "pets"})
    return path


@pytest.mark.parametrize("name", FORMS)
def test_a_signature_changes_nothing_else(name: str, public: str) -> None:
    path = saved(name)
    before = bundle.files_of(path)
    digest = bundle.digest_of(path)
    assert sign_bundle(path, Path("lab.key")).public_key == public
    after = bundle.files_of(path)
    assert list(after) == [*before, "signature.json"]
    assert {name: after[name] for name in before} == before
    assert bundle.digest_of(path) == digest
    assert Prompt.load(path, signed_by=[public]).digest == prompt().digest
    assert Prompt.load(path, signed_by=["lab.key.pub"]).digest == prompt().digest


def test_a_bundle_of_the_first_schema(public: str) -> None:
    path = Path("old.vprompt")
    path.write_bytes(OLD.read_bytes())
    digest = bundle.digest_of(path)
    sign_bundle(path, Path("lab.key"))
    assert bundle.digest_of(path) == digest
    Prompt.load(path, signed_by=[public])


def test_signed_again(public: str, other: str) -> None:
    path = saved()
    sign_bundle(path, Path("other.key"))
    sign_bundle(path, Path("lab.key"))
    Prompt.load(path, signed_by=public)
    with pytest.raises(BundleError, match="signed by another key"):
        Prompt.load(path, signed_by=other)


def test_a_key_leaves_no_trace(public: str) -> None:
    path = saved()
    sign_bundle(path, Path("lab.key"))
    secret = "".join(Path("lab.key").read_text().splitlines()[1:-1])
    content = path.read_bytes()
    assert secret.encode() not in content
    assert b"lab.key" not in content


def test_not_signed(public: str) -> None:
    with pytest.raises(BundleError, match=r"p\.vprompt: the bundle is not signed"):
        Prompt.load(saved(), signed_by=[public])


def test_the_signature_of_another_bundle(public: str) -> None:
    path = saved("p")
    sign_bundle(saved("q", seed=1), Path("lab.key"))
    (path / "signature.json").write_bytes(Path("q/signature.json").read_bytes())
    with pytest.raises(BundleError, match="does not belong to this bundle"):
        Prompt.load(path, signed_by=[public])


def test_a_bundle_changed_after_it_was_signed(public: str) -> None:
    """By somebody who computes every digest anew."""
    path = saved("p")
    sign_bundle(path, Path("lab.key"))
    signature = (path / "signature.json").read_bytes()
    saved("p", seed=1)
    (path / "signature.json").write_bytes(signature)
    assert Prompt.load(path).digest == prompt(1).digest
    with pytest.raises(BundleError, match="altered after it was signed"):
        Prompt.load(path, signed_by=[public])


def test_a_signature_file_that_is_none(public: str) -> None:
    path = saved("p")
    sign_bundle(path, Path("lab.key"))
    value = json.loads((path / "signature.json").read_bytes())
    for altered in ({**value, "signature": "AAAA"}, {**value, "note": "more"}, [], 7):
        (path / "signature.json").write_text(json.dumps(altered, indent=2) + "\n")
        with pytest.raises(BundleError, match=r"signature\.json"):
            Prompt.load(path)


def test_a_key_that_is_none(public: str) -> None:
    path = saved()
    sign_bundle(path, Path("lab.key"))
    with pytest.raises(UsageError, match="is no public key"):
        Prompt.load(path, signed_by=["nobody"])


# -- the command line ------------------------------------------------------------------------------
def test_the_commands(public: str, other: str) -> None:
    ran = bbtvp("bundle", "keygen", "new.key")
    assert ran.code == 0
    assert ran.out == Path("new.key.pub").read_text()
    path = saved()
    assert bbtvp("bundle", "sign", path, "--key", "new.key").out == ran.out
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("a.png")
    signer = ran.out.strip()
    shown = json.loads(bbtvp("bundle", "show", path, "--json", "--signed-by", signer).out)
    assert shown["signed by"] == signer
    assert bbtvp("bundle", "check", path, "--signed-by", signer).code == 0
    apply = ("apply", path, "a.png", "-o", "out")
    assert bbtvp(*apply, "--signed-by", other, "--signed-by", "new.key.pub").code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("bundle", "show", "p.vprompt"),
        ("bundle", "check", "p.vprompt"),
        ("apply", "p.vprompt", "a.png", "-o", "out"),
        ("verify", "p.vprompt", "--task", "zoo/shapes", "--model", "zoo/llava"),
        ("proxy", "--bundle", "p.vprompt", "--upstream", "http://127.0.0.1:9", "--port", "0"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_takes_no_other_bundle(command: tuple[str, ...], public: str, other: str) -> None:
    path = saved()
    for told in ("the bundle is not signed", "signed by another key"):
        ran = bbtvp(*command, "--signed-by", public)
        assert ran.code == 1
        (line,) = ran.err.splitlines()[-1:]
        assert told in line
        sign_bundle(path, Path("other.key"))
    assert not Path("out").exists()


def test_routes_name_their_own_keys(public: str) -> None:
    ran = bbtvp("proxy", "--routes", "r.toml", "--upstream", "http://h", "--signed-by", public)
    assert ran.code == 2
    assert "signed_by = [...]" in ran.err


def test_the_signature_stands_last_in_the_archive(public: str) -> None:
    path = saved()
    sign_bundle(path, Path("lab.key"))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[-1] == "signature.json"
