"""MNIST and SVHN.

MNIST in its IDX files (LeCun et al., 1998), and SVHN's cropped digits in MATLAB files (Netzer et
al., 2011).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import DataError
from bbtvp.tasks import Sample
from bbtvp.tasks.formats.contents import Contents, dataset
from bbtvp.tasks.formats.files import find, folder, labelled

DIGITS = tuple("0123456789")


@dataset
def mnist(place: str) -> Contents:
    """MNIST: train-images-idx3-ubyte and the other three files, gzipped or not.

    `labels=` names the classes of Fashion-MNIST, which has the same format.
    """
    root = folder(place)
    root = next((root / inner for inner in ("MNIST/raw", "raw") if (root / inner).is_dir()), root)
    train, test = (_idx_samples(root, part) for part in ("train", "t10k"))
    return Contents("mnist", "what digit is this?", DIGITS, train, test)


def _idx_samples(root: Path, part: str) -> list[Sample]:
    images, labels = (
        find(
            root,
            *(f"{part}-{kind}{join}idx{rank}-ubyte{end}" for join in "-." for end in ("", ".gz")),
            get="get the four files of MNIST and put them there",
        )
        for kind, rank in (("images", 3), ("labels", 1))
    )
    grey = read_idx(images, 3)
    # A view with the same byte for red, green and blue: no pixel is copied.
    pixels: Pixels = np.broadcast_to(grey[..., None], (*grey.shape, 3))
    return labelled(part, pixels, read_idx(labels, 1).astype(np.intp), DIGITS, labels)


def read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """A uint8 array with `rank` axes, from an IDX file.

    The file holds the bytes 0, 0, 8, rank; then the sizes, 4 bytes each, big-endian; then the
    values.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); get it again") from error
    head = 4 + 4 * rank
    if data[:4] != bytes((0, 0, 8, rank)) or len(data) < head:
        raise DataError(
            f"{path} begins with {data[:4].hex()}, not 0000080{rank}: no IDX file of MNIST; get it "
            "again"
        )
    shape = [int(size) for size in np.frombuffer(data, ">u4", rank, 4)]
    if len(data) - head != math.prod(shape):
        raise DataError(
            f"{path} holds {len(data) - head} values, and says {shape}: truncated; get it again"
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


@dataset
def svhn(place: str) -> Contents:
    """SVHN, format 2 (cropped digits): train_32x32.mat and test_32x32.mat.

    Their label 10 stands for the digit 0.
    """
    root = folder(place)
    train, test = (_mat_samples(root, part) for part in ("train", "test"))
    return Contents("svhn", "what digit is in the middle of the image?", DIGITS, train, test)


def _mat_samples(root: Path, part: str) -> list[Sample]:
    get = f"get the cropped digits (format 2), {part}_32x32.mat"
    if any((root / inner).is_file() for inner in (f"{part}/digitStruct.mat", "digitStruct.mat")):
        get += "; the full numbers (format 1, digitStruct.mat) are not read"
    path = find(root, f"{part}_32x32.mat", get=get)
    found = read_mat(path)
    images = found.get("X")
    labels = found.get("y")
    if (
        images is None
        or labels is None
        or images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[2] != 3
    ):
        raise DataError(f"{path} has no X of (height, width, 3, n) uint8 and y of n labels; {get}")
    indices = labels.ravel().astype(np.intp)
    if ((indices < 1) | (indices > 10)).any():
        raise DataError(
            f"{path}: labels from {indices.min()} to {indices.max()}, not 1 to 10; {get}"
        )
    return labelled(part, np.moveaxis(images, 3, 0), indices % 10, DIGITS, path)


def read_mat(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays X and y of a MATLAB file, version 4 to 7."""
    from scipy.io import loadmat  # type: ignore[import-untyped]
    from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]

    try:
        found = loadmat(path, variable_names=["X", "y"], appendmat=False)
    except NotImplementedError as error:
        raise DataError(
            f"{path} is a MATLAB 7.3 file, which is not read; get the cropped digits (format 2)"
        ) from error
    except (
        MatReadError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        zlib.error,
    ) as error:
        raise DataError(
            f"{path}: no whole MATLAB file ({' '.join(str(error).split())}); get it again"
        ) from error
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}
