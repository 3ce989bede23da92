"""Families of other makers that follow Qwen's: its image processor, towers and positions."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit, qwen
from tests.families.kit import family


@family("exaone4_5")
def exaone() -> tuple[Any, Any]:
    tokens = qwen.tokenizer()
    config = hf.Exaone4_5_Config(
        text_config=kit.text(
            tokens, "exaone4", sliding_window=None, layer_types=["full_attention"] * 2
        ),
        vision_config=qwen.tower2(num_key_value_heads=2),
        **qwen.ids(tokens),
    )
    processor = kit.processor(
        hf.Exaone4_5_Processor,
        image_processor=qwen.images(),
        tokenizer=tokens,
        video_processor=kit.video("Qwen2VLVideoProcessor"),
        chat_template=qwen.TEMPLATE,
    )
    return hf.Exaone4_5_ForConditionalGeneration(config), processor


@family("hyperclovax_vision_v2")
def hyperclovax() -> tuple[Any, Any]:
    named = {"image_token": "<|IMAGE_PAD|>", "video_token": "<|VIDEO_PAD|>"}
    tokens = kit.tokenizer("<|im_start|>", "<|im_end|>", named=named)
    config = hf.HyperCLOVAXVisionV2Config(
        text_config=kit.text(tokens),
        vision_config=qwen.tower2(),
        image_token_id=tokens.image_token_id,
        video_token_id=tokens.video_token_id,
    )
    processor = kit.processor(
        hf.HyperCLOVAXVisionV2Processor,
        image_processor=qwen.images(),
        tokenizer=tokens,
        video_processor=kit.video("Qwen2VLVideoProcessor"),
        chat_template=kit.chat("<|IMAGE_PAD|>", **kit.CHATML),
    )
    return hf.HyperCLOVAXVisionV2ForConditionalGeneration(config), processor


@family("cosmos3_omni")
def cosmos_omni() -> tuple[Any, Any]:
    tokens = qwen.tokenizer()
    config = hf.Cosmos3OmniConfig(
        text_config=kit.text(tokens, "qwen3_vl_text", rope_parameters=qwen.INTERLEAVED),
        vision_config={
            "model_type": "qwen3_vl_vision",
            **qwen.tower3(deepstack_visual_indexes=[0]),
        },
        **qwen.ids(tokens),
    )
    return hf.Cosmos3OmniForConditionalGeneration(config), qwen.processor3(tokens)


COSMOS = "its processor leaves out mm_token_type_ids, without which its model takes no image"


@family("cosmos3_edge", fault=COSMOS)
def cosmos_edge() -> tuple[Any, Any]:
    tokens = qwen.tokenizer()
    config = hf.Cosmos3EdgeConfig(
        text_config=kit.text(tokens, rope_parameters=qwen.ROPE),
        vision_config={
            "hidden_size": kit.IMAGE_WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": kit.LAYERS,
            "num_attention_heads": 4,
            "num_patches": 64,
        },
        projector_hidden_size=kit.WIDTH,
        **qwen.ids(tokens),
    )
    images = kit.pil(
        "Cosmos3EdgeImageProcessor",
        size={"shortest_edge": 64 * 64, "longest_edge": 128 * 128},
    )
    processor = kit.processor(
        hf.Cosmos3EdgeProcessor,
        image_processor=images,
        tokenizer=tokens,
        video_processor=kit.video("Cosmos3EdgeVideoProcessor"),
        chat_template=qwen.TEMPLATE,
    )
    return hf.Cosmos3EdgeForConditionalGeneration(config), processor


@family("dots3_note")
def dots3_note() -> tuple[Any, Any]:
    """Sparse attention whose indexer picks all of a short prompt, then a sliding window."""
    marks = ("<|imgpad|>", "<|video_pad|>", "<|audio_comp_pad|>", "<|user|>", "<|assistant|>")
    tokens = kit.tokenizer(*marks)
    heads = {
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "head_dim": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 16,
        "v_head_dim": 16,
    }
    text = kit.text(
        tokens,
        moe_intermediate_size=32,
        shared_experts_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        index_topk=4096,
        index_head_dim=16,
        index_n_heads=2,
        sliding_window=16,
        layer_types=["indexed_attention", "sliding_attention"],
        **{f"swa_{name}": value for name, value in heads.items()},
    )
    config = hf.Dots3NoteConfig(
        text_config={**text, **heads},
        vision_config={
            "hidden_size": kit.IMAGE_WIDTH,
            "intermediate_size": 64,
            "moe_intermediate_size": 32,
            "num_hidden_layers": kit.LAYERS,
            "num_attention_heads": 4,
            "mlp_layer_types": ["dense", "sparse"],
            "num_local_experts": 4,
            "adapter_in_dim": kit.IMAGE_WIDTH,
            "adapter_out_dim": kit.WIDTH,
        },
        audio_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "downsample_hidden_size": 16,
            "adapter_input_size": 32,
            "adapter_out_dim": kit.WIDTH,
        },
        **kit.ids(
            tokens,
            image_token_id="<|imgpad|>",
            video_token_id="<|video_pad|>",
            audio_token_id="<|audio_comp_pad|>",
        ),
    )
    images = kit.pil(
        "Qwen2VLImageProcessor",
        size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112},
        temporal_patch_size=1,
    )
    processor = kit.processor(
        hf.Dots3NoteProcessor,
        image_processor=images,
        tokenizer=tokens,
        video_processor=kit.video("Qwen3VLVideoProcessor"),
        feature_extractor=hf.Dots3NoteFeatureExtractor(),
        chat_template=kit.chat("<|imgpad|>", "<|user|>", "\n", "<|assistant|>"),
    )
    return hf.Dots3NoteForConditionalGeneration(config), processor
