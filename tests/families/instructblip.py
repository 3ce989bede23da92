"""InstructBLIP: a Q-Former that reads the question too, with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as hf

from tests.families import captioners, kit
from tests.families.captioners import question_alone
from tests.families.kit import family

QFORMER = {**captioners.QFORMER, "vocab_size": 500}


def _parts() -> dict[str, Any]:
    return {
        "tokenizer": kit.tokenizer(),
        "qformer_tokenizer": kit.tokenizer(),
        "num_query_tokens": captioners.QUERIES,
    }


def _settings(text: dict[str, Any]) -> dict[str, Any]:
    return {
        "vision_config": captioners.TOWER,
        "qformer_config": QFORMER,
        "text_config": text,
        "num_query_tokens": captioners.QUERIES,
    }


def _instructblip(text: Callable[[Any], dict[str, Any]]) -> tuple[Any, Any]:
    processor = hf.InstructBlipProcessor(image_processor=captioners.blip_images(), **_parts())
    tokens = processor.tokenizer  # the processor has added the image's token
    config = hf.InstructBlipConfig(
        **_settings(text(tokens)), image_token_index=tokens.convert_tokens_to_ids("<image>")
    )
    return hf.InstructBlipForConditionalGeneration(config), processor


@family("instructblip", "Vicuna", ask=question_alone)
def instructblip_llama() -> tuple[Any, Any]:
    return _instructblip(lambda tokens: kit.text(tokens, "llama"))


@family("instructblip", "T5", ask=question_alone)
def instructblip_t5() -> tuple[Any, Any]:
    return _instructblip(captioners.t5)


@family("instructblipvideo", ask=question_alone)
def instructblipvideo() -> tuple[Any, Any]:
    """It reads frames of a video, by a video processor, and has no image processor."""
    video = kit.video("InstructBlipVideoVideoProcessor", size=kit.square())
    processor = kit.processor(hf.InstructBlipVideoProcessor, video_processor=video, **_parts())
    tokens = processor.tokenizer
    config = hf.InstructBlipVideoConfig(
        **_settings(kit.text(tokens, "llama")),
        video_token_index=tokens.convert_tokens_to_ids("<video>"),
    )
    return hf.InstructBlipVideoForConditionalGeneration(config), processor
