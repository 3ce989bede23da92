"""Images and drawings as data URIs, so that a page needs no other file."""

from __future__ import annotations

import io
import warnings
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.endpoint.images import encode

LARGEST = 320
"""Pixels of the longer side; a larger image is scaled down for the page."""
SMALL = 128
"""Pixels of the longer side up to which an image is kept as it is, and enlarged by whole pixels."""


def image_uri(pixels: Pixels) -> str:
    """An image, (H, W, 3) uint8: a PNG if it is small, else a JPEG of at most `LARGEST` pixels."""
    longer = max(pixels.shape[:2])
    if longer <= SMALL:
        picture = encode(pixels)
    else:
        image = Image.fromarray(pixels)
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        picture = encode(np.asarray(image), "jpeg", 85)
    return _uri(picture.data, picture.media)


def file_uri(path: Path) -> str | None:
    """A PNG file; None if it cannot be read."""
    try:
        return _uri(path.read_bytes(), "image/png")
    except OSError:
        return None


def figure_uri(figure: Any) -> str:
    """A matplotlib figure as SVG, the same bytes whenever it is drawn again.

    Its words stay text, in a font of the reader's.
    """
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "bbtvp"}), warnings.catch_warnings():
        # A glyph may be missing in the font that measures the text; the reader's font has it.
        warnings.filterwarnings("ignore", r"Glyph \d+ ")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _uri(file.getvalue(), "image/svg+xml")


def colour_card(side: int) -> Pixels:
    """A test card that shows what a prompt does to tone and colour, (side, side, 3) uint8.

    The upper half is a ramp from black to white, the lower half holds all hues.
    """
    ramp = np.linspace(0, 255, side).round().astype(np.uint8)
    card = np.repeat(ramp[None, :, None], side, axis=0).repeat(3, axis=2)
    hues = np.stack(
        [np.arange(side) * 256 // side, np.full(side, 200), np.full(side, 230)], axis=-1
    )
    card[side // 2 :] = np.asarray(
        Image.fromarray(hues[None].astype(np.uint8), "HSV").convert("RGB")
    )
    return card


def _uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{b64encode(data).decode('ascii')}"
