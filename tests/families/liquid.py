"""Liquid's families: convolutions and attention, images of any size or cut into tiles."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit, qwen
from tests.families.kit import family

PATCH = 16
LAYERS = {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3}
TILES = tuple(f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5))


@family("lfm2_vl", needs=("torchvision",))
def lfm2_vl() -> tuple[Any, Any]:
    named = {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail_token": "<|img_thumbnail|>",
    }
    tokens = kit.tokenizer(
        "<|im_start|>", "<|im_end|>", *TILES, named=named, begins=True, bos="<|startoftext|>"
    )
    vision = kit.without(kit.tower("siglip2_vision_model"), "image_size")
    config = hf.Lfm2VlConfig(
        vision_config={**vision, "patch_size": PATCH, "num_patches": 16, "vision_use_head": False},
        text_config=kit.text(tokens, "lfm2", block_auto_adjust_ff_dim=False, **LAYERS),
        image_token_id=tokens.image_token_id,
        downsample_factor=2,
        projector_hidden_size=kit.WIDTH,
    )
    processor = kit.processor(
        hf.Lfm2VlProcessor,
        image_processor=kit.torchvision_only(
            "Lfm2VlImageProcessor",
            tile_size=64,
            min_tiles=2,
            max_tiles=4,
            max_image_tokens=16,
            min_image_tokens=4,
            encoder_patch_size=PATCH,
            downsample_factor=2,
            max_num_patches=64,
        ),
        tokenizer=tokens,
        chat_template=kit.chat("<image>", start=kit.BOS, **kit.CHATML),
    )
    return hf.Lfm2VlForConditionalGeneration(config), processor


@family("lfm3_vl")
def lfm3_vl() -> tuple[Any, Any]:
    tokens = qwen.tokenizer()
    vision = kit.tower(
        num_key_value_heads=2, patch_size=PATCH, layer_types=["conv", "full_attention"]
    )
    config = hf.Lfm3VlConfig(
        text_config=kit.text(tokens, "lfm3", sliding_window=16, **LAYERS),
        vision_config=kit.without(vision, "image_size"),
        projector_hidden_size=kit.WIDTH,
        **qwen.ids(tokens),
    )
    processor = kit.processor(
        hf.Lfm3VlProcessor,
        image_processor=qwen.images(PATCH),
        tokenizer=tokens,
        video_processor=kit.video("Qwen3VLVideoProcessor"),
        chat_template=qwen.TEMPLATE,
    )
    return hf.Lfm3VlForConditionalGeneration(config), processor
