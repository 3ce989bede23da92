"""CIFAR-10, CIFAR-100 and CIFAR-10-C.

The binary versions of CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), and CIFAR-10-C (Hendrycks and
Dietterich, ICLR 2019).

The python versions are pickles, which can run code: they are refused, never opened.
"""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks import Sample
from bbtvp.tasks.formats.contents import TVP_QUESTION, Contents, chosen, dataset
from bbtvp.tasks.formats.files import find, folder, labelled, read_bytes, read_names

SIDE = 32
PIXELS = 3 * SIDE * SIDE

CIFAR10_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
SEVERITIES = 5


@dataset
def cifar10(place: str) -> Contents:
    """CIFAR-10, binary: data_batch_1.bin to data_batch_5.bin, test_batch.bin, batches.meta.txt."""
    root = _root(place, "cifar-10-batches-bin", "cifar-10-batches-py", "data_batch_1")
    names = read_names(find(root, "batches.meta.txt", get=_get("cifar-10-binary.tar.gz")))
    return Contents(
        "cifar10",
        TVP_QUESTION,
        names,
        _batches(root, names, *TRAIN),
        _batches(root, names, "test_batch"),
    )


@dataset
def cifar100(place: str, *, level: str = "fine") -> Contents:
    """CIFAR-100, binary: train.bin, test.bin, and the files of label names.

    `level`: "fine" (100 classes) or "coarse" (20).
    """
    root = _root(place, "cifar-100-binary", "cifar-100-python", "train")
    get = _get("cifar-100-binary.tar.gz")
    column = ("coarse", "fine").index(chosen("level", level, ("coarse", "fine")))
    names = read_names(find(root, f"{level}_label_names.txt", get=get))
    train, test = (
        _samples(find(root, f"{part}.bin", get=get), names, 2, column) for part in ("train", "test")
    )
    return Contents(
        "cifar100" if level == "fine" else "cifar100-coarse", TVP_QUESTION, names, train, test
    )


@dataset
def cifar10c(
    place: str, *, corruption: str = "gaussian_noise", severity: int = 3, train: str = ""
) -> Contents:
    """CIFAR-10-C: labels.npy and one .npy file per corruption.

    Each file holds the test images of CIFAR-10 at severities 1 to 5.

    train: the folder of CIFAR-10 (binary): a search on clean images, tested on corrupted ones, as
    in the paper. Without it the corrupted images themselves are split; the same images are then in
    the same splits under all.
    """
    root = folder(place)
    root = root / "CIFAR-10-C" if (root / "CIFAR-10-C").is_dir() else root
    get = "get CIFAR-10-C.tar and unpack it there"
    path = find(root, "labels.npy", get=get)
    indices = _load(path, 1)
    known = sorted(file.stem for file in root.glob("*.npy") if file != path)
    file = find(root, f"{chosen('corruption', corruption, known)}.npy", get=get)
    if not 1 <= severity <= SEVERITIES:
        raise UsageError(f"there is no severity {severity}; give 1 to {SEVERITIES}")
    images = _load(file, 4)
    if images.shape[1:] != (SIDE, SIDE, 3) or images.dtype != np.uint8 or len(images) % SEVERITIES:
        raise DataError(
            f"{file}: {images.shape} {images.dtype}, not 5 severities of (n, 32, 32, 3) uint8; "
            f"{get}"
        )
    each = len(images) // SEVERITIES
    part = slice((severity - 1) * each, severity * each)
    # The file is mapped: of its five severities one is read. A copy, so that a file changed later
    # cannot end the run.
    samples = labelled(
        "test_batch", np.array(images[part]), np.array(indices[part]), CIFAR10_NAMES, path
    )
    name = f"cifar10c-{corruption}-{severity}"
    if not train:
        return Contents(name, TVP_QUESTION, CIFAR10_NAMES, samples)
    clean = _root(train, "cifar-10-batches-bin", "cifar-10-batches-py", "data_batch_1")
    return Contents(
        name, TVP_QUESTION, CIFAR10_NAMES, _batches(clean, CIFAR10_NAMES, *TRAIN), samples
    )


def _batches(root: Path, names: tuple[str, ...], *stems: str) -> list[Sample]:
    paths = [find(root, f"{stem}.bin", get=_get("cifar-10-binary.tar.gz")) for stem in stems]
    return [sample for path in paths for sample in _samples(path, names)]


def _get(archive: str) -> str:
    return f"get the binary version, {archive}, and unpack it there"


def _root(place: str, binary: str, python: str, pickled: str) -> Path:
    """The folder of the binary files: `place` itself, or in it."""
    root = folder(place)
    if (root / binary).is_dir():
        return root / binary
    for found in (root / python / pickled, root / pickled):
        if found.is_file():
            raise DataError(
                f"{found} is the python version, a pickle, which can run code: it is not opened; "
                f"{_get(binary.replace('batches-bin', 'binary') + '.tar.gz')}"
            )
    return root


def _samples(path: Path, names: tuple[str, ...], width: int = 1, column: int = 0) -> list[Sample]:
    """The records of a binary file, without copying a pixel.

    A record is `width` label bytes, then 32 x 32 pixels, one colour plane after the other.
    """
    data = np.frombuffer(read_bytes(path), np.uint8)
    size = width + PIXELS
    if not data.size or data.size % size:
        raise DataError(
            f"{path} holds {data.size} bytes, no whole records of {size}: truncated, or another "
            "file"
        )
    records = data.reshape(-1, size)
    images: Pixels = records[:, width:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return labelled(path.stem, images, records[:, column].astype(np.intp), names, path)


def _load(path: Path, rank: int) -> NDArray[np.generic]:
    """A mapped .npy array; what would be unpickled is refused."""
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        SyntaxError,
        OverflowError,
        TokenError,
    ) as error:
        raise DataError(
            f"{path}: no whole .npy array ({' '.join(str(error).split())}); get it again"
        ) from error
    if array.ndim != rank or array.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {array.shape} {array.dtype}, not {rank} axes of whole numbers; is it another "
            "file?"
        )
    return array
