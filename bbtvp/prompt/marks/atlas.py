"""Draws the atlas of `glyphs` from a font; for who changes it, never at run time.

    python -m bbtvp.prompt.marks.atlas DejaVuSans-Bold.ttf

writes `glyphs.png` beside this module. Another font needs its licence beside it, and the digests in
the tests renewed.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bbtvp.core.errors import UsageError
from bbtvp.core.files import atomic_write
from bbtvp.prompt.marks.glyphs import (
    ABOVE,
    BELOW,
    CAP,
    CHARACTERS,
    COLUMNS,
    HEIGHT,
    WIDTH,
    Coverage,
)


def atlas_of(font: Path | str) -> Coverage:
    """(h, w) coverage of all characters, in cells of equal size, from a TrueType file.

    UsageError for a file that cannot be read.
    """
    size = next(size for size in range(CAP, 4 * CAP) if _cap_height(font, size) >= CAP)
    face = ImageFont.truetype(str(font), size)
    rows = -(-len(CHARACTERS) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * WIDTH, rows * HEIGHT), 0)
    for at, character in enumerate(CHARACTERS):
        cell = Image.new("L", (WIDTH, HEIGHT), 0)
        left, top, right, bottom = face.getbbox(character, anchor="ls")
        if right - left > WIDTH or -top > ABOVE + CAP or bottom > BELOW:
            raise UsageError(f"{font}: {character!r} is too large for its cell")
        ImageDraw.Draw(cell).text((-left, ABOVE + CAP), character, fill=255, font=face, anchor="ls")
        row, column = divmod(at, COLUMNS)
        sheet.paste(cell, (column * WIDTH, row * HEIGHT))
    return np.array(sheet)


def _cap_height(font: Path | str, size: int) -> int:
    try:
        return int(-ImageFont.truetype(str(font), size).getbbox("H", anchor="ls")[1])
    except OSError as error:
        raise UsageError(f"{font}: no TrueType font that can be read ({error})") from error


if __name__ == "__main__":
    _stream = io.BytesIO()
    Image.fromarray(atlas_of(sys.argv[1])).save(_stream, "PNG", optimize=True)
    atomic_write(Path(__file__).with_name("glyphs.png"), _stream.getvalue())
