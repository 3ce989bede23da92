"""What local providers share: quiet `from_pretrained`, and errors of one line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from bbtvp.core.errors import BbtvpError, ModelError, UsageError

LOCAL_ONLY = (".", "/", "~")

UNFIT = ("cannot be asked", "see that its processor, config.json and weights belong together")
"""What to say of a model that fails at a question: the end of `told`'s arguments."""

FAMILIES = ("num2words", "timm", "torchvision")
MEMORY = ("accelerate", "bitsandbytes")
"""What the extras `families` and `memory` install."""

_MISSING = re.compile(
    r"(?i)requires the (?P<library>[\w-]+) library"
    r"|missing optional dependencies: (?P<optional>[\w-]+)"
    r"|no module named '(?P<module>\w+)"
    r"|pip install (?:-U )?[`'\"]?(?P<package>[a-z][\w-]*)"
    r"|using [^.]* requires [^.]*?`?(?P<used>accelerate|bitsandbytes)"
)
"""How transformers and its models say that a package is not installed."""

_KNOWN = {
    "trust_remote_code": (
        "runs code of its own; if you trust it, add the option trust_remote_code=true"
    ),
    "gated repo": (
        "is gated: ask for access on its page of the hub, then run `hf auth login` or set HF_TOKEN"
    ),
    "couldn't connect": (
        "is not in the local cache, and the Hugging Face hub cannot be reached; "
        "check name and network"
    ),
    "valid model identifier": (
        "is no folder and not on the hub, or private there; check the name (a folder begins with "
        "./), or log in with `hf auth login`"
    ),
    "not a valid git identifier": (
        "has no such revision; give a branch, tag or commit with the option revision"
    ),
    "deserializing header": (
        "has no usable weights: a .safetensors file is damaged or cut off; download it again"
    ),
}
"""Signs in an error's text, in lower case, and what to say instead."""


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
def loading(source: str, **options: Any) -> Iterator[Any]:
    """Load quietly: no progress bars, no warnings, and failures in the block as a ModelError.

    Yields the configuration. options: revision and trust_remote_code, as for `from_pretrained`. The
    configuration is looked up first: if a name is unknown or the hub cannot be reached, one small
    file is retried instead of every file of a model.
    """
    was_on = transformers.utils.logging.is_progress_bar_enabled()
    clients = [logging.getLogger(name) for name in ("huggingface_hub", "transformers")]
    levels = [client.level for client in clients]
    transformers.utils.logging.disable_progress_bar()
    for client in clients:
        client.setLevel(logging.CRITICAL)
    try:
        with told(source, "cannot be loaded", "save or download it again, or name another"):
            yield transformers.AutoConfig.from_pretrained(source, **options)
    finally:
        for client, level in zip(clients, levels, strict=True):
            client.setLevel(level)
        if was_on:
            transformers.utils.logging.enable_progress_bar()


@contextmanager
def told(source: str, what: str, then: str) -> Iterator[None]:
    """Turn whatever is raised in the block into a ModelError of one line.

    A damaged file makes transformers raise almost anything, and so does code of a folder's own.
    what: what the source does, such as "cannot be loaded". then: what to do about it.
    """
    try:
        yield
    except (BbtvpError, Warning):
        raise
    except BaseException as error:
        # A panic of the tokenizers library is no Exception, and its class cannot be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelError(explain(source, error, what, then)) from error


def load_weights(auto_class: Any, source: str, **options: Any) -> Any:
    """Load a complete model.

    Transformers alone would draw missing weights at random, and such a model answers nonsense.
    Raises ModelError if weights are missing, or of another shape than the configuration says.
    """
    model, report = auto_class.from_pretrained(
        source, output_loading_info=True, ignore_mismatched_sizes=True, **options
    )
    kind = type(model).__name__
    other = sorted(report["mismatched_keys"])
    if other:
        name, there, wanted = other[0]
        raise ModelError(
            f"{source} holds {len(other)} weights of other shapes than its config.json says (the "
            f"first: {name}, {tuple(there)} and not {tuple(wanted)}); use the config.json of these "
            "weights"
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{source} lacks {len(missing)} weights of a {kind} "
            f"(the first: {missing[0]}); name a folder that holds such a model"
        )
    return model


def to_device(model: Any, device: str) -> Any:
    """Return the model on a device, ready for inference.

    Raises UsageError for a device that this machine lacks, or whose memory is too small.
    """
    try:
        return model.to(torch.device(device)).eval()
    except torch.OutOfMemoryError as error:
        raise UsageError(
            f"the model does not fit in the memory of device {device!r}; try dtype=bfloat16, "
            "bits=8, bits=4 or device_map=auto"
        ) from error
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n", 1)[0][:160]
        raise UsageError(
            f"device {device!r} cannot be used here ({reason}); try device=cpu"
        ) from error


def explain(source: str, error: BaseException, what: str, then: str) -> str:
    """Return what is wrong and what to do about it, in one line."""
    text = " ".join(str(error).split())
    seen = text.lower()
    for sign, said in _KNOWN.items():
        if sign in seen:
            return f"{source} {said}"
    if found := _MISSING.search(seen):
        package = next(name for name in found.groups() if name)
        return f"{source} needs {package}: {_install(package)}"
    return f"{source} {what} ({type(error).__name__}: {text[:200]}); {then}"


def _install(package: str) -> str:
    if package == "torchvision":
        return (
            "pip install -c constraints.txt 'bbtvp[families]', from where your torch "
            f"{torch.__version__} came, so that the two match (docs/local-models.md)"
        )
    for extra, names in {"families": FAMILIES, "memory": MEMORY}.items():
        if package in names:
            return f"pip install -c constraints.txt 'bbtvp[{extra}]'"
    return f"pip install {package}"
