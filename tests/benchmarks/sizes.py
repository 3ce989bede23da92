"""Models of real sizes with random weights, from no hub: 1B to 13B.

LLaVA-1.5 of 7B and 13B, a LLaVA of 1B, and Qwen2.5-VL of 3B and 7B.

Weights are drawn on the device, in bfloat16. Their vocabularies are the real ones in size; the
tokenizer is that of the miniatures, which knows five hundred of the tokens. Qwen's own processor
needs torchvision for its video half, so here its image processor and a tokenizer are joined by what
that processor does for an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers as hf
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from bbtvp.zoo.families import LLAVA_CHAT, tokenizer

QUESTION = "what digit is this?"


class QwenProcessor:
    """What Qwen2.5-VL's processor does for one image and one text. side: an image's longest side,
    in pixels.
    """

    chat_template = None

    def __init__(self, side: int) -> None:
        self.image_processor = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=side * side)
        self.tokenizer = tokenizer("<vision>", "</vision>", "<video>")
        self.image_token = self.tokenizer.image_token

    def __call__(self, images: Any, text: Sequence[str], **options: Any) -> dict[str, Any]:
        """input_ids, attention_mask, mm_token_type_ids (1 where a token stands for the image), and
        the images'.
        """
        seen = self.image_processor(images, return_tensors="pt")
        merged = seen["image_grid_thw"].prod(-1) // self.image_processor.merge_size**2
        texts = [
            t.replace(self.image_token, f"<vision>{self.image_token * int(n)}</vision>")
            for t, n in zip(text, merged, strict=True)
        ]
        written = self.tokenizer(texts, **options)
        kinds = (written["input_ids"] == self.tokenizer.image_token_id).int()
        return {
            **seen,
            **{key: written[key] for key in ("input_ids", "attention_mask")},
            "mm_token_type_ids": kinds,
        }


def _ids(tok: Any) -> dict[str, int]:
    return {
        "pad_token_id": tok.pad_token_id,
        "bos_token_id": tok.bos_token_id,
        "eos_token_id": tok.eos_token_id,
    }


def llava_7b(layers: int | None = None) -> tuple[Any, Any]:
    """Configuration and processor: CLIP ViT-L/14 at 336 px, 576 image tokens, Llama of 32 layers
    4,096 wide.
    """
    return llava(layers or 24, depth=layers or 32, width=4096, inner=11008, heads=32)


def llava_13b(layers: int | None = None) -> tuple[Any, Any]:
    """Configuration and processor: the same tower, Llama of 40 layers 5,120 wide."""
    return llava(layers or 24, depth=layers or 40, width=5120, inner=13824, heads=40)


def llava_1b(layers: int | None = None) -> tuple[Any, Any]:
    """Configuration and processor: the same tower, TinyLlama's 22 layers 2,048 wide."""
    return llava(layers or 24, depth=layers or 22, width=2048, inner=5632, heads=32, groups=4)


def llava(
    tower: int, *, depth: int, width: int, inner: int, heads: int, groups: int | None = None
) -> tuple[Any, Any]:
    """A LLaVA-1.5 of any size, with the processor that goes with it.

    tower, depth: layers of the tower and of the language model. width, inner: of its layers and of
    their hidden layers. heads, groups: of queries, and of keys and values.
    """
    tok = tokenizer()
    vision = hf.CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=tower,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    text = hf.LlamaConfig(
        vocab_size=32064,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=groups or heads,
        max_position_embeddings=4096,
        **_ids(tok),
    )
    config = hf.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tok.image_token_id,
        image_seq_length=576,
    )
    images = hf.CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    processor = hf.LlavaProcessor(
        image_processor=images,
        tokenizer=tok,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT,
    )
    return config, processor


def qwen_3b(layers: int | None = None) -> tuple[Any, Any]:
    """Configuration and processor: a vision tower of 32 layers, 36 layers 2,048 wide, at 448 px 256
    image tokens.
    """
    text = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": layers or 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "mrope_section": [16, 24, 24],
    }
    return qwen(text, qwen_tower(layers), side=448)


def qwen_7b(layers: int | None = None) -> tuple[Any, Any]:
    """Configuration and processor: the same tower, 28 layers 3,584 wide."""
    text = {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": layers or 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "mrope_section": [16, 24, 24],
    }
    return qwen(text, qwen_tower(layers), side=448)


def qwen_tower(layers: int | None) -> dict[str, Any]:
    """The vision settings of Qwen2.5-VL, which all its sizes share."""
    return {
        "depth": layers or 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }


def qwen(text: dict[str, Any], vision: dict[str, Any], side: int) -> tuple[Any, Any]:
    """A Qwen2.5-VL of any size, with the processor that goes with it."""
    processor = QwenProcessor(side)
    tok = processor.tokenizer
    text = {**text, **_ids(tok)}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": text.pop("mrope_section")}
    marks = {
        name: tok.convert_tokens_to_ids(token)
        for name, token in {
            "image_token_id": "<image>",
            "video_token_id": "<video>",
            "vision_start_token_id": "<vision>",
            "vision_end_token_id": "</vision>",
        }.items()
    }
    config = hf.Qwen2_5_VLConfig(
        text_config=text | {"rope_parameters": rope, "max_position_embeddings": 32768},
        vision_config=vision | {"out_hidden_size": text["hidden_size"]},
        tie_word_embeddings=True,
        **marks,
    )
    return config, processor


SIZES = {
    "llava-1b": llava_1b,
    "qwen-3b": qwen_3b,
    "llava-7b": llava_7b,
    "qwen-7b": qwen_7b,
    "llava-13b": llava_13b,
}


def drawn(config: Any, device: str, dtype: torch.dtype) -> Any:
    """A model with random weights, made where it will run."""
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        return hf.AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()
