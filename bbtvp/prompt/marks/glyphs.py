"""Characters from a bundled atlas: the same pixels on every platform.

No font and no FreeType is needed at run time.

`glyphs.png` (8-bit coverage) was drawn once from DejaVu Sans Bold, as it comes with matplotlib
3.11.2, by `atlas`. The font is Bitstream Vera with DejaVu's changes; its licence, which allows
embedding and asks that its notice goes along, is `glyphs.LICENSE`, beside it too. Bold, since
legibility is the one property of marks that all models share, and thin strokes are the first to go
when an endpoint shrinks an image.
"""

from __future__ import annotations

import io
import string
from functools import cache, lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.errors import UsageError

CHARACTERS = (
    string.digits + string.ascii_uppercase + string.ascii_lowercase + "#$@&%+*=" + "-_.:/()"
)
"""All that can be drawn, beside the space."""

CAP = 48
"""Height of a capital letter in the atlas, in pixels."""
ABOVE = 12
BELOW = 16
"""Room above a capital letter, and below its foot: for brackets and tails."""
WIDTH = 80
COLUMNS = 16
_GAP = 7
_SPACE = 18
"""Pixels of the atlas between characters, and of a space beside its gaps."""
HEIGHT = ABOVE + CAP + BELOW

Coverage = NDArray[np.uint8]
"""(h, w): 255 where ink covers a pixel wholly."""


@lru_cache(maxsize=1024)
def drawn(text: str, cap: int) -> Coverage:
    """Coverage of one line of text whose capital letters are `cap` pixels high.

    There are no empty rows or columns around it.

    UsageError for an empty text, one with a character that the atlas lacks, or a height below a
    pixel.
    """
    checked(text)
    if cap < 1:
        raise UsageError(f"letters {cap} px high; give at least 1")
    line = _line(text)
    height, width = (max(1, round(size * cap / CAP)) for size in line.shape)
    # bicubic is polynomials alone, rounded to fixed point within Pillow: equal everywhere
    small = np.asarray(Image.fromarray(line).resize((width, height), Image.Resampling.BICUBIC))
    small.flags.writeable = False
    return small


def checked(text: str) -> str:
    """The text itself.

    UsageError unless it has a character, all are in the atlas, and no space is at an end.
    """
    wrong = sorted(set(text) - set(CHARACTERS) - {" "})
    if wrong:
        raise UsageError(
            f"{text!r}: {wrong[0]!r} cannot be drawn; use letters, digits and {CHARACTERS[62:]}"
        )
    if not text or text != text.strip():
        raise UsageError(
            f"{text!r}: give text that is not empty and does not begin or end with a space"
        )
    return text


def fitting(text: str, cap: int, width: int, height: int) -> int:
    """The largest height of capital letters at which the text fits this box.

    At most `cap`, at least 1.
    """
    rows, columns = _line(text).shape
    scale = min(cap / CAP, (height + 0.49) / rows, (width + 0.49) / columns)
    return max(1, int(scale * CAP + 1e-9))


@lru_cache(maxsize=1024)
def _line(text: str) -> Coverage:
    """The text at the size of the atlas, trimmed."""
    parts = []
    for character in text:
        parts.append(np.zeros((HEIGHT, _GAP if character != " " else _SPACE), np.uint8))
        if character != " ":
            parts.append(_atlas()[character])
    line = np.concatenate(parts, axis=1)
    rows = np.nonzero(line.any(axis=1))[0]
    columns = np.nonzero(line.any(axis=0))[0]
    return np.ascontiguousarray(line[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


@cache
def _atlas() -> dict[str, Coverage]:
    """Each character's cell, full height, cut to the columns that hold ink."""
    data = resources.files("bbtvp.prompt.marks").joinpath("glyphs.png").read_bytes()
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        sheet = np.array(image)
    cells = {}
    for at, character in enumerate(CHARACTERS):
        row, column = divmod(at, COLUMNS)
        cell = sheet[row * HEIGHT : (row + 1) * HEIGHT, column * WIDTH : (column + 1) * WIDTH]
        inked = np.nonzero(cell.any(axis=0))[0]
        cells[character] = cell[:, inked[0] : inked[-1] + 1]
    return cells
