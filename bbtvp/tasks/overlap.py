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

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.digest import digest
from bbtvp.core.errors import DataError
from bbtvp.tasks.task import Sample, Task

BITS = 12
"""Bits in which the hashes of two like pictures may differ, of 63."""

ALIKE = 0.99
"""The least correlation of the thumbnails of two like pictures."""

_NAMED = 10
"""Files that are named of those that cannot be read."""

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
    """Places in a split of images that an earlier split holds too.

    equal: pixel by pixel. alike: by hash and thumbnail.
    """

    equal: tuple[int, ...] = ()
    alike: tuple[int, ...] = ()

    @property
    def places(self) -> frozenset[int]:
        """Both kinds."""
        return frozenset((*self.equal, *self.alike))


@final
class Unreadable(NamedTuple):
    """An image file that cannot be read, and why."""

    path: Path
    reason: str


@final
class Fingerprints(NamedTuple):
    """The fingerprints of images by their file, or by the id of a sample without one.

    unreadable: the files that have none.
    """

    by_image: Mapping[Path | str, Fingerprint]
    unreadable: tuple[Unreadable, ...]

    def of(self, samples: Iterable[Sample]) -> list[Fingerprint]:
        """One for each sample."""
        return [self.by_image[image_key(sample)] for sample in samples]


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
    """Find the test images that the other splits hold. Decodes every image of the task once.

    DataError names all files that cannot be read.
    """
    every = (*task.train, *task.validation, *task.test)
    found = fingerprints(every)
    check_readable(found.unreadable, len({image_key(sample) for sample in every}))
    return repeated(found.of(task.test), found.of((*task.train, *task.validation)))


def repeated(held: Sequence[Fingerprint], seen: Sequence[Fingerprint]) -> Overlap:
    """Find the images of `held` that are among those of `seen`, of which there is at least one."""
    known = {one.digest for one in seen}
    hashes = np.array([one.bits for one in seen], np.uint64)
    thumbnails = np.stack([one.thumbnail for one in seen])
    equal = []
    alike = []
    for place, one in enumerate(held):
        if one.digest in known:
            equal.append(place)
            continue
        suspects = np.bitwise_count(hashes ^ np.uint64(one.bits)) <= BITS
        if suspects.any() and float((thumbnails[suspects] @ one.thumbnail).max()) >= ALIKE:
            alike.append(place)
    return Overlap(tuple(equal), tuple(alike))


def image_key(sample: Sample) -> Path | str:
    """What names the image of a sample: its file, or the sample's id."""
    return sample.image if isinstance(sample.image, Path) else sample.id


def fingerprints(samples: Iterable[Sample]) -> Fingerprints:
    """The fingerprints of all images; a file that several samples ask about is read once."""
    by_key = {image_key(sample): sample for sample in samples}
    found: dict[Path | str, Fingerprint] = {}
    unreadable = []
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for key, one in zip(by_key, pool.map(_read, by_key.values()), strict=True):
            if isinstance(one, Fingerprint):
                found[key] = one
            else:
                unreadable.append(Unreadable(Path(key), one))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt need not wait for the rest
    return Fingerprints(found, tuple(unreadable))


def check_readable(unreadable: Sequence[Unreadable], images: int) -> None:
    """Raise one DataError that names the files that cannot be read, if there are any.

    images: how many there are in all.
    """
    if not unreadable:
        return
    if len(unreadable) == 1:
        raise DataError(unreadable[0].reason)
    raise DataError(
        f"{describe_unreadable(unreadable, images)}; mend or remove them, and run it again"
    )


def describe_unreadable(unreadable: Sequence[Unreadable], images: int) -> str:
    """How many images cannot be read, and the names of some."""
    named = " | ".join(reason for _, reason in unreadable[:_NAMED])
    more = f" | and {len(unreadable) - _NAMED:,} more" if len(unreadable) > _NAMED else ""
    return f"{len(unreadable):,} of {images:,} images cannot be read: {named}{more}"


def _read(sample: Sample) -> Fingerprint | str:
    """The fingerprint of a sample's image, or why it has none."""
    try:
        return fingerprint(sample.pixels())
    except DataError as error:
        return str(error)
