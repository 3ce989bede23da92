"""Rows of text in columns."""

from __future__ import annotations

from collections.abc import Container, Sequence


def table(
    lines: Sequence[Sequence[str]], *, left: int | Container[int] = 1, rule: bool = True
) -> str:
    """The first line is the head, with a rule below it.

    left: the columns that are words and set flush left, the first so many or by their places;
    numbers are set flush right.
    """
    words = range(left) if isinstance(left, int) else left
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [_line(line, widths, words) for line in lines]
    if rule:
        text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def _line(cells: Sequence[str], widths: Sequence[int], words: Container[int]) -> str:
    places = enumerate(zip(cells, widths, strict=True))
    return "  ".join(
        cell.ljust(width) if i in words else cell.rjust(width) for i, (cell, width) in places
    ).rstrip()
