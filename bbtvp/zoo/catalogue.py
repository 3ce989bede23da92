"""The miniatures by name, loaded by the general Hugging Face adapter and nothing special."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from bbtvp.core.errors import UsageError, unknown
from bbtvp.query import Model
from bbtvp.surrogate import Surrogate

CLIP = "clip"


def weights() -> Path:
    """The folder that holds one Hugging Face folder for each miniature."""
    return Path(str(files("bbtvp.zoo"))) / "weights"


def members() -> list[str]:
    """The MLLMs of the zoo, as `zoo/<name>`; the surrogate `clip` is not one of them."""
    found = weights().iterdir() if weights().is_dir() else ()
    return sorted(folder.name for folder in found if (folder / "config.json").is_file() and folder.name != CLIP)


def model(name: str, **options: Any) -> Model:
    """The miniature `zoo/<name>`, with the Hugging Face adapter's options."""
    from bbtvp.adapters import hf

    if name == CLIP:
        raise UsageError("zoo/clip answers no questions; it is a surrogate: use it with --surrogate zoo/clip")
    if name not in members():
        raise unknown("model", f"zoo/{name}", [f"zoo/{member}" for member in members()])
    return hf.load(str(weights() / name), spec=f"zoo/{name}", **options)


def surrogate(name: str, **options: Any) -> Surrogate:
    """The miniature CLIP, `zoo/clip`."""
    from bbtvp.adapters import clip

    if name != CLIP:
        raise unknown("surrogate", f"zoo/{name}", [f"zoo/{CLIP}"])
    return clip.load(str(weights() / name), spec=f"zoo/{name}", **options)
