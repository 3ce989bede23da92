"""MiniCPM's families: an overview of the image, then slices of it."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit, qwen
from tests.families.kit import family

NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}
LARGEST = 112


def _tokens() -> Any:
    return kit.tokenizer("<|im_start|>", "<|im_end|>", named=NAMED)


def _config(cls: Any, tokens: Any, **more: Any) -> Any:
    return cls(
        text_config={"model_type": "qwen3_5_text", **qwen.hybrid(tokens)},
        vision_config=kit.tower(image_size=LARGEST, insert_layer_id=0),
        insert_layer_id=0,
        **kit.ids(tokens, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
        **more,
    )


def _processor(cls: Any, tokens: Any, images: Any, video: str) -> Any:
    return kit.processor(
        cls,
        image_processor=images,
        video_processor=kit.video(video, slice_mode=True, downsample_mode="16x"),
        tokenizer=tokens,
        chat_template=kit.chat("<|image_pad|>\n", **kit.CHATML),
    )


@family("minicpmv4_6")
def minicpmv4_6() -> tuple[Any, Any]:
    tokens = _tokens()
    config = _config(hf.MiniCPMV4_6Config, tokens, image_size=LARGEST, patch_size=kit.PATCH)
    images = kit.pil("MiniCPMV4_6ImageProcessor", scale_resolution=kit.SIDE, patch_size=kit.PATCH)
    processor = _processor(hf.MiniCPMV4_6Processor, tokens, images, "MiniCPMV4_6VideoProcessor")
    return hf.MiniCPMV4_6ForConditionalGeneration(config), processor


@family("minicpmv4_7")
def minicpmv4_7() -> tuple[Any, Any]:
    tokens = _tokens()
    marks = kit.ids(
        tokens,
        image_start_id="<image>",
        image_end_id="</image>",
        slice_start_id="<slice>",
        slice_end_id="</slice>",
        newline_id="\u010a",  # how a byte-level tokenizer writes a line feed
    )
    config = _config(hf.MiniCPMV4_7Config, tokens, image_size=LARGEST, **marks)
    images = kit.pil("MiniCPMV4_6ImageProcessor", scale_resolution=kit.SIDE, patch_size=kit.PATCH)
    processor = _processor(hf.MiniCPMV4_7Processor, tokens, images, "MiniCPMV4_6VideoProcessor")
    return hf.MiniCPMV4_7ForConditionalGeneration(config), processor


@family("minicpm_ocr", needs=("torchvision",))
def minicpm_ocr() -> tuple[Any, Any]:
    tokens = _tokens()
    config = _config(hf.MiniCPMOcrConfig, tokens)
    images = kit.torchvision_only(
        "MiniCPMOcrImageProcessor",
        scale_resolution=kit.SIDE,
        patch_size=kit.PATCH,
        slice_mode=True,
        use_image_id=True,
        downsample_mode="4x",
    )
    processor = _processor(hf.MiniCPMOcrProcessor, tokens, images, "MiniCPMOcrVideoProcessor")
    return hf.MiniCPMOcrForConditionalGeneration(config), processor
