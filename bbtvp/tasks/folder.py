"""An image folder by class.

ROOT/CLASS/image.png, or ROOT/SPLIT/CLASS/image.png, which fixes the splits.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from bbtvp.core.errors import DataError
from bbtvp.tasks.rows import SPLITS, Row, split_named
from bbtvp.tasks.task import Sample

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Files with another suffix in a class folder are passed over."""


def read_folder(root: Path) -> list[Row]:
    """All images below `root`, labelled by their class folder.

    The id of a sample is its path relative to `root`, written with "/".

    Each row's labels are all classes of the folder, sorted. DataError if there is no class folder,
    or an empty one.
    """
    levels = _levels(root)
    classes = sorted({_text(folder.name) for _, top in levels for folder in _folders(top)})
    if not classes:
        raise DataError(
            f"{root} has no class folders; put the images into one sub-folder per class"
        )
    return [row for split, top in levels for row in _class_rows(root, top, split, tuple(classes))]


def _levels(root: Path) -> list[tuple[str | None, Path]]:
    """(split, the folder that holds its class folders): the split folders, or `root` alone."""
    folders = _folders(root)
    named = [folder for folder in folders if folder.name.casefold() in SPLITS]
    # A single "train" among other folders is a class of vehicles.
    if len(named) < 2 and len(named) < len(folders):
        return [(None, root)]
    return [(split_named(folder.name, str(root)), folder) for folder in folders] or [(None, root)]


def _class_rows(
    root: Path, top: Path, split: str | None, classes: tuple[str, ...]
) -> Iterator[Row]:
    for folder in _folders(top):
        images = _images(folder)
        if not images:
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise DataError(f"{folder} holds no images ({known}); add some or remove the folder")
        for image in images:
            identity = _text(image.relative_to(root).as_posix())
            yield Row(
                Sample(identity, _text(folder.name), image, labels=classes), split, str(image)
            )


def _folders(parent: Path) -> Sequence[Path]:
    try:
        return [
            path
            for path in sorted(parent.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        ]
    except OSError as error:
        raise DataError(f"{parent} cannot be read: {error.strerror}") from error


def _images(folder: Path) -> Sequence[Path]:
    return [
        path for path in sorted(folder.rglob("*")) if _is_image(path, folder) and path.is_file()
    ]


def _is_image(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _text(name: str) -> str:
    """A file's name with composed accents.

    macOS decomposes accents in file names. Composed, ids and labels are the same on every machine.
    """
    return unicodedata.normalize("NFC", name)
