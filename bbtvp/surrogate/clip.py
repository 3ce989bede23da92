"""CLIP as a surrogate: its features, and their gradients back to the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.surrogate.features import Features, Surrogate
from bbtvp.surrogate.pixels import float_path

if TYPE_CHECKING:
    import torch


@final
class ClipSurrogate(Surrogate):
    """A CLIP-like model of transformers with its processor. Nothing here changes a weight."""

    def __init__(self, spec: str, model: Any, processor: Any, *, batch: int = 128) -> None:
        """model: a CLIPModel; processor: its CLIPProcessor."""
        scale = float(model.logit_scale.detach().double().exp())
        super().__init__(spec, batch=batch, logit_scale=scale)
        self.model = model
        self.processor = processor
        self._texts: dict[str, torch.Tensor] = {}

    @property
    def device(self) -> torch.device:
        found: torch.device = self.model.device
        return found

    def features(self, images: Sequence[Pixels]) -> Features:
        """As of any surrogate; the images may differ in size, and no graph is built."""
        import torch

        self._check_some(images)
        with torch.no_grad():
            chunks = [
                self._seen(self._processed(images[start : start + self.batch]))
                for start in range(0, len(images), self.batch)
            ]
        return Features(
            torch.cat([c.tokens for c in chunks]), torch.cat([c.pooled for c in chunks])
        )

    def watched(self, images: Sequence[Pixels]) -> tuple[torch.Tensor, Features]:
        """The features are exactly those of `features`.

        The processor's own 8-bit path is what flows forward. Only the way back to the pixels is the
        float path, which differs from it by rounding (see `pixels.float_path`).
        """
        import torch

        levels = torch.from_numpy(np.stack(images).astype(np.float32))
        levels = levels.to(self.model.device).requires_grad_()
        smooth = float_path(levels, self.processor.image_processor)
        exact = self._processed(images)
        return levels, self._seen(smooth + (exact - smooth).detach())

    def embedded(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts are cut to CLIP's length, and each distinct one is embedded once."""
        import torch

        longest = self.model.config.text_config.max_position_embeddings
        for text in sorted({*texts} - self._texts.keys()):
            ids = self.processor.tokenizer(
                [text], return_tensors="pt", truncation=True, max_length=longest
            )
            with torch.no_grad():
                found = self.model.text_model(**ids.to(self.model.device)).pooler_output
                embedded = self.model.text_projection(found).float()[0]
            self._texts[text] = embedded / embedded.norm()
        return torch.stack([self._texts[text] for text in texts])

    def dense(self, tokens: torch.Tensor) -> torch.Tensor:
        import torch

        normed = self.model.vision_model.post_layernorm(tokens.to(self.model.dtype))
        projected = self.model.visual_projection(normed).float()
        return torch.nn.functional.normalize(projected, dim=-1)

    def _processed(self, images: Sequence[Pixels]) -> torch.Tensor:
        found = self.processor.image_processor(images=list(images), return_tensors="pt")
        pixels: torch.Tensor = found["pixel_values"]
        return pixels.to(self.model.device, self.model.dtype)

    def _seen(self, pixel_values: torch.Tensor) -> Features:
        import torch

        seen = self.model.vision_model(pixel_values=pixel_values.to(self.model.dtype))
        embedded = self.model.visual_projection(seen.pooler_output).float()
        return Features(
            seen.last_hidden_state.float(), torch.nn.functional.normalize(embedded, dim=-1)
        )
