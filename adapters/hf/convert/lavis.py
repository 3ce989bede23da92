"""LAVIS' names and sizes of EVA-ViT-g and the Q-Former, as transformers' BLIP-2 has them.

Read in LAVIS 506965b, `lavis/models/eva_vit.py` and `lavis/models/blip2_models/Qformer.py`; the
same files are in MiniGPT-4 d94738a and VPGTrans 32e885c.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bbtvp.adapters.hf.convert.weights import Checkpoint, Parts
from bbtvp.core.errors import ModelError

VISION = "visual_encoder."
LANGUAGE = "language_model."

VISION_LAYERS = 39
"""EVA-ViT-g has 40 blocks. BLIP-2 and all that build on it leave the last one out."""

VISION_HEAD = 88
QFORMER_HEAD = 64
"""Numbers of features of an attention head, in every published size."""

_NAMES = (
    ("vision_model.embeddings.class_embedding", f"{VISION}cls_token"),
    ("vision_model.embeddings.position_embedding", f"{VISION}pos_embed"),
    ("vision_model.embeddings.patch_embedding", f"{VISION}patch_embed.proj"),
    ("vision_model.post_layernorm", "ln_vision"),
    ("vision_model.encoder.layers", f"{VISION}blocks"),
    ("self_attn.projection", "attn.proj"),
    ("self_attn", "attn"),
    ("layer_norm", "norm"),
    ("qformer.embeddings.layernorm", "Qformer.bert.embeddings.LayerNorm"),
    ("qformer.layernorm", "Qformer.bert.embeddings.LayerNorm"),
    ("qformer.", "Qformer.bert."),
    ("attention.attention", "attention.self"),
)
"""Parts of transformers' names and of LAVIS' names, in the order in which they are replaced."""


def published_parts(
    checkpoints: Iterable[Path], vit: Path, llm: Path, hints: Mapping[str, str]
) -> Parts:
    """Return all weights of a model in one layout.

    checkpoints: the project's own file first. hints: what to type for the parts that they give, by
    the beginning of their names.
    """
    shared = {
        LANGUAGE: "give --llm the folder of the Vicuna that the checkpoint was trained with",
        VISION: "give --vit eva_vit_g.pth, with all of its blocks",
    }
    return Parts(
        [*map(Checkpoint, checkpoints), Checkpoint(vit, VISION), Checkpoint(llm, LANGUAGE)],
        shared | dict(hints),
    )


def source_name(name: str, projections: Mapping[str, str]) -> str:
    """Return LAVIS' name of a weight that transformers calls `name`.

    projections: the project's own names of the layers in front of the language model, by those of
    the class to be written.
    """
    layer, _, rest = name.partition(".")
    if layer in projections:
        return f"{projections[layer]}.{rest}"
    if name.startswith(LANGUAGE):
        return name
    for new, old in _NAMES:
        name = name.replace(new, old)
    return name


def vision_sizes(parts: Parts, layers: int = VISION_LAYERS) -> dict[str, Any]:
    """Return the settings of a Blip2VisionConfig, from the shapes of an image encoder."""
    _, positions, hidden = parts.shape(f"{VISION}pos_embed")
    patch = parts.shape(f"{VISION}patch_embed.proj.weight")[-1]
    return {
        "hidden_size": hidden,
        "intermediate_size": parts.shape(f"{VISION}blocks.0.mlp.fc1.weight")[0],
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // VISION_HEAD,
        "image_size": math.isqrt(positions - 1) * patch,
        "patch_size": patch,
    }


def qformer_sizes(parts: Parts) -> dict[str, Any]:
    """Return the settings of a Blip2QFormerConfig, from the shapes of a Q-Former."""
    hidden = parts.shape("query_tokens")[-1]
    layer = "Qformer.bert.encoder.layer"
    # The first layer looks at the image, and then each n-th.
    seeing = sorted(indices(parts, rf"{layer}\.(\d+)\.crossattention\."))
    return {
        "hidden_size": hidden,
        "intermediate_size": parts.shape(f"{layer}.0.intermediate_query.dense.weight")[0],
        "num_hidden_layers": 1 + max(indices(parts, rf"{layer}\.(\d+)\."), default=0),
        "num_attention_heads": hidden // QFORMER_HEAD,
        "cross_attention_frequency": seeing[1] if len(seeing) > 1 else 1,
    }


def check(parts: Parts, wanted: Mapping[str, Tensor], projections: Mapping[str, str]) -> None:
    """Raise ModelError for the first weight that is missing or has another shape.

    wanted: names and empty tensors of the model to be written. No data are read.
    """
    for name, empty in wanted.items():
        sources = _sources(source_name(name, projections))
        first, *rest = parts.shape(sources[0])
        # The bias of the keys is not stored, being 0.
        shape = (3 * first, *rest) if len(sources) > 1 else (first, *rest)
        if shape != tuple(empty.shape):
            raise ModelError(
                f"{parts.owner(sources[0]).path}: {sources[0]} has the shape {shape}, and the "
                f"model needs {tuple(empty.shape)}; give the parts of one published size (7B, 13B)"
            )


def converted(
    parts: Parts, names: Iterable[str], projections: Mapping[str, str]
) -> Iterator[tuple[str, Tensor]]:
    """Yield transformers' name and the tensor of each weight, in the published dtypes."""
    for name in names:
        tensors = [parts.tensor(source) for source in _sources(source_name(name, projections))]
        if len(tensors) > 1:
            query, value = tensors
            tensors = [torch.cat([query, torch.zeros_like(value), value])]
        yield name, tensors[0]


def _sources(name: str) -> tuple[str, ...]:
    """Return the names of the tensors of which a weight is made."""
    stem = name.removesuffix("qkv.bias")
    return (name,) if stem == name else (f"{stem}q_bias", f"{stem}v_bias")


def indices(names: Iterable[str], pattern: str) -> set[int]:
    """Return the numbers in names that begin with a pattern, which has one group for them."""
    return {int(found.group(1)) for name in names if (found := re.match(pattern, name))}
