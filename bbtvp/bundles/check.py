"""What a bundle would give away: images of the task, paths, hosts, names, keys, sample ids."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import files_of, read
from bbtvp.prompt.bundle.manifest import MANIFEST
from bbtvp.prompt.bundle.png import decoded, hidden_bytes
from bbtvp.tasks import Task

_PATTERNS = {
    "a path": r"(?<![\w.:/])(?:~|/(?:[\w.@+-]+/)*[\w.@+-]{2,})/[\w.@+-]+|"
    r"(?<![:/])//[\w.@+-]+/|\b[A-Za-z]:\\\w|\\\\\w+\\",
    "a file name": r"\b[\w-]+\.(?:png|jpe?g|webp|gif|bmp|tiff?|csv|tsv|jsonl?|parquet|pem|key)\b",
    "an address": r"\b[a-z][a-z0-9+.-]*://|\blocalhost\b|\b(?:\d{1,3}\.){3}\d{1,3}\b",
    "a host": r"\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|ai|dev|local|internal|lan|corp)\b|"
    r"\b[A-Za-z][\w.-]*:\d{2,5}\b",
    "an e-mail address": r"\b[\w.+-]+@[\w-]+\.[\w.]+",
    "a key": r"\b(?:sk|pk|rk)-[\w-]{16,}|\bAKIA[0-9A-Z]{12,}|\bAIza[\w-]{20,}|\bhf_\w{16,}|"
    r"\bgh[pousr]_\w{16,}|\beyJ[\w-]{16,}|-----BEGIN|\b(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])\w{32,}",
}
_FOUND = {what: re.compile(pattern) for what, pattern in _PATTERNS.items()}
_OF_THE_FORMAT = ("files", "digest", "schema", "layers.*.exemplars.*.picture")
"""Fields that hold digests and names of the format's own."""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_LEAST_SECRET = 8
_LEAST_NAME = 4
"""Characters below which a secret, or a name of a person or machine, is found by chance."""
_NO_NAMES = ("root", "user", "home", "localhost", "runner", "ubuntu", "admin", "nobody")
_SIDE = 48
"""Pixels a side of the thumbnails that are compared."""
_LIKE = 0.9
"""A correlation of grey levels from which a picture shows an image of the task."""
_LEAST_CELLS = 100


@final
class Leak(NamedTuple):
    """Something that a bundle gives away. where: a field or a file; what: in words."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_bundle(path: Path, task: Task | None = None) -> list[Leak]:
    """What a bundle gives away, in the order of its files; empty for nothing that was found.

    Texts are searched for paths, file names, addresses, hosts, e-mail addresses, keys, the name of
    this user and of this machine; pictures for bytes that no pixel needs. With a task also for the
    ids of its samples, and what the prompt draws is compared with each of its images. Images that
    the bundle declares (`contains_data`) are no leak.

    What no check can see: numbers in z that encode something and are not drawn alike.

    BundleError for a bundle that cannot be loaded.
    """
    prompt = Prompt.load(path)
    files = files_of(path)
    manifest = json.loads(files[MANIFEST])
    ids = {sample.id for samples in task.splits.values() for sample in samples} if task else ()
    found = list(_leaks_of_texts(manifest, _names_here(), ids))
    for name, data in files.items():
        if not name.endswith(".png"):
            continue
        hidden = hidden_bytes(data, name, "RGBA" if name == "frame.png" else "RGB")
        if hidden:
            found.append(Leak(name, f"{hidden} bytes that no pixel needs"))
    pictures = [name for name in files if name.startswith("exemplar-")]
    if pictures and not read(path).about.contains_data:
        found.append(Leak("contains_data", f"{len(pictures)} images of a task, not declared"))
    if task is not None:
        found += _likenesses(prompt, files, task)
    return found


def _leaks_of_texts(
    manifest: Mapping[str, Any], names: Collection[str], ids: Collection[str]
) -> Iterator[Leak]:
    secrets = [
        value
        for name, value in os.environ.items()
        if _SECRET.search(name) and len(value) >= _LEAST_SECRET
    ]
    for where, text in _texts(manifest):
        if where.startswith("licence"):
            continue
        if any(secret in text for secret in secrets):
            yield Leak(where, "a secret of this environment")
        for what, pattern in _FOUND.items():
            if match := pattern.search(text):
                yield Leak(where, f"{what} ({match.group():.40})")
        for name in names:
            if re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE):
                yield Leak(where, f"the name of this user or machine ({name})")
        if text in ids:
            yield Leak(where, f"the id of a sample ({text:.40})")


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(field, text) of every key and every text of a document."""
    if isinstance(value, str):
        yield where, value
        return
    named = value.items() if isinstance(value, dict) else ()
    listed = enumerate(value) if isinstance(value, list) else named
    for key, part in listed:
        place = f"{where}.{key}" if where else str(key)
        if re.sub(r"\.\d+\b", ".*", place) in _OF_THE_FORMAT:
            continue
        if isinstance(key, str):
            yield f"{where or 'manifest'} (a name)", key
        yield from _texts(part, place)


def _names_here() -> set[str]:
    """The names of this user and this machine, as far as they are not everybody's."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    names = {user, Path.home().name, socket.gethostname().partition(".")[0]}
    return {name for name in names if len(name) >= _LEAST_NAME and name.lower() not in _NO_NAMES}


# -- pictures --------------------------------------------------------------------------------------
def _likenesses(prompt: Prompt, files: Mapping[str, bytes], task: Task) -> Iterator[Leak]:
    """What is drawn that shows an image of the task."""
    pictures = {}
    if "frame.png" in files:
        pictures["frame.png"] = decoded(files["frame.png"], "frame.png", "RGBA")[..., :3]
    if not prompt.keeps_image:
        grey = np.full((prompt.space.canvas, prompt.space.canvas, 3), 128, np.uint8)
        pictures["what is drawn"] = prompt.render(grey)
    thumbs = {name: _thumb(pixels) for name, pixels in pictures.items()}
    shown = {name: thumb for name, thumb in thumbs.items() if np.ptp(thumb) > 0}
    for split, samples in task.splits.items():
        for number, sample in enumerate(samples):
            image = _thumb(sample.pixels())
            for name, thumb in shown.items():
                likeness = _likeness(thumb, image)
                if likeness >= _LIKE:
                    said = f"looks like image {number + 1} of the {split} split ({likeness:.2f})"
                    yield Leak(name, said)


def _thumb(pixels: Pixels) -> NDArray[np.float64]:
    """(side, side) grey levels."""
    small = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float64)


def _likeness(drawn: NDArray[np.float64], image: NDArray[np.float64]) -> float:
    """The correlation of two thumbnails where the first is not plain grey, 0 to 1."""
    where = np.abs(drawn - np.median(drawn)) > 1
    if where.sum() < _LEAST_CELLS:
        return 0.0
    one = drawn[where] - drawn[where].mean()
    other = image[where] - image[where].mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return abs(float(one @ other)) / size if size else 0.0
