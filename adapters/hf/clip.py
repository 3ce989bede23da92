"""A CLIP-like surrogate from a folder or a hub id.

Specs: `hf/openai/clip-vit-base-patch32`, `hf/./my-clip`.
"""

from __future__ import annotations

import transformers

from bbtvp.adapters.hf.pretrained import load_weights, loading, source_of, to_device
from bbtvp.surrogate import ClipSurrogate


def load(
    name: str, *, device: str = "cpu", revision: str | None = None, spec: str | None = None
) -> ClipSurrogate:
    """Load a CLIPModel with its processor, in float32 and frozen.

    Gradients are taken by pixels, never by weights. Raises ModelError if there is no CLIP under
    that name, and UsageError for a device that this machine lacks.
    """
    source = source_of(name)
    with loading(source, revision=revision):
        processor = transformers.CLIPProcessor.from_pretrained(source, revision=revision)
        model = load_weights(transformers.CLIPModel, source, revision=revision, dtype="float32")
    return ClipSurrogate(
        spec or f"hf/{name}", to_device(model, device).requires_grad_(False), processor
    )
