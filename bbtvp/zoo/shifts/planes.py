"""What the shifts share: rounding, directions, and the colour of a picture's border."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels


def levels(values: NDArray[np.floating]) -> Pixels:
    """Rounded and clipped to 0-255."""
    pixels: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return pixels


def across(pixels: Pixels, angle: float) -> NDArray[np.float64]:
    """(H, W, 1) place of each pixel along a direction, from −1 at one corner to 1 at the other.

    angle: of the direction, in radians.
    """
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    along = rows * np.sin(angle) + columns * np.cos(angle)
    found: NDArray[np.float64] = along / (abs(np.sin(angle)) + abs(np.cos(angle)))
    return found[:, :, None]


def border(pixels: Pixels) -> tuple[int, int, int]:
    """The median colour of the picture's edges."""
    edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    red, green, blue = np.median(np.concatenate(edges), axis=0).astype(int)
    return int(red), int(green), int(blue)
