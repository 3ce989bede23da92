"""LLaVA and those that follow it: a vision tower, a projector, a decoder."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

LLAVA_CHAT = kit.chat("<image>\n", end="", reply=" ASSISTANT:")


@family("llava")
def llava() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named={"image_token": "<image>"}, begins=True)
    config = hf.LlavaConfig(
        vision_config=kit.clip(),
        text_config=kit.text(tokens, "llama"),
        image_token_index=tokens.image_token_id,
        vision_feature_layer=-2,
    )
    processor = hf.LlavaProcessor(
        image_processor=kit.clip_images(),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT,
    )
    return hf.LlavaForConditionalGeneration(config), processor
