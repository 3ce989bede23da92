"""PaliGemma, and Gemma's families that come after it in the alphabet."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

GEMMA3 = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
TOKENS_PER_IMAGE = 4


def _placeholder(processor: Any, image: Any, question: str) -> Any:
    """As PaliGemma's documentation asks."""
    return processor(images=image, text=f"<image>{question}", return_tensors="pt")


def _gemma_tokens() -> Any:
    return kit.tokenizer(
        "<start_of_turn>", "<end_of_turn>", named=GEMMA3, begins=True, bos="<bos>", eos="<eos>"
    )


def _gemma3(tokens: Any) -> dict[str, Any]:
    return kit.text(
        tokens,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=16,
    )


def _gemma3_ids(tokens: Any) -> dict[str, int]:
    return kit.ids(
        tokens,
        image_token_index="<image_soft_token>",
        boi_token_index="<start_of_image>",
        eoi_token_index="<end_of_image>",
    )


def _gemma3_images() -> Any:
    return kit.pil("Gemma3ImageProcessor", size=kit.square())


def _paligemma(text: dict[str, Any], tokens: Any) -> Any:
    return hf.PaliGemmaConfig(
        vision_config=kit.siglip(projection_dim=kit.WIDTH),
        text_config=text,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        projection_dim=kit.WIDTH,
        hidden_size=kit.WIDTH,
    )


def _paligemma_processor() -> Any:
    tokens = kit.tokenizer(named={"image_token": "<image>"}, begins=True)
    images = kit.siglip_images()
    images.image_seq_length = (kit.SIDE // kit.PATCH) ** 2
    return hf.PaliGemmaProcessor(image_processor=images, tokenizer=tokens)


@family("paligemma", ask=_placeholder, before="", grow={"token_type_ids": 1})
def paligemma() -> tuple[Any, Any]:
    processor = _paligemma_processor()
    tokens = processor.tokenizer  # with the 1,152 tokens of places that the processor adds
    config = _paligemma(kit.text(tokens, "gemma"), tokens)
    return hf.PaliGemmaForConditionalGeneration(config), processor


@family("paligemma", "2", ask=_placeholder, before="", grow={"token_type_ids": 1})
def paligemma2() -> tuple[Any, Any]:
    processor = _paligemma_processor()
    tokens = processor.tokenizer
    text = kit.text(tokens, "gemma2", sliding_window=16, query_pre_attn_scalar=16)
    return hf.PaliGemmaForConditionalGeneration(_paligemma(text, tokens)), processor


@family("shieldgemma2")
def shieldgemma2() -> tuple[Any, Any]:
    tokens = _gemma_tokens()
    config = hf.ShieldGemma2Config(
        vision_config=kit.siglip(),
        text_config=_gemma3(tokens),
        mm_tokens_per_image=TOKENS_PER_IMAGE,
        **_gemma3_ids(tokens),
    )
    processor = hf.ShieldGemma2Processor(
        image_processor=_gemma3_images(),
        tokenizer=tokens,
        image_seq_length=TOKENS_PER_IMAGE,
        chat_template=kit.chat(
            "<start_of_image>",
            "<start_of_turn>user\n",
            "<end_of_turn>\n",
            "<start_of_turn>model\n",
            kit.BOS,
        ),
    )
    return hf.Gemma3ForConditionalGeneration(config), processor


def _start_of_image(processor: Any, image: Any, question: str) -> Any:
    """As T5Gemma 2's documentation asks."""
    return processor(images=image, text=f"<start_of_image>{question}", return_tensors="pt")


@family("t5gemma2", ask=_start_of_image)
def t5gemma2() -> tuple[Any, Any]:
    tokens = _gemma_tokens()
    encoder = {
        "text_config": _gemma3(tokens),
        "vision_config": kit.siglip(),
        "mm_tokens_per_image": TOKENS_PER_IMAGE,
        **_gemma3_ids(tokens),
    }
    config = hf.T5Gemma2Config(
        encoder=encoder,
        decoder=_gemma3(tokens),
        image_token_index=tokens.convert_tokens_to_ids("<image_soft_token>"),
    )
    processor = hf.Gemma3Processor(
        image_processor=_gemma3_images(), tokenizer=tokens, image_seq_length=TOKENS_PER_IMAGE
    )
    return hf.T5Gemma2ForConditionalGeneration(config), processor


@family("pi0", needs=("torchvision",))
def pi0() -> tuple[Any, Any]:
    images = kit.torchvision_only(
        "PI0ImageProcessor",
        size={"max_height": kit.SIDE, "max_width": kit.SIDE},
        pad_size=kit.square(),
        image_seq_length=(kit.SIDE // kit.PATCH) ** 2,
    )
    processor = kit.processor(
        hf.PI0Processor,
        image_processor=images,
        tokenizer=kit.tokenizer(named={"image_token": "<image>"}, begins=True),
    )
    tokens = processor.tokenizer
    config = hf.PI0Config(
        vlm_config=_paligemma(kit.text(tokens, "gemma"), tokens).to_dict(),
        dit_config=kit.text(tokens, "gemma", hidden_size=32),
        chunk_size=4,
        num_inference_steps=2,
    )
    return hf.PI0ForConditionalGeneration(config), processor
