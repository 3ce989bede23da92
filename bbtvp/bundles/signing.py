"""Signatures of bundle files."""

from __future__ import annotations

from pathlib import Path

from bbtvp.core.signing import Signature, sign
from bbtvp.prompt.bundle import digest_of, put_signature


def sign_bundle(path: Path, key: Path) -> Signature:
    """Sign a bundle file or folder, in place of an earlier signature.

    All else in it stays byte for byte, and so does its digest. BundleError for a bundle that cannot
    be read, UsageError for a key that cannot be used, OSError if the disk refuses.
    """
    signature = sign(digest_of(path), key, kind="bundle")
    put_signature(path, signature)
    return signature
