"""Bytes are identity: SHA-256 digests of exact content."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(*parts: bytes) -> str:
    """SHA-256, as hex, of the parts.

    Each part is length-prefixed, so ("ab", "c") and ("a", "bc") differ.
    """
    h = hashlib.sha256()
    for part in parts:
        h.update(len(part).to_bytes(8, "little"))
        h.update(part)
    return h.hexdigest()


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no spaces, no NaN, floats with all their digits."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest_json(value: Any) -> str:
    """Digest of a value by its canonical JSON."""
    return digest(canonical_json(value).encode())
