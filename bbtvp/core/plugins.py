"""Plug-ins by entry point. Our own adapters and tasks are found the same way as a third party's."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from bbtvp.core.errors import UsageError, unknown


def names(group: str) -> list[str]:
    """The names registered in an entry-point group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def load(group: str, name: str, kind: str) -> Callable[..., Any]:
    """The callable registered as `name` in `group`; UsageError with the nearest names if there is
    none.
    """
    found = [point for point in entry_points(group=group) if point.name == name]
    if not found:
        raise unknown(kind, name, names(group))
    try:
        loaded: Callable[..., Any] = found[0].load()
    except ImportError as error:
        raise UsageError(f"{kind} {name!r} cannot be loaded: {error}") from error
    return loaded
