"""Load a model that AutoModelForImageTextToText knows, from a folder or a hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from bbtvp.adapters.hf.batches import BatchSizer
from bbtvp.adapters.hf.memory import placement
from bbtvp.adapters.hf.model import HuggingFaceModel
from bbtvp.adapters.hf.pretrained import UNFIT, load_weights, loading, source_of, to_device, told
from bbtvp.adapters.hf.processors import load_processor, other_backend
from bbtvp.core.digest import digest
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.models import Model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_BLOCKS = 64
_BLOCK = 4096
"""How much of a weights file a revision reads: the number of blocks, and bytes per block."""


def load(
    name: str,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    batch: int = 32,
    tokens: int | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    check: bool = True,
    bits: int | None = None,
    device_map: str | None = None,
    offload_folder: str | None = None,
    spec: str | None = None,
) -> Model:
    """Load `name`, a hub id or a folder (`./…`, `/…`, `~/…`).

    device: torch device. dtype: float32, bfloat16 or float16. batch: most sequences per forward
    pass. tokens: most tokens of all sequences of a forward pass together; a longer sequence runs
    alone; no bound if None. check: whether label scores and prompt are compared with transformers'
    own, see `HuggingFaceModel.check`. bits, device_map, offload_folder: as of `memory.placement`.
    Raises UsageError for a bad option, and ModelError for a folder that lacks weights or a
    processor.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    # From a command line: any word would count as yes.
    for option, value in {"trust_remote_code": trust_remote_code, "check": check}.items():
        if not isinstance(value, bool):
            raise UsageError(f"{option} must be true or false, got {value!r}")
    label = spec or f"hf/{name}"
    sizer = BatchSizer(label, batch, tokens)
    source = source_of(name)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    held = placement(
        device, DTYPES[dtype], bits=bits, device_map=device_map, offload_folder=offload_folder
    )
    with loading(source, **options) as config:
        _need_images(source, config)
        save = "save one there with processor.save_pretrained(folder)"
        with told(source, "has no usable processor", save):
            processor = load_processor(source, **options)
        with told(source, "has no usable weights", "save or download them again"):
            kind = transformers.AutoModelForImageTextToText
            model = load_weights(kind, source, dtype=DTYPES[dtype], **options, **held)
        found = revision_of(source, model)
        model = model.eval() if held else to_device(model, device)
        with told(source, *UNFIT):
            rounded = "" if dtype == "float32" else dtype
            variant = [other_backend(processor), f"{bits} bits" if bits else "", rounded]
            loaded = HuggingFaceModel(
                label,
                model,
                processor,
                sizer,
                revision=found,
                variant=" ".join(filter(None, variant)),
            )
            if check:
                loaded.check()
            return loaded


def _need_images(source: str, config: Any) -> None:
    """Raise ModelError for a model that does not answer in words about an image."""
    known = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if not known and "AutoModelForImageTextToText" not in getattr(config, "auto_map", {}):
        raise ModelError(
            f"{source} holds a model of type {config.model_type} ({type(config).__name__}), which "
            "AutoModelForImageTextToText does not know; name one that answers about an image"
        )


def revision_of(source: str, model: Any) -> str:
    """Return a model's revision: the hub's commit, or 12 hex digits of a folder's content.

    All settings of a folder (.json, .jinja) are read. Of each .safetensors file, the name, the size
    and 64 evenly spaced blocks of 4 KiB are read: any other training changes them, and gigabytes
    need not be read.
    """
    commit = getattr(model.config, "_commit_hash", None)
    if commit or not Path(source).is_dir():
        return str(commit or "")
    parts: list[bytes] = []
    for file in sorted(Path(source).iterdir()):
        if file.suffix in (".json", ".jinja"):
            parts += [file.name.encode(), file.read_bytes()]
        elif file.suffix == ".safetensors":
            size = file.stat().st_size
            parts += [file.name.encode(), str(size).encode()]
            with file.open("rb") as weights:
                for i in range(_BLOCKS):
                    weights.seek(max(0, size - _BLOCK) * i // (_BLOCKS - 1))
                    parts.append(weights.read(_BLOCK))
    return digest(*parts)[:12]
