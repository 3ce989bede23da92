"""A CLIP of transformers' own classes with random weights, and small tasks that it can be asked
about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bbtvp.surrogate import ClipSurrogate
from bbtvp.tasks import Sample, Task
from tests.support import LABELS, SIDE, pattern, patterns

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPProcessor

WORDS = ("this", "is", "a", "photo", "of", *LABELS, "there", "the", "image", "yes", "no")


@pytest.fixture(scope="session")
def clip() -> ClipSurrogate:
    """16 px of input, the size of the patterns: nothing is resized."""
    return tiny_clip(SIDE)


@pytest.fixture(scope="session")
def resizing() -> ClipSurrogate:
    """12 px of input: images of 16 and 20 px are resized."""
    return tiny_clip(12)


@pytest.fixture(scope="session")
def task() -> Task:
    """Patterns that show well."""
    return patterns(0.2)


@pytest.fixture(scope="session")
def presence() -> Task:
    """ "is there a {object} in the image?", yes or no, over patterns."""
    splits = {}
    for split, count in (("train", 96), ("validation", 32), ("test", 32)):
        rng = np.random.default_rng(len(split))
        rows = []
        for i in range(count):
            shown = LABELS[i % 4]
            asked = LABELS[int(rng.integers(4))] if i % 2 else LABELS[i % 4]
            answer = "yes" if shown == asked else "no"
            rows.append(Sample(f"{split}-{i}", answer, pattern(shown, 0.2, rng), {"object": asked}))
        splits[split] = tuple(rows)
    return Task("presence", "is there a {object} in the image?", ("yes", "no"), **splits)


def tiny_clip(side: int, *, batch: int = 4) -> ClipSurrogate:
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tiny_model(side)
    return ClipSurrogate("hf/tiny", model.eval(), tiny_processor(side), batch=batch)


def tiny_model(side: int) -> CLIPModel:
    from transformers import CLIPConfig, CLIPModel

    shared = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    shared |= {"initializer_range": 0.3}
    text = {
        **shared,
        "vocab_size": len(WORDS) + 2,
        "max_position_embeddings": 12,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    vision = {**shared, "image_size": side, "patch_size": 4}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def tiny_processor(side: int) -> CLIPProcessor:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPImageProcessorPil, CLIPProcessor, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(("<s>", "</s>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    size = {"height": side, "width": side}
    return CLIPProcessor(CLIPImageProcessorPil(size=size, crop_size=size), fast)
