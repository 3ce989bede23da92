"""Tencent's Hunyuan families: rows of an image end with a newline token."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

SIZE = {"shortest_edge": 64 * 64, "longest_edge": 128 * 128}
TOWER = {
    "hidden_size": kit.IMAGE_WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": kit.LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "out_hidden_size": kit.WIDTH,
    "patch_size": 16,
    "max_image_size": 128,
}


@family("hunyuan_vl")
def hunyuan_vl() -> tuple[Any, Any]:
    named = {
        "image_token": "<img_pad>",
        "image_start_token": "<img_start>",
        "image_end_token": "<img_end>",
        "image_newline_token": "<img_nl>",
    }
    tokens = kit.tokenizer(named=named)
    rope = {
        "rope_type": "xdrope",
        "rope_theta": 1e4,
        "xdrope_section": [2, 2, 2, 2],
        "alpha": 1000.0,
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }
    config = hf.HunYuanVLConfig(
        text_config=kit.text(tokens, rope_parameters=rope),
        vision_config={
            **TOWER,
            "text_hidden_size": kit.WIDTH,
            "min_image_size": 32,
            "img_max_token_num": 64,
        },
        image_token_id=tokens.image_token_id,
        im_start_id=tokens.image_start_token_id,
        im_end_id=tokens.image_end_token_id,
        im_newline_id=tokens.image_newline_token_id,
    )
    processor = hf.HunYuanVLProcessor(
        image_processor=kit.pil("HunYuanVLImageProcessor", size=SIZE, patch_size=16),
        tokenizer=tokens,
        chat_template=kit.chat("<img_start><img_pad><img_end>", "User: ", "\n", "Assistant:"),
    )
    return hf.HunYuanVLForConditionalGeneration(config), processor


@family("hy_v4_vl")
def hy_v4_vl() -> tuple[Any, Any]:
    """Sparse attention whose indexer picks all of a short prompt."""
    named = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    tokens = kit.tokenizer("<|im_start|>", "<|im_end|>", named=named)
    text = kit.text(
        tokens,
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_nope_head_dim=16,
        qk_rope_head_dim=16,
        v_head_dim=16,
        index_topk=4096,
        index_head_dim=16,
        index_n_heads=2,
        hc_mult=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    )
    config = hf.HYV4VLConfig(
        text_config=text,
        vision_config=TOWER,
        image_token_id=tokens.image_token_id,
        video_token_id=tokens.video_token_id,
    )
    processor = kit.processor(
        hf.HYV4VLProcessor,
        image_processor=kit.pil("HYV4VLImageProcessor", size=SIZE),
        tokenizer=tokens,
        video_processor=kit.video("HYV4VLVideoProcessor"),
        chat_template=kit.chat("<|image_pad|>", **kit.CHATML),
    )
    return hf.HYV4VLForConditionalGeneration(config), processor
