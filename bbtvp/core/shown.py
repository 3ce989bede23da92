"""An image that is shown before the one that is asked about."""

from __future__ import annotations

from typing import NamedTuple

from bbtvp.core.arrays import Pixels


class Shown(NamedTuple):
    """An image, and the text that follows it.

    image: (H, W, 3) uint8, sRGB. text: such as the answer of an example; it may be empty.
    """

    image: Pixels
    text: str
