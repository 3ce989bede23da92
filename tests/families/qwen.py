"""Qwen's families: image processors of any size, positions in three dimensions."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

NAMED = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
TEMPLATE = kit.chat("<|vision_start|><|image_pad|><|vision_end|>", **kit.CHATML)

ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
INTERLEAVED = {**ROPE, "mrope_interleaved": True}
PARTIAL = {**INTERLEAVED, "partial_rotary_factor": 1.0}

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def tokenizer() -> Any:
    return kit.tokenizer(*MARKS, named=NAMED)


def ids(tokens: Any) -> dict[str, int]:
    return kit.ids(
        tokens,
        image_token_id="<|image_pad|>",
        video_token_id="<|video_pad|>",
        vision_start_token_id="<|vision_start|>",
        vision_end_token_id="<|vision_end|>",
    )


def images(patch: int = kit.PATCH) -> Any:
    return kit.pil(
        "Qwen2VLImageProcessor",
        min_pixels=56 * 56,
        max_pixels=112 * 112,
        patch_size=patch,
        temporal_patch_size=2,
        merge_size=2,
    )


def tower2(**more: Any) -> dict[str, Any]:
    """Return the settings of a vision tower of Qwen 2.5 VL."""
    settings = {
        "depth": 2,
        "hidden_size": kit.IMAGE_WIDTH,
        "out_hidden_size": kit.WIDTH,
        "intermediate_size": 64,
        "num_heads": 4,
        "patch_size": kit.PATCH,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    return settings | more


def tower3(**more: Any) -> dict[str, Any]:
    """Return the settings of a vision tower of Qwen 3 VL."""
    settings = {
        "depth": 2,
        "hidden_size": kit.IMAGE_WIDTH,
        "out_hidden_size": kit.WIDTH,
        "intermediate_size": 64,
        "num_heads": 4,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 64,
    }
    return settings | more


def hybrid(tokens: Any, **more: Any) -> dict[str, Any]:
    """Return the settings of a language model that alternates linear and full attention."""
    return kit.text(
        tokens,
        rope_parameters=PARTIAL,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        linear_conv_kernel_dim=4,
        **more,
    )


def processor3(tokens: Any) -> Any:
    return kit.processor(
        hf.Qwen3VLProcessor,
        image_processor=images(16),
        tokenizer=tokens,
        video_processor=kit.video("Qwen3VLVideoProcessor"),
        chat_template=TEMPLATE,
    )


@family("qwen2_vl")
def qwen2_vl() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.Qwen2VLConfig(
        text_config=kit.text(tokens, rope_parameters=ROPE),
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": kit.WIDTH,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": kit.PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        **ids(tokens),
    )
    processor = kit.processor(
        hf.Qwen2VLProcessor,
        image_processor=images(),
        tokenizer=tokens,
        video_processor=kit.video("Qwen2VLVideoProcessor"),
        chat_template=TEMPLATE,
    )
    return hf.Qwen2VLForConditionalGeneration(config), processor


@family("qwen2_5_vl")
def qwen2_5_vl() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.Qwen2_5_VLConfig(
        text_config=kit.text(tokens, rope_parameters=ROPE), vision_config=tower2(), **ids(tokens)
    )
    processor = kit.processor(
        hf.Qwen2_5_VLProcessor,
        image_processor=images(),
        tokenizer=tokens,
        video_processor=kit.video("Qwen2VLVideoProcessor"),
        chat_template=TEMPLATE,
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


@family("qwen3_vl")
def qwen3_vl() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.Qwen3VLConfig(
        text_config=kit.text(tokens, rope_parameters=INTERLEAVED),
        vision_config=tower3(deepstack_visual_indexes=[0]),
        **ids(tokens),
    )
    return hf.Qwen3VLForConditionalGeneration(config), processor3(tokens)


@family("qwen3_vl_moe")
def qwen3_vl_moe() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.Qwen3VLMoeConfig(
        text_config=kit.text(tokens, rope_parameters=INTERLEAVED, **EXPERTS),
        vision_config=tower3(deepstack_visual_indexes=[0]),
        **ids(tokens),
    )
    return hf.Qwen3VLMoeForConditionalGeneration(config), processor3(tokens)


@family("qwen3_5")
def qwen3_5() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.Qwen3_5Config(text_config=hybrid(tokens), vision_config=tower3(), **ids(tokens))
    return hf.Qwen3_5ForConditionalGeneration(config), processor3(tokens)


@family("qwen3_5_moe")
def qwen3_5_moe() -> tuple[Any, Any]:
    tokens = tokenizer()
    config = hf.Qwen3_5MoeConfig(
        text_config=hybrid(tokens, shared_expert_intermediate_size=32, **EXPERTS),
        vision_config=tower3(),
        **ids(tokens),
    )
    return hf.Qwen3_5MoeForConditionalGeneration(config), processor3(tokens)


@family("qwen4_exp")
def qwen4_exp() -> tuple[Any, Any]:
    tokens = tokenizer()
    text = hybrid(
        tokens,
        shared_expert_intermediate_size=32,
        hc_count=2,
        hc_lowrank=8,
        indexer_n_heads=2,
        indexer_kv_heads=1,
        indexer_head_dim=16,
        indexer_budget=8,
        indexer_compress_ratio=4,
        **EXPERTS,
    )
    config = hf.Qwen4ExpConfig(text_config=text, vision_config=tower3(), **ids(tokens))
    return hf.Qwen4ExpForConditionalGeneration(config), processor3(tokens)


AUDIO = {
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 128,
    "output_dim": kit.WIDTH,
}
OMNI = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "audio_token": "<|audio_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}


def _omni(cls: Any, tokens: Any, patch: int) -> Any:
    return kit.processor(
        cls,
        image_processor=images(patch),
        video_processor=kit.video("Qwen2VLVideoProcessor"),
        feature_extractor=hf.WhisperFeatureExtractor(feature_size=128),
        tokenizer=tokens,
        chat_template=TEMPLATE,
    )


@family("qwen2_5_omni_thinker")
def qwen2_5_omni_thinker() -> tuple[Any, Any]:
    tokens = kit.tokenizer(*MARKS, named=OMNI)
    config = hf.models.qwen2_5_omni.Qwen2_5OmniThinkerConfig(
        text_config=kit.text(tokens, rope_parameters=ROPE),
        vision_config=tower2(),
        audio_config=AUDIO,
        **kit.ids(
            tokens,
            image_token_index="<|image_pad|>",
            video_token_index="<|video_pad|>",
            audio_token_index="<|audio_pad|>",
            vision_start_token_id="<|vision_start|>",
            vision_end_token_id="<|vision_end|>",
        ),
    )
    processor = _omni(hf.Qwen2_5OmniProcessor, tokens, kit.PATCH)
    return hf.Qwen2_5OmniThinkerForConditionalGeneration(config), processor


@family("qwen3_omni_moe_thinker")
def qwen3_omni_moe_thinker() -> tuple[Any, Any]:
    tokens = kit.tokenizer(*MARKS, named=OMNI)
    config = hf.models.qwen3_omni_moe.Qwen3OmniMoeThinkerConfig(
        text_config=kit.text(tokens, rope_parameters=INTERLEAVED, **EXPERTS),
        vision_config=tower3(deepstack_visual_indexes=[0]),
        audio_config={**AUDIO, "downsample_hidden_size": 16},
        **kit.ids(
            tokens,
            image_token_id="<|image_pad|>",
            video_token_id="<|video_pad|>",
            audio_token_id="<|audio_pad|>",
            vision_start_token_id="<|vision_start|>",
            vision_end_token_id="<|vision_end|>",
            audio_start_token_id="<|audio_start|>",
        ),
    )
    processor = _omni(hf.Qwen3OmniMoeProcessor, tokens, 16)
    return hf.Qwen3OmniMoeThinkerForConditionalGeneration(config), processor
