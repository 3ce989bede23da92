"""CLIP features of uint8 images and of texts; where gradients are wanted, back to the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core import plugins
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.core.origin import Origin
from bbtvp.surrogate.pixels import float_path
from bbtvp.tasks import Sample

if TYPE_CHECKING:
    import torch

GROUP = "bbtvp.surrogates"
TEMPLATE = "this is a photo of a {answer}"
"""TVP's words for a class (arXiv 2404.11207, released code)."""
CAPTION = "caption"
"""The field of a sample that holds its own text for TSE."""


class Features(NamedTuple):
    """tokens: (n, t, w) float32 image tokens; pooled: (n, e) float32 unit image embeddings."""

    tokens: torch.Tensor
    pooled: torch.Tensor


def wording(sample: Sample | str) -> str:
    """The text that TSE draws an image to: the sample's own caption if it has one, else TVP's
    template.

    TVP's POPE loader hands on the list of the objects that are there (methods.md 1.4): a caption
    for each sample is that, and the template with "yes" would say nothing. A plain answer goes into
    the template.
    """
    if isinstance(sample, str):
        return TEMPLATE.format(answer=sample)
    return sample.fields.get(CAPTION) or TEMPLATE.format(answer=sample.answer)


def load_surrogate(spec: str, **options: Any) -> Surrogate:
    """`zoo/clip`, `hf/openai/clip-vit-base-patch32`, `hf/./folder`. Raises UsageError for an
    unknown provider.
    """
    provider, slash, name = spec.partition("/")
    if not slash or not name:
        raise UsageError(f"surrogate {spec!r} needs a provider: zoo/clip or hf/<hub id or folder>")
    surrogate = plugins.load(GROUP, provider, "surrogate provider")(name, **options)
    if not isinstance(surrogate, Surrogate):
        raise UsageError(
            f"surrogate provider {provider!r} gave {type(surrogate).__name__}, not a Surrogate"
        )
    surrogate.origin = Origin.of(spec, options)
    return surrogate


@final
class Surrogate:
    """CLIP features of uint8 images, and FCA and TSE between them. Frozen: nothing here changes a
    weight.
    """

    def __init__(self, spec: str, model: Any, processor: Any, *, batch: int = 128) -> None:
        if batch < 1:
            raise UsageError(f"a surrogate's batch of {batch}; give at least 1 image")
        self.spec = spec
        self.model = model
        self.processor = processor
        self.batch = batch
        self.origin: Origin | None = None
        self._texts: dict[str, torch.Tensor] = {}

    def features(self, images: Sequence[Pixels]) -> Features:
        """Features of `images`, each (H, W, 3) uint8; no gradients. UsageError for no images at
        all.
        """
        import torch

        if not images:
            raise UsageError("the surrogate was given no images; give at least one")
        with torch.no_grad():
            chunks = [
                self._seen(self._processed(images[start : start + self.batch]))
                for start in range(0, len(images), self.batch)
            ]
        return Features(
            torch.cat([c.tokens for c in chunks]), torch.cat([c.pooled for c in chunks])
        )

    def watched(self, images: Sequence[Pixels]) -> tuple[torch.Tensor, Features]:
        """Up to `batch` rendered images: ((n, H, W, 3) float32 levels 0-255 that ask for a
        gradient, their features).

        The features are exactly those of `features`: the processor's own 8-bit path is what flows
        forward. Only the way back to the pixels is the float path, which differs from it by
        rounding (see `pixels.float_path`).
        """
        import torch

        levels = (
            torch.from_numpy(np.stack(images).astype(np.float32))
            .to(self.model.device)
            .requires_grad_()
        )
        smooth = float_path(levels, self.processor.image_processor)
        exact = self._processed(images)
        return levels, self._seen(smooth + (exact - smooth).detach())

    def texts(self, answers: Sequence[str]) -> torch.Tensor:
        """(n, e) unit text embeddings of the answers, in TVP's template."""
        return self.embedded([wording(answer) for answer in answers])

    def embedded(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, e) unit embeddings of plain texts, cut to CLIP's length; each distinct text is
        embedded once.
        """
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

    @cached_property
    def logit_scale(self) -> float:
        """What CLIP multiplies its cosines by: about 100 in the published weights."""
        return float(self.model.logit_scale.detach().double().exp())

    @staticmethod
    def fca(prompted: Features, unprompted: Features) -> NDArray[np.float64]:
        """(n,) token distance, ≥ 0, in units of the surrogate's token norm; see
        `terms.token_distance`.
        """
        from bbtvp.surrogate.terms import token_distance, token_norm

        scale = token_norm(unprompted.tokens)
        return np.asarray(token_distance(prompted.tokens, unprompted.tokens, scale).double().cpu())

    def tse(self, prompted: Features, answers: Sequence[str | Sample]) -> NDArray[np.float64]:
        """(n,) cosine between image and text, in [−1, 1] (TVP multiplies it by CLIP's logit scale,
        about 100).

        answers: plain answers, put into the template; or samples, whose own `caption` comes first
        (see `wording`).
        """
        texts = self.embedded([wording(answer) for answer in answers])
        return np.asarray((prompted.pooled * texts).sum(-1).double().cpu())

    def _processed(self, images: Sequence[Pixels]) -> torch.Tensor:
        pixels: torch.Tensor = self.processor.image_processor(
            images=list(images), return_tensors="pt"
        )["pixel_values"]
        return pixels.to(self.model.device, self.model.dtype)

    def _seen(self, pixel_values: torch.Tensor) -> Features:
        import torch

        seen = self.model.vision_model(pixel_values=pixel_values.to(self.model.dtype))
        embedded = self.model.visual_projection(seen.pooler_output).float()
        return Features(
            seen.last_hidden_state.float(), torch.nn.functional.normalize(embedded, dim=-1)
        )
