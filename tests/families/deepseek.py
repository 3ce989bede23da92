"""DeepSeek's families: SigLIP towers, SAM towers, mixtures of experts."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

CHAT = kit.chat("<image_placeholder>", "User: ", "\n\n", "Assistant:")
SAM = {
    "hidden_size": kit.IMAGE_WIDTH,
    "output_channels": 16,
    "num_hidden_layers": kit.LAYERS,
    "num_attention_heads": 4,
    "image_size": 128,
    "patch_size": 16,
    "mlp_dim": 64,
    "window_size": 4,
    "global_attn_indexes": [1],
}


@family("deepseek_vl")
def deepseek_vl() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named={"image_token": "<image_placeholder>"}, begins=True)
    config = hf.DeepseekVLConfig(
        text_config=kit.text(tokens, "llama"),
        vision_config=kit.siglip(),
        image_token_id=tokens.image_token_id,
    )
    processor = hf.DeepseekVLProcessor(
        image_processor=kit.pil("DeepseekVLImageProcessor", size=kit.square()),
        tokenizer=tokens,
        num_image_tokens=16,
        chat_template=CHAT,
    )
    return hf.DeepseekVLForConditionalGeneration(config), processor


@family("deepseek_vl_hybrid")
def deepseek_vl_hybrid() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named={"image_token": "<image_placeholder>"}, begins=True)
    config = hf.DeepseekVLHybridConfig(
        text_config=kit.text(tokens, "llama"),
        vision_config=kit.siglip(image_size=64, patch_size=16),
        high_res_vision_config={"model_type": "sam_vision_model", "num_pos_feats": 8, **SAM},
        image_token_id=tokens.image_token_id,
    )
    processor = hf.DeepseekVLHybridProcessor(
        image_processor=kit.pil(
            "DeepseekVLHybridImageProcessor", size=kit.square(64), high_res_size=kit.square(128)
        ),
        tokenizer=tokens,
        num_image_tokens=16,
        chat_template=CHAT,
    )
    return hf.DeepseekVLHybridForConditionalGeneration(config), processor


@family("deepseek_ocr2")
def deepseek_ocr2() -> tuple[Any, Any]:
    """Its 144 queries of a tile and 256 of the whole are fixed: only the pixels are fewer."""
    tokens = kit.tokenizer(named={"image_token": "<image>"}, begins=True)
    text = kit.text(
        tokens,
        num_key_value_heads=4,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        n_shared_experts=1,
        mlp_layer_types=["dense", "sparse"],
    )
    encoder = {
        "hidden_size": kit.IMAGE_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": kit.LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    sam = {
        **SAM,
        "image_size": 256,
        "patch_size": 4,
        "global_attn_indexes": [],
        "downsample_channels": [16, kit.IMAGE_WIDTH],
    }
    config = hf.DeepseekOcr2Config(
        vision_config={"sam_config": sam, "encoder_config": encoder},
        text_config=kit.without(text, "head_dim"),
        image_token_id=tokens.image_token_id,
    )
    processor = hf.DeepseekOcr2Processor(
        image_processor=kit.pil("DeepseekOcr2ImageProcessor", size=kit.square(256), tile_size=192),
        tokenizer=tokens,
        patch_size=4,
        chat_template=kit.chat("<image>\n", "", "", ""),
    )
    return hf.DeepseekOcr2ForConditionalGeneration(config), processor
