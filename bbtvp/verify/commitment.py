"""What a receipt says instead of the data: a commitment with a salt, and names that hide hosts.

A commitment is HMAC-SHA256 with a secret salt of 32 random bytes. Without the salt it tells nothing
that could be tried: not whether the task is a public data set, whose digests anybody can compute,
nor which of two labels an image has, of which a small task has few combinations. With the salt and
the data, its owner can show at any time what was committed to, and nothing else fits.

Two commitments of one task are equal only if the salt is: who reuses a salt says that the data are
the same.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Any, final

from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import UsageError
from bbtvp.core.origin import without_paths
from bbtvp.tasks import Sample, Task

SALT_BYTES = 32
PUBLIC_PROVIDERS = ("anthropic", "bedrock", "gemini", "hf", "ocr", "openai", "zoo")
PUBLIC_SERVICES = ("openrouter", "together")
"""Services behind `openai-api/` whose model names everybody can look up."""

_SALT = re.compile(rf"[0-9a-f]{{{2 * SALT_BYTES}}}")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*(:[\w.-]+)?", re.ASCII)
"""A name that a vendor's list may hold: no path, no address, no ARN, no fine-tuned model."""
_VERSION = re.compile(r"[\w .,+-]{1,200}", re.ASCII)


def new_salt() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(SALT_BYTES)


def read_salt(path: Path) -> bytes:
    """The salt in a file. UsageError for one that is missing or holds something else."""
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(1000).strip()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: no salt can be read; name the file that verify --receipt wrote"
        ) from error
    if not _SALT.fullmatch(text):
        raise UsageError(
            f"{path} holds no salt, which is {2 * SALT_BYTES} hex digits; "
            "name the file that verify --receipt wrote"
        )
    return bytes.fromhex(text)


def keep_salt(path: Path) -> bytes:
    """The salt in a file, which is made, for its owner alone, where it is not there.

    UsageError for a file that holds something else, OSError if the disk refuses.
    """
    if path.exists():
        return read_salt(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    salt = new_salt()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(salt.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return salt


def task_commitment(task: Task, salt: bytes) -> str:
    """The commitment to what a proof asks about: 64 hex digits.

    It covers the test split, each sample by its pixels, its question, the labels and the accepted
    answers, in any order, and the metric. Names, ids and paths are no part of it, so that the data
    can be shown later from another folder.
    """
    leaves = sorted(_keyed(salt, "sample", _content(task, sample)) for sample in task.test)
    own = task.scoring
    return _keyed(salt, "task", [str(own), own.version, task.max_tokens, leaves])


@final
class ShownNames:
    """What a receipt calls models and their versions.

    A name from a vendor's list or a hub id stays. Of any other (a server of one's own, a path, a
    program, a deployment, a fine-tuned model, an ARN) the provider stays, and a salted digest;
    likewise of the version of such a model, and of a version that could hold more than a version.
    shown: whether all are told, but for the path of a folder or a program.
    """

    def __init__(self, salt: bytes, *, shown: bool = False) -> None:
        self._salt = salt
        self._shown = shown

    def model(self, spec: str) -> str:
        if self._shown or is_public(spec):
            return without_paths(spec)
        provider = spec.partition("/")[0]
        kept = provider if _NAME.fullmatch(provider) else "model"
        return f"{kept}/private-{_keyed(self._salt, 'model', spec)[:8]}"

    def version(self, version: str, spec: str) -> str:
        """The version of the model of this spec."""
        if self._shown or (is_public(spec) and _VERSION.fullmatch(version)):
            return version
        return f"private-{_keyed(self._salt, 'version', version)[:8]}"


def is_public(spec: str) -> bool:
    """Whether the name of a model is one that anybody may know."""
    provider, _, name = spec.partition("/")
    if provider == "openai-api":
        provider, _, name = name.partition("/")
        return provider in PUBLIC_SERVICES and bool(_NAME.fullmatch(name))
    if provider == "hf" and name.count("/") > 1:
        return False
    return provider in PUBLIC_PROVIDERS and bool(_NAME.fullmatch(name))


def _content(task: Task, sample: Sample) -> list[Any]:
    pixels = sample.pixels()
    return [
        list(pixels.shape),
        digest(pixels.tobytes()),
        task.ask(sample),
        task.sample_labels(sample),
        sorted(sample.accepted),
    ]


def _keyed(salt: bytes, kind: str, value: Any) -> str:
    return hmac.digest(salt, canonical_json([kind, value]).encode(), "sha256").hex()
