"""LLaVA and those that follow it: a vision tower, a projector, a decoder."""

from __future__ import annotations

from typing import Any

import transformers as hf
from tokenizers import Tokenizer, models, normalizers, processors, trainers

from tests.families import kit, mistral
from tests.families.kit import family

PLACE = {"image_token": "<image>"}
PLACES = {**PLACE, "video_token": "<video>"}
TILES = [[56, 112], [112, 56], [112, 112]]
VICUNA = kit.chat("<image>\n", end="", reply=" ASSISTANT:")


def _tiled() -> Any:
    return kit.pil(
        "LlavaNextImageProcessor",
        size={"shortest_edge": 56},
        crop_size=kit.square(),
        image_grid_pinpoints=TILES,
    )


def _llava(tokens: Any) -> tuple[Any, Any]:
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
        chat_template=VICUNA,
    )
    return hf.LlavaForConditionalGeneration(config), processor


@family("llava")
def llava() -> tuple[Any, Any]:
    return _llava(kit.tokenizer(named=PLACE, begins=True))


def _llama2_tokens() -> Any:
    """Return a tokenizer of Llama 2's kind: each text begins with a space that it did not have."""
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    core.train_from_iterator(kit.WORDS * 20, trainer)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        padding_side="left",
        extra_special_tokens=PLACE,
    )


@family("llava", "Llama 2's tokenizer")
def llava_llama2() -> tuple[Any, Any]:
    return _llava(_llama2_tokens())


@family("llava", "Pixtral")
def llava_pixtral() -> tuple[Any, Any]:
    tokens = kit.tokenizer(*mistral.MARKS, named={"image_token": "[IMG]"}, begins=True)
    config = hf.LlavaConfig(
        vision_config=mistral.PIXTRAL,
        text_config=kit.text(tokens, "mistral"),
        image_token_index=tokens.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    processor = mistral.Processor(
        image_processor=mistral.images(kit.PATCH),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        chat_template=mistral.TEMPLATE,
    )
    return hf.LlavaForConditionalGeneration(config), processor


@family("llava_next")
def llava_next() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named=PLACE, begins=True)
    config = hf.LlavaNextConfig(
        vision_config=kit.clip(),
        text_config=kit.text(tokens, "mistral"),
        image_token_index=tokens.image_token_id,
        image_grid_pinpoints=TILES,
        vision_feature_layer=-2,
    )
    processor = hf.LlavaNextProcessor(
        image_processor=_tiled(),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=kit.chat("<image>\n", "[INST] ", " [/INST]", ""),
    )
    return hf.LlavaNextForConditionalGeneration(config), processor


@family("llava_next_video")
def llava_next_video() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named=PLACES, begins=True)
    config = hf.LlavaNextVideoConfig(
        vision_config=kit.clip(),
        text_config=kit.text(tokens, "llama"),
        image_token_index=tokens.image_token_id,
        video_token_index=tokens.video_token_id,
        image_grid_pinpoints=TILES,
        vision_feature_layer=-2,
    )
    processor = kit.processor(
        hf.LlavaNextVideoProcessor,
        image_processor=_tiled(),
        video_processor=kit.video("LlavaNextVideoVideoProcessor"),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=VICUNA,
    )
    return hf.LlavaNextVideoForConditionalGeneration(config), processor


@family("llava_onevision")
def llava_onevision() -> tuple[Any, Any]:
    tokens = kit.tokenizer("<|im_start|>", "<|im_end|>", named=PLACES)
    tiles = [[56, 56], *TILES]
    config = hf.LlavaOnevisionConfig(
        vision_config=kit.siglip(),
        text_config=kit.text(tokens, "qwen2"),
        image_token_index=tokens.image_token_id,
        video_token_index=tokens.video_token_id,
        image_grid_pinpoints=tiles,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    processor = kit.processor(
        hf.LlavaOnevisionProcessor,
        image_processor=kit.pil(
            "LlavaOnevisionImageProcessor", size=kit.square(), image_grid_pinpoints=tiles
        ),
        video_processor=kit.video("LlavaOnevisionVideoProcessor"),
        tokenizer=tokens,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=kit.chat("<image>\n", **kit.CHATML),
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


@family("vipllava")
def vipllava() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named=PLACE, begins=True)
    config = hf.VipLlavaConfig(
        vision_config=kit.clip(),
        text_config=kit.text(tokens, "llama"),
        image_token_index=tokens.image_token_id,
        vision_feature_layers=[-2, -1],
    )
    processor = hf.LlavaProcessor(
        image_processor=kit.clip_images(),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=kit.chat("<image>\n", "###Human: ", "", "###Assistant:"),
    )
    return hf.VipLlavaForConditionalGeneration(config), processor


@family("video_llava")
def video_llava() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named=PLACES, begins=True)
    config = hf.VideoLlavaConfig(
        vision_config=kit.clip(),
        text_config=kit.text(tokens, "llama"),
        image_token_index=tokens.image_token_id,
        video_token_index=tokens.video_token_id,
        vision_feature_layer=-2,
    )
    processor = kit.processor(
        hf.VideoLlavaProcessor,
        image_processor=hf.VideoLlavaImageProcessor(
            size={"shortest_edge": 56}, crop_size=kit.square()
        ),
        video_processor=kit.video("VideoLlavaVideoProcessor"),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        vision_feature_select_strategy="default",
        chat_template=kit.chat("<image>", end="", reply=" ASSISTANT:"),
    )
    return hf.VideoLlavaForConditionalGeneration(config), processor
