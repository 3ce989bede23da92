"""MiniGPT-4 and VPGTrans' VL-Vicuna as a Blip2ForConditionalGeneration with a Llama.

Both are EVA-ViT-g, BLIP-2's Q-Former, one linear layer and a Vicuna, and differ in what they
trained: MiniGPT-4 the linear layer, VPGTrans the Q-Former too. Sources: MiniGPT-4 (Zhu et al.
2023), d94738a, `minigpt4/models/minigpt4.py`; VPGTrans (Zhang et al. 2023), 32e885c,
`lavis/models/blip2_models/blip2_vicuna.py`.
"""

from __future__ import annotations

from pathlib import Path

import transformers

from bbtvp.adapters.hf.convert import lavis
from bbtvp.adapters.hf.convert.folder import images_of, refuse_used, write
from bbtvp.adapters.hf.convert.llama import IMAGE, language_config, tokenizer_of
from bbtvp.adapters.hf.convert.templates import PublishedPrompt, chat_template

_PROJECTIONS = {"language_projection": "llama_proj"}
_STOP = "▁###"
"""The token of `###`, at which the published code ends a reply."""

_HINTS = {
    "llama_proj": "give --checkpoint the published file of the project itself",
    "": "give --qformer blip2_pretrained_flant5xxl.pth",
}


def convert(
    *,
    llm: Path,
    checkpoints: list[Path],
    vit: Path,
    out: Path,
    prompt: PublishedPrompt,
    vision_layers: int = lavis.VISION_LAYERS,
) -> None:
    """Write a folder that `hf/FOLDER` loads.

    llm: folder of the language model. checkpoints: the project's own file, then those that it took
    parts from. vit: file of EVA-ViT-g. out: a folder that does not exist yet, or is empty. Raises
    ModelError for a weight that is missing or has another shape, before anything is written.
    """
    refuse_used(out)
    tokenizer = tokenizer_of(llm, stop=_STOP)
    parts = lavis.published_parts(checkpoints, vit, llm, _HINTS)
    queries = parts.shape("query_tokens")[1]
    config = transformers.Blip2Config(
        vision_config=lavis.vision_sizes(parts, vision_layers),
        qformer_config=lavis.qformer_sizes(parts),
        text_config=language_config(llm, tokenizer).to_dict(),
        num_query_tokens=queries,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )
    processor = transformers.Blip2Processor(images_of(config), tokenizer)
    processor.chat_template = chat_template(prompt, IMAGE, queries)
    write(
        out,
        parts,
        projections=_PROJECTIONS,
        processor=processor,
        model_class=transformers.Blip2ForConditionalGeneration,
        config=config,
    )
