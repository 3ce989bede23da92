"""Images and drawings as data URIs, so that the page needs no other file."""

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
"""Pixels of the longer side above which an image is made smaller for the page."""
SMALL = 128
"""Up to this side an image keeps every pixel, and is shown with its pixels seen."""


def image_uri(pixels: Pixels) -> str:
    """(H, W, 3) uint8 as a PNG where it is small, else as a JPEG of at most `LARGEST` pixels."""
    longer = max(pixels.shape[:2])
    if longer <= SMALL:
        picture = encode(pixels)
    else:
        image = Image.fromarray(pixels)
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        picture = encode(np.asarray(image), "jpeg", 85)
    return _uri(picture.data, picture.media)


def file_uri(path: Path) -> str | None:
    """A PNG file as it is; None where it is gone."""
    try:
        return _uri(path.read_bytes(), "image/png")
    except OSError:
        return None


def figure_uri(figure: Any) -> str:
    """A matplotlib figure as SVG, the same whenever it is drawn again; its words are text in the
    reader's own font.
    """
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "bbtvp"}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r"Glyph \d+ "
        )  # missing in the font that measures; the reader's will have it
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _uri(file.getvalue(), "image/svg+xml")


def colour_card(side: int) -> Pixels:
    """(side, side, 3) uint8: a ramp from black to white above, all hues below, so that tone and
    colour are seen.
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
