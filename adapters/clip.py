"""A CLIP-like surrogate from a folder or a hub id: `hf/openai/clip-vit-base-patch32`, `hf/./my-clip`."""

from __future__ import annotations

from pathlib import Path

import transformers

from bbtvp.core.errors import ModelError
from bbtvp.surrogate import Surrogate


def load(name: str, *, device: str = "cpu", revision: str | None = None, spec: str | None = None) -> Surrogate:
    """Load a CLIPModel with its processor, in float32. Raises ModelError if there is none under that name."""
    source = str(Path(name).expanduser()) if name.startswith((".", "/", "~")) else name
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.CLIPModel.from_pretrained(source, revision=revision, dtype="float32")
        processor = transformers.CLIPProcessor.from_pretrained(source, revision=revision)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"{name} is not a CLIP model with its processor: {' '.join(str(error).split())[:200]}") from error
    return Surrogate(spec or f"hf/{name}", model.to(device).eval(), processor)
