"""Microsoft's Kosmos families and UDOP."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.captioners import question_alone
from tests.families.kit import family

LATENTS = 64
"""The number of an image's tokens; Kosmos-2's processor writes no other."""


def _text(tokens: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokens),
        "embed_dim": kit.WIDTH,
        "layers": kit.LAYERS,
        "ffn_dim": 128,
        "attention_heads": 4,
        "max_position_embeddings": 512,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "layerdrop": 0.0,
        **kit.special_ids(tokens),
    }


@family("kosmos-2", ask=question_alone)
def kosmos2() -> tuple[Any, Any]:
    # Kosmos-2's tokenizer has these ids, and its processor counts on them.
    first = ("<s>", "<pad>", "</s>", "<unk>")
    tokens = kit.tokenizer(first=first, side="right", begins=True)
    processor = hf.Kosmos2Processor(kit.clip_images(), tokens, LATENTS)
    config = hf.Kosmos2Config(
        text_config=_text(processor.tokenizer),
        vision_config=kit.without(kit.clip(), "projection_dim", "model_type"),
        latent_query_num=LATENTS,
    )
    return hf.Kosmos2ForConditionalGeneration(config), processor


@family("kosmos-2.5", ask=question_alone)
def kosmos2_5() -> tuple[Any, Any]:
    named = {"boi_token": "<image>", "eoi_token": "</image>", "image_token": "<s>"}
    tokens = kit.tokenizer(named=named)
    images = kit.pil("Kosmos2_5ImageProcessor", max_patches=64, patch_size=kit.square(16))
    vision = {
        "hidden_size": kit.IMAGE_WIDTH,
        "patch_embed_hidden_size": 3 * 16 * 16,
        "intermediate_size": 64,
        "head_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "max_num_patches": 4096,
    }
    config = hf.Kosmos2_5Config(
        text_config=_text(tokens), vision_config=vision, latent_query_num=LATENTS
    )
    processor = hf.Kosmos2_5Processor(images, tokens, LATENTS)
    return hf.Kosmos2_5ForConditionalGeneration(config), processor


@family("udop", ask=question_alone)
def udop() -> tuple[Any, Any]:
    tokens = kit.tokenizer(side="right")
    config = hf.UdopConfig(
        vocab_size=len(tokens),
        d_model=kit.WIDTH,
        d_kv=16,
        d_ff=96,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        image_size=32,
        patch_size=16,
        max_2d_position_embeddings=64,
        decoder_start_token_id=tokens.pad_token_id,
        **kit.special_ids(tokens),
    )
    images = kit.pil("LayoutLMv3ImageProcessor", size=kit.square(32), apply_ocr=False)
    processor = hf.UdopProcessor(image_processor=images, tokenizer=tokens)
    return hf.UdopForConditionalGeneration(config), processor
