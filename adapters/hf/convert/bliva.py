"""BLIVA with a Vicuna as a BlivaForConditionalGeneration.

BLIVA's file holds the Q-Former, `ln_vision`, and the two layers in front of the language model.
Source: BLIVA (Hu et al. 2023), d99de3a, `bliva/models/bliva_vicuna7b.py`.
"""

from __future__ import annotations

from pathlib import Path

import transformers

from bbtvp.adapters.hf.bliva import BlivaConfig, BlivaForConditionalGeneration, BlivaProcessor
from bbtvp.adapters.hf.convert import lavis
from bbtvp.adapters.hf.convert.folder import images_of, refuse_used, write
from bbtvp.adapters.hf.convert.llama import IMAGE, language_config, tokenizer_of
from bbtvp.adapters.hf.pretrained import loading

_PROJECTIONS = {"language_projection": "llm_proj", "vision_projection": "vision_project"}
_HINTS = {"": "give --checkpoint the published file of BLIVA itself"}
_BERT_END = "[DEC]"
"""A token that LAVIS adds to BERT's. It is never written, and has a row in the Q-Former."""


def convert(
    *,
    llm: Path,
    checkpoint: Path,
    vit: Path,
    bert: str,
    out: Path,
    vision_layers: int = lavis.VISION_LAYERS,
) -> None:
    """Write a folder that `hf/FOLDER` loads.

    llm: folder of the language model. vit: file of EVA-ViT-g. bert: folder or hub id of the
    Q-Former's tokenizer. out: a folder that does not exist yet, or is empty. Raises ModelError for
    a weight that is missing or has another shape, before anything is written.
    """
    refuse_used(out)
    # BLIVA, like InstructBLIP, begins its prompts with this token.
    tokenizer = tokenizer_of(llm, bos="</s>")
    with loading(bert):
        words = transformers.AutoTokenizer.from_pretrained(bert)
    words.add_special_tokens({"bos_token": _BERT_END})
    parts = lavis.published_parts([checkpoint], vit, llm, _HINTS)
    vision = lavis.vision_sizes(parts, vision_layers)
    queries = parts.shape("query_tokens")[1]
    config = BlivaConfig(
        vision_config=vision,
        qformer_config=lavis.qformer_sizes(parts)
        | {"vocab_size": parts.shape("Qformer.bert.embeddings.word_embeddings.weight")[0]},
        text_config=language_config(llm, tokenizer).to_dict(),
        num_query_tokens=queries,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    processor = BlivaProcessor(
        images_of(config), tokenizer, words, num_query_tokens=queries + patches
    )
    write(
        out,
        parts,
        projections=_PROJECTIONS,
        processor=processor,
        model_class=BlivaForConditionalGeneration,
        config=config,
    )
