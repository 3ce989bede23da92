"""The architectures of the zoo: transformers' own classes at a small size.

`FAMILIES[name].build()` gives an untrained model and its processor. Two things differ from the real
configurations, both because the models are small and start from nothing: every `initializer_range`
is near 1/sqrt(width) instead of 0.02 (or 1e-10, in BLIP-2's vision tower), and what is zero there
at the beginning (the Q-Former's query tokens, Gemma 3's projection) is drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

from bbtvp.zoo import scenes

WIDTH = 96
HEADS = 4
QUERIES = 16
STD = 0.1
MEAN = [0.48145466, 0.4578275, 0.40821073]
SPREAD = [0.26862954, 0.26130258, 0.27577711]
LLAVA_CHAT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %} "
    "ASSISTANT:{% endif %}"
)
IDEFICS_CHAT = (
    "<s>{% for m in messages %}User:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor "
    "%}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
GEMMA_CHAT = (
    "<s>{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<start_of_image>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
IMAGE_TOKEN: Mapping[str, str] = MappingProxyType({"image_token": "<image>"})


class Family(NamedTuple):
    """One miniature: how to build it, and the members whose fitting weights it starts from."""

    build: Callable[[], tuple[Any, Any]]
    parents: tuple[str, ...] = ()


def vocabulary() -> list[str]:
    """What the tokenizer is trained on.

    It is fixed: another corpus gives other token ids, and the weights would no longer fit.

    Words that are not in it ("stacked") are spelled in pieces, as in any real vocabulary.
    """
    pairs = [f"is there a {color} {shape} in the image?" for color, shape in scenes.CATEGORIES]
    pairs += [
        f"where is the {a} relative to the {b}?" for a in scenes.SHAPES for b in scenes.SHAPES
    ]
    pairs += [f"what color is the {shape}?" for shape in (*scenes.SHAPES, "digit")]
    words = (
        *scenes.DIGITS,
        *scenes.SHAPES,
        "left",
        "right",
        "above",
        "below",
        *scenes.YES_NO,
        *scenes.COLORS,
    )
    captions = [
        "this is a photo of a",
        "the digit",
        "an image with objects",
        "USER: \n ASSISTANT:",
        "User: Assistant:",
    ]
    return (
        pairs
        + [f" {w}" for w in words]
        + list(words)
        + captions
        + [
            "what digit is this?",
            "what shape is this?",
            "how many objects are there?",
        ]
    )


def tokenizer(
    *extra: str, side: str = "left", roles: Mapping[str, str] = IMAGE_TOKEN
) -> hf.PreTrainedTokenizerFast:
    """Byte-level BPE over the zoo's sentences.

    Any text can be encoded. Most of the zoo's words are one token each.

    extra: more special tokens. roles: attributes of the tokenizer that name a special token. With
    none, `tokenizer.image_token` is unset: BLIP-2's processors then make the token themselves, and
    fail on one that is already a string (transformers 5.23).
    """
    special = ["<pad>", "<s>", "</s>", "<unk>", "<image>", *extra]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(vocabulary() * 4, trainer)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side=side,
        extra_special_tokens=dict(roles),
    )


def _ids(tok: Any) -> dict[str, int]:
    return {
        "pad_token_id": tok.pad_token_id,
        "bos_token_id": tok.bos_token_id,
        "eos_token_id": tok.eos_token_id,
    }


def _text_sizes(tok: Any, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": len(tok),
        "hidden_size": WIDTH,
        "intermediate_size": 256,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "initializer_range": STD,
        **_ids(tok),
    }


def _llama(tok: Any, layers: int = 3) -> hf.LlamaConfig:
    return hf.LlamaConfig(
        **_text_sizes(tok, layers),
        num_key_value_heads=HEADS,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )


def _vision_sizes(side: int, patch: int = 8) -> dict[str, Any]:
    """Of a vision tower, for images and patches of so many pixels a side."""
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": HEADS,
        "image_size": side,
        "patch_size": patch,
        "initializer_range": STD,
    }


def _clip_vision(side: int = 56) -> hf.CLIPVisionConfig:
    return hf.CLIPVisionConfig(**_vision_sizes(side), projection_dim=WIDTH)


def _clip_images(side: int) -> Any:
    return hf.CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=MEAN,
        image_std=SPREAD,
    )


def _blip_images(side: int) -> Any:
    return hf.BlipImageProcessorPil(
        size={"height": side, "width": side}, image_mean=MEAN, image_std=SPREAD
    )


def _llava_of(vision: Any, text: Callable[[Any], Any]) -> tuple[Any, Any]:
    """LLaVA over a tower with a class token and 49 patches, and a decoder."""
    tok = tokenizer()
    config = hf.LlavaConfig(
        vision_config=vision,
        text_config=text(tok),
        image_token_id=tok.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=49,
        tie_word_embeddings=True,
    )
    processor = hf.LlavaProcessor(
        image_processor=_clip_images(vision.image_size),
        tokenizer=tok,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT,
    )
    return hf.LlavaForConditionalGeneration(config), processor


def _llava() -> tuple[Any, Any]:
    return _llava_of(_clip_vision(), _llama)


def _llava_dinov2() -> tuple[Any, Any]:
    """DINOv2's tower (layer scale, gated MLP) on images of 70 px, and Qwen 2's decoder."""
    sizes = _vision_sizes(70, patch=10)
    del sizes["intermediate_size"]  # Dinov2Model makes it of mlp_ratio: 256, as in the others
    vision = hf.Dinov2Config(**sizes, mlp_ratio=4, use_swiglu_ffn=True, use_mask_token=False)
    return _llava_of(vision, _qwen2)


def _qwen2(tok: Any) -> hf.Qwen2Config:
    return hf.Qwen2Config(
        **_text_sizes(tok, layers=3),
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )


def _siglip_vision(side: int, patch: int = 8) -> hf.SiglipVisionConfig:
    return hf.SiglipVisionConfig(
        **_vision_sizes(side, patch), vision_use_head=False, projection_dim=WIDTH
    )


def _paligemma() -> tuple[Any, Any]:
    tok = tokenizer()
    images = hf.SiglipImageProcessorPil(size={"height": 56, "width": 56})
    images.image_seq_length = 49
    processor = hf.PaliGemmaProcessor(image_processor=images, tokenizer=tok)
    text = hf.GemmaConfig(
        **_text_sizes(tok, layers=3),
        num_key_value_heads=1,
        head_dim=24,
        max_position_embeddings=512,
    )
    config = hf.PaliGemmaConfig(
        vision_config=_siglip_vision(56),
        text_config=text,
        image_token_id=tok.image_token_id,
        projection_dim=WIDTH,
    )
    return hf.PaliGemmaForConditionalGeneration(config), processor


def _gemma3() -> tuple[Any, Any]:
    """SigLIP's tower on images of 72 px in patches of 12, and Gemma 3's decoder."""
    roles = {**IMAGE_TOKEN, "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    tok = tokenizer(
        roles["boi_token"], roles["eoi_token"], "<start_of_turn>", "<end_of_turn>", roles=roles
    )
    processor = hf.Gemma3Processor(
        image_processor=hf.Gemma3ImageProcessorPil(size={"height": 72, "width": 72}),
        tokenizer=tok,
        image_seq_length=36,
        chat_template=GEMMA_CHAT,
    )
    text = hf.Gemma3TextConfig(
        **_text_sizes(tok, layers=3),
        num_key_value_heads=2,
        head_dim=24,
        query_pre_attn_scalar=24,
        max_position_embeddings=512,
        layer_types=["full_attention"] * 3,
    )
    config = hf.Gemma3Config(
        vision_config=_siglip_vision(72, patch=12),
        text_config=text,
        mm_tokens_per_image=36,
        image_token_index=tok.image_token_id,
        boi_token_index=tok.boi_token_id,
        eoi_token_index=tok.eoi_token_id,
        initializer_range=STD,
    )
    model = hf.Gemma3ForConditionalGeneration(config)
    nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=STD)
    return model, processor


def _idefics3() -> tuple[Any, Any]:
    tok = tokenizer("<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
    images = hf.Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 64}, do_image_splitting=False
    )
    processor = hf.Idefics3Processor(
        image_processor=images, tokenizer=tok, image_seq_len=16, chat_template=IDEFICS_CHAT
    )
    vision = hf.models.idefics3.Idefics3VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=HEADS,
        image_size=64,
        patch_size=8,
        initializer_range=STD,
    )
    config = hf.Idefics3Config(
        vision_config=vision,
        text_config=_llama(processor.tokenizer),
        scale_factor=2,
        tie_word_embeddings=True,
        image_token_id=tok.convert_tokens_to_ids("<image>"),
    )
    return hf.Idefics3ForConditionalGeneration(config), processor


def _q_former(architecture: str) -> tuple[dict[str, Any], dict[str, Any]]:
    shared = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "initializer_range": STD}
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    vision = {**_vision_sizes(56), "hidden_act": "quick_gelu"}
    bridge = {
        **shared,
        **no_dropout,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "encoder_hidden_size": WIDTH,
        "cross_attention_frequency": 1,
        "max_position_embeddings": 64,
    }
    return vision, bridge | ({"vocab_size": 600} if architecture == "instructblip" else {})


def _t5(tok: Any) -> hf.T5Config:
    # Flan-T5, the language model of BLIP-2's and InstructBLIP's xl checkpoints, has gated GELU and
    # untied embeddings.
    return hf.T5Config(
        vocab_size=len(tok),
        d_model=WIDTH,
        d_kv=24,
        d_ff=192,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=HEADS,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        initializer_factor=0.5,
        **_ids(tok),
    )


def _with_queries(model: Any) -> Any:
    nn.init.normal_(model.query_tokens, std=0.5)
    nn.init.normal_(model.language_model.get_output_embeddings().weight, std=STD)
    return model


def _q_former_config(kind: Any, architecture: str, text: Any, tok: Any) -> Any:
    """The configuration of class `kind`; text: that of the language model."""
    vision, bridge = _q_former(architecture)
    return kind(
        vision_config=vision,
        qformer_config=bridge,
        text_config=text.to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=tok.convert_tokens_to_ids("<image>"),
        initializer_range=STD,
    )


def _blip2(text: Callable[[Any], Any]) -> tuple[Any, Any]:
    tok = tokenizer(roles={})
    config = _q_former_config(hf.Blip2Config, "blip2", text(tok), tok)
    processor = hf.Blip2Processor(
        image_processor=_blip_images(56), tokenizer=tok, num_query_tokens=QUERIES
    )
    return _with_queries(hf.Blip2ForConditionalGeneration(config)), processor


def _instructblip() -> tuple[Any, Any]:
    tok = tokenizer(roles={})
    config = _q_former_config(hf.InstructBlipConfig, "instructblip", _llama(tok), tok)
    processor = hf.InstructBlipProcessor(
        image_processor=_blip_images(56),
        tokenizer=tok,
        qformer_tokenizer=tokenizer(roles={}),
        num_query_tokens=QUERIES,
    )
    return _with_queries(hf.InstructBlipForConditionalGeneration(config)), processor


FAMILIES: dict[str, Family] = {
    "llava": Family(_llava),
    "paligemma": Family(_paligemma, parents=("llava",)),
    "blip2": Family(lambda: _blip2(_t5), parents=("llava",)),
    "idefics3": Family(_idefics3, parents=("llava",)),
    "minigpt4": Family(lambda: _blip2(_llama), parents=("llava", "blip2")),
    "instructblip": Family(_instructblip, parents=("llava", "blip2")),
    "gemma3": Family(_gemma3),
    "llava-dinov2": Family(_llava_dinov2),
}
"""The architectures, parents first. As the real ones start from a CLIP and an LLM that exist
already, five start from LLaVA's tower and, if they have a Llama, its decoder; MiniGPT-4 and
InstructBLIP also from BLIP-2's Q-Former. Those without parents are trained from nothing.
"""


END = "<|endoftext|>"


def build_clip() -> tuple[Any, Any]:
    """The miniature CLIP, the surrogate.

    It has the same tower as LLaVA, with its own training and its own weights.

    CLIP reads a text off its end token, so its tokenizer adds one; not "</s>", whose id of 2 makes
    transformers look for the highest id instead.
    """
    tok = tokenizer(END, side="right")
    tok.eos_token = END
    tok.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, tok.eos_token_id)]
    )
    text = hf.CLIPTextConfig(
        **_text_sizes(tok, layers=2), max_position_embeddings=40, projection_dim=WIDTH
    )
    config = hf.CLIPConfig(
        text_config=text.to_dict(), vision_config=_clip_vision().to_dict(), projection_dim=WIDTH
    )
    return hf.CLIPModel(config), hf.CLIPProcessor(image_processor=_clip_images(56), tokenizer=tok)
