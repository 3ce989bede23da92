"""Tables as text: columns for a terminal, or Markdown that is legible as it stands.

The first line of a table is its head. `left` says which columns hold words, which are set flush
left: the first so many columns, or the columns at certain places. Numbers are set flush right.
"""

from __future__ import annotations

from collections.abc import Container, Sequence


def text_table(
    lines: Sequence[Sequence[str]], *, left: int | Container[int] = 1, rule: bool = True
) -> str:
    """Columns with two spaces between them. rule: a line of dashes below the head."""
    widths = _widths(lines)
    text = ["  ".join(cells).rstrip() for cells in _padded(lines, widths, left)]
    if rule:
        text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def markdown_table(lines: Sequence[Sequence[str]], *, left: int | Container[int] = 1) -> str:
    """A Markdown table with padded columns."""
    widths = [max(3, width) for width in _widths(lines)]
    text = _padded(lines, widths, left)
    flush_left = _places(left)
    text.insert(
        1,
        [
            "-" * width if place in flush_left else "-" * (width - 1) + ":"
            for place, width in enumerate(widths)
        ],
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in text)


def _padded(
    lines: Sequence[Sequence[str]], widths: Sequence[int], left: int | Container[int]
) -> list[list[str]]:
    """The cells of each line, as wide as their columns."""
    flush_left = _places(left)
    return [
        [
            cell.ljust(width) if place in flush_left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _places(left: int | Container[int]) -> Container[int]:
    return range(left) if isinstance(left, int) else left
