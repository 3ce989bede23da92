"""transformers' InstructBLIP, asked by the adapter, against LAVIS' code with equal weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import transformers

from bbtvp.adapters import hf
from bbtvp.adapters.hf.bliva import BlivaProcessor
from bbtvp.adapters.hf.convert import lavis
from bbtvp.adapters.hf.convert.folder import images_of
from bbtvp.adapters.hf.convert.llama import language_config, tokenizer_of
from tests.paper import published
from tests.paper.support import EXPECTED, scores


def test_it_scores_as_the_authors_code_does(files: Path) -> None:
    tokenizer = tokenizer_of(files / "llm", bos="</s>")
    words = transformers.AutoTokenizer.from_pretrained(files / "bert")
    words.add_special_tokens({"bos_token": "[DEC]"})
    parts = lavis.published_parts(
        [files / "bliva_vicuna7b.pth"], files / "eva_vit_g.pth", files / "llm", {}
    )
    config = transformers.InstructBlipConfig(
        vision_config=lavis.vision_sizes(parts, published.LAYERS),
        qformer_config=lavis.qformer_sizes(parts) | {"vocab_size": len(words)},
        text_config=language_config(files / "llm", tokenizer).to_dict(),
        num_query_tokens=published.QUERIES,
        image_token_index=0,
    )
    model = transformers.InstructBlipForConditionalGeneration(config).float().eval()
    names = {"language_projection": "llm_proj"}
    model.load_state_dict(dict(lavis.converted(parts, model.state_dict(), names)))
    processor = BlivaProcessor(images_of(config), tokenizer, words, published.QUERIES)
    asked = hf.HuggingFaceModel("instructblip", model, processor, 4)
    np.testing.assert_allclose(scores(asked), EXPECTED["instructblip"], rtol=0, atol=1e-4)
