"""Families that read an image as discrete tokens of the language model's own vocabulary."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.captioners import placeholder_first
from tests.families.kit import family

QUANTIZER = {
    "embed_dim": 16,
    "latent_channels": 16,
    "in_channels": 3,
    "base_channels": 32,
    "num_res_blocks": 1,
    "attn_resolutions": [],
}
CODES = 64


@family("chameleon", ask=placeholder_first, before="")
def chameleon() -> tuple[Any, Any]:
    """Its processor ends a prompt with a separator."""
    letters = "ABCDEFGH"
    codes = [f"IMGIMG{one}{other}Z" for one in letters for other in letters]
    named = {
        "image_token": "<image>",
        "boi_token": "<racm3:break>",
        "eoi_token": "<eoss>",
        "sep_token": "<reserved08706>",
    }
    tokens = kit.tokenizer(*codes, named=named, begins=True)
    config = hf.ChameleonConfig(
        **kit.text(tokens),
        vq_config={
            **QUANTIZER,
            "num_embeddings": CODES,
            "double_latent": False,
            "resolution": 64,
            "channel_multiplier": [1, 1, 2],
            "dropout": 0.0,
        },
        vocabulary_map=tokens.get_vocab(),
        image_token_id=tokens.image_token_id,
    )
    processor = hf.ChameleonProcessor(
        image_processor=kit.pil(
            "ChameleonImageProcessor", size={"shortest_edge": 64}, crop_size=kit.square(64)
        ),
        tokenizer=tokens,
        image_seq_length=256,
        image_token="<image>",
    )
    return hf.ChameleonForConditionalGeneration(config), processor


@family("emu3")
def emu3() -> tuple[Any, Any]:
    codes = [f"<|visual token {code:06d}|>" for code in range(CODES)]
    named = {
        "image_token": "<image>",
        "boi_token": "<|image start|>",
        "eoi_token": "<|image end|>",
        "image_wrapper_token": "<|image token|>",
        "eof_token": "<|extra_201|>",
    }
    tokens = kit.tokenizer(*codes, "<|extra_200|>", named=named, begins=True)
    config = hf.Emu3Config(
        text_config=kit.text(tokens, "emu3_text_model"),
        vq_config={
            **QUANTIZER,
            "codebook_size": CODES,
            "double_latent": False,
            "out_channels": 3,
            "temporal_downsample_factor": 1,
            "channel_multiplier": [1, 1, 2, 2],
            "hidden_size": kit.WIDTH,
            "num_attention_heads": 1,
        },
        vocabulary_map=dict(tokens.get_vocab()),
    )
    processor = hf.Emu3Processor(
        image_processor=hf.Emu3ImageProcessor(min_pixels=64 * 64, max_pixels=128 * 128),
        tokenizer=tokens,
        chat_template=kit.chat("<image>", "User: ", " ", "Assistant:"),
    )
    return hf.Emu3ForConditionalGeneration(config), processor


@family("apertus1p5", needs=("torchvision",))
def apertus() -> tuple[Any, Any]:
    images = [f"<|visual token {code:06d}|>" for code in range(CODES)]
    sounds = [f"<|audio token {code:06d}|>" for code in range(CODES)]
    named = {
        "image_token": "<|image|>",
        "audio_token": "<|audio|>",
        "boi_token": "<|img_start|>",
        "eoi_token": "<|img_end|>",
        "image_wrapper_token": "<|img_token|>",
        "eol_token": "<|img_eol|>",
        "boa_token": "<|audio_start|>",
        "eoa_token": "<|audio_end|>",
    }
    tokens = kit.tokenizer(*images, *sounds, named=named, begins=True)
    config = hf.Apertus1p5Config(
        text_config=kit.without(kit.text(tokens), "head_dim"),
        vision_config={
            **QUANTIZER,
            "codebook_size": CODES,
            "channel_multiplier": [1, 1, 1, 1, 1],
            "resolution": 64,
        },
        audio_config={
            "model_type": "wavtokenizer_encoder",
            "codebook_size": CODES,
        },
        image_token_id=tokens.image_token_id,
        audio_token_id=tokens.audio_token_id,
        image_token_offset=tokens.convert_tokens_to_ids(images[0]),
        audio_token_offset=tokens.convert_tokens_to_ids(sounds[0]),
    )
    processor = kit.processor(
        hf.Apertus1p5Processor,
        image_processor=kit.torchvision_only(
            "Apertus1p5ImageProcessor", size={"min_pixels": 64 * 64, "max_pixels": 128 * 128}
        ),
        feature_extractor=hf.WavTokenizerFeatureExtractor(),
        tokenizer=tokens,
        chat_template=kit.chat("<|image|>", "User: ", "\n", "Assistant:", kit.BOS),
    )
    return hf.Apertus1p5ForConditionalGeneration(config), processor
