"""Idefics and SmolVLM: images cut into tiles, or read through cross-attention."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.captioners import question_alone
from tests.families.kit import family

TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
TURNS = {"user": "User:", "end": "<end_of_utterance>\n", "reply": "Assistant:"}
QUERIES = 4


@family("idefics", ask=question_alone)
def idefics() -> tuple[Any, Any]:
    tokens = kit.tokenizer("<end_of_utterance>", begins=True)
    vocabulary = len(tokens)
    # The published tokenizers have these last, in an embedding of their own.
    tokens.add_tokens(["<fake_token_around_image>", "<image>"], special_tokens=True)
    text = kit.without(kit.text(tokens), "head_dim", "num_key_value_heads")
    config = hf.IdeficsConfig(
        **{**text, "vocab_size": vocabulary},
        additional_vocab_size=len(tokens) - vocabulary,
        cross_layer_interval=1,
        vision_config={**kit.tower(), "embed_dim": kit.IMAGE_WIDTH},
        use_resampler=True,
        perceiver_config={
            "resampler_n_latents": QUERIES,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 16,
        },
    )
    processor = hf.IdeficsProcessor(
        image_processor=kit.pil("IdeficsImageProcessor", image_size=kit.SIDE), tokenizer=tokens
    )
    return hf.IdeficsForVisionText2Text(config), processor


@family("idefics2")
def idefics2() -> tuple[Any, Any]:
    tokens = kit.tokenizer(
        "<fake_token_around_image>", "<end_of_utterance>", "<image>", begins=True
    )
    processor = hf.Idefics2Processor(
        image_processor=kit.pil(
            "Idefics2ImageProcessor",
            size={"shortest_edge": kit.SIDE, "longest_edge": 112},
            do_image_splitting=True,
        ),
        tokenizer=tokens,
        image_seq_len=QUERIES,
        chat_template=kit.chat("<image>", **TURNS),
    )
    perceiver = {
        "hidden_size": kit.WIDTH,
        "resampler_n_latents": QUERIES,
        "resampler_depth": 1,
        "resampler_n_heads": 4,
        "resampler_head_dim": 16,
        "num_key_value_heads": 2,
    }
    config = hf.Idefics2Config(
        vision_config=kit.tower(image_size=112),
        perceiver_config=perceiver,
        text_config=kit.text(tokens, "mistral"),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
    )
    return hf.Idefics2ForConditionalGeneration(config), processor


@family("idefics3")
def idefics3() -> tuple[Any, Any]:
    tokens = kit.tokenizer(
        "<fake_token_around_image>",
        "<end_of_utterance>",
        "<image>",
        "<global-img>",
        *TILES,
        begins=True,
    )
    processor = hf.Idefics3Processor(
        image_processor=kit.pil(
            "Idefics3ImageProcessor",
            size={"longest_edge": 112},
            max_image_size={"longest_edge": kit.SIDE},
        ),
        tokenizer=tokens,
        image_seq_len=QUERIES,
        chat_template=kit.chat("<image>", start=kit.BOS, **TURNS),
    )
    config = hf.Idefics3Config(
        vision_config=kit.tower(),
        text_config=kit.text(tokens, "llama"),
        scale_factor=2,
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
    )
    return hf.Idefics3ForConditionalGeneration(config), processor


@family("smolvlm", needs=("num2words",))
def smolvlm() -> tuple[Any, Any]:
    named = {
        "fake_image_token": "<fake_token_around_image>",
        "image_token": "<image>",
        "end_of_utterance_token": "<end_of_utterance>",
        "global_image_token": "<global-img>",
    }
    tokens = kit.tokenizer(*TILES, named=named, bos="<|im_start|>")
    processor = kit.processor(
        hf.SmolVLMProcessor,
        image_processor=kit.pil(
            "SmolVLMImageProcessor",
            size={"longest_edge": 112},
            max_image_size={"longest_edge": kit.SIDE},
        ),
        tokenizer=tokens,
        video_processor=kit.video(
            "SmolVLMVideoProcessor",
            size={"longest_edge": kit.SIDE},
            max_image_size={"longest_edge": kit.SIDE},
            num_frames=8,
            fps=1,
        ),
        image_seq_len=QUERIES,
        chat_template=kit.chat("<image>", start=kit.BOS, **TURNS),
    )
    config = hf.SmolVLMConfig(
        vision_config=kit.tower(),
        text_config=kit.text(tokens, "llama"),
        scale_factor=2,
        image_token_id=tokens.image_token_id,
    )
    return hf.SmolVLMForConditionalGeneration(config), processor
