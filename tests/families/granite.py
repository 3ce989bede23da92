"""IBM's Granite families: tiles, and image features that enter several layers."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.captioners import QFORMER
from tests.families.kit import family

TILES = [[56, 112], [112, 56], [112, 112]]


@family("granite4_vision")
def granite4_vision() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named={"image_token": "<image>"})
    config = hf.Granite4VisionConfig(
        # Its Q-Former has a head for every 64 of the tower's width.
        vision_config=kit.siglip(hidden_size=64),
        text_config=kit.text(tokens),
        image_token_index=tokens.image_token_id,
        image_grid_pinpoints=TILES,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        downsample_rate="2/4",
        deepstack_layer_map=[[0, 1]],
        spatial_target_layers=[],
        qformer_config={**QFORMER, "intermediate_size": 64},
        projector_dropout=0.0,
    )
    images = kit.pil(
        "LlavaNextImageProcessor",
        size={"shortest_edge": kit.SIDE},
        crop_size=kit.square(),
        image_grid_pinpoints=TILES,
    )
    processor = hf.Granite4VisionProcessor(
        image_processor=images,
        tokenizer=tokens,
        patch_size=kit.PATCH,
        vision_feature_select_strategy="full",
        downsample_rate="2/4",
        chat_template=kit.chat("<image>\n", "<|user|>\n", "\n", "<|assistant|>\n"),
    )
    return hf.Granite4VisionForConditionalGeneration(config), processor


@family("granite_docling")
def granite_docling() -> tuple[Any, Any]:
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    marks = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    tokens = kit.tokenizer(*marks, *tiles, named={"image_token": "<image>"})
    config = hf.GraniteDoclingConfig(
        text_config=kit.text(
            tokens,
            embedding_multiplier=1.0,
            logits_scaling=1.0,
            residual_multiplier=1.0,
            attention_multiplier=0.25,
        ),
        vision_config=kit.tower(
            image_size=64,
            patch_size=16,
            out_hidden_size=kit.WIDTH,
            scale_factor=2,
            deepstack_visual_indexes=[0],
        ),
        image_token_id=tokens.image_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    images = kit.pil("GraniteDoclingImageProcessor", size=kit.square(64), max_patches=4)
    processor = hf.GraniteDoclingProcessor(
        image_processor=images,
        tokenizer=tokens,
        image_seq_len=4,
        chat_template=kit.chat("<image>", "User:", "<end_of_utterance>\n", "Assistant:"),
    )
    return hf.GraniteDoclingForConditionalGeneration(config), processor
