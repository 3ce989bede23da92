"""CLIP and other encoders as a surrogate: features, and their gradients back to the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.surrogate.features import Features, Surrogate
from bbtvp.surrogate.pixels import float_path

if TYPE_CHECKING:
    import torch

_LOGIT_SCALE = 100.0
"""Of a model that has none, about what CLIP's weights hold."""


@final
class ClipSurrogate(Surrogate):
    """A dual encoder of transformers, such as CLIP or SigLIP; or a vision encoder alone.

    A dual encoder has `get_image_features` and `get_text_features`. A vision encoder such as
    DINOv2 reads no texts: it has FCA, but no TSE and no zero-shot head. Nothing here changes a
    weight.
    """

    def __init__(self, spec: str, model: Any, processor: Any, *, batch: int = 128) -> None:
        """processor: the model's own, or the image processor of a vision encoder."""
        scale = getattr(model, "logit_scale", None)
        super().__init__(
            spec,
            batch=batch,
            logit_scale=_LOGIT_SCALE if scale is None else float(scale.detach().double().exp()),
        )
        self.model = model
        self.processor = processor
        self.reads_text = hasattr(model, "get_text_features")
        self._images = getattr(processor, "image_processor", processor)
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
                self._encoded(**self._processed(images[start : start + self.batch]))
                for start in range(0, len(images), self.batch)
            ]
        return Features(
            torch.cat([c.tokens for c in chunks]), torch.cat([c.pooled for c in chunks])
        )

    def seen(self, levels: torch.Tensor, images: Sequence[Pixels]) -> Features:
        """The features are exactly those of `features`.

        The processor's own 8-bit path is what flows forward. Only the way back to the pixels is the
        float path, which differs from it by rounding (see `pixels.float_path`). UsageError for a
        processor that cuts images into patches itself (SigLIP 2's NaFlex).
        """
        inputs = self._processed(images)
        exact = inputs["pixel_values"]
        if exact.ndim != 4:
            raise UsageError(
                f"the processor of {self.spec} cuts images into patches, and has no gradients; "
                "use FCA and TSE alone, or another surrogate"
            )
        smooth = float_path(levels, self._images)
        return self._encoded(**{**inputs, "pixel_values": smooth + (exact - smooth).detach()})

    def embedded(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts are cut to the model's length, and each distinct one is embedded once.

        UsageError for a vision encoder.
        """
        import torch

        if not self.reads_text:
            raise UsageError(
                f"{self.spec} reads no texts, so it has no TSE and no zero-shot head; use FCA "
                "alone, or a surrogate with a text tower, such as zoo/clip"
            )
        for text in sorted({*texts} - self._texts.keys()):
            ids = self._ids(text)
            with torch.no_grad():
                found = self.model.get_text_features(**ids.to(self.model.device))
                if found.pooler_output is None:
                    raise UsageError(
                        f"{self.spec} gives no embedding of a text; name a CLIP or a SigLIP"
                    )
                embedded = _one_row(found.pooler_output).float()[0]
            self._texts[text] = embedded / embedded.norm()
        return torch.stack([self._texts[text] for text in texts])

    def _ids(self, text: str) -> Any:
        """Token ids of a text, padded as the processor pads by itself."""
        sizes = self.model.config.text_config
        longest = getattr(sizes, "max_position_embeddings", None)
        own = getattr(type(self.processor), "text_kwargs", None) or {}
        padding = own.get("padding", "max_length" if _reads_last(self.model) else False)
        return self.processor.tokenizer(
            [text], return_tensors="pt", truncation=True, max_length=longest, padding=padding
        )

    def dense(self, tokens: torch.Tensor) -> torch.Tensor:
        """As of any surrogate. UsageError for a model that pools tokens in a way of its own."""
        import torch

        vision = self.model.vision_model if hasattr(self.model, "vision_model") else self.model
        found = tokens.to(self.model.dtype)
        if hasattr(self.model, "visual_projection"):
            found = self.model.visual_projection(_normed(vision, found))
        elif hasattr(vision, "head"):  # SigLIP's attention over all tokens, here over one at a time
            n, t, w = found.shape
            found = vision.head(found.reshape(n * t, 1, w)).reshape(n, t, -1)
        else:
            raise UsageError(
                f"{self.spec} embeds no single image tokens; use zoo/clip or another CLIP"
            )
        return torch.nn.functional.normalize(found.float(), dim=-1)

    def _processed(self, images: Sequence[Pixels]) -> dict[str, torch.Tensor]:
        found = self._images(images=list(images), return_tensors="pt")
        pixels = found["pixel_values"].to(self.model.device, self.model.dtype)
        rest = {key: found[key].to(self.model.device) for key in found if key != "pixel_values"}
        return {**rest, "pixel_values": pixels}

    def _encoded(self, **inputs: torch.Tensor) -> Features:
        import torch

        encode = getattr(self.model, "get_image_features", self.model)
        found = encode(**{**inputs, "pixel_values": inputs["pixel_values"].to(self.model.dtype)})
        tokens = _with_whole(found.last_hidden_state.float())
        pooled = found.pooler_output
        embedded = tokens[:, 0] if pooled is None else _one_row(pooled).float()
        return Features(tokens, torch.nn.functional.normalize(embedded, dim=-1))


def _reads_last(model: Any) -> bool:
    """Whether texts are read off the last position, so that they must be padded to full length."""
    text = getattr(model, "text_model", None)
    return hasattr(text, "head")


def _normed(vision: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens after the norm that CLIP puts before its projection, if there is one."""
    norm = getattr(vision, "post_layernorm", None)
    return tokens if norm is None else norm(tokens)


def _one_row(pooled: torch.Tensor) -> torch.Tensor:
    """(n, w) of (n, w); of (n, t, w), which some models call pooled, the first token; of a map."""
    if pooled.ndim == 4:
        return pooled.flatten(1)
    return pooled if pooled.ndim == 2 else pooled[:, 0]


def _with_whole(tokens: torch.Tensor) -> torch.Tensor:
    """(n, t, w) with a token of the whole image first: the mean, where the model has no such token.

    A map of a convolutional encoder, (n, w, h, w'), becomes tokens. A square number of tokens holds
    no class token.
    """
    import torch

    if tokens.ndim == 4:
        tokens = tokens.flatten(2).transpose(1, 2)
    if math.isqrt(tokens.shape[1]) ** 2 != tokens.shape[1]:
        return tokens
    return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
