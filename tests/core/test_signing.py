"""A signature belongs to one key, one kind of document and one digest."""

from __future__ import annotations

import base64
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from bbtvp.core.digest import digest
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.signing import Signature, check_signature, generate_key, public_key, sign

DIGEST = digest(b"a document")
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "lab.key"
    generate_key(path)
    return path


def private_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_signature_is_checked_by_its_public_key(key: Path) -> None:
    signature = sign(DIGEST, key, kind="bundle")
    public = key.with_name("lab.key.pub")
    assert signature.public_key == public.read_text().strip()
    for trusted in ([], [signature.public_key], [str(public)], ["A" * 43 + "=", str(public)]):
        assert check_signature(DIGEST, signature, trusted, kind="bundle") == signature.public_key


def test_what_is_signed_never_changes(tmp_path: Path) -> None:
    """Ed25519 draws no random number, so one key gives one signature of one message."""
    raw = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = raw.private_bytes(PEM, PKCS8, serialization.NoEncryption())
    signature = sign("ab" * 32, private_file(tmp_path / "k", pem), kind="bundle")
    message = b"bbtvp signature 1\nbundle\n" + b"ab" * 32 + b"\n"
    raw.public_key().verify(base64.b64decode(signature.signature), message)


def test_the_json_round_trip(key: Path) -> None:
    signature = sign(DIGEST, key, kind="receipt")
    assert signature.as_json().keys() == {"algorithm", "public_key", "signature"}
    assert Signature.of_json(signature.as_json()) == signature


def test_a_document_that_is_not_signed() -> None:
    with pytest.raises(BundleError, match="the receipt is not signed; ask"):
        check_signature(DIGEST, None, kind="receipt")


def test_another_key(key: Path, tmp_path: Path) -> None:
    trusted = generate_key(tmp_path / "other.key")
    with pytest.raises(BundleError, match="signed by another key"):
        check_signature(DIGEST, sign(DIGEST, key, kind="bundle"), [trusted], kind="bundle")


def test_another_document_another_kind_another_signer(key: Path, tmp_path: Path) -> None:
    signature = sign(DIGEST, key, kind="bundle")
    claimed = replace(signature, public_key=generate_key(tmp_path / "other.key"))
    for digest_, shown, kind in (
        (digest(b"another"), signature, "bundle"),
        (DIGEST, signature, "receipt"),
        (DIGEST, claimed, "bundle"),
        (DIGEST, replace(signature, public_key="A" * 43 + "="), "bundle"),
    ):
        with pytest.raises(BundleError, match=f"does not belong to this {kind}"):
            check_signature(digest_, shown, kind=kind)


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "rsa"},
        {"algorithm": None},
        {"public_key": "AAAA"},
        {"public_key": "A" * 42 + "B="},  # a second spelling of the same bytes
        {"signature": "not base64 " * 8},
        {"signature": "é" * 88},
        {"signature": 7},
    ],
)
def test_a_signature_that_is_none(key: Path, change: dict[str, object]) -> None:
    value = {**sign(DIGEST, key, kind="bundle").as_json(), **change}
    with pytest.raises(BundleError) as caught:
        Signature.of_json(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "text", {}])
def test_no_signature_at_all(value: object) -> None:
    with pytest.raises(BundleError, match="a signature needs"):
        Signature.of_json(value)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_key_is_its_owners_alone(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o640)
    with pytest.raises(UsageError, match="open to others; run chmod 600"):
        sign(DIGEST, key, kind="bundle")


def test_no_key_is_replaced(key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        generate_key(key)
    key.unlink()
    with pytest.raises(UsageError, match=r"lab\.key\.pub is there already"):
        generate_key(key)
    assert before and not key.exists()


def test_files_that_are_no_key(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    own = ed25519.Ed25519PrivateKey.generate()
    secret = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    locked = own.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"password"))
    plain = other.private_bytes(PEM, PKCS8, serialization.NoEncryption())
    for content in (b"", secret, locked, plain):
        with pytest.raises(UsageError, match="is no private Ed25519 key") as caught:
            sign(DIGEST, private_file(tmp_path / "k", content), kind="bundle")
        assert "c2Vj" not in str(caught.value)
        assert caught.value.__cause__ is None
    with pytest.raises(UsageError, match="no key can be read"):
        sign(DIGEST, tmp_path / "missing", kind="bundle")


@pytest.mark.parametrize("text", ["", "missing.pub", "AAAA", "a\0b"])
def test_texts_that_are_no_public_key(text: str) -> None:
    with pytest.raises(UsageError, match="is no public key"):
        public_key(text)


def test_only_a_digest_is_signed(key: Path) -> None:
    for text in ("", "abc", DIGEST.upper(), DIGEST + "\n"):
        with pytest.raises(UsageError, match="is no digest"):
            sign(text, key, kind="bundle")


def test_without_the_extra(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = sign(DIGEST, key, kind="bundle")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    for action in (
        lambda: generate_key(tmp_path / "new.key"),
        lambda: sign(DIGEST, key, kind="bundle"),
        lambda: check_signature(DIGEST, signature, kind="bundle"),
    ):
        with pytest.raises(UsageError, match=r"pip install 'bbtvp\[sign\]'"):
            action()
    assert not (tmp_path / "new.key").exists()
