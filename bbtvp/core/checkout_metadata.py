"""The metadata of a checkout in the form of the standard library, read from `setup.cfg`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import Distribution
from pathlib import Path


class CheckoutMetadata(Distribution):
    """What `importlib.metadata` tells of bbtvp in the checkout at `root`."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._config = ConfigParser()
        self._config.read(self._root / "setup.cfg", encoding="utf-8")

    def read_text(self, filename: str) -> str | None:
        """The text of METADATA or entry_points.txt; None for every other file."""
        if filename == "METADATA":
            return "\n".join(self._metadata()) + "\n"
        if filename == "entry_points.txt":
            return "\n".join(self._entry_points()) + "\n"
        return None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        """The path of a file of the checkout."""
        return self._root / path

    def _metadata(self) -> Iterator[str]:
        yield "Metadata-Version: 2.1"
        yield f"Name: {self._config['metadata']['name']}"
        yield f"Version: {self._config['metadata']['version']}"
        for requirement in _lines(self._config["options"]["install_requires"]):
            yield f"Requires-Dist: {requirement}"
        for extra, requirements in self._config["options.extras_require"].items():
            yield f"Provides-Extra: {extra}"
            for requirement in _lines(requirements):
                yield f'Requires-Dist: {requirement}; extra == "{extra}"'

    def _entry_points(self) -> Iterator[str]:
        for group, points in self._config["options.entry_points"].items():
            yield f"[{group}]"
            yield from _lines(points)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
