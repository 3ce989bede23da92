"""Keys and addresses of endpoints: from the environment, and nowhere else for keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from bbtvp.core.errors import UsageError


def key(variable: str, spec: str, *, needed: bool = True) -> str:
    """The key in an environment variable, "" if there is none and none is needed.

    Raises UsageError, which never shows the key, if it is missing or cannot be sent.
    """
    value = os.environ.get(variable, "").strip()
    if needed and not value:
        raise UsageError(f"{spec} needs a key: export {variable}=…")
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise UsageError(
            f"the key in {variable} has characters that no HTTP header can carry; copy it again"
        )
    return value


def address(
    given: str | None, variables: Sequence[str], default: str | None, spec: str, example: str
) -> str:
    """The base URL, without a slash at its end: as given, else from the first variable that is set,
    else the default.

    Raises UsageError if there is none, or if it is no http(s) address, or carries a password.
    """
    found = given or next(filter(None, map(os.environ.get, variables)), None) or default
    if not found:
        raise UsageError(
            f"{spec} needs an address: export {variables[0]}={example} or give -M base_url={example}"
        )
    parts = urlsplit(found.strip())
    if parts.username or parts.password:
        raise UsageError(
            f"the address of {spec} holds a user or a password; a key has a variable of its own"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"the address of {spec} must look like {example}, got {found!r}")
    return found.strip().rstrip("/")
