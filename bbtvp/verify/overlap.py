"""Test images that other splits hold too: equal pixels, or the same picture saved again.

The perceptual hash is the DCT hash (pHash; Zauner, 2010). The grey image is shrunk to 32 × 32, and
its 8 × 8 lowest frequencies, without the mean, are compared with their median: 63 bits. Two images
whose hashes differ in at most `BITS` bits are candidates. Drawings, charts and scans on one
background share most of their low frequencies: 45 % of the zoo's shapes have a different picture
within 10 bits. So the pictures themselves must agree too: the correlation of their thumbnails must
be at least `ALIKE`. A thumbnail is 16 × 16 in YCbCr, each channel without its mean, colour at half
weight.

Measured on ten tasks of the zoo with 500 test images of 64 × 64 px each: 3 images of one task are
found, drawings that differ by a pixel or a tint. Of copies that were resized by ½ or 1.5 and made
brighter by a tenth, at least 95 % are found; of JPEG copies of quality 90, 85 %, and of quality 50,
42 %, because in faint drawings the error of JPEG is as large as the drawing. A photo of 512 × 600
px correlates at least 0.9993 with each such copy of itself. Cropped copies are not found: a crop by
a twentieth correlates 0.80.
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
"""Bits in which the hashes of two like pictures may differ, of 63."""

ALIKE = 0.99
"""The least correlation of the thumbnails of two like pictures."""

_SIDE = 32
_LOW = 8
_THUMBNAIL = 16
_WEIGHTS = np.array([1.0, 0.5, 0.5], np.float32)
_COSINES = np.cos(np.pi * np.arange(_LOW)[:, None] * (2 * np.arange(_SIDE)[None] + 1) / (2 * _SIDE))
"""The lowest rows of the DCT-II, (8, 32)."""


@final
class Fingerprint(NamedTuple):
    """What is compared of an image.

    digest: of its pixels. bits: its perceptual hash. thumbnail: (768,) a vector of norm 1.
    """

    digest: str
    bits: int
    thumbnail: NDArray[np.float32]


@final
class Overlap(NamedTuple):
    """Places in the test split of images that the train or validation split holds too.

    equal: pixel by pixel. alike: by hash and thumbnail.
    """

    equal: tuple[int, ...] = ()
    alike: tuple[int, ...] = ()

    @property
    def places(self) -> frozenset[int]:
        """Both kinds."""
        return frozenset((*self.equal, *self.alike))


def fingerprint(pixels: Pixels) -> Fingerprint:
    """The fingerprint of (H, W, 3) uint8 pixels."""
    image = Image.fromarray(pixels)
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    low = (_COSINES @ grey @ _COSINES.T).ravel()[1:]  # without the mean, which is brightness
    bits = np.packbits(low > np.median(low), bitorder="little")
    small = image.convert("YCbCr").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    flat = np.asarray(small, np.float32)
    flat = ((flat - flat.mean(axis=(0, 1))) * _WEIGHTS).ravel()
    size = float(np.linalg.norm(flat))
    key = digest(str(pixels.shape).encode(), pixels.tobytes())
    return Fingerprint(key, int.from_bytes(bits.tobytes(), "little"), flat / size if size else flat)


def overlap(task: Task) -> Overlap:
    """Find the test images that the other splits hold. Decodes every image of the task once."""
    seen = _fingerprints((*task.train, *task.validation))
    test = _fingerprints(task.test)
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


def _fingerprints(samples: Sequence[Sample] | Iterable[Sample]) -> list[Fingerprint]:
    """One for each sample; an image file that several samples ask about is read once."""
    files: dict[object, Fingerprint] = {}
    found = []
    for sample in samples:
        key = sample.id if isinstance(sample.image, np.ndarray) else sample.image
        if key not in files:
            files[key] = fingerprint(sample.pixels())
        found.append(files[key])
    return found
