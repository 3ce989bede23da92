"""Ed25519 signatures over digests, by `cryptography` (the extra bbtvp[sign]).

    public = generate_key(Path("lab.key"))  # lab.key, for its owner alone, and lab.key.pub
    signature = sign(digest, Path("lab.key"), kind="bundle")
    check_signature(digest, signature, [public], kind="bundle")

What is signed is the text "bbtvp signature 1", the kind of document and its digest, a line each: a
signature of a bundle is none of a receipt. Private keys are PEM files (PKCS #8, without password)
outside every document; a public key is the base64 text of its 32 bytes, on one line.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from bbtvp.core.errors import BundleError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"
PUBLIC_SUFFIX = ".pub"
"""What follows the name of a key file in that of its public half."""

_PUBLIC_BYTES = 32
_SIGNATURE_BYTES = 64
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY_LIMIT = 1 << 16


@final
@dataclass(frozen=True)
class Signature:
    """Who vouches for a document: base64 of the public key (32 bytes) and the signature (64).

    The digest that it covers is that of the document beside it. BundleError where a field is not
    what it must be; whether the signature is right is said by `check_signature`.
    """

    public_key: str
    signature: str
    algorithm: str = ALGORITHM

    def __post_init__(self) -> None:
        if self.algorithm != ALGORITHM:
            raise BundleError(
                f"a signature by {self.algorithm!r} is not known here, only {ALGORITHM}; "
                "install a newer bbtvp: pip install -U bbtvp"
            )
        _decoded(self.public_key, _PUBLIC_BYTES, "public key")
        _decoded(self.signature, _SIGNATURE_BYTES, "signature")

    def as_json(self) -> dict[str, str]:
        """The fields by name."""
        return asdict(self)

    @classmethod
    def of_json(cls, value: Any) -> Signature:
        """The signature that `as_json` gave. BundleError for anything else."""
        names = ("algorithm", "public_key", "signature")
        if not isinstance(value, Mapping) or not all(
            isinstance(value.get(name), str) for name in names
        ):
            raise BundleError(f"a signature needs the texts {', '.join(names)}; sign it again")
        return cls(**{name: value[name] for name in names})


def generate_key(path: Path) -> str:
    """Write a new private key to `path` (mode 0600) and its public half beside it; return that.

    UsageError if either file is there already, or without the extra; OSError if the disk refuses.
    """
    ed25519, serialization = _cryptography()
    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    for file in (path, public_path):
        if file.exists():
            raise UsageError(f"{file} is there already; give another name, no key is replaced")
    key = ed25519.Ed25519PrivateKey.generate()
    public = _text(key.public_key().public_bytes_raw())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_private(path, pem)
    public_path.write_text(f"{public}\n", "ascii")
    return public


def sign(digest: str, key: Path, *, kind: str) -> Signature:
    """The signature of a document by its digest (64 hex digits).

    kind: what the document is, such as "bundle" or "receipt". UsageError for a key file that is
    missing, open to others or no Ed25519 key, or without the extra.
    """
    private = _private(key)
    signature = private.sign(_message(digest, kind))
    return Signature(_text(private.public_key().public_bytes_raw()), _text(signature))


def check_signature(
    digest: str, signature: Signature | None, trusted: Sequence[str] = (), *, kind: str
) -> str:
    """The public key that signed the document of this digest.

    trusted: public keys, or files that hold one; empty where any key will do. kind: as in `sign`.
    BundleError for a document that is not signed, is signed by another key, or whose signature is
    wrong; UsageError for a trusted key that cannot be read, or without the extra.
    """
    if isinstance(trusted, str):
        trusted = [trusted]
    keys = [public_key(text) for text in trusted]
    if signature is None:
        raise BundleError(f"the {kind} is not signed; ask its author for a signed one")
    if keys and signature.public_key not in keys:
        raise BundleError(
            f"the {kind} is signed by another key, {signature.public_key}; "
            "trust that key only if you know whose it is"
        )
    if not _is_right(signature, _message(digest, kind)):
        raise BundleError(
            f"the signature does not belong to this {kind}: it was altered after it was signed; "
            "get it from its author again"
        )
    return signature.public_key


def public_key(text: str) -> str:
    """The public key that a text is, or that stands in the file of that name.

    UsageError for neither.
    """
    if _is_public_key(text):
        return text
    try:
        with Path(text).expanduser().open(encoding="ascii") as file:
            found = file.read(_KEY_LIMIT).strip()
    except (OSError, ValueError):
        found = ""
    if not _is_public_key(found):
        raise UsageError(
            f"{text!r} is no public key; give its 44 characters, "
            "or the .pub file that bbtvp bundle keygen wrote"
        )
    return found


def need_signing() -> None:
    """Raise UsageError without the extra."""
    _cryptography()


def signer_of(digest: str, signature: Signature | None, *, kind: str) -> str | None:
    """The public key that signed a document; None for one that is unsigned, or without the extra.

    BundleError for a wrong signature.
    """
    if signature is None:
        return None
    try:
        return check_signature(digest, signature, kind=kind)
    except UsageError:
        return None


def _is_public_key(text: str) -> bool:
    try:
        _decoded(text, _PUBLIC_BYTES, "public key")
    except BundleError:
        return False
    return True


def _message(digest: str, kind: str) -> bytes:
    if not _DIGEST.fullmatch(digest):
        raise UsageError(f"{digest!r} is no digest; give 64 hex digits")
    return f"bbtvp signature 1\n{kind}\n{digest}\n".encode()


def _is_right(signature: Signature, message: bytes) -> bool:
    ed25519, _ = _cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(
            _decoded(signature.public_key, _PUBLIC_BYTES, "public key")
        )
        key.verify(_decoded(signature.signature, _SIGNATURE_BYTES, "signature"), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _private(path: Path) -> Ed25519PrivateKey:
    ed25519, serialization = _cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read(_KEY_LIMIT)
    except OSError as error:
        raise UsageError(
            f"{path}: no key can be read ({error.strerror}); make one with bbtvp bundle keygen"
        ) from error
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        key = None  # and no cause below, which could quote the file
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UsageError(
            f"{path} is no private Ed25519 key in PEM without a password; give the file that "
            "bbtvp bundle keygen wrote, without .pub"
        )
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"{path}: this private key is open to others; run chmod 600 {path}")
    private: Ed25519PrivateKey = key
    return private


def _cryptography() -> tuple[Any, Any]:
    """The modules ed25519 and serialization of cryptography."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UsageError("signatures need cryptography: pip install 'bbtvp[sign]'") from error
    return ed25519, serialization


def _write_private(path: Path, pem: bytes) -> None:
    """Write a file that is nobody else's from its first moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str, size: int, name: str) -> bytes:
    """The bytes of a base64 text in its one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"the {name} is not base64; get it from its author again") from error
    if len(data) != size or _text(data) != text:
        raise BundleError(f"the {name} has not {size} bytes; get it from its author again")
    return data
