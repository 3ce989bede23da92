"""An image folder by class.

ROOT/CLASS/image.png, or ROOT/SPLIT/CLASS/image.png, which fixes the splits.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, final

from bbtvp.core.errors import DataError
from bbtvp.prompt.image import image_suffixes
from bbtvp.tasks.loading import PassedOver, describe_passed_over
from bbtvp.tasks.rows import SPLITS, Row, split_named
from bbtvp.tasks.task import Sample

_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r")
"""Files that Windows and macOS put into folders of images."""

_LITTER_FOLDERS = ("__macosx", "@eadir")
"""Folders of previews: macOS puts one into a zip file, Synology's servers into each folder."""


@final
class FolderRows(NamedTuple):
    """The images of a folder, and the files in it that are none."""

    rows: list[Row]
    passed_over: tuple[PassedOver, ...]


class _Found(NamedTuple):
    """What one class folder holds."""

    images: Sequence[Path]
    passed_over: Sequence[PassedOver]


def read_folder(root: Path) -> FolderRows:
    """All images below `root`, labelled by their class folder.

    The id of a sample is its path relative to `root`, written with "/".

    Each row's labels are all classes of the folder, sorted. An image is a file with a suffix of a
    format that can be read; every other file is passed over. DataError if there is no class folder,
    or an empty one.
    """
    levels = _levels(root)
    tops = [(split, top, _folders(top)) for split, top in levels]
    classes = tuple(sorted({_text(folder.name) for _, _, inner in tops for folder in inner}))
    if not classes:
        raise DataError(
            f"{root} has no class folders; put the images into one sub-folder per class"
        )
    rows: list[Row] = []
    passed_over = [one for top in {root, *(top for _, top in levels)} for one in _loose(top)]
    for split, _, inner in tops:
        for folder in inner:
            found = _found(folder)
            passed_over += found.passed_over
            rows += _class_rows(root, folder, found, split, classes)
    return FolderRows(rows, tuple(sorted(passed_over)))


def _levels(root: Path) -> list[tuple[str | None, Path]]:
    """(split, the folder that holds its class folders): the split folders, or `root` alone."""
    folders = _folders(root)
    named = [folder for folder in folders if folder.name.casefold() in SPLITS]
    # A single "train" among other folders is a class of vehicles.
    if len(named) < 2 and len(named) < len(folders):
        return [(None, root)]
    try:
        return [(split_named(folder.name), folder) for folder in folders] or [(None, root)]
    except DataError as error:
        raise DataError(f"{root}: {error}") from error


def _class_rows(
    root: Path, folder: Path, found: _Found, split: str | None, classes: tuple[str, ...]
) -> Iterator[Row]:
    if not found.images:
        said = describe_passed_over(found.passed_over)
        there = f" (passed over: {said})" if said else ""
        raise DataError(f"{folder} holds no images{there}; add some or remove the folder")
    for image in found.images:
        identity = _text(image.relative_to(root).as_posix())
        yield Row(Sample(identity, _text(folder.name), image, labels=classes), split, str(image))


def _folders(parent: Path) -> Sequence[Path]:
    return [path for path in _inside(parent) if path.is_dir() and not _is_litter(path.name)]


def _inside(parent: Path) -> Sequence[Path]:
    try:
        return sorted(parent.iterdir())
    except OSError as error:
        raise DataError(f"{parent} cannot be read: {error.strerror}") from error


def _loose(parent: Path) -> Iterator[PassedOver]:
    """What lies beside the folders in `parent`."""
    suffixes = image_suffixes()
    for path in _inside(parent):
        if path.is_dir():
            if _is_litter(path.name):
                yield PassedOver(path, _kind_of_folder(path.name))
        elif path.suffix.lower() in suffixes and not path.name.startswith("."):
            yield PassedOver(path, "in no class folder")
        else:
            yield PassedOver(path, _kind(path.name))


def _found(folder: Path) -> _Found:
    """All files in a class folder, however deep."""
    suffixes = image_suffixes()
    images: list[Path] = []
    passed_over: list[PassedOver] = []
    for parent, folders, files in os.walk(folder):
        place = Path(parent)
        kinds = {name: _why_left_out(place / name) for name in folders}
        passed_over += [PassedOver(place / name, kind) for name, kind in kinds.items() if kind]
        folders[:] = [name for name, kind in kinds.items() if kind is None]
        for name in files:
            hidden = name.startswith(".")
            if hidden or os.path.splitext(name)[1].lower() not in suffixes:
                passed_over.append(PassedOver(place / name, _kind(name)))
            elif os.path.isfile(place / name):
                images.append(place / name)
            else:
                passed_over.append(PassedOver(place / name, "broken link"))
    return _Found(sorted(images), passed_over)


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _LITTER_FOLDERS


def _why_left_out(folder: Path) -> str | None:
    """What a folder in a class folder is called that is not looked into; None for any other."""
    if _is_litter(folder.name):
        return _kind_of_folder(folder.name)
    return "link to a folder" if folder.is_symlink() else None


def _kind_of_folder(name: str) -> str:
    return "hidden folder" if name.startswith(".") else f"folder {name}"


def _kind(name: str) -> str:
    """What a file that is no image is called in a list of those passed over."""
    if name.casefold() in _LITTER:
        return name.strip()
    if name.startswith("._"):
        return "._ file of macOS"
    if name.startswith("."):
        return "hidden file"
    return os.path.splitext(name)[1].lower() or "file without a suffix"


def _text(name: str) -> str:
    """A file's name with composed accents.

    macOS decomposes accents in file names. Composed, ids and labels are the same on every machine.
    """
    return unicodedata.normalize("NFC", name)
