"""Q-Formers and captioners: BLIP-2 and kin, mostly without a chat template."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

TOWER = kit.tower()
QFORMER = {
    "hidden_size": kit.IMAGE_WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "encoder_hidden_size": kit.IMAGE_WIDTH,
    "cross_attention_frequency": 1,
    "max_position_embeddings": 256,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
QUERIES = 4


def question_alone(processor: Any, image: Any, question: str) -> Any:
    """As the documentation of most captioners asks."""
    return processor(images=image, text=question, return_tensors="pt")


def blip_images() -> Any:
    return kit.pil("BlipImageProcessor", size=kit.square())


def opt(tokens: Any) -> dict[str, Any]:
    return {
        "model_type": "opt",
        "vocab_size": len(tokens),
        "hidden_size": kit.WIDTH,
        "word_embed_proj_dim": kit.WIDTH,
        "ffn_dim": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "dropout": 0.0,
        **kit.special_ids(tokens),
    }


def t5(tokens: Any) -> dict[str, Any]:
    return {
        "model_type": "t5",
        "vocab_size": len(tokens),
        "d_model": kit.WIDTH,
        "d_kv": 16,
        "d_ff": 96,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "dropout_rate": 0.0,
        **kit.special_ids(tokens),
        "decoder_start_token_id": tokens.pad_token_id,
    }


def blip2(text_config: Any) -> tuple[Any, Any]:
    processor = hf.Blip2Processor(
        image_processor=blip_images(), tokenizer=kit.tokenizer(), num_query_tokens=QUERIES
    )
    tokens = processor.tokenizer  # the processor has added the image's token
    config = hf.Blip2Config(
        vision_config=TOWER,
        qformer_config=QFORMER,
        text_config=text_config(tokens),
        num_query_tokens=QUERIES,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )
    return hf.Blip2ForConditionalGeneration(config), processor


@family("blip-2", "OPT", ask=question_alone)
def blip2_opt() -> tuple[Any, Any]:
    return blip2(opt)


@family("blip-2", "T5", ask=question_alone)
def blip2_t5() -> tuple[Any, Any]:
    return blip2(t5)
