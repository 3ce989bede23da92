"""Readers of documents, tables and formulas; most write a text and take no question."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

from tests.families import kit, qwen
from tests.families.captioners import question_alone
from tests.families.kit import family

SIDE = 64


def _image_alone(processor: Any, image: Any, question: str) -> Any:
    return processor(images=image, return_tensors="pt")


def _question_to_decoder(processor: Any, image: Any, question: str) -> Any:
    """As Donut's documentation asks: the question is the beginning of the decoder's text."""
    inputs = processor(images=image, text=question, add_special_tokens=False, return_tensors="pt")
    return {
        "pixel_values": inputs["pixel_values"],
        "decoder_input_ids": inputs["input_ids"],
    }


def _started(processor: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What generation reads: the start token, then the question."""
    start = torch.tensor([[processor.tokenizer.pad_token_id]])
    read = torch.cat([start, inputs["decoder_input_ids"]], 1)
    return {**kit.without(inputs, "decoder_attention_mask"), "decoder_input_ids": read}


@family("pix2struct", ask=question_alone, read=_started)
def pix2struct() -> tuple[Any, Any]:
    tokens = kit.tokenizer(side="right")
    config = hf.Pix2StructConfig(
        text_config={
            "vocab_size": len(tokens),
            "hidden_size": kit.WIDTH,
            "d_kv": 16,
            "d_ff": 96,
            "num_layers": 2,
            "num_heads": 4,
            "dropout_rate": 0.0,
            "decoder_start_token_id": tokens.pad_token_id,
            **kit.special_ids(tokens),
        },
        vision_config={
            "hidden_size": kit.WIDTH,
            "patch_embed_hidden_size": 3 * 16 * 16,
            "d_ff": 96,
            "d_kv": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "dropout_rate": 0.0,
        },
    )
    processor = hf.Pix2StructProcessor(
        image_processor=kit.pil("Pix2StructImageProcessor", max_patches=32, is_vqa=False),
        tokenizer=tokens,
    )
    return hf.Pix2StructForConditionalGeneration(config), processor


@family("vision-encoder-decoder", "Donut", ask=_question_to_decoder)
def donut() -> tuple[Any, Any]:
    tokens = kit.tokenizer("<s_docvqa>", "<s_question>", "<s_answer>", side="right")
    encoder = hf.DonutSwinConfig(
        image_size=[SIDE, SIDE],
        patch_size=4,
        embed_dim=16,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
    )
    decoder = hf.MBartConfig(
        vocab_size=len(tokens),
        d_model=kit.IMAGE_WIDTH,
        decoder_layers=kit.LAYERS,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        is_decoder=True,
        add_cross_attention=True,
        is_encoder_decoder=False,
        max_position_embeddings=256,
        **kit.special_ids(tokens),
    )
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = tokens.bos_token_id
    config.pad_token_id = tokens.pad_token_id
    processor = hf.DonutProcessor(
        image_processor=kit.pil("DonutImageProcessor", size=kit.square(SIDE)), tokenizer=tokens
    )
    return hf.VisionEncoderDecoderModel(config=config), processor


@family("vision-encoder-decoder", "TrOCR", ask=_image_alone)
def trocr() -> tuple[Any, Any]:
    tokens = kit.tokenizer(side="right")
    encoder = hf.ViTConfig(**kit.tower())
    decoder = hf.TrOCRConfig(
        vocab_size=len(tokens),
        d_model=kit.IMAGE_WIDTH,
        decoder_layers=kit.LAYERS,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        is_decoder=True,
        add_cross_attention=True,
        max_position_embeddings=256,
        cross_attention_hidden_size=kit.IMAGE_WIDTH,
        **kit.special_ids(tokens),
    )
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = tokens.bos_token_id
    config.pad_token_id = tokens.pad_token_id
    processor = hf.TrOCRProcessor(
        image_processor=kit.pil("ViTImageProcessor", size=kit.square()), tokenizer=tokens
    )
    return hf.VisionEncoderDecoderModel(config=config), processor


@family("paddleocr_vl")
def paddleocr_vl() -> tuple[Any, Any]:
    tokens = kit.tokenizer(
        "<|IMAGE_START|>", "<|IMAGE_END|>", named={"image_token": "<|IMAGE_PLACEHOLDER|>"}
    )
    config = hf.PaddleOCRVLConfig(
        text_config=kit.text(tokens, rope_parameters=qwen.ROPE),
        vision_config=kit.tower(image_size=112, spatial_merge_size=2),
        **kit.ids(
            tokens,
            image_token_id="<|IMAGE_PLACEHOLDER|>",
            video_token_id="<unk>",
            vision_start_token_id="<|IMAGE_START|>",
            vision_end_token_id="<|IMAGE_END|>",
        ),
    )
    processor = hf.PaddleOCRVLProcessor(
        image_processor=kit.pil(
            "PaddleOCRVLImageProcessor",
            min_pixels=kit.SIDE**2,
            max_pixels=112 * 112,
            patch_size=kit.PATCH,
            merge_size=2,
        ),
        tokenizer=tokens,
        chat_template=kit.chat(
            "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>", "User: ", "\n", "Assistant:\n"
        ),
    )
    return hf.PaddleOCRVLForConditionalGeneration(config), processor


def _sam() -> dict[str, Any]:
    """Return the settings of a small tower of Segment Anything."""
    return {
        "hidden_size": kit.IMAGE_WIDTH,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 16,
        "mlp_dim": 64,
        "window_size": 2,
        "global_attn_indexes": [1],
    }


@family("pp_chart2table")
def pp_chart2table() -> tuple[Any, Any]:
    tokens = kit.tokenizer(
        "<|im_start|>", "<|im_end|>", "<img>", "</img>", named={"image_token": "<imgpad>"}
    )
    config = hf.PPChart2TableConfig(
        vision_config=_sam(),
        text_config=kit.text(tokens, "qwen2"),
        image_token_index=tokens.image_token_id,
        image_seq_length=1,
    )
    processor = hf.PPChart2TableProcessor(
        image_processor=kit.pil("PPChart2TableImageProcessor", size=kit.square(SIDE)),
        tokenizer=tokens,
        chat_template=kit.chat("<img><imgpad></img>\n", **kit.CHATML),
    )
    return hf.GotOcr2ForConditionalGeneration(config), processor


@family("pp_formulanet", ask=_image_alone, needs=("torchvision",))
def pp_formulanet() -> tuple[Any, Any]:
    tokens = kit.tokenizer(side="right")
    config = hf.PPFormulaNetConfig(
        vision_config={
            **_sam(),
            "post_conv_in_channels": 16,
            "post_conv_mid_channels": 16,
            "post_conv_out_channels": 32,
            "decoder_hidden_size": kit.WIDTH,
        },
        text_config={
            "vocab_size": len(tokens),
            "d_model": kit.WIDTH,
            "encoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_layers": 2,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 128,
            "max_position_embeddings": 256,
            "dropout": 0.0,
            "decoder_start_token_id": tokens.eos_token_id,
            **kit.special_ids(tokens),
        },
    )
    processor = kit.processor(
        hf.PPFormulaNetProcessor,
        image_processor=kit.torchvision_only("PPFormulaNetImageProcessor", size=kit.square(SIDE)),
        tokenizer=tokens,
    )
    return hf.PPFormulaNetForConditionalGeneration(config), processor


@family("unlimited_ocr", needs=("torchvision",))
def unlimited_ocr() -> tuple[Any, Any]:
    tokens = kit.tokenizer(named={"image_token": "<image>"}, begins=True)
    config = hf.UnlimitedOcrConfig(
        vision_config={
            "sam_config": {**_sam(), "downsample_channels": [24, kit.IMAGE_WIDTH]},
            "encoder_config": kit.tower(image_size=SIDE, patch_size=16),
        },
        text_config=kit.text(
            tokens,
            num_key_value_heads=4,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            mlp_layer_types=["dense", "sparse"],
            sliding_window=16,
        ),
        image_token_id=tokens.image_token_id,
    )
    processor = kit.processor(
        hf.UnlimitedOcrProcessor,
        image_processor=kit.torchvision_only(
            "UnlimitedOcrImageProcessor", size=kit.square(SIDE), tile_size=SIDE
        ),
        tokenizer=tokens,
        chat_template=kit.chat("<image>\n", "", "", ""),
    )
    return hf.UnlimitedOcrForConditionalGeneration(config), processor
