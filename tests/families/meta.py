"""Meta's families."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.families import kit
from tests.families.kit import family

IMAGE = {"image_token": "<|image|>"}
LLAMA3 = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
LLAMA3_CHAT = kit.chat(
    "<|image|>",
    "<|start_header_id|>user<|end_header_id|>\n\n",
    "<|eot_id|>",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    kit.BOS,
)
TILINGS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]


def _tokens(*extra: str, **named: str) -> Any:
    return kit.tokenizer(*extra, named={**IMAGE, **named}, begins=True, bos="<|begin_of_text|>")


@family("mllama")
def mllama() -> tuple[Any, Any]:
    tokens = _tokens("<|python_tag|>", *LLAMA3)
    vision = {
        "hidden_size": kit.IMAGE_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 4,
        "image_size": kit.SIDE,
        "patch_size": kit.PATCH,
        "max_num_tiles": 4,
        "intermediate_layers_indices": [0, 1],
        "vision_output_dim": 3 * kit.IMAGE_WIDTH,
        "supported_aspect_ratios": TILINGS,
    }
    config = hf.MllamaConfig(
        vision_config=vision,
        text_config=kit.text(tokens, num_hidden_layers=3, cross_attention_layers=[1]),
        image_token_index=tokens.image_token_id,
    )
    processor = hf.MllamaProcessor(
        image_processor=kit.pil("MllamaImageProcessor", size=kit.square(), max_image_tiles=4),
        tokenizer=tokens,
        chat_template=LLAMA3_CHAT,
    )
    return hf.MllamaForConditionalGeneration(config), processor


LLAMA4 = "AttributeError: 'MoeCausalLMOutputWithPast' object has no attribute 'image_outputs'"
"""Its forward method reads an output that its language model does not have."""


@family("llama4", needs=("torchvision",), fault=LLAMA4)
def llama4() -> tuple[Any, Any]:
    turns = ("<|header_start|>", "<|header_end|>", "<|eot|>")
    marks = ("<|image_start|>", "<|image_end|>", "<|patch|>")
    tokens = _tokens(*marks, "<|tile_x_separator|>", "<|tile_y_separator|>", *turns)
    vision = kit.tower(
        intermediate_size=128,
        vision_output_dim=kit.WIDTH,
        projector_input_dim=kit.WIDTH,
        projector_output_dim=kit.WIDTH,
        pixel_shuffle_ratio=0.5,
    )
    text = kit.text(
        tokens,
        intermediate_size_mlp=128,
        num_local_experts=2,
        num_experts_per_tok=1,
        interleave_moe_layer_step=2,
        attention_chunk_size=8192,
        no_rope_layers=[1, 0],
        layer_types=["chunked_attention", "full_attention"],
    )
    config = hf.Llama4Config(
        vision_config=vision,
        text_config=text,
        **kit.ids(
            tokens,
            image_token_index="<|patch|>",
            boi_token_index="<|image_start|>",
            eoi_token_index="<|image_end|>",
        ),
    )
    processor = kit.processor(
        hf.Llama4Processor,
        image_processor=kit.torchvision_only(
            "Llama4ImageProcessor", size=kit.square(), max_patches=4
        ),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        pixel_shuffle_ratio=0.5,
        chat_template=kit.chat(
            "<|image|>",
            "<|header_start|>user<|header_end|>\n\n",
            "<|eot|>",
            "<|header_start|>assistant<|header_end|>\n\n",
            kit.BOS,
        ),
    )
    return hf.Llama4ForConditionalGeneration(config), processor


@family("perception_lm", needs=("timm", "torchvision"))
def perception_lm() -> tuple[Any, Any]:
    tokens = _tokens(*LLAMA3, video_token="<|video|>")
    encoder = {
        "embed_dim": kit.IMAGE_WIDTH,
        "img_size": [kit.SIDE, kit.SIDE],
        "depth": 2,
        "num_heads": 4,
        "patch_size": [kit.PATCH, kit.PATCH],
        "global_pool": "",
        "use_post_transformer_norm": False,
        "init_values": 0.1,
        "ref_feat_shape": [4, 4],
        "mlp_ratio": 2.0,
        "class_token": True,
    }
    config = hf.PerceptionLMConfig(
        vision_config={
            "model_type": "timm_wrapper",
            "architecture": "vit_pe_core_large_patch14_336",
            "do_pooling": True,
            "num_classes": kit.IMAGE_WIDTH,
            "model_args": encoder,
        },
        text_config=kit.text(tokens, "llama"),
        image_token_id=tokens.image_token_id,
        video_token_id=tokens.video_token_id,
        projector_pooling_ratio=2,
        vision_use_cls_token=True,
    )
    processor = kit.processor(
        hf.PerceptionLMProcessor,
        image_processor=kit.torchvision_only(
            "PerceptionLMImageProcessor", tile_size=kit.SIDE, max_num_tiles=4, size=kit.square()
        ),
        video_processor=kit.video("PerceptionLMVideoProcessor", size=kit.square()),
        tokenizer=tokens,
        patch_size=kit.PATCH,
        pooling_ratio=2,
        chat_template=LLAMA3_CHAT,
    )
    return hf.PerceptionLMForConditionalGeneration(config), processor


MUSE = ("<|patch|>", "<|image_start|>", "<|image_end|>", "<|video|>")
MUSE_CHAT = kit.chat(
    "<|patch|>",
    "<|header_start|>user<|header_end|>\n\n",
    "<|eot|>",
    "<|header_start|>assistant<|header_end|>\n\n",
    kit.BOS,
)


def _muse_tokens() -> Any:
    return kit.tokenizer(
        *MUSE,
        "<|vid_frame_separator|>",
        "<|vid_start|>",
        "<|vid_end|>",
        "<|audio|>",
        "<|soft_audio_start|>",
        "<|soft_audio_end|>",
        "<|header_start|>",
        "<|header_end|>",
        "<|eot|>",
        begins=True,
        bos="<|begin_of_text|>",
    )


def _muse_tower() -> dict[str, Any]:
    return {
        "hidden_size": kit.IMAGE_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": kit.PATCH,
        "pos_emb_height": 8,
        "pos_emb_width": 8,
        "max_position_embeddings": 64,
        "layer_types": ["window_attention", "full_attention"],
    }


def _muse_images() -> Any:
    return kit.torchvision_only(
        "MuseGlimmerImageProcessor",
        size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112},
        patch_size=kit.PATCH,
    )


@family("muse_glimmer", needs=("torchvision",))
def muse_glimmer() -> tuple[Any, Any]:
    tokens = _muse_tokens()
    config = hf.MuseGlimmerConfig(
        text_config=kit.text(
            tokens, sliding_window=16, layer_types=["sliding_attention", "full_attention"]
        ),
        vision_config=_muse_tower(),
        out_hidden_size=4 * kit.IMAGE_WIDTH,
        projector_hidden_size=kit.WIDTH,
        **kit.ids(tokens, image_token_id="<|patch|>", video_token_id="<|video|>"),
    )
    processor = kit.processor(
        hf.MuseGlimmerProcessor,
        image_processor=_muse_images(),
        video_processor=kit.video("MuseGlimmerVideoProcessor"),
        tokenizer=tokens,
        chat_template=MUSE_CHAT,
    )
    return hf.MuseGlimmerForConditionalGeneration(config), processor


@family("muse_spark", needs=("torchvision",))
def muse_spark() -> tuple[Any, Any]:
    tokens = _muse_tokens()
    text = kit.text(
        tokens,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        mlp_layer_types=["dense", "sparse"],
        moe_intermediate_size=32,
        moe_hidden_size=32,
        num_local_experts=4,
        num_experts_per_tok=2,
    )
    audio = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "out_hidden_size": kit.WIDTH}
    config = hf.MuseSparkConfig(
        text_config=text,
        vision_config=_muse_tower(),
        audio_config=audio,
        out_hidden_size=4 * kit.IMAGE_WIDTH,
        projector_hidden_size=kit.WIDTH,
        **kit.ids(
            tokens,
            image_token_id="<|patch|>",
            video_token_id="<|video|>",
            audio_token_id="<|audio|>",
        ),
    )
    processor = kit.processor(
        hf.MuseSparkProcessor,
        image_processor=_muse_images(),
        video_processor=kit.video("MuseGlimmerVideoProcessor"),
        tokenizer=tokens,
        feature_extractor=hf.MuseSparkFeatureExtractor(),
        chat_template=MUSE_CHAT,
    )
    return hf.MuseSparkForConditionalGeneration(config), processor
