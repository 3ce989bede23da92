"""Test images that were seen before: the very pixels, or the same picture saved again.

The perceptual hash is the DCT hash (pHash; Zauner, 2010): the signs of the 8 × 8 lowest
frequencies, but the mean, of the grey image at 32 × 32, against their median; 63 bits. A hash
within `BITS` makes a pair a suspect. Drawings, charts and scans on one ground share most of their
low frequencies (of the miniatures' shapes 45 % have a neighbour within 10 bits that is another
picture), so a suspect is confirmed by the pictures themselves: the correlation of the two
thumbnails, 16 × 16 in YCbCr, each channel less its mean and colour at half weight, is at least
`ALIKE`.

Measured on ten tasks of the zoo, 64 × 64 px, of 500 test images each: 3 in one task are found,
drawings that differ by a pixel or a tint. Resized by ½ or 1.5 and brightened by a tenth, 95 % at
least are found again; as JPEG of quality 90, 85 %, and of 50, 42 % (in faint drawings JPEG's error
is as large as the drawing). A photo of 512 × 600 px correlates 0.9993 at least with each of these.
A crop of a twentieth is another picture (0.80): what was cropped is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.digest import digest
from bbtvp.tasks import Sample, Task

BITS = 12
ALIKE = 0.99
_SIDE = 32
_LOW = 8
_THUMBNAIL = 16
_WEIGHTS = np.array([1.0, 0.5, 0.5], np.float32)
_COSINES = np.cos(np.pi * np.arange(_LOW)[:, None] * (2 * np.arange(_SIDE)[None] + 1) / (2 * _SIDE))
"""The lowest rows of the DCT-II, (8, 32)."""


@final
class Print(NamedTuple):
    """What is kept of an image: its digest, its hash as a 64-bit number, and its thumbnail as a
    vector of norm 1.
    """

    digest: str
    bits: int
    thumbnail: NDArray[np.float32]


@final
class Overlap(NamedTuple):
    """Places in the test split of the images that train or validation hold too: `equal` pixel by
    pixel, or `alike`.
    """

    equal: tuple[int, ...] = ()
    alike: tuple[int, ...] = ()

    @property
    def places(self) -> frozenset[int]:
        """Both kinds."""
        return frozenset((*self.equal, *self.alike))


def fingerprint(pixels: Pixels) -> Print:
    """Of (H, W, 3) uint8 pixels."""
    image = Image.fromarray(pixels)
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    low = (_COSINES @ grey @ _COSINES.T).ravel()[1:]  # without the mean: brightness is no content
    bits = np.packbits(low > np.median(low), bitorder="little")
    small = image.convert("YCbCr").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    flat = np.asarray(small, np.float32)
    flat = ((flat - flat.mean(axis=(0, 1))) * _WEIGHTS).ravel()
    size = float(np.linalg.norm(flat))
    key = digest(str(pixels.shape).encode(), pixels.tobytes())
    return Print(key, int.from_bytes(bits.tobytes(), "little"), flat / size if size else flat)


def overlap(task: Task) -> Overlap:
    """Which test images the other splits hold; decodes every image of the task once."""
    seen = _prints((*task.train, *task.validation))
    test = _prints(task.test)
    known = {one.digest for one in seen}
    hashes = np.array([one.bits for one in seen], np.uint64)
    thumbnails = np.stack([one.thumbnail for one in seen])
    equal = []
    alike = []
    for place, one in enumerate(test):
        if one.digest in known:
            equal.append(place)
            continue
        suspects = np.bitwise_count(hashes ^ np.uint64(one.bits)) <= BITS
        if suspects.any() and float((thumbnails[suspects] @ one.thumbnail).max()) >= ALIKE:
            alike.append(place)
    return Overlap(tuple(equal), tuple(alike))


def _prints(samples: Sequence[Sample] | Iterable[Sample]) -> list[Print]:
    """One for each sample; an image file that several samples ask about is read once."""
    files: dict[object, Print] = {}
    found = []
    for sample in samples:
        key = sample.id if isinstance(sample.image, np.ndarray) else sample.image
        if key not in files:
            files[key] = fingerprint(sample.pixels())
        found.append(files[key])
    return found
