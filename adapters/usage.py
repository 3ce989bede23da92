"""What a reply says that it cost."""

from __future__ import annotations

from bbtvp.endpoint.provider import Json


def total(usage: Json, *names: str) -> int | None:
    """Sum of the token counts under these names; None where none of them is given.

    Raises TypeError or ValueError for what is no count.
    """
    counts = [usage[name] for name in names if usage.get(name) is not None]
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"a token count is {type(count).__name__}, not a whole number")
        if count < 0:
            raise ValueError(f"{count} is no token count")
    return sum(counts) if counts else None
