"""A converted model as a folder of transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from bbtvp.adapters.hf.convert import lavis
from bbtvp.adapters.hf.convert.weights import Parts, write_shards
from bbtvp.core.errors import ModelError


def refuse_used(out: Path) -> None:
    """Raise ModelError for a folder that holds anything."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ModelError(f"{out} is not empty; give --out a new folder")


def spec_of(out: Path) -> str:
    """Return the name of a folder as a model of bbtvp."""
    return f"hf/{out.resolve()}"


def images_of(config: Any) -> Any:
    """Return LAVIS' `blip_image_eval`: the whole image as a square, with CLIP's mean and spread."""
    side = config.vision_config.image_size
    return transformers.BlipImageProcessorPil(size={"height": side, "width": side})


def write(
    out: Path,
    parts: Parts,
    *,
    projections: Mapping[str, str],
    processor: Any,
    model_class: Any,
    config: Any,
) -> None:
    """Write a folder from parts in LAVIS' layout.

    projections: the project's names of the layers in front of the language model, by those of the
    class. Raises ModelError for a weight that is missing or has another shape, before anything is
    written.
    """
    save(
        out,
        processor=processor,
        model_class=model_class,
        config=config,
        check=lambda wanted: lavis.check(parts, wanted, projections),
        tensors=lambda wanted: lavis.converted(parts, wanted, projections),
    )


def save(
    out: Path,
    *,
    processor: Any,
    model_class: Any,
    config: Any,
    check: Callable[[Mapping[str, Tensor]], None],
    tensors: Callable[[Mapping[str, Tensor]], Iterable[tuple[str, Tensor]]],
) -> None:
    """Write a folder from functions of the names and empty tensors of the model's weights.

    check: raises ModelError for weights that cannot be made. tensors: makes them. The configuration
    is written last, so that a folder left by an interrupted run is refused.
    """
    config.architectures = [model_class.__name__]
    with torch.device("meta"):
        wanted = model_class(config).state_dict()
    check(wanted)
    out.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(out)
    write_shards(out, tensors(wanted))
    config.save_pretrained(out)
