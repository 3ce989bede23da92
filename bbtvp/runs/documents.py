"""Reading the JSON documents of a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bbtvp.core.errors import JournalError


def read_document(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None without the file.

    Raises JournalError if the file cannot be read or holds no object.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise JournalError(
            f"{path} is damaged or cannot be read ({error}); "
            "restore it, or delete it and run the same command again"
        ) from error
    if not isinstance(document, dict):
        raise JournalError(
            f"{path} holds no object; restore it, or delete it and run the same command again"
        )
    return document
