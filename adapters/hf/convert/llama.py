"""A Llama's tokenizer as the published projects used it: every part of a prompt on its own.

MiniGPT-4 and its relatives split a prompt at its image, and give each part to the tokenizer of
Llama 1, which puts a space in front. transformers 5 puts it in front of the first part only,
unless it is told that the tokenizer is of the legacy kind, and it forgets that on saving.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from bbtvp.adapters.hf.convert.templates import SPACE
from bbtvp.adapters.hf.pretrained import explain, loading
from bbtvp.core.errors import ModelError

IMAGE = "<unk>"
"""The token whose embeddings the image replaces: Llama's tokenizer writes bytes instead of it.

An added token would be one more row of the vocabulary, and change every probability.
"""


def tokenizer_of(folder: Path, *, bos: str = "<s>", stop: str = "") -> Any:
    """Return the tokenizer of a Llama folder, which puts a space in front of each part.

    bos: the token that begins a prompt. stop: the token that ends a reply beside `</s>`, if the
    vocabulary has it; it becomes a special token, `stop_token`, so that no reply shows it. Raises
    ModelError if there is no tokenizer, or if it has no `<unk>`.
    """
    # Without them transformers would make a tokenizer of three tokens.
    if not any((folder / name).is_file() for name in ("tokenizer.model", "tokenizer.json")):
        raise ModelError(f"{folder} has no tokenizer.model; name the language model's whole folder")
    try:
        read = transformers.LlamaTokenizer.from_pretrained(
            folder, legacy=True, add_bos_token=True, bos_token=bos
        )
    except ImportError as error:
        raise ModelError(
            f"{folder}: tokenizer.model is read with sentencepiece and protobuf; "
            "pip install 'bbtvp[convert]'"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        told = explain(str(folder), error, "has no usable tokenizer", "download it again")
        raise ModelError(told) from error
    if read.unk_token != IMAGE:
        raise ModelError(f"{folder} has no token {IMAGE}; name the folder of a Llama 1 or 2")
    special = {"image_token": IMAGE}
    if stop in read.get_vocab():
        special["stop_token"] = stop
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=read.backend_tokenizer,
        bos_token=str(read.bos_token),
        eos_token=str(read.eos_token),
        unk_token=IMAGE,
        pad_token=str(read.eos_token),
        padding_side="left",
        extra_special_tokens=special,
    )
    # It is in the vocabulary; now it is also found where a prompt has it.
    tokenizer.add_tokens([transformers.AddedToken(SPACE, normalized=False)])
    return tokenizer


def language_config(folder: Path, tokenizer: Any) -> Any:
    """Return a Llama's configuration, with the special tokens of its tokenizer.

    Raises ModelError for a folder that holds no Llama.
    """
    with loading(str(folder)):
        config = transformers.AutoConfig.from_pretrained(folder)
    if config.model_type != "llama":
        raise ModelError(f"{folder} holds a {config.model_type}, not a Llama; see --help")
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = [tokenizer.eos_token_id]
    if stop := getattr(tokenizer, "stop_token", None):
        config.eos_token_id.append(tokenizer.convert_tokens_to_ids(stop))
    config.pad_token_id = tokenizer.pad_token_id
    return config
