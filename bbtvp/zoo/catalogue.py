"""The miniatures by name, loaded by the general Hugging Face adapter and nothing special."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from bbtvp.core.errors import UsageError, unknown
from bbtvp.models import Model
from bbtvp.models.preprocessing import Preprocessor
from bbtvp.surrogate import ClipSurrogate

CLIP = "clip"
INDEPENDENT = ("gemma3", "llava-dinov2", "llava-seed1")
"""MLLMs whose towers share nothing with the other members: other seeds, scenes, resolutions and
patches. They are targets of transfer, and no setting is tuned on them.
"""
STANDS_FOR = {
    "llava": "llava-hf/llava-1.5-7b-hf",
    "paligemma": "google/paligemma-3b-mix-224",
    "blip2": "Salesforce/blip2-flan-t5-xl",
    "minigpt4": "MiniGPT-4 (BLIP-2's vision and Q-Former, a Llama decoder)",
    "instructblip": "Salesforce/instructblip-vicuna-7b",
    "idefics3": "HuggingFaceM4/Idefics3-8B-Llama3",
    "gemma3": "google/gemma-3-4b-it",
    "llava-dinov2": "a LLaVA over DINOv2's tower and Qwen 2",
    "llava-seed1": "llava-hf/llava-1.5-7b-hf",
    "clip": "openai/clip-vit-base-patch32",
}
"""The real model of each miniature's architecture."""


def weights() -> Path:
    """The folder that holds one Hugging Face folder for each miniature."""
    return Path(str(files("bbtvp.zoo"))) / "weights"


def members() -> list[str]:
    """The related MLLMs of the zoo, as `zoo/<name>`: the models of the suite's tables.

    Neither the surrogate `clip` nor the independent members are among them.
    """
    return [name for name in _finished() if name != CLIP and name not in INDEPENDENT]


def independent() -> list[str]:
    """The independent MLLMs of the zoo, as `zoo/<name>` (see `INDEPENDENT`)."""
    return [name for name in _finished() if name in INDEPENDENT]


def _finished() -> list[str]:
    found = weights().iterdir() if weights().is_dir() else ()
    return sorted(folder.name for folder in found if (folder / "config.json").is_file())


def model(name: str, **options: Any) -> Model:
    """The miniature `zoo/<name>`, with the Hugging Face adapter's options.

    It is not checked when it is loaded, unless an option says so: the tests check every member.
    """
    from bbtvp.adapters import hf

    if name == CLIP:
        raise UsageError(
            "zoo/clip answers no questions; it is a surrogate: use it with --surrogate zoo/clip"
        )
    return hf.load(str(model_folder(name)), spec=f"zoo/{name}", **({"check": False} | options))


def model_folder(name: str) -> Path:
    """The Hugging Face folder of `zoo/<name>`. UsageError for a name that is no MLLM of the zoo."""
    known = [*members(), *independent()]
    if name not in known:
        raise unknown("model", f"zoo/{name}", [f"zoo/{member}" for member in known])
    return weights() / name


def preprocessor(name: str, **options: Any) -> Preprocessor:
    """The image processor of `zoo/<name>`."""
    from bbtvp.adapters.hf import frame

    return frame.preprocessor(str(model_folder(name)), **options)


def surrogate(name: str, **options: Any) -> ClipSurrogate:
    """The miniature CLIP, `zoo/clip`."""
    from bbtvp.adapters.hf import clip

    if name != CLIP:
        raise unknown("surrogate", f"zoo/{name}", [f"zoo/{CLIP}"])
    return clip.load(str(weights() / name), spec=f"zoo/{name}", **options)


def card() -> list[dict[str, Any]]:
    """What each member is: parameters and the real model it stands for. JSON-able."""
    return [
        {
            "model": f"zoo/{name}",
            "parameters": _parameters(weights() / name),
            "stands_for": STANDS_FOR.get(name, ""),
        }
        for name in [*members(), *independent(), CLIP]
    ]


def _parameters(folder: Path) -> int:
    """Number of parameters, read from the header of the weights: no model is built."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="np") as file:
        names = file.keys()
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
