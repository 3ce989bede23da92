"""InternVL and those that cut an image into square tiles as it does."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

TURNS = ("<|im_start|>", "<|im_end|>")
NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
}
TOKENS_PER_TILE = 4


def _tiles(name: str = "GotOcr2ImageProcessor") -> Any:
    return kit.pil(name, size=kit.square(), crop_to_patches=True, max_patches=4)


def _tower(**more: Any) -> dict[str, Any]:
    return kit.tower(image_size=[kit.SIDE, kit.SIDE], patch_size=[kit.PATCH, kit.PATCH], **more)


@family("internvl")
def internvl() -> tuple[Any, Any]:
    tokens = kit.tokenizer(*TURNS, named={**NAMED, "video_token": "<video>"})
    config = hf.InternVLConfig(
        vision_config=_tower(),
        text_config=kit.text(tokens, "qwen2"),
        image_token_id=tokens.context_image_token_id,
        image_seq_length=TOKENS_PER_TILE,
        downsample_ratio=0.5,
    )
    processor = kit.processor(
        hf.InternVLProcessor,
        image_processor=_tiles(),
        tokenizer=tokens,
        video_processor=kit.video("InternVLVideoProcessor", size=kit.square()),
        image_seq_length=TOKENS_PER_TILE,
        chat_template=kit.chat("<IMG_CONTEXT>\n", **kit.CHATML),
    )
    return hf.InternVLForConditionalGeneration(config), processor


@family("qianfan_ocr")
def qianfan_ocr() -> tuple[Any, Any]:
    tokens = kit.tokenizer(*TURNS, "<image>", named=NAMED)
    config = hf.QianfanOCRConfig(
        vision_config=_tower(drop_path_rate=0.0),
        text_config=kit.text(tokens, "qwen3"),
        image_token_id=tokens.context_image_token_id,
        image_seq_length=TOKENS_PER_TILE,
    )
    processor = hf.QianfanOCRProcessor(
        image_processor=_tiles(),
        tokenizer=tokens,
        image_seq_length=TOKENS_PER_TILE,
        chat_template=kit.chat("<image>\n", **kit.CHATML),
    )
    return hf.QianfanOCRForConditionalGeneration(config), processor


@family("ovis2")
def ovis2() -> tuple[Any, Any]:
    indicators = ("<img>", "<pre>", "<col>", "<row>", "</img>")
    tokens = kit.tokenizer(*TURNS, "<IMG_ATOM>", *indicators, named={"image_token": "<image>"})
    config = hf.Ovis2Config(
        vision_config=kit.tower(
            hidden_stride=2, vocab_size=64, num_visual_indicator_tokens=len(indicators)
        ),
        text_config=kit.text(tokens, "qwen2"),
        image_token_id=tokens.convert_tokens_to_ids("<IMG_ATOM>"),
        visual_indicator_token_ids=tokens.convert_tokens_to_ids(list(indicators)),
        vocab_size=len(tokens),
        hidden_size=kit.WIDTH,
    )
    processor = hf.Ovis2Processor(
        image_processor=_tiles("Ovis2ImageProcessor"),
        tokenizer=tokens,
        image_token="<image>",
        image_seq_length=TOKENS_PER_TILE,
        chat_template=kit.chat("<image>\n", **kit.CHATML),
    )
    return hf.Ovis2ForConditionalGeneration(config), processor
