"""The surrogate: a local CLIP-like model that scores images for free (no image query, nothing sent).

Two terms of TVP (arXiv 2404.11207, §3.3 and §3.4), carried into the black box:
    FCA   mean over image tokens of || f(prompted) − f(unprompted) ||₂      (there f is the target's own encoder)
    TSE   cosine of CLIP's image embedding and the text embedding of "this is a photo of a {answer}"
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core import plugins
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError

if TYPE_CHECKING:
    import torch

GROUP = "bbtvp.surrogates"
TEMPLATE = "this is a photo of a {answer}"


class Features(NamedTuple):
    """tokens: (n, t, w) float32 image tokens; pooled: (n, e) float32 unit image embeddings."""

    tokens: torch.Tensor
    pooled: torch.Tensor


def load_surrogate(spec: str, **options: Any) -> Surrogate:
    """`zoo/clip`, `hf/openai/clip-vit-base-patch32`, `hf/./folder`. Raises UsageError for an unknown provider."""
    provider, slash, name = spec.partition("/")
    if not slash or not name:
        raise UsageError(f"surrogate {spec!r} needs a provider: zoo/clip or hf/<hub id or folder>")
    surrogate = plugins.load(GROUP, provider, "surrogate provider")(name, **options)
    if not isinstance(surrogate, Surrogate):
        raise UsageError(f"surrogate provider {provider!r} gave {type(surrogate).__name__}, not a Surrogate")
    return surrogate


@final
class Surrogate:
    """CLIP features of uint8 images, and FCA and TSE between them."""

    def __init__(self, spec: str, model: Any, processor: Any, *, batch: int = 128) -> None:
        self.spec, self.model, self.processor, self.batch = spec, model, processor, batch

    def features(self, images: Sequence[Pixels]) -> Features:
        """Features of `images`, each (H, W, 3) uint8."""
        import torch

        tokens, pooled = [], []
        for start in range(0, len(images), self.batch):
            chunk = list(images[start : start + self.batch])
            pixels = self.processor.image_processor(images=chunk, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                seen = self.model.vision_model(pixel_values=pixels.to(self.model.device, self.model.dtype))
                embedded = self.model.visual_projection(seen.pooler_output).float()
            tokens.append(seen.last_hidden_state.float())
            pooled.append(embedded / embedded.norm(dim=-1, keepdim=True))
        return Features(torch.cat(tokens), torch.cat(pooled))

    def texts(self, answers: Sequence[str]) -> torch.Tensor:
        """(n, e) unit text embeddings of the answers, in TVP's template; each distinct answer is embedded once."""
        import torch

        for answer in sorted({*answers} - self._texts.keys()):
            text = TEMPLATE.format(answer=answer)
            ids = self.processor.tokenizer([text], return_tensors="pt").to(self.model.device)
            with torch.inference_mode():
                found = self.model.text_model(**ids).pooler_output
                embedded = self.model.text_projection(found).float()[0]
            self._texts[answer] = embedded / embedded.norm()
        return torch.stack([self._texts[answer] for answer in answers])

    @cached_property
    def _texts(self) -> dict[str, torch.Tensor]:
        return {}

    @staticmethod
    def fca(prompted: Features, unprompted: Features) -> NDArray[np.float64]:
        """(n,) token distance, ≥ 0, in units of the surrogate's token norm.

        That is the distance over the mean norm of the unprompted tokens, so that a weight means the same for every
        surrogate.
        """
        distance = (prompted.tokens - unprompted.tokens).norm(dim=-1).mean(-1)
        scale = unprompted.tokens.norm(dim=-1).mean()
        return np.asarray((distance / scale).double().cpu())

    def tse(self, prompted: Features, answers: Sequence[str]) -> NDArray[np.float64]:
        """(n,) cosine between image and answer, in [−1, 1] (TVP multiplies it by CLIP's logit scale, about 100)."""
        return np.asarray((prompted.pooled * self.texts(answers)).sum(-1).double().cpu())
