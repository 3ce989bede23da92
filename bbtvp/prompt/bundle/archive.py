"""The files of a bundle, as one archive or as a folder.

An archive is read by its own figures first: what they say is checked against the size of the file
and against the limits before any content is read.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, final

from bbtvp.core.errors import BundleError
from bbtvp.core.files import atomic_write
from bbtvp.prompt.bundle.manifest import AGAIN, MANIFEST
from bbtvp.prompt.exemplars import MOST_EXEMPLARS, PREFIX

SUFFIX = ".vprompt"
Z = "z.npy"
FRAME = "frame.png"
SIGNATURE = "signature.json"

_LIMITS = {MANIFEST: 2 << 20, Z: 16 << 20, FRAME: 24 << 20, SIGNATURE: 4 << 10}
"""The most bytes that are read of each file."""
_EXEMPLAR = re.compile(rf"{PREFIX}[0-9a-f]{{16}}\.png")
_EXEMPLAR_LIMIT = 16 << 20
"""The names of the exemplars' pictures, and the most bytes of one. No other names are read."""
_LARGEST = 64 << 20
"""The most bytes of all files together."""

_ENTRY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCAL = 30
"""The bytes of a local header without its name: APPNOTE.TXT 4.3.7; the others: 4.3.12, 4.3.16."""
_LONGEST_NAME = 64


def write_files(path: Path, files: dict[str, bytes]) -> None:
    """One file where the path ends in .vprompt, else a folder. OSError if the disk refuses."""
    if path.suffix == SUFFIX:
        atomic_write(path, packed(files))
        return
    for name in set(_names_in(path)) - files.keys():
        (path / name).unlink(missing_ok=True)
    for name in reversed(files):  # the manifest last: cut off before it, the digests do not hold
        atomic_write(path / name, files[name])


def read_files(path: Path, accept: Callable[[bytes], None]) -> dict[str, bytes]:
    """Name to content of the files of a bundle.

    accept: is called with the manifest, before other files are looked at; it raises for a newer
    format, whose other files are not known here.

    BundleError, in one line, for what is no bundle or over a limit; OSError where the disk refuses.
    """
    if path.is_dir():
        return _folder(path, accept)
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        entries = _entries(file, size)
        first = next((entry for entry in entries if entry.name == MANIFEST), None)
        if first is None:
            raise BundleError(
                f"not a bundle, {MANIFEST} is missing; give the file or folder that bbtvp wrote"
            )
        if first.size <= _LIMITS[MANIFEST]:
            accept(_at(file, first))
        for entry in entries:
            _check_limit(entry.name, entry.size)
        files = {entry.name: _at(file, entry) for entry in entries}
        file.seek(0)
        if len(files) < len(entries) or packed(files) != file.read(size + 1):
            raise BundleError(f"the archive is not as bbtvp wrote it; {AGAIN}")
    return files


@final
class _StoredFile(NamedTuple):
    """A file of an archive: where its content begins, and its bytes."""

    name: str
    start: int
    size: int


def _entries(file: BinaryIO, size: int) -> list[_StoredFile]:
    """The directory of an archive that consists of stored files, one after the other."""
    file.seek(max(0, size - _END.size))
    end = file.read(_END.size)
    if len(end) < _END.size or end[:4] != b"PK\5\6":
        raise BundleError(f"not a bundle, or damaged (it does not end as an archive does); {AGAIN}")
    _, _, _, _, count, length, start, _ = _END.unpack(end)
    if size > _LARGEST:
        raise BundleError(f"over {_LARGEST >> 20} MiB; {AGAIN}")
    most = len(_LIMITS) + MOST_EXEMPLARS
    whole = start + length + _END.size == size
    if not whole or count > most or length > most * (_ENTRY.size + _LONGEST_NAME):
        raise BundleError(f"the archive is not as bbtvp wrote it; {AGAIN}")
    file.seek(start)
    found = list(_listed(file.read(length)))
    ends = [entry.start + entry.size for entry in found]
    begins = [entry.start - _LOCAL - len(entry.name) for entry in found]
    if len(found) != count or [*begins, start] != [0, *ends]:
        raise BundleError(f"the archive is not as bbtvp wrote it; {AGAIN}")
    return found


def _listed(directory: bytes) -> Iterator[_StoredFile]:
    at = 0
    while at + _ENTRY.size <= len(directory):
        values = _ENTRY.unpack_from(directory, at)
        method = values[4]
        size = values[9]
        length = values[10]
        offset = values[16]
        name = directory[at + _ENTRY.size : at + _ENTRY.size + length]
        at += _ENTRY.size + length
        if method != zipfile.ZIP_STORED or not name.isascii():
            raise BundleError(f"the archive is not as bbtvp wrote it; {AGAIN}")
        yield _StoredFile(name.decode("ascii"), offset + _LOCAL + length, size)


def _at(file: BinaryIO, entry: _StoredFile) -> bytes:
    file.seek(entry.start)
    return file.read(entry.size)


def packed(files: Mapping[str, bytes]) -> bytes:
    """A zip archive, stored, with no clock and no platform in it: equal files give equal bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return stream.getvalue()


def _check_limit(name: str, size: int) -> None:
    """Raise BundleError for a name that no bundle has, and for a file over its limit."""
    limit = _EXEMPLAR_LIMIT if _EXEMPLAR.fullmatch(name) else _LIMITS.get(name)
    if limit is None:
        raise BundleError(f"the archive holds {name!r:.80}, which is no file of a bundle; {AGAIN}")
    if size > limit:
        raise BundleError(f"{name} is over {limit >> 20} MiB; {AGAIN}")


def _names_in(folder: Path) -> list[str]:
    """The files of a bundle that lie in a folder, in their order."""
    if not folder.is_dir():
        return []
    exemplars = sorted(path.name for path in folder.iterdir() if _EXEMPLAR.fullmatch(path.name))
    known = (name for name in _LIMITS if (folder / name).exists())
    found = sorted([*known, *exemplars], key=lambda name: name == SIGNATURE)
    return found[: len(_LIMITS) + MOST_EXEMPLARS]


def _folder(path: Path, accept: Callable[[bytes], None]) -> dict[str, bytes]:
    """The files of a folder; others that lie there are not looked at."""
    files: dict[str, bytes] = {}
    for name in _names_in(path):
        with _opened(path / name) as file:
            size = os.fstat(file.fileno()).st_size
            _check_limit(name, size)
            if size + sum(map(len, files.values())) > _LARGEST:
                raise BundleError(f"over {_LARGEST >> 20} MiB; {AGAIN}")
            files[name] = file.read(size)
        if name == MANIFEST:
            accept(files[name])
    if MANIFEST not in files:
        raise BundleError(
            f"not a bundle, {MANIFEST} is missing; give the file or folder that bbtvp wrote"
        )
    return files


def _opened(path: Path) -> BinaryIO:
    """A regular file, opened. BundleError for a pipe or a device, which may never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise BundleError(f"{path.name} is no file; give the file or folder that bbtvp wrote")
    return path.open("rb")
