"""BLIVA: InstructBLIP whose language model also sees the image's patches.

BLIVA (Hu et al. 2023) puts one linear layer beside the Q-Former: the language model reads the
Q-Former's tokens, then the patches of the last block but one of the image encoder, then the
question. transformers has no such class; `python -m bbtvp.adapters.hf.convert bliva` makes folders.
Source: mlpc-ucsd/BLIVA d99de3a, `bliva/models/bliva_vicuna7b.py`.
"""

from __future__ import annotations

from typing import Any, final

import torch
import transformers
from torch import Tensor, nn


@final
class BlivaConfig(transformers.InstructBlipConfig):  # type: ignore[misc]
    """Settings of a BlivaForConditionalGeneration: those of InstructBLIP."""

    model_type = "bliva"


@final
class BlivaForConditionalGeneration(
    transformers.InstructBlipForConditionalGeneration  # type: ignore[misc]
):
    """InstructBLIP with `vision_projection`, the layer from patches to the language model."""

    config_class = BlivaConfig

    def __init__(self, config: BlivaConfig) -> None:
        super().__init__(config)
        self.vision_projection = nn.Linear(
            config.vision_config.hidden_size, config.text_config.hidden_size
        )
        self.post_init()

    def get_image_features(self, pixel_values: Tensor, *options: Any, **named: Any) -> Any:
        """Return what InstructBLIP does, with the patches after the queries in `pooler_output`."""
        found = super().get_image_features(
            pixel_values, *options, **named | {"output_hidden_states": True, "return_dict": True}
        )
        patches = self.vision_projection(found.hidden_states[-2][:, 1:])
        found.pooler_output = torch.cat([found.pooler_output, patches], dim=1)
        return found


@final
class BlivaProcessor(transformers.InstructBlipProcessor):  # type: ignore[misc]
    """InstructBLIP's processor with a placeholder that its tokenizer already has.

    num_query_tokens: the queries and the patches.
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        qformer_tokenizer: Any,
        num_query_tokens: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, qformer_tokenizer, num_query_tokens, **options)
        self.image_token = transformers.AddedToken(str(tokenizer.image_token), special=True)


def register() -> None:
    """Make transformers' auto classes know BLIVA. It does no harm twice."""
    transformers.AutoConfig.register(BlivaConfig.model_type, BlivaConfig, exist_ok=True)
    transformers.AutoProcessor.register(BlivaConfig, BlivaProcessor, exist_ok=True)
    transformers.AutoModelForImageTextToText.register(
        BlivaConfig, BlivaForConditionalGeneration, exist_ok=True
    )
