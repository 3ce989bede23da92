"""What may happen to the pixels between us and a model: resizing, cropping, JPEG.

A prompt searched through random draws of a channel (expectation over transformation; Athalye et
al., ICML 2018) does not lean on pixels that the next processor takes away.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError


@final
@dataclass(frozen=True)
class Channel:
    """Random draws of a resize, a crop and a JPEG encoding; the picture keeps its size.

    resize: smallest share of the side that an image is reduced to before it is brought back, in (0,
    1]. crop: largest share of the side that is cut off at each edge, in [0, 0.4]. jpeg: lowest and
    highest quality, 1 to 95, or None.
    """

    resize: float = 0.7
    crop: float = 0.03
    jpeg: tuple[int, int] | None = (60, 95)

    def __post_init__(self) -> None:
        if not 0 < self.resize <= 1:
            raise UsageError(
                f"channel resize is {self.resize}; give a share of the side, above 0 and at most 1"
            )
        if not 0 <= self.crop <= 0.4:
            raise UsageError(f"channel crop is {self.crop}; give a share of the side, 0 to 0.4")
        if self.jpeg is not None and not 1 <= self.jpeg[0] <= self.jpeg[1] <= 95:
            raise UsageError(
                f"channel jpeg is {self.jpeg}; give the lowest and the highest quality, 1 to 95"
            )

    def draw(self, rng: np.random.Generator) -> Callable[[Pixels], Pixels]:
        """One transmission: the same transformation for every picture it is given."""
        reduced, *edges = rng.uniform([self.resize, 0, 0, 0, 0], [1.0, *[self.crop] * 4]).tolist()
        quality = int(rng.integers(self.jpeg[0], self.jpeg[1] + 1)) if self.jpeg else None

        def send(pixels: Pixels) -> Pixels:
            height, width = pixels.shape[:2]
            box = (
                edges[0] * width,
                edges[1] * height,
                (1 - edges[2]) * width,
                (1 - edges[3]) * height,
            )
            small = max(1, round(width * reduced)), max(1, round(height * reduced))
            image = Image.fromarray(pixels).resize(small, Image.Resampling.BICUBIC, box=box)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
            return np.asarray(image if quality is None else _encoded(image, quality))

        return send


def _encoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
