"""Google's Gemma families: sliding windows, images read in both directions."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

WINDOWS = ["sliding_attention", "full_attention"]
ENDS = {"bos": "<bos>", "eos": "<eos>"}
IMAGE = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
IMAGE4 = {
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}
CHAT4 = kit.chat("<|image|>", "<|turn>user\n", "<turn|>\n", "<|turn>model\n", kit.BOS)
SOFT_TOKENS = 70
"""The fewest that Gemma 4's image processor allows."""


def tokens3(**named: str) -> Any:
    marks = ("<start_of_turn>", "<end_of_turn>")
    return kit.tokenizer(*marks, named={**IMAGE, **named}, begins=True, **ENDS)


def tokens4() -> Any:
    return kit.tokenizer("<|turn>", "<turn|>", "<|video|>", named=IMAGE4, begins=True, **ENDS)


def chat3(image: str = "<start_of_image>") -> str:
    reply = "<start_of_turn>model\n"
    return kit.chat(image, "<start_of_turn>user\n", "<end_of_turn>\n", reply, kit.BOS)


def text(tokens: Any, **more: Any) -> dict[str, Any]:
    return kit.text(tokens, sliding_window=16, layer_types=WINDOWS, **more)


def ids4(tokens: Any) -> dict[str, int]:
    return kit.ids(
        tokens,
        image_token_id="<|image|>",
        boi_token_id="<|image>",
        eoi_token_id="<image|>",
        video_token_id="<|video|>",
        audio_token_id="<|audio|>",
        boa_token_id="<|audio>",
    )


def images4() -> dict[str, Any]:
    return {"max_soft_tokens": SOFT_TOKENS, "patch_size": 16, "pooling_kernel_size": 3}


@family("gemma3")
def gemma3() -> tuple[Any, Any]:
    tokens = tokens3()
    config = hf.Gemma3Config(
        vision_config=kit.siglip(),
        text_config=text(tokens, query_pre_attn_scalar=16),
        mm_tokens_per_image=4,
        image_token_index=tokens.image_token_id,
        boi_token_index=tokens.boi_token_id,
        eoi_token_index=tokens.eoi_token_id,
    )
    processor = hf.Gemma3Processor(
        image_processor=kit.pil("Gemma3ImageProcessor", size=kit.square()),
        tokenizer=tokens,
        image_seq_length=4,
        chat_template=chat3(),
    )
    return hf.Gemma3ForConditionalGeneration(config), processor


@family("gemma3n", needs=("timm",))
def gemma3n() -> tuple[Any, Any]:
    tokens = tokens3(
        audio_token="<audio_soft_token>",
        boa_token="<start_of_audio>",
        eoa_token="<end_of_audio>",
    )
    settings = text(
        tokens,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=len(tokens),
        num_kv_shared_layers=0,
        laurel_rank=8,
        altup_num_inputs=2,
        activation_sparsity_pattern=[0.0, 0.0],
    )
    vocabulary = {"vocab_size": 8, "vocab_offset": len(tokens)}
    config = hf.Gemma3nConfig(
        text_config=settings,
        vision_config={
            "architecture": "mobilenetv5_300m_enc",
            "model_args": {"channel_multiplier": 0.125},
            "hidden_size": 2048,
            **vocabulary,
        },
        audio_config={
            "hidden_size": 32,
            "conf_num_hidden_layers": 1,
            "conf_num_attention_heads": 2,
            "vocab_size": 8,
            "vocab_offset": len(tokens) + 8,
        },
        image_token_id=tokens.image_token_id,
        audio_token_id=tokens.audio_token_id,
        boi_token_id=tokens.boi_token_id,
        eoi_token_id=tokens.eoi_token_id,
    )
    processor = hf.Gemma3nProcessor(
        feature_extractor=hf.Gemma3nAudioFeatureExtractor(),
        image_processor=kit.siglip_images(256),
        tokenizer=tokens,
        chat_template=chat3("<image_soft_token>"),
    )
    return hf.Gemma3nForConditionalGeneration(config), processor


@family("gemma4")
def gemma4() -> tuple[Any, Any]:
    tokens = tokens4()
    settings = text(
        tokens,
        global_head_dim=16,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=len(tokens),
        num_kv_shared_layers=0,
    )
    config = hf.Gemma4Config(
        vision_config=tower4(), audio_config=None, text_config=settings, **ids4(tokens)
    )
    processor = kit.processor(
        hf.Gemma4Processor,
        feature_extractor=hf.Gemma4AudioFeatureExtractor(),
        image_processor=kit.pil("Gemma4ImageProcessor", **images4()),
        tokenizer=tokens,
        video_processor=kit.video("Gemma4VideoProcessor"),
        image_seq_length=SOFT_TOKENS,
        chat_template=CHAT4,
    )
    return hf.Gemma4ForConditionalGeneration(config), processor


def tower4() -> dict[str, Any]:
    return {
        "hidden_size": kit.IMAGE_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": kit.LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "patch_size": 16,
        "position_embedding_size": 64,
        "pooling_kernel_size": 3,
    }


@family("gemma4_unified", needs=("torchvision",))
def gemma4_unified() -> tuple[Any, Any]:
    tokens = tokens4()
    config = hf.Gemma4UnifiedConfig(
        text_config=text(tokens, global_head_dim=16),
        vision_config={
            "mm_embed_dim": kit.WIDTH,
            "mm_posemb_size": 64,
            "output_proj_dims": kit.WIDTH,
        },
        audio_config=None,
        **ids4(tokens),
    )
    processor = kit.processor(
        hf.Gemma4UnifiedProcessor,
        feature_extractor=hf.Gemma4UnifiedAudioFeatureExtractor(),
        image_processor=kit.torchvision_only("Gemma4UnifiedImageProcessor", **images4()),
        tokenizer=tokens,
        video_processor=kit.video("Gemma4UnifiedVideoProcessor"),
        image_seq_length=SOFT_TOKENS,
        chat_template=CHAT4,
    )
    return hf.Gemma4UnifiedForConditionalGeneration(config), processor


@family("diffusion_gemma")
def diffusion_gemma() -> tuple[Any, Any]:
    """A block of tokens is denoised at once, so no token follows another."""
    tokens = tokens4()
    settings = text(tokens, num_experts=4, top_k_experts=2, moe_intermediate_size=32)
    config = hf.DiffusionGemmaConfig(
        text_config={**settings, "per_layer_config": {1: {"head_dim": 16}}},
        vision_config={"model_type": "gemma4_vision", **tower4()},
        canvas_length=8,
        **kit.ids(
            tokens,
            image_token_id="<|image|>",
            boi_token_id="<|image>",
            eoi_token_id="<image|>",
        ),
    )
    processor = kit.processor(
        hf.Gemma4Processor,
        feature_extractor=hf.Gemma4AudioFeatureExtractor(),
        image_processor=kit.pil("Gemma4ImageProcessor", **images4()),
        tokenizer=tokens,
        video_processor=kit.video("Gemma4VideoProcessor"),
        image_seq_length=SOFT_TOKENS,
        chat_template=CHAT4,
    )
    return hf.DiffusionGemmaForBlockDiffusion(config), processor
