"""Checkpoints in the layout of the published ones, at reduced size, with weights from a seed.

The names are those of the authors' modules, which load these files (`record.py`) as they load the
published ones: each project's own file, BLIP-2's Q-Former, EVA-ViT-g, and a Llama's folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2
from torch import Tensor

HERE = Path(__file__).parent

VISION = 176
MLP = 768
PATCH = 14
SIDE = 28
LAYERS = 3
"""Blocks of the image encoder that are used; its file holds one more, like EVA-ViT-g's."""
BERT = 128
BERT_MLP = 96
BERT_LAYERS = 4
QUERIES = 5
LLAMA = 64
LLAMA_MLP = 96
LLAMA_LAYERS = 3
VOCABULARY = 420
GLM_QUERIES = 32
"""VisualGLM's code has this number in it."""
GLM_VOCABULARY = 512

QUESTIONS = ("what is in the image?", "Is there a red circle in the image?", "This is a photo of a")
LABELS = ("dog", "cat", "seventeen elephants", "yes no")


def images() -> np.ndarray:
    """(3, 50, 70, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)


class Draw:
    """Random weights, each named group from its own seed."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def matrix(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator) * 0.9 / shape[-1] ** 0.5

    def vector(self, size: int) -> Tensor:
        return torch.randn(size, generator=self._generator) * 0.3

    def linear(self, name: str, out: int, into: int) -> Iterator[tuple[str, Tensor]]:
        yield f"{name}.weight", self.matrix(out, into)
        yield f"{name}.bias", self.vector(out)

    def norm(self, name: str, size: int) -> Iterator[tuple[str, Tensor]]:
        yield f"{name}.weight", 0.5 + torch.rand(size, generator=self._generator)
        yield f"{name}.bias", self.vector(size)


def eva_vit() -> dict[str, Tensor]:
    """eva_vit_g.pth."""
    draw = Draw(1)
    tensors = {
        "cls_token": draw.matrix(1, 1, VISION),
        "pos_embed": draw.matrix(1, 1 + (SIDE // PATCH) ** 2, VISION) * 10,
        "patch_embed.proj.weight": draw.matrix(VISION, 3, PATCH, PATCH) / 5,
        "patch_embed.proj.bias": draw.vector(VISION),
    }
    for i in range(LAYERS + 1):
        block = f"blocks.{i}"
        tensors |= draw.norm(f"{block}.norm1", VISION)
        tensors[f"{block}.attn.qkv.weight"] = draw.matrix(3 * VISION, VISION)
        tensors[f"{block}.attn.q_bias"] = draw.vector(VISION)
        tensors[f"{block}.attn.v_bias"] = draw.vector(VISION)
        tensors |= draw.linear(f"{block}.attn.proj", VISION, VISION)
        tensors |= draw.norm(f"{block}.norm2", VISION)
        tensors |= draw.linear(f"{block}.mlp.fc1", MLP, VISION)
        tensors |= draw.linear(f"{block}.mlp.fc2", VISION, MLP)
    return tensors


def qformer() -> dict[str, Tensor]:
    """`model` of blip2_pretrained_flant5xxl.pth, without the layer in front of its T5."""
    draw = Draw(2)
    tensors = {"query_tokens": draw.matrix(1, QUERIES, BERT) * 10}
    tensors |= draw.norm("ln_vision", VISION)
    tensors |= draw.norm("Qformer.bert.embeddings.LayerNorm", BERT)
    tensors["Qformer.bert.embeddings.position_ids"] = torch.arange(512)[None]
    for i in range(BERT_LAYERS):
        layer = f"Qformer.bert.encoder.layer.{i}"
        kinds = {"attention": BERT} | ({} if i % 2 else {"crossattention": VISION})
        for kind, seen in kinds.items():
            tensors |= draw.linear(f"{layer}.{kind}.self.query", BERT, BERT)
            tensors |= draw.linear(f"{layer}.{kind}.self.key", BERT, seen)
            tensors |= draw.linear(f"{layer}.{kind}.self.value", BERT, seen)
            tensors |= draw.linear(f"{layer}.{kind}.output.dense", BERT, BERT)
            tensors |= draw.norm(f"{layer}.{kind}.output.LayerNorm", BERT)
        tensors |= draw.linear(f"{layer}.intermediate_query.dense", BERT_MLP, BERT)
        tensors |= draw.linear(f"{layer}.output_query.dense", BERT, BERT_MLP)
        tensors |= draw.norm(f"{layer}.output_query.LayerNorm", BERT)
    return tensors


def bert_words() -> list[str]:
    """vocab.txt of a BERT that knows the letters alone."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, "?", *letters, *(f"##{letter}" for letter in letters)]


def reading_qformer() -> dict[str, Tensor]:
    """A Q-Former that also reads the question, as InstructBLIP and BLIVA have it."""
    draw = Draw(5)
    tensors = qformer()
    embeddings = "Qformer.bert.embeddings"
    rows = len(bert_words()) + 1  # [DEC]
    tensors[f"{embeddings}.word_embeddings.weight"] = draw.matrix(rows, BERT) * 10
    tensors[f"{embeddings}.position_embeddings.weight"] = draw.matrix(512, BERT) * 10
    for i in range(BERT_LAYERS):
        layer = f"Qformer.bert.encoder.layer.{i}"
        tensors |= draw.linear(f"{layer}.intermediate.dense", BERT_MLP, BERT)
        tensors |= draw.linear(f"{layer}.output.dense", BERT, BERT_MLP)
        tensors |= draw.norm(f"{layer}.output.LayerNorm", BERT)
    return tensors


def projection(name: str, into: int = BERT, seed: int = 3) -> dict[str, Tensor]:
    """The layer between the Q-Former and the language model."""
    return dict(Draw(seed).linear(name, LLAMA, into))


def llama() -> dict[str, Tensor]:
    """Weights of a LlamaForCausalLM, with the buffers that folders of 2023 hold."""
    draw = Draw(4)
    tensors = {
        "model.embed_tokens.weight": draw.matrix(VOCABULARY, LLAMA),
        "model.norm.weight": 0.5 + draw.vector(LLAMA).abs(),
        "lm_head.weight": draw.matrix(VOCABULARY, LLAMA) * 2,
    }
    sizes = {
        **dict.fromkeys(("self_attn.q_proj", "self_attn.k_proj"), (LLAMA, LLAMA)),
        **dict.fromkeys(("self_attn.v_proj", "self_attn.o_proj"), (LLAMA, LLAMA)),
        **dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (LLAMA_MLP, LLAMA)),
        "mlp.down_proj": (LLAMA, LLAMA_MLP),
    }
    for i in range(LLAMA_LAYERS):
        layer = f"model.layers.{i}"
        tensors |= {f"{layer}.{name}.weight": draw.matrix(*size) for name, size in sizes.items()}
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{layer}.{name}.weight"] = 0.5 + draw.vector(LLAMA).abs()
        tensors[f"{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    return tensors


def sat_block(draw: Draw, name: str, size: int, mlp: int) -> dict[str, Tensor]:
    """A layer of SwissArmyTransformer, or of ChatGLM."""
    return {
        **dict(draw.norm(f"{name}.input_layernorm", size)),
        **dict(draw.linear(f"{name}.attention.query_key_value", 3 * size, size)),
        **dict(draw.linear(f"{name}.attention.dense", size, size)),
        **dict(draw.norm(f"{name}.post_attention_layernorm", size)),
        **dict(draw.linear(f"{name}.mlp.dense_h_to_4h", mlp, size)),
        **dict(draw.linear(f"{name}.mlp.dense_4h_to_h", size, mlp)),
    }


def visualglm() -> dict[str, Tensor]:
    """Weights of the folder THUDM/visualglm-6b."""
    draw = Draw(7)
    vit, qformer = "image_encoder.vit", "image_encoder.qformer.transformer"
    patches = (SIDE // PATCH) ** 2
    tensors = {
        f"{vit}.transformer.word_embeddings.weight": draw.matrix(1, VISION),
        f"{vit}.transformer.position_embeddings.weight": draw.matrix(1 + patches, VISION) * 10,
        f"{vit}.mixins.patch_embedding.proj.weight": draw.matrix(VISION, 3, PATCH, PATCH) / 5,
        f"{vit}.mixins.patch_embedding.proj.bias": draw.vector(VISION),
        f"{qformer}.word_embeddings.weight": draw.matrix(GLM_QUERIES, BERT) * 10,
        "transformer.word_embeddings.weight": draw.matrix(GLM_VOCABULARY, LLAMA) * 5,
        "lm_head.weight": draw.matrix(GLM_VOCABULARY, LLAMA) * 2,
    }
    for i in range(LAYERS):
        tensors |= sat_block(draw, f"{vit}.transformer.layers.{i}", VISION, MLP)
    for i in range(BERT_LAYERS):
        layer = f"{qformer}.layers.{i}"
        tensors |= sat_block(draw, layer, BERT, BERT_MLP)
        if i % 2 == 0:
            tensors |= draw.linear(f"{layer}.cross_attention.query", BERT, BERT)
            tensors |= draw.linear(f"{layer}.cross_attention.key_value", 2 * BERT, VISION)
            tensors |= draw.linear(f"{layer}.cross_attention.dense", BERT, BERT)
            tensors |= draw.norm(f"{layer}.post_cross_attention_layernorm", BERT)
    for i in range(LLAMA_LAYERS):
        tensors |= sat_block(draw, f"transformer.layers.{i}", LLAMA, LLAMA_MLP)
        tensors[f"transformer.layers.{i}.attention.rotary_emb.inv_freq"] = torch.ones(4)
    tensors |= draw.norm(f"{vit}.mixins.cls.ln_vision", VISION)
    tensors |= draw.norm(f"{qformer}.final_layernorm", BERT)
    tensors |= draw.norm("transformer.final_layernorm", LLAMA)
    tensors |= draw.linear("image_encoder.glm_proj", LLAMA, BERT)
    return tensors


def glm_pieces() -> bytes:
    """A SentencePiece model with ChatGLM's own tokens at its end."""
    proto = sentencepiece_model_pb2.ModelProto.FromString((HERE / "tokenizer.model").read_bytes())
    control = ("[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>", "<ENC>", "<dBLOCK>")
    blanks = (f"<|blank_{n}|>" for n in range(2, 81))
    kinds = dict.fromkeys(control, 3) | dict.fromkeys(("<pad>", "<n>", "<|tab|>", *blanks), 4)
    for piece, kind in kinds.items():
        proto.pieces.add(piece=piece, score=0, type=kind)
    return bytes(proto.SerializeToString())


def glm_ids() -> dict[str, int]:
    """Ids of special tokens, by their names in the published configuration."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=glm_pieces())
    names = {"bos": "<sop>", "eos": "<eop>", "mask": "[MASK]", "gmask": "[gMASK]", "pad": "<pad>"}
    return {f"{name}_token_id": pieces.piece_to_id(piece) for name, piece in names.items()}


def glm_settings() -> dict[str, object]:
    """config.json of the folder THUDM/visualglm-6b, without what this project does not read."""
    return {
        "model_type": "chatglm",
        "hidden_size": LLAMA,
        "inner_hidden_size": LLAMA_MLP,
        "layernorm_epsilon": 1e-05,
        "max_sequence_length": 2048,
        "num_attention_heads": 4,
        "num_layers": LLAMA_LAYERS,
        "position_encoding_2d": True,
        "vocab_size": GLM_VOCABULARY,
        **glm_ids(),
    }


def write(folder: Path) -> Path:
    """Write all files; return the folder."""
    llm = folder / "llm"
    llm.mkdir(parents=True)
    shutil.copy(HERE / "tokenizer.model", llm)
    settings = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": LLAMA,
        "intermediate_size": LLAMA_MLP,
        "num_hidden_layers": LLAMA_LAYERS,
        "num_attention_heads": 4,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "torch_dtype": "float16",
    }  # LLaMA's first conversions, and what was trained from them, had such ids
    (llm / "config.json").write_text(json.dumps(settings))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (llm / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", **special})
    )
    weights = llama()
    shards = {name: f"pytorch_model-0000{1 + ('.2.' in name)}-of-00002.bin" for name in weights}
    for shard in set(shards.values()):
        held = {name: weight for name, weight in weights.items() if shards[name] == shard}
        torch.save(held, llm / shard)
    index = {"metadata": {}, "weight_map": shards}
    (llm / "pytorch_model.bin.index.json").write_text(json.dumps(index))

    def save(name: str, tensors: dict[str, Tensor]) -> None:
        content = {"model": tensors, "optimizer": {"state": {}}, "config": {"run": {}}, "epoch": 3}
        torch.save(content, folder / name)

    torch.save(eva_vit(), folder / "eva_vit_g.pth")
    save("blip2_pretrained_flant5xxl.pth", qformer() | {"t5_proj.weight": torch.zeros(3, 3)})
    save("pretrained_minigpt4_7b.pth", projection("llama_proj"))
    save("vl-vicuna.pth", qformer() | projection("llama_proj"))
    layers = projection("llm_proj") | projection("vision_project", VISION, seed=6)
    save("bliva_vicuna7b.pth", reading_qformer() | layers)
    glm = folder / "visualglm-6b"
    glm.mkdir()
    (glm / "config.json").write_text(json.dumps(glm_settings()))
    (glm / "ice_text.model").write_bytes(glm_pieces())
    torch.save(visualglm(), glm / "pytorch_model-00001-of-00001.bin")
    (folder / "bert").mkdir()
    (folder / "bert" / "vocab.txt").write_text("\n".join(bert_words()))
    (folder / "bert" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "bert" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return folder
