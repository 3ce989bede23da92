"""A surrogate from a folder or a hub id: a dual encoder such as CLIP, or a vision encoder.

Specs: `hf/openai/clip-vit-base-patch32`, `hf/google/siglip2-base-patch16-224`,
`hf/facebook/dinov2-base`, `hf/./my-clip`. Whatever `AutoModel` loads will do, if it has
`get_image_features` and `get_text_features`, or if it takes pixels alone. DINOv2 with a text tower
is a `VisionTextDualEncoderModel`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import transformers

from bbtvp.adapters.hf.pretrained import load_weights, loading, source_of, to_device
from bbtvp.adapters.hf.processors import load_processor
from bbtvp.core.errors import ModelError
from bbtvp.surrogate import ClipSurrogate

_SIDE = 64
"""Side of the image of the check at load, in pixels."""


def load(
    name: str, *, device: str = "cpu", revision: str | None = None, spec: str | None = None
) -> ClipSurrogate:
    """Load an encoder with its processor, in float32 and frozen.

    Gradients are taken by pixels, never by weights. One image and one text are encoded as a check.
    Raises ModelError if there is no such encoder under that name, and UsageError for a device that
    this machine lacks.
    """
    source = source_of(name)
    with loading(source, revision=revision):
        config = transformers.AutoConfig.from_pretrained(source, revision=revision)
        processor = _processor_for(_class_of(source, config), source, revision)
        model = load_weights(transformers.AutoModel, source, revision=revision, dtype="float32")
    frozen = to_device(model, device).requires_grad_(False)
    surrogate = ClipSurrogate(spec or f"hf/{name}", frozen, processor)
    with loading(source, revision=revision):
        _check(surrogate)
    return surrogate


def _class_of(source: str, config: Any) -> Any:
    """Return the class that AutoModel would take. Raises ModelError if it is no encoder."""
    found = transformers.MODEL_MAPPING.get(type(config), None)
    if hasattr(found, "get_image_features") and hasattr(found, "get_text_features"):
        return found
    if getattr(found, "main_input_name", "") == "pixel_values":
        return found
    raise ModelError(
        f"{source} is a {config.model_type}, and no encoder that can be a surrogate; name a CLIP, "
        "a SigLIP, another model with get_image_features and get_text_features, or a DINOv2"
    )


def _processor_for(kind: Any, source: str, revision: str | None) -> Any:
    if hasattr(kind, "get_text_features"):
        return load_processor(source, revision=revision)
    return transformers.AutoImageProcessor.from_pretrained(source, backend="pil", revision=revision)


def _check(surrogate: ClipSurrogate) -> None:
    """Raise ModelError if images and texts are not embedded in one space."""
    image = np.full((_SIDE, _SIDE, 3), 128, np.uint8)
    seen = surrogate.features([image]).pooled.shape[-1]
    if not surrogate.reads_text:
        return
    read = surrogate.embedded(["a"]).shape[-1]
    if seen != read:
        raise ModelError(
            f"{surrogate.spec} embeds images in {seen} dimensions and texts in {read}, so they "
            "cannot be compared; name a CLIP or a SigLIP"
        )
