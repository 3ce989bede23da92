"""Families that share no settings with others."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit, mistral
from tests.families.kit import family


@family("janus")
def janus() -> tuple[Any, Any]:
    named = {
        "image_token": "<image_placeholder>",
        "boi_token": "<begin_of_image>",
        "eoi_token": "<end_of_image>",
    }
    tokens = kit.tokenizer("<|User|>", named=named, begins=True)
    side, patch = 64, 16
    patches = (side // patch) ** 2
    config = hf.JanusConfig(
        text_config=kit.text(tokens, "llama"),
        vision_config={
            "hidden_size": kit.IMAGE_WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": side,
            "patch_size": patch,
            "mlp_ratio": 2,
            "projection_dim": kit.WIDTH,
            "num_image_tokens": patches,
            "depth": 2,
            "hidden_dropout_rate": 0.0,
        },
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 32,
            "latent_channels": 16,
            "double_latent": False,
            "in_channels": 3,
            "out_channels": 3,
            "base_channels": 32,
            "channel_multiplier": [1, 2],
            "num_res_blocks": 1,
            "dropout": 0.0,
            "projection_dim": kit.WIDTH,
            "num_patches": patches,
            "image_token_embed_dim": kit.WIDTH,
        },
        image_token_id=tokens.image_token_id,
    )
    processor = hf.JanusProcessor(
        image_processor=kit.pil("JanusImageProcessor", size=kit.square(side)),
        tokenizer=tokens,
        num_image_tokens=patches,
        chat_template=kit.chat("<image_placeholder>\n", "<|User|>: ", "\n\n", "<|Assistant|>:"),
    )
    return hf.JanusForConditionalGeneration(config), processor


@family("kimi_k25", needs=("torchvision",))
def kimi_k25() -> tuple[Any, Any]:
    turns = ("<|im_user|>", "<|im_middle|>", "<|im_end|>", "<|im_assistant|>")
    named = {"image_token": "<|media_pad|>", "video_token": "<|kimi_k25_video_placeholder|>"}
    tokens = kit.tokenizer(
        *turns, "<|media_begin|>", "<|media_content|>", "<|media_end|>", named=named
    )
    text = kit.text(
        tokens,
        "deepseek_v3",
        num_key_value_heads=4,
        n_group=1,
        topk_group=1,
        **mistral.LATENT,
        **mistral.EXPERTS,
    )
    config = hf.Kimi_K25Config(
        text_config={**text, "head_dim": mistral.LATENT["qk_rope_head_dim"]},
        vision_config=kit.without(kit.tower(), "image_size"),
        projection_hidden_size=kit.IMAGE_WIDTH,
        image_token_id=tokens.image_token_id,
    )
    processor = kit.processor(
        hf.Kimi_K25Processor,
        image_processor=kit.torchvision_only("Kimi_K25ImageProcessor"),
        tokenizer=tokens,
        video_processor=kit.video("Kimi_K25VideoProcessor"),
        chat_template=kit.chat(
            "<|media_begin|>image<|media_content|><|media_pad|><|media_end|>",
            "<|im_user|>user<|im_middle|>",
            "<|im_end|>",
            "<|im_assistant|>assistant<|im_middle|>",
        ),
    )
    return hf.Kimi_K25ForConditionalGeneration(config), processor


@family("minimax_m3_vl", needs=("torchvision",))
def minimax_m3_vl() -> tuple[Any, Any]:
    image, video = "]<]image[>[", "]<]video[>["
    tokens = kit.tokenizer(
        image, video, "]<]start of image[>[", "]<]end of image[>[", "]~b]user", "]~b]ai", "[e~["
    )
    text = kit.text(
        tokens,
        intermediate_size=32,
        dense_intermediate_size=64,
        shared_intermediate_size=32,
        num_local_experts=4,
        num_experts_per_tok=2,
        rotary_dim=8,
        mlp_layer_types=["dense", "sparse"],
        layer_types=["full_attention", "minimax_m3_sparse"],
        index_n_heads=2,
        index_head_dim=16,
        index_block_size=4,
        index_topk_blocks=2,
    )
    config = hf.MiniMaxM3VLConfig(
        text_config=text,
        vision_config=kit.tower(image_size=112),
        projector_hidden_size=kit.WIDTH,
        **kit.ids(tokens, image_token_index=image, video_token_index=video),
    )
    processor = kit.processor(
        hf.MiniMaxM3VLProcessor,
        image_processor=kit.torchvision_only(
            "MiniMaxM3VLImageProcessor",
            size={"shortest_edge": kit.SIDE**2, "longest_edge": 112 * 112},
            patch_size=kit.PATCH,
        ),
        tokenizer=tokens,
        video_processor=kit.video("MiniMaxM3VLVideoProcessor"),
        chat_template=kit.chat(image, "]~b]user\n", "[e~[\n", "]~b]ai\n"),
    )
    return hf.MiniMaxM3SparseForConditionalGeneration(config), processor


@family("step3p7", needs=("torchvision",))
def step3p7() -> tuple[Any, Any]:
    marks = ("<im_start>", "<im_end>", "<patch_start>", "<patch_end>", "<patch_newline>")
    tokens = kit.tokenizer("<im_patch>", *marks, "<|im_start|>", "<|im_end|>")
    text = kit.text(
        tokens,
        mlp_layer_types=["dense", "sparse"],
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=16,
        num_sliding_attention_heads=2,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        share_expert_dim=32,
        swiglu_limits=[None, 7.0],
        swiglu_limits_shared=[None, 7.0],
    )
    patch = 7
    vision = {
        "hidden_size": kit.IMAGE_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "mlp_ratio": 2.0,
        "image_size": kit.SIDE,
        "patch_size": patch,
        "max_position_embeddings": (kit.SIDE // patch) ** 2,
    }
    config = hf.Step3p7Config(
        text_config=text,
        vision_config=vision,
        image_token_id=tokens.convert_tokens_to_ids("<im_patch>"),
    )
    processor = kit.processor(
        hf.Step3p7Processor,
        image_processor=kit.torchvision_only(
            "Step3p7ImageProcessor",
            size=kit.square(),
            patch_size=kit.SIDE // 2,
            vision_patch_size=patch,
            downsampler_stride=4,
        ),
        tokenizer=tokens,
        chat_template=kit.chat("<im_patch>", **kit.CHATML),
    )
    return hf.Step3p7ForConditionalGeneration(config), processor


@family("molmo2", needs=("torchvision",))
def molmo2() -> tuple[Any, Any]:
    marks = {
        "image_patch_id": "<im_patch>",
        "image_start_token_id": "<im_start>",
        "low_res_image_start_token_id": "<low_res_im_start>",
        "image_end_token_id": "<im_end>",
        "frame_start_token_id": "<frame_start>",
        "frame_end_token_id": "<frame_end>",
    }
    named = {"image_token": "<|image|>", "video_token": "<|video|>"}
    tokens = kit.tokenizer(
        *marks.values(), "<im_col>", "<im_low>", "<|im_start|>", "<|im_end|>", named=named
    )
    attention = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8}
    config = hf.Molmo2Config(
        vision_config={
            **kit.tower(num_hidden_layers=3, image_size=[kit.SIDE, kit.SIDE]),
            **attention,
            "num_position_embeddings": (kit.SIDE // kit.PATCH) ** 2,
        },
        adapter_config={
            **attention,
            "vision_feature_layer": [-1, -2],
            "hidden_size": kit.IMAGE_WIDTH,
            "intermediate_size": 64,
            "text_hidden_size": kit.WIDTH,
        },
        text_config=kit.text(tokens, additional_vocab_size=8),
        **kit.ids(tokens, **marks),
    )
    processor = kit.processor(
        hf.Molmo2Processor,
        image_processor=kit.torchvision_only(
            "Molmo2ImageProcessor",
            size=kit.square(),
            max_crops=4,
            patch_size=kit.PATCH,
            overlap_margins=[0, 0],
        ),
        video_processor=kit.video("Molmo2VideoProcessor"),
        tokenizer=tokens,
        chat_template=kit.chat("<|image|>", **kit.CHATML),
    )
    return hf.Molmo2ForConditionalGeneration(config), processor


@family("nemotron_h_omni", needs=("torchvision",))
def nemotron_h_omni() -> tuple[Any, Any]:
    marks = ("<img>", "</img>", "<so_start>", "<so_end>", "<|im_start|>", "<|im_end|>")
    named = {"image_token": "<image>", "video_token": "<video>", "audio_token": "<so_embedding>"}
    tokens = kit.tokenizer(*marks, named=named)
    text = kit.without(kit.text(tokens, "nemotron_h"), "num_hidden_layers")
    experts = {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "moe_shared_expert_intermediate_size": 32,
    }
    state = {
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
        "ssm_state_size": 16,
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "n_groups": 2,
        "chunk_size": 16,
    }
    config = hf.NemotronH_Omni_Reasoning_V3_Config(
        text_config={**text, **experts, **state},
        vision_config={
            "model_type": "radio",
            "hidden_size": kit.IMAGE_WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "mlp_ratio": 2.0,
            "patch_size": 16,
            "image_size": 64,
            "max_img_size": 256,
            "num_registers": 2,
            "video_temporal_patch_size": 2,
        },
        vision_hidden_size=kit.IMAGE_WIDTH,
        projector_hidden_size=kit.WIDTH,
        force_image_size=64,
        **kit.ids(
            tokens,
            image_token_id="<image>",
            video_token_id="<video>",
            audio_token_id="<so_embedding>",
        ),
    )
    processor = kit.processor(
        hf.NemotronH_Omni_Reasoning_V3Processor,
        image_processor=kit.torchvision_only(
            "NemotronH_Omni_Reasoning_V3ImageProcessor", min_num_patches=16, max_num_patches=64
        ),
        video_processor=kit.video("NemotronH_Omni_Reasoning_V3VideoProcessor"),
        tokenizer=tokens,
        feature_extractor=hf.ParakeetFeatureExtractor(),
        chat_template=kit.chat("<image>", **kit.CHATML),
    )
    return hf.NemotronH_Omni_Reasoning_V3(config), processor


@family("video_llama_3")
def video_llama_3() -> tuple[Any, Any]:
    named = {"image_token": "<image>", "video_token": "<video>"}
    tokens = kit.tokenizer("<|im_start|>", "<|im_end|>", named=named)
    config = hf.VideoLlama3Config(
        text_config=kit.text(tokens, "qwen2"),
        vision_config=kit.without(kit.tower(), "image_size"),
        image_token_id=tokens.image_token_id,
        video_token_id=tokens.video_token_id,
    )
    processor = kit.processor(
        hf.VideoLlama3Processor,
        image_processor=kit.pil(
            "VideoLlama3ImageProcessor",
            min_pixels=kit.SIDE**2,
            max_pixels=112 * 112,
            patch_size=kit.PATCH,
            merge_size=2,
        ),
        tokenizer=tokens,
        video_processor=kit.video("VideoLlama3VideoProcessor"),
        chat_template=kit.chat("<image>\n", **kit.CHATML),
    )
    return hf.VideoLlama3ForConditionalGeneration(config), processor
