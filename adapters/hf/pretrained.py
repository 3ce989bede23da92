"""What local providers share: quiet `from_pretrained`, and errors of one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from bbtvp.core.errors import ModelError, UsageError

LOCAL_ONLY = (".", "/", "~")
FAILURES = (
    OSError,
    ValueError,
    ImportError,
    AttributeError,
    KeyError,
    RuntimeError,
    SafetensorError,
)
"""What transformers raises for files that it cannot use."""


def source_of(name: str) -> str:
    """Return what transformers is to load: a hub id as it is, a folder as its path.

    Folders begin with `./`, `/` or `~/`. Raises ModelError for a folder without config.json, whose
    name transformers would take for a hub id.
    """
    if not name.startswith(LOCAL_ONLY):
        return name
    source = Path(name).expanduser()
    if not (source / "config.json").is_file():
        raise ModelError(
            f"{name} holds no config.json; name a folder made by save_pretrained, or a hub id"
        )
    return str(source)


@contextmanager
def loading(source: str, **options: Any) -> Iterator[None]:
    """Load quietly: no progress bars, no warnings, and failures in the block as a ModelError.

    options: revision and trust_remote_code, as for `from_pretrained`. The configuration is looked
    up first: if a name is unknown or the hub cannot be reached, one small file is retried instead
    of every file of a model.
    """
    was_on = transformers.utils.logging.is_progress_bar_enabled()
    client = logging.getLogger("huggingface_hub")
    level = client.level
    transformers.utils.logging.disable_progress_bar()
    client.setLevel(logging.ERROR)
    try:
        transformers.AutoConfig.from_pretrained(source, **options)
        yield
    except FAILURES as error:
        raise ModelError(explain(source, error)) from error
    finally:
        client.setLevel(level)
        if was_on:
            transformers.utils.logging.enable_progress_bar()


def load_weights(auto_class: Any, source: str, **options: Any) -> Any:
    """Load a complete model.

    Transformers alone would draw missing weights at random, and such a model answers nonsense.
    Raises ModelError if weights are missing.
    """
    model, report = auto_class.from_pretrained(source, output_loading_info=True, **options)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{source} lacks {len(missing)} weights of a {type(model).__name__} "
            f"(the first: {missing[0]}); name a folder that holds such a model"
        )
    return model


def to_device(model: Any, device: str) -> Any:
    """Return the model on a device, ready for inference.

    Raises UsageError for a device that this machine lacks.
    """
    try:
        return model.to(torch.device(device)).eval()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n", 1)[0][:160]
        raise UsageError(
            f"device {device!r} cannot be used here ({reason}); try device=cpu"
        ) from error


def explain(source: str, error: Exception) -> str:
    """Return what to do about an error, in one line."""
    text = " ".join(str(error).split())
    seen = text.lower()
    if "torchvision" in seen or "video_processor_mapping" in seen:
        return (
            f"{source} needs torchvision: install the build that matches your torch "
            "(see pytorch.org), then try again"
        )
    if "trust_remote_code" in seen:
        return (
            f"{source} runs code of its own; if you trust it, add the option trust_remote_code=true"
        )
    if "couldn't connect" in seen:
        return (
            f"{source} is not in the local cache, and the Hugging Face hub cannot be reached; "
            "check name and network"
        )
    if "processor" in seen or "tokenizer" in seen:
        return (
            f"{source} has no usable processor; "
            f"save one there with processor.save_pretrained(folder) ({text[:160]})"
        )
    return f"{source} cannot be loaded: {text[:240]}"
