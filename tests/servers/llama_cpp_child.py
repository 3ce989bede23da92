"""llama.cpp's own HTTP server on a miniature LLaVA: run by a Python that has xllamacpp, gguf and
safetensors.

    LLAMA_API_KEY=… python llama_cpp_child.py FOLDER WORK PORT

FOLDER: a LLaVA as save_pretrained leaves it, with a SigLIP tower and a Llama. WORK: where the two
GGUF files go. The weights stay float32, so that what the server says can be compared with what
transformers computes. (With a CLIP tower it could not: llama.cpp puts the class token behind the
patches, and then gives the language model patches 2 to n and the class token; its issue 25814.)
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import xllamacpp
from numpy.typing import NDArray
from safetensors.numpy import load_file

MARKER = "<image>"
"""What stands for the image in a message, once the server has taken it out."""
TEMPLATE = (
    "{% for m in messages %}USER: {{ m['content'] | replace('<image>', '<image>\\n') }}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
"""What the miniature was trained on. The server itself puts no line feed between the image and the
text.
"""

Weights = Callable[[str], NDArray[np.float32]]


def write_language(
    path: Path, config: dict[str, Any], tokenizer: dict[str, Any], weights: Weights
) -> None:
    """The Llama with its byte-level BPE."""
    out = gguf.GGUFWriter(path, "llama")
    heads = config["num_attention_heads"]
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_rope_dimension_count(config["head_dim"])
    out.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_vocab_size(config["vocab_size"])
    special = {row["id"] for row in tokenizer["added_tokens"]}
    names = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    kinds = [
        gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(names))
    ]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(names)
    out.add_token_types(kinds)
    out.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    out.add_bos_token_id(config["bos_token_id"])
    out.add_eos_token_id(config["eos_token_id"])
    out.add_pad_token_id(config["pad_token_id"])
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)

    def interleaved(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """llama.cpp rotates neighbouring pairs, transformers the two halves of a head."""
        return matrix.reshape(heads, 2, -1, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)

    out.add_tensor("token_embd.weight", weights("language_model.model.embed_tokens.weight"))
    out.add_tensor("output_norm.weight", weights("language_model.model.norm.weight"))
    parts = {
        "attn_norm": "input_layernorm",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    for i in range(config["num_hidden_layers"]):
        layer = f"language_model.model.layers.{i}"
        for theirs, ours in parts.items():
            out.add_tensor(f"blk.{i}.{theirs}.weight", weights(f"{layer}.{ours}.weight"))
        for letter in "qk":
            out.add_tensor(
                f"blk.{i}.attn_{letter}.weight",
                interleaved(weights(f"{layer}.self_attn.{letter}_proj.weight")),
            )
    _close(out)


def write_vision(
    path: Path, config: dict[str, Any], images: dict[str, Any], weights: Weights
) -> None:
    """The SigLIP tower, all its layers, and the projector."""
    out = gguf.GGUFWriter(path, "clip")
    layers = config["num_hidden_layers"]
    out.add_bool("clip.has_vision_encoder", True)
    out.add_bool("clip.has_llava_projector", True)
    out.add_string("clip.projector_type", "mlp")
    out.add_bool("clip.use_gelu", True)
    numbers = {
        "image_size": config["image_size"],
        "patch_size": config["patch_size"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "projection_dim": config["projection_dim"],
        "attention.head_count": config["num_attention_heads"],
        "block_count": layers,
    }
    for key, number in numbers.items():
        out.add_uint32(f"clip.vision.{key}", number)
    out.add_float32("clip.vision.attention.layer_norm_epsilon", config["layer_norm_eps"])
    out.add_array("clip.vision.image_mean", images["image_mean"])
    out.add_array("clip.vision.image_std", images["image_std"])
    out.add_array("clip.vision.feature_layer", [layers])
    embeddings = "vision_tower.embeddings"
    out.add_tensor("v.position_embd.weight", weights(f"{embeddings}.position_embedding.weight"))
    parts = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_out": "self_attn.out_proj",
        "ln1": "layer_norm1",
        "ln2": "layer_norm2",
        "ffn_up": "mlp.fc1",
        "ffn_down": "mlp.fc2",
    }
    for kind in ("weight", "bias"):
        out.add_tensor(f"v.patch_embd.{kind}", weights(f"{embeddings}.patch_embedding.{kind}"))
        for i in range(layers):
            for theirs, ours in parts.items():
                out.add_tensor(
                    f"v.blk.{i}.{theirs}.{kind}",
                    weights(f"vision_tower.encoder.layers.{i}.{ours}.{kind}"),
                )
        out.add_tensor(f"mm.0.{kind}", weights(f"multi_modal_projector.linear_1.{kind}"))
        out.add_tensor(f"mm.2.{kind}", weights(f"multi_modal_projector.linear_2.{kind}"))
    _close(out)


def _close(out: Any) -> None:
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main(folder: Path, work: Path, port: int) -> None:
    """Write the files, then serve until a signal."""
    stored = load_file(folder / "model.safetensors")
    config, images, tokenizer = (
        json.loads((folder / name).read_text())
        for name in ("config.json", "processor_config.json", "tokenizer.json")
    )

    def weights(name: str) -> NDArray[np.float32]:
        return np.ascontiguousarray(stored[name], np.float32)

    write_language(work / "language.gguf", config["text_config"], tokenizer, weights)
    write_vision(work / "vision.gguf", config["vision_config"], images["image_processor"], weights)
    os.environ["LLAMA_MEDIA_MARKER"] = MARKER  # by default a random word
    params = xllamacpp.CommonParams()
    params.model.path = str(work / "language.gguf")
    params.mmproj.path = str(work / "vision.gguf")
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = [os.environ["LLAMA_API_KEY"]]
    params.n_ctx = 2048
    params.n_parallel = 4
    params.warmup = False
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 8
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
