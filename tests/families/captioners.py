"""Q-Formers and captioners: BLIP-2 and kin, mostly without a chat template."""

from __future__ import annotations

from typing import Any

import torch
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


def placeholder_first(processor: Any, image: Any, question: str) -> Any:
    """As the documentation asks where the text must hold the image's placeholder."""
    text = f"{processor.image_token}{question}"
    return processor(images=image, text=text, return_tensors="pt")


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


def caption_begun(processor: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """As BLIP's `generate` begins a caption: a BOS in the first place, no end token."""
    ids = inputs["input_ids"].clone()
    ids[:, 0] = processor.tokenizer.bos_token_id
    return {
        "pixel_values": inputs["pixel_values"],
        "input_ids": ids[:, :-1],
        "attention_mask": inputs["attention_mask"][:, :-1],
    }


def without_end(processor: Any, image: Any, question: str) -> Any:
    """As GIT's documentation asks: the [CLS] token and the question, no [SEP]."""
    tokens = processor.tokenizer
    ids = [tokens.bos_token_id, *tokens(question, add_special_tokens=False)["input_ids"]]
    inputs = processor(images=image, return_tensors="pt")
    inputs["input_ids"] = torch.tensor([ids])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs


BERT = {"bos": "[CLS]", "eos": "[SEP]", "pad": "[PAD]"}


@family("blip", ask=question_alone, read=caption_begun, before="")
def blip() -> tuple[Any, Any]:
    tokens = kit.tokenizer("[ENC]", "[DEC]", begins=True, ends=True, side="right", **BERT)
    decoder = {
        "vocab_size": len(tokens),
        "hidden_size": kit.WIDTH,
        "encoder_hidden_size": kit.IMAGE_WIDTH,
        "intermediate_size": 128,
        "projection_dim": kit.IMAGE_WIDTH,
        "num_hidden_layers": kit.LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        **kit.special_ids(tokens),
        "sep_token_id": tokens.eos_token_id,
    }
    config = hf.BlipConfig(
        vision_config={**TOWER, "projection_dim": kit.IMAGE_WIDTH}, text_config=decoder
    )
    processor = hf.BlipProcessor(image_processor=blip_images(), tokenizer=tokens)
    return hf.BlipForConditionalGeneration(config), processor


@family("git", ask=without_end)
def git() -> tuple[Any, Any]:
    tokens = kit.tokenizer(begins=True, ends=True, side="right", **BERT)
    config = hf.GitConfig(
        vision_config=kit.without(kit.clip(), "projection_dim", "model_type"),
        vocab_size=len(tokens),
        hidden_size=kit.WIDTH,
        num_hidden_layers=kit.LAYERS,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **kit.special_ids(tokens),
    )
    processor = hf.GitProcessor(image_processor=kit.clip_images(), tokenizer=tokens)
    return hf.GitForCausalLM(config), processor


@family("florence2", ask=question_alone)
def florence2() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named={"image_token": "<image>"}, begins=True, ends=True, side="right")
    tower = {
        "depths": [1, 1],
        "embed_dim": [16, 32],
        "num_heads": [2, 4],
        "num_groups": [2, 4],
        "patch_size": [7, 3],
        "patch_stride": [4, 2],
        "patch_padding": [3, 1],
        "patch_prenorm": [False, True],
        "window_size": 4,
        "projection_dim": kit.WIDTH,
        "drop_path_rate": 0.0,
        "max_position_embeddings": 50,
    }
    language = {
        "model_type": "bart",
        "vocab_size": len(tokens),
        "d_model": kit.WIDTH,
        "encoder_layers": kit.LAYERS,
        "decoder_layers": kit.LAYERS,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128,
        "max_position_embeddings": 512,
        "dropout": 0.0,
        **kit.special_ids(tokens),
        "decoder_start_token_id": tokens.eos_token_id,
        "forced_bos_token_id": tokens.bos_token_id,
    }
    config = hf.Florence2Config(
        vision_config=tower,
        text_config=language,
        image_token_id=tokens.image_token_id,
        is_encoder_decoder=True,
    )
    images = kit.clip_images(64)
    images.image_seq_length = 65
    processor = hf.Florence2Processor(image_processor=images, tokenizer=tokens)
    return hf.Florence2ForConditionalGeneration(config), processor
