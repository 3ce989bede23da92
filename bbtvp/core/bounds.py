"""Bounds on JSON that strangers wrote, checked before it is validated.

A validator that collects every fault of a document takes a kilobyte for each, so a megabyte of
wrong values would take gigabytes. Lists therefore stop at their first fault (`fail_fast`), and the
number of values, which bounds the faults of objects, is checked first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def check_bounds(value: Any, *, values: int, levels: int, members: int | None = None) -> None:
    """Raise ValueError, in a few words, for a JSON value with more than is allowed.

    values: of the whole document. levels: of nesting. members: of any object in it.
    """
    level = [value]
    count = 0
    for _ in range(levels):
        if members is not None:
            for whole in level:
                check_members(whole, members)
        level = [part for whole in level for part in _parts(whole)]
        count += len(level)
        if not level:
            return
        if count > values:
            raise ValueError(f"has over {values} values")
    raise ValueError(f"is nested deeper than {levels} levels")


def check_members(value: Any, most: int = 1000) -> Any:
    """The value. Raises ValueError for a JSON object of more members; for a `BeforeValidator`."""
    if isinstance(value, dict) and len(value) > most:
        raise ValueError(f"has over {most} members")
    return value


def _parts(whole: Any) -> Iterable[Any]:
    if isinstance(whole, dict):
        return whole.values()
    return whole if isinstance(whole, list) else ()
