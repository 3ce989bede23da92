"""Mistral's families, and those with Pixtral's vision tower and processor."""

from __future__ import annotations

from typing import Any

import transformers as hf

from bbtvp.adapters.hf import processors
from tests.families import kit
from tests.families.kit import family

MARKS = ("[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]")
TEMPLATE = kit.chat("[IMG]", "[INST]", "[/INST]", "", kit.BOS)
PIXTRAL = {
    "model_type": "pixtral",
    "hidden_size": kit.IMAGE_WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": kit.LAYERS,
    "num_attention_heads": 2,
    "head_dim": 16,
    "image_size": 112,
    "patch_size": kit.PATCH,
}
MERGE = 2

Processor = processors._real(hf.PixtralProcessor)
"""transformers has only a placeholder for it where there is no torchvision."""

LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
"""Attention on compressed keys and values."""

EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}


def images(patch: int) -> Any:
    return kit.pil(
        "PixtralImageProcessor", size={"longest_edge": 112}, patch_size=kit.square(patch)
    )


def _tokens() -> Any:
    return kit.tokenizer(*MARKS, named={"image_token": "[IMG]"}, begins=True)


def _processor(tokens: Any) -> Any:
    return Processor(
        image_processor=images(kit.PATCH * MERGE),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        spatial_merge_size=MERGE,
        chat_template=TEMPLATE,
    )


def _latent(tokens: Any, model_type: str = "", **more: Any) -> dict[str, Any]:
    """Return the settings of a decoder with experts and compressed keys and values."""
    settings = kit.text(
        tokens, model_type, **{"num_key_value_heads": 4, **LATENT, **EXPERTS, **more}
    )
    return kit.without(settings, "head_dim")


@family("mistral3")
def mistral3() -> tuple[Any, Any]:
    tokens = _tokens()
    config = hf.Mistral3Config(
        vision_config=PIXTRAL,
        text_config=kit.text(tokens, "mistral"),
        image_token_index=tokens.image_token_id,
        spatial_merge_size=MERGE,
        vision_feature_layer=-1,
    )
    return hf.Mistral3ForConditionalGeneration(config), _processor(tokens)


@family("mistral3", "Mistral 4 inside")
def mistral3_with_mistral4() -> tuple[Any, Any]:
    tokens = _tokens()
    config = hf.Mistral3Config(
        vision_config=PIXTRAL,
        text_config=_latent(tokens, "mistral4"),
        image_token_index=tokens.image_token_id,
        spatial_merge_size=MERGE,
        vision_feature_layer=-1,
    )
    return hf.Mistral3ForConditionalGeneration(config), _processor(tokens)


TEXT_ONLY = "Mistral4ForCausalLM, which transformers has for this key, takes no images"


@family("mistral4", fault=TEXT_ONLY)
def mistral4() -> tuple[Any, Any]:
    tokens = _tokens()
    return hf.Mistral4ForCausalLM(hf.Mistral4Config(**_latent(tokens))), _processor(tokens)


@family("mistral_large4")
def mistral_large4() -> tuple[Any, Any]:
    """With few index heads, scores of 0 would tie, and any of them be kept."""
    tokens = _tokens()
    config = hf.MistralLarge4Config(
        vision_config=PIXTRAL,
        text_config=_latent(tokens, index_topk=8, index_head_dim=16, index_n_heads=16),
        image_token_index=tokens.image_token_id,
        spatial_merge_size=MERGE,
    )
    return hf.MistralLarge4ForConditionalGeneration(config), _processor(tokens)


@family("lighton_ocr")
def lighton_ocr() -> tuple[Any, Any]:
    tokens = kit.tokenizer(
        "<|im_start|>",
        "<|im_end|>",
        named={
            "image_token": "<|image_pad|>",
            "image_break_token": "<|vision_pad|>",
            "image_end_token": "<|vision_end|>",
        },
    )
    config = hf.LightOnOcrConfig(
        vision_config=PIXTRAL,
        text_config=kit.text(tokens, "qwen3"),
        image_token_id=tokens.image_token_id,
        spatial_merge_size=MERGE,
    )
    processor = hf.LightOnOcrProcessor(
        image_processor=images(kit.PATCH * MERGE),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        spatial_merge_size=MERGE,
        chat_template=kit.chat("<|image_pad|>", **kit.CHATML),
    )
    return hf.LightOnOcrForConditionalGeneration(config), processor
