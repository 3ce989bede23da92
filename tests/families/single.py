"""Families of makers with one member."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.captioners import placeholder_first, question_alone
from tests.families.kit import family


@family("aria")
def aria() -> tuple[Any, Any]:
    tokens = kit.tokenizer("<|im_start|>", "<|im_end|>", named={"image_token": "<|img|>"})
    config = hf.AriaConfig(
        vision_config=kit.tower("idefics3_vision", image_size=490, patch_size=70),
        text_config=kit.text(
            tokens, intermediate_size=64, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1
        ),
        projector_patch_to_query_dict={49: 8, 196: 16},
        image_token_index=tokens.image_token_id,
    )
    processor = hf.AriaProcessor(
        image_processor=kit.pil("AriaImageProcessor", max_image_size=490, min_image_size=336),
        tokenizer=tokens,
        size_conversion={490: 8, 980: 16},
        chat_template=kit.chat("<fim_prefix><|img|><fim_suffix>", **kit.CHATML),
    )
    return hf.AriaForConditionalGeneration(config), processor


FUYU = (
    "its Pillow image processor cuts numpy arrays into patches, and its processor gives it tensors"
)


@family("fuyu", ask=question_alone, fault=FUYU)
def fuyu() -> tuple[Any, Any]:
    """Its processor expects the lowest ids for its two special tokens."""
    first = ("|SPEAKER|", "|NEWLINE|")
    tokens = kit.tokenizer("<0x04>", first=first, begins=True)
    text = kit.without(kit.text(tokens), "head_dim", "num_key_value_heads")
    config = hf.FuyuConfig(
        **text,
        patch_size=kit.PATCH,
        image_size=kit.SIDE,
        num_channels=3,
        text_config={"model_type": "persimmon", **text},
        image_token_id=tokens.convert_tokens_to_ids("|SPEAKER|"),
    )
    images = kit.pil(
        "FuyuImageProcessor",
        size={"height": 56, "width": 84},
        patch_size=kit.square(kit.PATCH),
    )
    processor = hf.FuyuProcessor(image_processor=images, tokenizer=tokens)
    return hf.FuyuForCausalLM(config), processor


@family("got_ocr2", ask=placeholder_first)
def got_ocr2() -> tuple[Any, Any]:
    """Its processor writes 256 image tokens, so the tower has 64 patches a side."""
    marks = ("<|im_start|>", "<|im_end|>", "<img>", "</img>")
    tokens = kit.tokenizer(*marks, named={"image_token": "<imgpad>"})
    config = hf.GotOcr2Config(
        vision_config={
            "hidden_size": kit.IMAGE_WIDTH,
            "output_channels": 16,
            "num_hidden_layers": kit.LAYERS,
            "num_attention_heads": 4,
            "image_size": 256,
            "patch_size": 4,
            "mlp_dim": 64,
            "window_size": 4,
            "global_attn_indexes": [],
        },
        text_config=kit.text(tokens, "qwen2"),
        image_token_index=tokens.image_token_id,
        image_seq_length=256,
    )
    processor = hf.GotOcr2Processor(
        image_processor=kit.pil("GotOcr2ImageProcessor", size=kit.square(256)), tokenizer=tokens
    )
    return hf.GotOcr2ForConditionalGeneration(config), processor


@family("fast_vlm", needs=("timm",))
def fast_vlm() -> tuple[Any, Any]:
    tokens = kit.tokenizer("<|im_start|>", "<|im_end|>", named={"image_token": "<image>"})
    tower = {
        "model_type": "timm_wrapper",
        "architecture": "fastvit_mci3",
        "do_pooling": True,
        "num_classes": 2,
        "hidden_size": 64,
        "global_pool": "avg",
        "model_args": {
            "inference_mode": True,
            "layers": [1, 1, 1, 1, 1],
            "embed_dims": [16, 32, 32, 32, 32],
        },
    }
    config = hf.FastVlmConfig(
        vision_config=tower,
        text_config=kit.text(tokens, "qwen2"),
        image_token_index=tokens.image_token_id,
        image_seq_length=1,
    )
    processor = hf.LlavaProcessor(
        image_processor=kit.clip_images(64),
        tokenizer=tokens,
        patch_size=64,
        vision_feature_select_strategy="full",
        chat_template=kit.chat("<image>\n", **kit.CHATML),
    )
    return hf.FastVlmForConditionalGeneration(config), processor


@family("ernie4_5_vl_moe")
def ernie() -> tuple[Any, Any]:
    named = {
        "image_token": "<|IMAGE_PLACEHOLDER|>",
        "image_start_token": "<|IMAGE_START|>",
        "image_end_token": "<|IMAGE_END|>",
        "video_token": "<|VIDEO_PLACEHOLDER|>",
        "video_start_token": "<|VIDEO_START|>",
        "video_end_token": "<|VIDEO_END|>",
    }
    tokens = kit.tokenizer(named=named)
    text = kit.text(
        tokens,
        moe_num_experts=4,
        moe_k=2,
        moe_num_shared_experts=1,
        moe_intermediate_size=[32, 16],
        mlp_layer_types=["dense", "sparse"],
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [3, 3, 2]},
    )
    config = hf.Ernie4_5_VLMoeConfig(
        text_config=text,
        vision_config={
            "depth": kit.LAYERS,
            "hidden_size": kit.IMAGE_WIDTH,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": kit.PATCH,
        },
        **{f"{name}_id": getattr(tokens, f"{name}_id") for name in named},
    )
    images = kit.pil(
        "Ernie4_5_VLMoeImageProcessor",
        size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112},
        patch_size=kit.PATCH,
        merge_size=2,
    )
    image = "Picture 1:<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
    processor = kit.processor(
        hf.Ernie4_5_VLMoeProcessor,
        image_processor=images,
        tokenizer=tokens,
        video_processor=kit.video("Ernie4_5_VLMoeVideoProcessor", draw_on_frames=False, font=""),
        chat_template=kit.chat(image, "User: ", "\n", "Assistant:", "<s>"),
    )
    return hf.Ernie4_5_VLMoeForConditionalGeneration(config), processor


@family("evolla")
def evolla() -> tuple[Any, Any]:
    """A model of proteins, which has no image processor."""
    tokens = kit.tokenizer("<|reserved_special_token_0|>", begins=True)
    text = kit.without(kit.text(tokens), "head_dim")
    config = hf.EvollaConfig(
        **text,
        protein_encoder_config={
            "hidden_size": kit.IMAGE_WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": kit.LAYERS,
            "num_attention_heads": 4,
        },
        aligner_num_add_layers=1,
        resampler_depth=1,
        resampler_dim_head=8,
        resampler_heads=4,
        resampler_num_latents=4,
    )
    processor = hf.EvollaProcessor(protein_tokenizer=kit.tokenizer(), tokenizer=tokens)
    return hf.EvollaForProteinText2Text(config), processor
