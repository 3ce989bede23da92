"""GLM's families: image processors of any size, positions in three dimensions."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

NAMED = {"image_token": "<|image|>", "video_token": "<|video|>"}
MARKS = (
    "<|user|>",
    "<|assistant|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "[gMASK]",
    "<sop>",
)
CHAT = kit.chat(
    "<|begin_of_image|><|image|><|end_of_image|>",
    user="<|user|>\n",
    end="",
    reply="<|assistant|>\n",
    start="[gMASK]<sop>",
)
ROPE = {
    "rope_type": "default",
    "mrope_section": [2, 3, 3],
    "rope_theta": 1e4,
    "partial_rotary_factor": 1.0,
}
TOWER = {
    "depth": kit.LAYERS,
    "hidden_size": kit.IMAGE_WIDTH,
    "out_hidden_size": kit.WIDTH,
    "intermediate_size": 64,
    "num_heads": 4,
    "patch_size": kit.PATCH,
    "image_size": 112,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


def tokenizer() -> Any:
    return kit.tokenizer(*MARKS, named=NAMED)


def ids(tokens: Any) -> dict[str, int]:
    return kit.ids(
        tokens,
        image_token_id="<|image|>",
        video_token_id="<|video|>",
        image_start_token_id="<|begin_of_image|>",
        image_end_token_id="<|end_of_image|>",
        video_start_token_id="<|begin_of_video|>",
        video_end_token_id="<|end_of_video|>",
    )


def processor(cls: Any, tokens: Any, images: str, video: str) -> Any:
    size = {"shortest_edge": 56 * 56 * 2, "longest_edge": 112 * 112 * 2}
    shape = {"patch_size": kit.PATCH, "temporal_patch_size": 2, "merge_size": 2}
    return kit.processor(
        cls,
        image_processor=kit.pil(images, size=size, **shape),
        tokenizer=tokens,
        video_processor=kit.video(video),
        chat_template=CHAT,
    )


def glm4v_processor(tokens: Any) -> Any:
    return processor(hf.Glm4vProcessor, tokens, "Glm4vImageProcessor", "Glm4vVideoProcessor")


def glm46v_processor(tokens: Any) -> Any:
    return processor(hf.Glm46VProcessor, tokens, "Glm46VImageProcessor", "Glm46VVideoProcessor")


@family("glm4v")
def glm4v() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.Glm4vConfig(
        text_config=kit.text(tokens, rope_parameters=ROPE), vision_config=TOWER, **ids(tokens)
    )
    return hf.Glm4vForConditionalGeneration(config), glm4v_processor(tokens)


@family("glm46v")
def glm46v() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.Glm46VConfig(
        text_config=kit.text(tokens, "glm4v_text", rope_parameters=ROPE),
        vision_config={"model_type": "glm4v_vision", **TOWER},
        **ids(tokens),
    )
    return hf.Glm46VForConditionalGeneration(config), glm46v_processor(tokens)


@family("glmga")
def glmga() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.GlmgaConfig(
        text_config=kit.text(tokens, "glm4v_text", rope_parameters=ROPE),
        vision_config={"model_type": "glm4v_vision", **TOWER},
        **ids(tokens),
    )
    made = processor(hf.Glm46VProcessor, tokens, "GlmgaImageProcessor", "GlmgaVideoProcessor")
    return hf.AutoModelForImageTextToText.from_config(config), made


@family("glm4v_moe")
def glm4v_moe() -> tuple[Any, Any]:
    tokens = tokenizer()
    text = kit.text(
        tokens,
        rope_parameters=ROPE,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        n_shared_experts=1,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
    )
    config = hf.Glm4vMoeConfig(text_config=text, vision_config=TOWER, **ids(tokens))
    return hf.Glm4vMoeForConditionalGeneration(config), glm4v_processor(tokens)


@family("glm_ocr")
def glm_ocr() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.GlmOcrConfig(
        text_config=kit.text(tokens, rope_parameters=ROPE), vision_config=TOWER, **ids(tokens)
    )
    return hf.GlmOcrForConditionalGeneration(config), glm46v_processor(tokens)


@family("glm5_next")
def glm5_next() -> tuple[Any, Any]:
    """Linear attention, then sparse attention whose indexer picks all of a short prompt."""
    tokens = tokenizer()
    text = kit.text(
        tokens,
        num_key_value_heads=4,
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_nope_head_dim=16,
        v_head_dim=16,
        index_topk=4096,
        index_head_dim=16,
        index_n_heads=2,
        linear_head_dim=16,
        linear_num_heads=4,
        hc_mult=2,
        mlp_layer_types=["dense", "sparse"],
        layer_types=["linear_attention", "indexed_attention"],
        indexer_types=["full", "full"],
    )
    config = hf.Glm5NextConfig(
        text_config=kit.without(text, "head_dim"),
        vision_config={**TOWER, "projection_intermediate_size": 64},
        **ids(tokens),
    )
    images = kit.pil(
        "Glm5NextImageProcessor",
        patch_size=kit.PATCH,
        temporal_patch_size=2,
        merge_size=2,
        min_image_tokens=4,
        max_image_tokens=16,
    )
    made = kit.processor(
        hf.Glm5NextProcessor,
        image_processor=images,
        tokenizer=tokens,
        video_processor=kit.video("Glm5NextVideoProcessor"),
        chat_template=CHAT,
    )
    return hf.Glm5NextForConditionalGeneration(config), made
