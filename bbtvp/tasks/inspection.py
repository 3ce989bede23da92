"""What a look at the images of a task finds, before anything is asked about them.

Of every image file the header is read: 0.03 ms of one core. Files are decoded, validation before
train before test, as long as they are no more than `MOST_FILES` with `MOST_PIXELS` together: a JPEG
of 64 × 64 px takes 0.2 ms and one of 512 × 512 px 4 ms. Where all were decoded, pictures that come
again in another split are found by their pixels and by their likeness; otherwise equal files are.
Pixels in memory are compared as they are.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bbtvp.core.digest import digest
from bbtvp.core.errors import DataError
from bbtvp.prompt.image import ImageHeader, read_header
from bbtvp.tasks.overlap import (
    Fingerprints,
    Overlap,
    Unreadable,
    check_readable,
    fingerprints,
    image_key,
    repeated,
)
from bbtvp.tasks.task import Sample, Task

MOST_FILES = 10_000
"""Files that are decoded in a look."""

MOST_PIXELS = 500_000_000
"""Pixels of all files that are decoded in a look."""

SMALLEST = 16
"""Side in pixels below which a picture is more likely a thumbnail or an icon than a photo."""

_EARLIER = {"validation": ("train",), "test": ("train", "validation")}
"""The splits that a split may share no picture with."""

_ENDS = 1 << 16
"""Bytes at both ends of files that are compared before all of their bytes are."""


@final
@dataclass(frozen=True)
class Inspection:
    """What was found in the images of a task.

    images: distinct ones, of which `decoded` were decoded. unreadable: files that cannot be read;
    held_out: those of them that only the proof needs, since only test has them. small: files with a
    side below `SMALLEST`. several: files that hold several pictures. transparent: files with
    transparency. repeated: by split, the places of images that an earlier split holds too. divided:
    groups, by their name, that are in more than one split. misfits: answers that their picture
    cannot have, in words, such as a box that leaves it. thorough: whether pictures that are alike
    were looked for too.
    """

    images: int
    decoded: int
    unreadable: tuple[Unreadable, ...]
    held_out: tuple[Unreadable, ...]
    small: tuple[Path, ...]
    several: tuple[Path, ...]
    transparent: tuple[Path, ...]
    repeated: Mapping[str, Overlap]
    divided: tuple[str, ...]
    misfits: tuple[str, ...]
    thorough: bool

    def check(self) -> None:
        """Raise a DataError if a search needs files that cannot be read, or answers do not fit.

        It names the files, or the first sample.
        """
        check_readable([one for one in self.unreadable if one not in self.held_out], self.images)
        if self.misfits:
            others = len(self.misfits) - 1
            raise DataError(self.misfits[0] + (f", and {others:,} more like it" if others else ""))

    def as_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "images": self.images,
            "decoded": self.decoded,
            "unreadable": [
                {"path": str(path), "reason": reason} for path, reason in self.unreadable
            ],
            "small": [str(path) for path in self.small],
            "several_pictures": [str(path) for path in self.several],
            "transparent": len(self.transparent),
            "repeated": {split: found._asdict() for split, found in self.repeated.items()},
            "divided_groups": list(self.divided),
            "misfits": list(self.misfits),
            "alike_looked_for": self.thorough,
        }


def inspect(task: Task, *, most_pixels: int = MOST_PIXELS) -> Inspection:
    """Look at all images of a task; nothing is raised for a file that cannot be read."""
    by_key = {image_key(sample): sample for sample in (*task.validation, *task.train, *task.test)}
    files = {key: sample for key, sample in by_key.items() if isinstance(key, Path)}
    headers, unreadable = _headers(files)
    chosen = _within(headers, most_pixels)
    prints = fingerprints(files[path] for path in chosen)
    unreadable += prints.unreadable
    searched = {image_key(sample) for sample in (*task.train, *task.validation)}
    thorough = len(files) == len(by_key) and len(chosen) == len(headers)
    return Inspection(
        len(by_key),
        len(chosen),
        tuple(unreadable),
        tuple(one for one in unreadable if one.path not in searched),
        tuple(path for path, one in headers.items() if min(one.width, one.height) < SMALLEST),
        tuple(path for path, one in headers.items() if one.pictures > 1),
        tuple(path for path, one in headers.items() if one.transparent),
        _alike(task, prints) if thorough else _equal(task),
        _divided(task),
        tuple(_misfits(task, headers)),
        thorough,
    )


def _headers(
    paths: Iterable[Path],
) -> tuple[dict[Path, ImageHeader], list[Unreadable]]:
    """The headers of the files that have one, and the other files."""
    found: dict[Path, ImageHeader] = {}
    unreadable = []
    for path in paths:
        try:
            found[path] = read_header(path)
        except DataError as error:
            unreadable.append(Unreadable(path, str(error)))
    return found, unreadable


def _within(headers: Mapping[Path, ImageHeader], most: int) -> list[Path]:
    """The first files that have no more than so many pixels together."""
    chosen = []
    for path, header in itertools.islice(headers.items(), MOST_FILES):
        most -= header.width * header.height
        if most < 0:
            break
        chosen.append(path)
    return chosen


def _alike(task: Task, prints: Fingerprints) -> dict[str, Overlap]:
    """The pictures of each split that an earlier one holds, by their fingerprints."""
    places = {
        name: [
            (place, prints.by_image[key])
            for place, sample in enumerate(samples)
            if (key := image_key(sample)) in prints.by_image
        ]
        for name, samples in task.splits.items()
    }
    found = {}
    for name, earlier in _EARLIER.items():
        seen = [one for other in earlier for _, one in places[other]]
        if not (seen and places[name]):
            continue
        shared = repeated([one for _, one in places[name]], seen)
        if shared.places:
            kinds = ([places[name][place][0] for place in kind] for kind in shared)
            found[name] = Overlap(*map(tuple, kinds))
    return found


def _equal(task: Task) -> dict[str, Overlap]:
    """The pictures of each split that an earlier one holds: equal files, or equal pixels."""
    every = {image_key(sample): sample for samples in task.splits.values() for sample in samples}
    seen: dict[Path | str, tuple[Hashable, ...]] = dict.fromkeys(every, ())
    for look in (_size, _ends, _whole):
        counts = Counter(seen.values())
        # What differs already is not read any further.
        alike = [key for key, looks in seen.items() if counts[looks] > 1]
        seen |= {key: (*seen[key], _looked(look, every[key])) for key in alike}
    found = {}
    for name, earlier in _EARLIER.items():
        known = {seen[image_key(sample)] for other in earlier for sample in task.splits[other]}
        samples = enumerate(task.splits[name])
        places = tuple(place for place, sample in samples if seen[image_key(sample)] in known)
        if places:
            found[name] = Overlap(equal=places)
    return found


def _looked(look: Callable[[Sample], Hashable], sample: Sample) -> Hashable:
    """What a look at a sample's image sees; a file that cannot be read is like no other."""
    try:
        return look(sample)
    except OSError:
        return sample.image if isinstance(sample.image, Path) else sample.id


def _size(sample: Sample) -> Hashable:
    image = sample.image
    return image.stat().st_size if isinstance(image, Path) else image.shape


def _ends(sample: Sample) -> str:
    if not isinstance(sample.image, Path):
        return digest(sample.image[0].tobytes())
    with sample.image.open("rb") as file:
        head = file.read(_ENDS)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _ENDS))
        return digest(head, file.read(_ENDS))


def _whole(sample: Sample) -> str:
    image = sample.image
    return digest(image.read_bytes() if isinstance(image, Path) else image.tobytes())


def _misfits(task: Task, headers: Mapping[Path, ImageHeader]) -> Iterator[str]:
    """What the metric finds wrong with answers once it knows the size of their picture."""
    for sample in itertools.chain(*task.splits.values()):
        if isinstance(sample.image, Path):
            header = headers.get(sample.image)
            size = header and (header.width, header.height)
        else:
            size = (sample.image.shape[1], sample.image.shape[0])
        said = task.scoring.misfit(sample.accepted, *size) if size else ""
        if said:
            yield f"sample {sample.id!r}: {said}"


def _divided(task: Task) -> tuple[str, ...]:
    """Groups in more than one split, which only stated splits can have."""
    homes: dict[str, set[str]] = defaultdict(set)
    for name, samples in task.splits.items():
        for sample in samples:
            if sample.group is not None:
                homes[sample.group].add(name)
    return tuple(sorted(group for group, splits in homes.items() if len(splits) > 1))
