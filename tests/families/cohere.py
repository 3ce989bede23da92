"""Cohere's families: tiles of an image, decoders with sliding windows."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

TURNS = ("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
WINDOWS = ["sliding_attention", "full_attention"]


def chat(image: str) -> str:
    return kit.chat(
        image,
        user="<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
        end="<|END_OF_TURN_TOKEN|>",
        reply="<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        start=kit.BOS,
    )


def cohere2(tokens: Any) -> dict[str, Any]:
    return kit.text(tokens, "cohere2", sliding_window=16, layer_types=WINDOWS)


@family("aya_vision")
def aya_vision() -> tuple[Any, Any]:
    tokens = kit.tokenizer(
        "<image>",
        "<|START_OF_IMG|>",
        "<|END_OF_IMG|>",
        "<|IMG_PATCH|>",
        "<|IMG_LINE_BREAK|>",
        "TILE",
        "TILE_GLOBAL",
        *TURNS,
        begins=True,
    )
    config = hf.AyaVisionConfig(
        vision_config=kit.siglip(),
        text_config=cohere2(tokens),
        image_token_index=tokens.convert_tokens_to_ids("<|IMG_PATCH|>"),
        downsample_factor=2,
        vision_feature_layer=-1,
    )
    processor = hf.AyaVisionProcessor(
        image_processor=kit.pil(
            "GotOcr2ImageProcessor", size=kit.square(), crop_to_patches=True, max_patches=4
        ),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        img_size=kit.SIDE,
        downsample_factor=2,
        chat_template=chat("<image>"),
    )
    return hf.AyaVisionForConditionalGeneration(config), processor


@family("cohere2_vision", needs=("torchvision",))
def cohere2_vision() -> tuple[Any, Any]:
    named = {
        "boi_token": "<|START_OF_IMG|>",
        "eoi_token": "<|END_OF_IMG|>",
        "image_token": "<|IMG_PATCH|>",
        "img_line_break_token": "<|IMG_LINE_BREAK|>",
    }
    tokens = kit.tokenizer(*TURNS, named=named, begins=True)
    config = hf.Cohere2VisionConfig(
        vision_config=kit.siglip(),
        text_config=cohere2(tokens),
        image_token_id=tokens.image_token_id,
        downsample_factor=2,
        alignment_intermediate_size=64,
    )
    images = kit.torchvision_only(
        "Cohere2VisionImageProcessor", size=kit.square(), max_patches=4, patch_size=2
    )
    processor = kit.processor(
        hf.Cohere2VisionProcessor,
        image_processor=images,
        tokenizer=tokens,
        chat_template=chat("<|IMG_PATCH|>"),
    )
    return hf.Cohere2VisionForConditionalGeneration(config), processor


@family("cohere_compass")
def cohere_compass() -> tuple[Any, Any]:
    named = {
        "image_token": "<|IMAGE_PAD|>",
        "video_token": "<|VIDEO_PAD|>",
        "vision_start_token": "<|VISION_START|>",
        "vision_end_token": "<|VISION_END|>",
    }
    tokens = kit.tokenizer(named=named)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    config = hf.CohereCompassConfig(
        text_config=kit.text(
            tokens,
            sliding_window=16,
            layer_types=WINDOWS,
            rope_parameters=dict.fromkeys(WINDOWS, rope),
        ),
        vision_config={
            "depth": kit.LAYERS,
            "hidden_size": kit.IMAGE_WIDTH,
            "out_hidden_size": kit.WIDTH,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=tokens.image_token_id,
        video_token_id=tokens.video_token_id,
        vision_start_token_id=tokens.vision_start_token_id,
        vision_end_token_id=tokens.vision_end_token_id,
    )
    size = {"shortest_edge": 64 * 64, "longest_edge": 128 * 128}
    processor = kit.processor(
        hf.CohereCompassProcessor,
        image_processor=kit.pil("CohereCompassImageProcessor", size=size, patch_size=16),
        tokenizer=tokens,
        video_processor=kit.video("CohereCompassVideoProcessor"),
        chat_template=kit.chat("<|VISION_START|><|IMAGE_PAD|><|VISION_END|>", "User: ", "\n"),
    )
    return hf.CohereCompassForConditionalGeneration(config), processor
