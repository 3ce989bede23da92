"""Where a registry lies: a local folder, an object-store prefix, or a web server that is only read.

>>> place = open_place("memory://prompts")
>>> place.write("notes/one.json", b"{}")
>>> place.names("notes"), place.read("notes/one.json", 100)
(['one.json'], b'{}')

Files are small, and each is read with a limit. Local files are written whole or not at all; an
object store does the same by itself. Names come from the registry's own code, never from what was
read, so that a hostile registry cannot make this one read or write elsewhere.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit

from bbtvp.core.errors import DataError, UsageError
from bbtvp.core.files import atomic_write

MOST_NAMES = 20_000
"""The most files of one folder of a registry."""

_LEFTOVER = re.compile(r"\.[\w.-]+\.[0-9a-f]{16}")
"""What `atomic_write` leaves if its process is killed."""

_OLD = 3600.0
"""Seconds after which such a file belongs to no process that still writes."""

_PATIENCE = 10.0
"""Seconds to wait for another process that writes the index of a local folder."""

_READ_SECONDS = 60.0
"""The longest that one file of a web server may take."""


class Location(ABC):
    """A prefix under which files lie; a path is relative to it, with `/` between its parts.

    url: as it was given. lists: whether the files of a folder can be listed.
    """

    url: str
    lists: bool = True

    @abstractmethod
    def read(self, path: str, limit: int) -> bytes | None:
        """The content of a file; None if there is none.

        DataError for one of more than `limit` bytes, or that is no plain file.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of the files of a folder, sorted; empty if there is no such folder.

        DataError for more than `MOST_NAMES`.
        """

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write a file, in place of an old one. UsageError where nothing can be written."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While this is held, no other process writes the index, where that can be had."""
        yield

    def sweep(self, folder: str) -> int:
        """Remove what killed processes left half written; how many files those were."""
        return 0

    def too_large(self, path: str, limit: int) -> DataError:
        """The error for a file over its limit."""
        return DataError(
            f"{self.url}: {path} is over {limit:,} bytes, which no file of a registry is; "
            "ask its owner"
        )


@final
class LocalFolder(Location):
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.url = str(folder)
        self.folder = folder

    def read(self, path: str, limit: int) -> bytes | None:
        file = self.folder / path
        if not file.is_file():  # a pipe or a device would never end
            return None
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise self.too_large(path, limit)
        return data

    def names(self, folder: str) -> list[str]:
        place = self.folder / folder
        found = [path.name for path in place.iterdir()] if place.is_dir() else []
        return _bounded(self.url, folder, found)

    def write(self, path: str, data: bytes) -> None:
        atomic_write(self.folder / path, data)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder's lock; go on without it where another process keeps it too long.

        The index may then be behind, which its readers notice.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / ".lock", timeout=_PATIENCE)
        try:
            lock.acquire()
        except (Timeout, OSError):
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def sweep(self, folder: str) -> int:
        place = self.folder / folder
        now = time.time()
        old = [
            path
            for path in (place.iterdir() if place.is_dir() else ())
            if _LEFTOVER.fullmatch(path.name) and now - path.lstat().st_mtime > _OLD
        ]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)


@final
class ObjectPrefix(Location):
    """A prefix of an object store, or of whatever else fsspec has a file system for."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        self.url = url
        try:
            self._files, root = url_to_fs(url)
        except ImportError as error:
            raise UsageError(f"{url} needs a package that is not installed: {error}") from error
        except ValueError as error:
            raise UsageError(
                f"{url}: {error}; give a folder, or a URL such as s3://bucket/prompts"
            ) from error
        self._root = str(root).rstrip("/")

    def read(self, path: str, limit: int) -> bytes | None:
        try:
            with self._files.open(f"{self._root}/{path}", "rb") as stream:
                data: bytes = stream.read(limit + 1)
        except FileNotFoundError:
            return None
        if len(data) > limit:
            raise self.too_large(path, limit)
        return data

    def names(self, folder: str) -> list[str]:
        self._files.invalidate_cache()
        try:
            found: list[Any] = self._files.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return _bounded(self.url, folder, [str(path).rpartition("/")[2] for path in found])

    def write(self, path: str, data: bytes) -> None:
        folder = path.rpartition("/")[0]
        self._files.makedirs(f"{self._root}/{folder}".rstrip("/"), exist_ok=True)
        self._files.pipe_file(f"{self._root}/{path}", data)


@final
class WebFolder(Location):
    """A folder of a static web server: it is read, and its files are those of its index."""

    lists = False

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def read(self, path: str, limit: int) -> bytes | None:
        from bbtvp.bundles.fetch import download

        return download(f"{self.url}/{path}", limit=limit, seconds=_READ_SECONDS)

    def names(self, folder: str) -> list[str]:
        return []

    def write(self, path: str, data: bytes) -> None:
        raise UsageError(
            f"{self.url} can only be read; give the folder or the store that the server shows"
        )


def open_place(url: str | Path) -> Location:
    """The place that a URL or a path names.

    UsageError for a kind of URL that is not known, or whose package is not installed.
    """
    text = str(url)
    scheme = urlsplit(text).scheme
    if "::" in text:
        raise UsageError(f"{text} is a chain of URLs; name one place")
    if scheme in ("http", "https"):
        return WebFolder(text)
    if scheme == "file":
        return LocalFolder(Path(urlsplit(text).path))
    if "://" not in text:
        return LocalFolder(Path(text).expanduser())
    return ObjectPrefix(text)


def _bounded(url: str, folder: str, names: list[str]) -> list[str]:
    if len(names) > MOST_NAMES:
        raise DataError(f"{url}/{folder} holds over {MOST_NAMES:,} files; a registry holds fewer")
    return sorted(names)
