"""VisualGLM-6B as a VisualGlmForConditionalGeneration.

The published folder THUDM/visualglm-6b holds a ChatGLM, and as `image_encoder` EVA-ViT-g and
BLIP-2's Q-Former as SwissArmyTransformer writes them. Sources: the folder's `modeling_chatglm.py`
(f4f759a), THUDM/VisualGLM-6B e314fb9, `model/blip2.py`, and SwissArmyTransformer 0.4.12.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from bbtvp.adapters.hf.convert import lavis
from bbtvp.adapters.hf.convert.folder import images_of, refuse_used, save
from bbtvp.adapters.hf.convert.templates import VISUALGLM, PublishedPrompt, chat_template
from bbtvp.adapters.hf.convert.weights import Checkpoint, Parts
from bbtvp.adapters.hf.visualglm import (
    VisualGlmConfig,
    VisualGlmForConditionalGeneration,
    VisualGlmProcessor,
    VisualGlmTextConfig,
    VisualGlmTokenizer,
)
from bbtvp.core.errors import ModelError

_TOKENIZER = "ice_text.model"
_IMAGE = "<unk>"
"""The token whose embeddings the image replaces, as in the published code."""

_VIT = "image_encoder.vit."
_QFORMER = "image_encoder.qformer.transformer."

_NAMES = (
    ("language_model.", ""),
    ("language_projection", "image_encoder.glm_proj"),
    ("query_tokens", f"{_QFORMER}word_embeddings.weight"),
    ("vision_model.embeddings.class_embedding", f"{_VIT}transformer.word_embeddings.weight"),
    ("vision_model.embeddings.position_embedding", f"{_VIT}transformer.position_embeddings.weight"),
    ("vision_model.embeddings.patch_embedding", f"{_VIT}mixins.patch_embedding.proj"),
    ("vision_model.post_layernorm", f"{_VIT}mixins.cls.ln_vision"),
    ("vision_model.encoder.layers", f"{_VIT}transformer.layers"),
    ("layer_norm1", "input_layernorm"),
    ("layer_norm2", "post_attention_layernorm"),
    ("self_attn.qkv", "attention.query_key_value"),
    ("self_attn.projection", "attention.dense"),
    ("mlp.fc1", "mlp.dense_h_to_4h"),
    ("mlp.fc2", "mlp.dense_4h_to_h"),
    ("qformer.layernorm", f"{_QFORMER}layers.0.input_layernorm"),
    ("qformer.encoder.layer", f"{_QFORMER}layers"),
    (".crossattention.output.LayerNorm", ".post_cross_attention_layernorm"),
    (".attention.output.LayerNorm", ".post_attention_layernorm"),
    (".crossattention.output", ".cross_attention"),
    (".attention.output", ".attention"),
    ("intermediate_query.dense", "mlp.dense_h_to_4h"),
    ("output_query.dense", "mlp.dense_4h_to_h"),
)
"""Parts of transformers' names and of the published ones, in the order of their replacement."""

_JOINED = {
    ".attention.attention.query": (".attention.query_key_value", 0, 3),
    ".attention.attention.key": (".attention.query_key_value", 1, 3),
    ".attention.attention.value": (".attention.query_key_value", 2, 3),
    ".crossattention.attention.query": (".cross_attention.query", 0, 1),
    ".crossattention.attention.key": (".cross_attention.key_value", 0, 2),
    ".crossattention.attention.value": (".cross_attention.key_value", 1, 2),
}
"""The Q-Former's layers that the published ones join: the name, which part, and of how many."""


class _Source(NamedTuple):
    """Where a weight is: rows of a tensor, the `part`-th of `parts` equal ones."""

    name: str
    part: int = 0
    parts: int = 1


def convert(*, checkpoint: Path, out: Path, prompt: PublishedPrompt = VISUALGLM) -> None:
    """Write a folder that `hf/FOLDER` loads.

    checkpoint: the published folder. out: a folder that does not exist yet, or is empty. Raises
    ModelError for a weight that is missing or has another shape, before anything is written.
    """
    refuse_used(out)
    published = _settings(checkpoint)
    hint = "give --checkpoint the whole folder THUDM/visualglm-6b"
    parts = Parts([Checkpoint(checkpoint)], {"": hint})
    queries, hidden = parts.shape(f"{_QFORMER}word_embeddings.weight")
    config = VisualGlmConfig(
        vision_config=_vision_sizes(parts),
        qformer_config=_qformer_sizes(parts, hidden),
        text_config=_text_sizes(published),
        num_query_tokens=queries,
    )
    layers = config.qformer_config.num_hidden_layers
    tokenizer = _tokenizer_of(checkpoint)
    config.image_token_index = tokenizer.unk_token_id
    processor = VisualGlmProcessor(images_of(config), tokenizer)
    processor.chat_template = chat_template(prompt, _IMAGE, queries)
    save(
        out,
        processor=processor,
        model_class=VisualGlmForConditionalGeneration,
        config=config,
        check=lambda wanted: _check(parts, wanted, layers),
        tensors=lambda wanted: _converted(parts, wanted, layers),
    )


def _settings(folder: Path) -> dict[str, Any]:
    """Return the published configuration. Raises ModelError if there is none."""
    try:
        found = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} has no usable config.json; name the whole folder THUDM/visualglm-6b"
        ) from error
    if not isinstance(found, dict) or found.get("model_type") != "chatglm":
        raise ModelError(f"{folder} holds no ChatGLM; name the folder THUDM/visualglm-6b")
    return found


def _text_sizes(published: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a VisualGlmTextConfig."""
    names = {
        "intermediate_size": "inner_hidden_size",
        "num_hidden_layers": "num_layers",
        "layer_norm_eps": "layernorm_epsilon",
        "max_position_embeddings": "max_sequence_length",
    }
    same = ("vocab_size", "hidden_size", "num_attention_heads", "gmask_token_id")
    special = ("bos_token_id", "eos_token_id", "pad_token_id")
    names |= {name: name for name in (*same, *special)}
    try:
        sizes = {ours: published[theirs] for ours, theirs in names.items()}
    except KeyError as error:
        raise ModelError(
            f"config.json does not say {error}; download THUDM/visualglm-6b again"
        ) from error
    return {"model_type": VisualGlmTextConfig.model_type, **sizes}


def _vision_sizes(parts: Parts) -> dict[str, Any]:
    """Return the settings of a Blip2VisionConfig, from the shapes of the image encoder."""
    positions, hidden = parts.shape(f"{_VIT}transformer.position_embeddings.weight")
    patch = parts.shape(f"{_VIT}mixins.patch_embedding.proj.weight")[-1]
    layers = f"{_VIT}transformer.layers"
    return {
        "hidden_size": hidden,
        "intermediate_size": parts.shape(f"{layers}.0.mlp.dense_h_to_4h.weight")[0],
        "num_hidden_layers": len(lavis.indices(parts, rf"{re.escape(layers)}\.(\d+)\.")),
        "num_attention_heads": hidden // lavis.VISION_HEAD,
        "image_size": math.isqrt(positions - 1) * patch,
        "patch_size": patch,
    }


def _qformer_sizes(parts: Parts, hidden: int) -> dict[str, Any]:
    """Return the settings of a Blip2QFormerConfig, from the shapes of the Q-Former."""
    layers = re.escape(f"{_QFORMER}layers")
    seeing = sorted(lavis.indices(parts, rf"{layers}\.(\d+)\.cross_attention\."))
    return {
        "hidden_size": hidden,
        "intermediate_size": parts.shape(f"{_QFORMER}layers.0.mlp.dense_h_to_4h.weight")[0],
        "num_hidden_layers": len(lavis.indices(parts, rf"{layers}\.(\d+)\.")),
        "num_attention_heads": hidden // lavis.QFORMER_HEAD,
        "cross_attention_frequency": seeing[1] if len(seeing) > 1 else 1,
    }


def _tokenizer_of(folder: Path) -> VisualGlmTokenizer:
    """Return the published tokenizer. Raises ModelError if it cannot be read."""
    file = folder / _TOKENIZER
    try:
        tokenizer = VisualGlmTokenizer(
            vocab_file=str(file),
            bos_token="<sop>",
            eos_token="<eop>",
            pad_token="<pad>",
            unk_token=_IMAGE,
            padding_side="left",
            extra_special_tokens={"image_token": _IMAGE, "gmask_token": "[gMASK]"},
        )
    except ImportError as error:
        raise ModelError(
            f"{file} is read with sentencepiece; pip install 'bbtvp[convert]'"
        ) from error
    except (OSError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{file} cannot be read as a tokenizer; download THUDM/visualglm-6b again"
        ) from error
    return tokenizer


def _source(name: str, layers: int) -> _Source:
    """Return where a weight is that transformers calls `name`; layers: those of the Q-Former."""
    for ours, (theirs, part, count) in _JOINED.items():
        if ours in name and name.startswith("qformer."):
            joined = name.replace("qformer.encoder.layer", f"{_QFORMER}layers")
            return _Source(joined.replace(ours, theirs), part, count)
    # A layer begins with the norm that ends the one before it in BERT.
    if ended := re.match(r"qformer\.encoder\.layer\.(\d+)\.output_query\.LayerNorm", name):
        following = int(ended.group(1)) + 1
        norm = "final_layernorm" if following == layers else f"layers.{following}.input_layernorm"
        return _Source(name.replace(ended.group(), f"{_QFORMER}{norm}"))
    for ours, theirs in _NAMES:
        name = name.replace(ours, theirs)
    return _Source(name)


def _converted(
    parts: Parts, wanted: Mapping[str, Tensor], layers: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield transformers' name and the tensor of each weight, in the published dtypes."""
    for name, empty in wanted.items():
        source = _source(name, layers)
        found = parts.tensor(source.name).chunk(source.parts)[source.part]
        # Rows of a larger tensor would be written with all of it.
        yield name, found.reshape(empty.shape).clone()


def _check(parts: Parts, wanted: Mapping[str, Tensor], layers: int) -> None:
    """Raise ModelError for the first weight that is missing or has another shape."""
    for name, empty in wanted.items():
        source = _source(name, layers)
        shape = parts.shape(source.name)
        # transformers has the class token, positions and queries for a batch of one.
        first, *rest = empty.shape[empty.dim() - len(shape) :]
        if shape != (source.parts * first, *rest):
            raise ModelError(
                f"{source.name} has the shape {shape}, and the model needs "
                f"{(source.parts * first, *rest)}; give --checkpoint the folder THUDM/visualglm-6b"
            )
