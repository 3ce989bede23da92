"""Tensors of published checkpoints, read and written one shard at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, final

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from bbtvp.core.errors import ModelError
from bbtvp.core.files import atomic_write_json

SHARD = 1 << 30
"""Bytes of a written weights file. About twice that is held in memory."""

_PATTERNS = ("*.safetensors", "pytorch_model*.bin")


@final
class Checkpoint:
    """The tensors of a checkpoint by name: a .safetensors or torch file, or a folder of them.

    Names get `prefix` in front, so that parts from several places have one layout. Files of torch
    are read as data only (`weights_only`), and mapped into memory unless torch wrote them before
    version 1.6. Raises ModelError for what cannot be read.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self.path = path
        self._prefix = prefix
        self._open: dict[str, Any] = {}
        for file in _files(path):
            tensors = _tensors(file)
            names = tensors.keys()
            self._open.update(dict.fromkeys((prefix + name for name in names), tensors))

    def __contains__(self, name: object) -> bool:
        return name in self._open

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape. Nothing of a .safetensors file is read for it."""
        tensors = self._open[name]
        key = name.removeprefix(self._prefix)
        if isinstance(tensors, Mapping):
            return tuple(tensors[key].shape)
        return tuple(tensors.get_slice(key).get_shape())

    def tensor(self, name: str) -> Tensor:
        """Return a tensor, in the dtype in which it was published."""
        tensors = self._open[name]
        key = name.removeprefix(self._prefix)
        found: Tensor = tensors[key] if isinstance(tensors, Mapping) else tensors.get_tensor(key)
        return found


@final
class Parts:
    """Several checkpoints as one; the first that holds a name gives its tensor.

    hints: what to type for a part that is missing, by the beginning of its names.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], hints: Mapping[str, str]) -> None:
        self._checkpoints = checkpoints
        self._hints = hints

    def __iter__(self) -> Iterator[str]:
        for checkpoint in self._checkpoints:
            yield from checkpoint

    def owner(self, name: str) -> Checkpoint:
        """Return the checkpoint that gives a tensor. Raises ModelError if none does."""
        for checkpoint in self._checkpoints:
            if name in checkpoint:
                return checkpoint
        hint = next((hint for start, hint in self._hints.items() if name.startswith(start)), "")
        files = ", ".join(checkpoint.path.name for checkpoint in self._checkpoints)
        raise ModelError(f"none of {files} holds {name}; {hint}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape. Raises ModelError if there is no such tensor."""
        return self.owner(name).shape(name)

    def tensor(self, name: str) -> Tensor:
        """Return a tensor. Raises ModelError if there is no such tensor."""
        return self.owner(name).tensor(name)


def write_shards(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard: int = SHARD) -> None:
    """Write tensors as .safetensors files of at most `shard` bytes each, with their index.

    A tensor that is larger gets a file of its own.
    """
    weight_map: dict[str, str] = {}
    held: dict[str, Tensor] = {}
    total = 0

    def flush() -> None:
        file = f"model-{len(set(weight_map.values())) + 1:05d}.safetensors"
        save_file(held, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(held, file))
        held.clear()

    for name, tensor in tensors:
        if held and _size(held.values()) + tensor.nbytes > shard:
            flush()
        held[name] = tensor.contiguous()
        total += tensor.nbytes
    flush()
    atomic_write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": weight_map},
    )


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for pattern in _PATTERNS:
        if found := sorted(path.glob(pattern)):
            return found
    if path.is_dir():
        raise ModelError(f"{path} holds no weights ({' or '.join(_PATTERNS)}); download them first")
    raise ModelError(f"{path} does not exist; name a file or folder that you downloaded")


def _tensors(file: Path) -> Any:
    """Return a mapping of tensors, or an open .safetensors file."""
    try:
        if file.suffix == ".safetensors":
            return safetensors.safe_open(file, framework="pt")
        content = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except (safetensors.SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{file} cannot be read as weights ({reason}); download it again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no tensors by name; name the published checkpoint")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}
