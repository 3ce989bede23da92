"""Finding and reading the files of a data set.

Every DataError names the file, and says what to do.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import DataError
from bbtvp.tasks import Sample

T = TypeVar("T", str, int, list[Any], dict[str, Any])

_KINDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    list: "a list",
    dict: "an object",
}
_SPACE = re.compile(r"[ \t\r\n]*")


def folder(place: str) -> Path:
    """The folder that a spec names; DataError if there is none."""
    path = Path(place).expanduser()
    if not path.is_dir():
        raise DataError(f"no such folder: {path}; check the path")
    return path


def find(root: Path, *names: str, get: str) -> Path:
    """The first of `names` that exists below `root`.

    `names`: files or folders, relative to `root`. `get`: where they come from, for the error.
    """
    for name in names:
        if os.path.exists(root / name):
            return root / name
    raise DataError(f"{root} lacks {' or '.join(names)}; {get}")


def read_bytes(path: Path) -> bytes:
    """All bytes of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """A text file in UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; get it again") from error


def read_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line; "_" reads as a space."""
    names = tuple(
        line.strip().replace("_", " ") for line in read_text(path).splitlines() if line.strip()
    )
    if len(names) < 2:
        raise DataError(f"{path} holds {len(names)} class names, one a line; get it again")
    return names


def labelled(
    prefix: str, images: Pixels, indices: NDArray[Any], names: tuple[str, ...], path: Path
) -> list[Sample]:
    """One sample for each of (n, H, W, 3) images, which are views, not copies.

    `indices`: (n,) places in `names`.
    """
    if len(images) != len(indices):
        raise DataError(
            f"{path}: {len(indices)} labels for {len(images)} images; get both files again"
        )
    wrong = np.flatnonzero((indices < 0) | (indices >= len(names)))
    if wrong.size:
        raise DataError(
            f"{path}: record {wrong[0]} has the label {indices[wrong[0]]}, and there are "
            f"{len(names)} classes; "
            "another file, or a damaged one: get it again"
        )
    pairs = zip(images, indices.tolist(), strict=True)
    return [
        Sample(f"{prefix}/{number:05d}", names[index], image)
        for number, (image, index) in enumerate(pairs)
    ]


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds."""
    try:
        value = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); get it again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not an object; is it another file?")
    return value


def lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, object) of each line of a file with one JSON object a line."""
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        where = f"{path} line {number}"
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(
                f"{where}: not JSON ({error}); the file has one object a line: get it again"
            ) from error
        if not isinstance(value, dict):
            raise DataError(
                f"{where}: {type(value).__name__}, not an object; the file has one object a line"
            )
        yield where, value


def items(path: Path, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object) of the list under `key` of a JSON file's object, one at a time.

    CLEVR's files have some hundred megabytes, and many times that once decoded: no more than one
    item is held.
    """
    text = read_text(path)
    decoder = json.JSONDecoder()
    try:
        at = _after(text, 0, "{")
        while True:
            name, at = decoder.raw_decode(text, at)
            at = _after(text, at, ":")
            if name == key:
                break
            _, at = decoder.raw_decode(text, at)
            at = _after(text, at, ",")
        at = _after(text, at, "[")
        number = 0
        while text[at] != "]":
            value, at = decoder.raw_decode(text, at)
            if not isinstance(value, dict):
                raise DataError(
                    f"{path}: {key}[{number}] is {type(value).__name__}, not an object; get it "
                    "again"
                )
            yield f"{path}: {key}[{number}]", value
            at = _space(text, at)
            number = number + 1
            at = at if text[at] == "]" else _after(text, at, ",")
    except (ValueError, IndexError, RecursionError) as error:
        raise DataError(
            f"{path}: no JSON object with a whole list {key!r} ({error}); get it again"
        ) from error


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _after(text: str, at: int, mark: str) -> int:
    """Where the next value begins, behind `mark`."""
    at = _space(text, at)
    if text[at] != mark:
        raise ValueError(f"{mark!r} expected at character {at}")
    return _space(text, at + 1)


def value(record: Mapping[str, Any], key: str, kind: type[T], where: str) -> T:
    """The value under `key`, which must be of this kind."""
    found = record.get(key)
    if not isinstance(found, kind) or isinstance(found, bool):
        shown = json.dumps(found)[:60] if key in record else "missing"
        raise DataError(
            f"{where}: {key!r} is {shown}, not {_KINDS.get(kind, kind)}; is it another file?"
        )
    return found


def picture(root: Path, name: str, where: str) -> Path:
    """The image file `name` below `root`.

    A record cannot name a file outside `root`: that file would be sent to a model.
    """
    if name.startswith("/") or ".." in name.split("/") or "\\" in name:
        raise DataError(f"{where}: the image {name!r} lies outside {root}; correct the record")
    path = root / name
    if not os.path.isfile(path):
        raise DataError(f"{where}: no image {path}; unpack all images there")
    return path
