"""A bundle from a URL: it is there whole, or nothing is written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bbtvp.prompt import Prompt, preset
from tests.endpoint.faulty import FaultyServer, Step
from tests.support import bbtvp


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    path = tmp_path / "made.vprompt"
    preset("tone", 24).prompt([0.5, -0.5, 1.0]).save(path)
    return path.read_bytes()


def pull(served: bytes, sha256: str, out: str = "got.vprompt") -> tuple[int, str]:
    with FaultyServer(lambda seen: Step(body=served)) as server:
        ran = bbtvp("bundle", "pull", server.url, "--sha256", sha256, "-o", out)
    (line,) = ran.err.splitlines()
    return ran.code, line


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_file_is_the_one_that_was_served(content: bytes) -> None:
    code, line = pull(content, digest(content))
    assert code == 0
    assert Path("got.vprompt").read_bytes() == content
    assert repr(Prompt.load("got.vprompt")) in line


def test_another_digest(content: bytes) -> None:
    Path("got.vprompt").write_bytes(b"old")
    code, line = pull(content, digest(b"other"))
    assert code == 1
    assert "the SHA-256 of what is there is" in line
    assert Path("got.vprompt").read_bytes() == b"old"


def test_the_right_digest_of_no_bundle() -> None:
    code, line = pull(b"no bundle", digest(b"no bundle"))
    assert code == 1
    assert "is no usable bundle" in line
    assert "incoming" not in line
    assert not Path("got.vprompt").exists()


@pytest.mark.parametrize("out", ["folder", "got.zip"])
def test_a_name_of_no_bundle(out: str) -> None:
    ran = bbtvp("bundle", "pull", "http://127.0.0.1:9/", "--sha256", digest(b""), "-o", out)
    assert ran.code == 2
    assert "ends in .vprompt" in ran.err


def test_an_address_of_the_own_disk(content: bytes) -> None:
    path = Path("made.vprompt").resolve().as_uri()
    ran = bbtvp("bundle", "pull", path, "--sha256", digest(content), "-o", "got.vprompt")
    assert ran.code == 2
    assert "no address of a file" in ran.err
