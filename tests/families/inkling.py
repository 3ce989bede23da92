"""The Inkling families: patches of 40 pixels, convolutions before attention."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

SIDE = 40
MARKS = ("<|content_image|>", "<|content_audio_input|>", "<|message_user|>", "<|end_message|>")
NAMED = {"image_token": "<|unused_200054|>", "audio_token": "<|unused_200053|>"}
TEMPLATE = kit.chat(
    "<|content_image|><|unused_200054|>", "<|message_user|>", "<|end_message|>", "<|message_model|>"
)


def _tokens() -> Any:
    return kit.tokenizer(*MARKS, "<|message_model|>", named=NAMED)


def _text(tokens: Any, **more: Any) -> dict[str, Any]:
    settings = {
        "unpadded_vocab_size": len(tokens),
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 16,
        "sliding_window_size": 16,
        "d_rel": 4,
        "rel_extent": 64,
        "layer_types": ["hybrid_sliding", "hybrid"],
        "moe_intermediate_size": 32,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
    }
    return kit.text(tokens, **{**settings, **more})


def _tower2() -> dict[str, Any]:
    return {
        "hidden_size": kit.IMAGE_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": SIDE // 2,
        "posemb_grid_size": 8,
        "projection_hidden_dim": kit.WIDTH,
        "text_hidden_size": kit.WIDTH,
    }


def _processor2(tokens: Any) -> Any:
    return kit.processor(
        hf.Inkling2Processor,
        image_processor=kit.torchvision_only("Inkling2ImageProcessor"),
        tokenizer=tokens,
        chat_template=TEMPLATE,
    )


@family("inkling_mm_model", needs=("torchvision",))
def inkling_mm_model() -> tuple[Any, Any]:
    tokens = _tokens()
    config = hf.InklingConfig(
        text_config=_text(
            tokens,
            mlp_layer_types=["dense", "sparse"],
            n_shared_experts=1,
            logits_mup_width_multiplier=1.0,
        ),
        vision_config={
            "patch_size": SIDE,
            "hidden_size": kit.IMAGE_WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        audio_config={"mel_vocab_size": 16, "n_mel_bins": 8},
        **kit.ids(
            tokens,
            image_token_id="<|unused_200054|>",
            audio_token_id="<|unused_200053|>",
            image_bos_token_id="<|content_image|>",
            audio_bos_token_id="<|content_audio_input|>",
        ),
    )
    processor = kit.processor(
        hf.InklingProcessor,
        feature_extractor=hf.InklingFeatureExtractor(),
        image_processor=kit.torchvision_only("InklingImageProcessor"),
        tokenizer=tokens,
        chat_template=TEMPLATE,
    )
    return hf.InklingForConditionalGeneration(config), processor


@family("inkling2", needs=("torchvision",))
def inkling2() -> tuple[Any, Any]:
    tokens = _tokens()
    config = hf.Inkling2Config(
        text_config=_text(tokens, n_layers_per_attn_res_block=1),
        vision_config=_tower2(),
        image_token_id=tokens.image_token_id,
    )
    return hf.Inkling2ForConditionalGeneration(config), _processor2(tokens)


@family("inkling2_loop", needs=("torchvision",))
def inkling2_loop() -> tuple[Any, Any]:
    tokens = _tokens()
    text = _text(
        tokens,
        num_hidden_layers=3,
        layer_types=["hybrid_sliding", "hybrid_sliding", "hybrid"],
        n_layers_per_attn_res_block=1,
        loop_layer_index_start=1,
        loop_layer_index_end=2,
        loop_num_passes=2,
        loop_gate_rank=4,
    )
    config = hf.Inkling2LoopConfig(
        text_config=text,
        vision_config={"model_type": "inkling2_vision", **_tower2()},
        image_token_id=tokens.image_token_id,
    )
    return hf.Inkling2LoopForConditionalGeneration(config), _processor2(tokens)
