"""Files that are either the old version or the new one, never half of it."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def atomic_write(path: Path, data: bytes) -> None:
    """Write through a temporary file in the same folder, synced to disk, then renamed over `path`.

    Raises OSError (a full disk, a read-only folder); the old file is then still whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are for their owner alone, and a bundle is to be handed on.
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def atomic_write_json(path: Path, value: Any) -> None:
    """`atomic_write` of indented JSON with a final newline."""
    atomic_write(
        path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    )
