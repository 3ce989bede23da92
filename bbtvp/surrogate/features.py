"""A local model of images and texts: what is asked of it, and the units of its features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.core.origin import Origin
from bbtvp.tasks import Sample

if TYPE_CHECKING:
    import torch

Compared: TypeAlias = Literal["tokens", "pooled"]
"""What FCA compares: the image tokens, or the one embedding of the whole image."""

TEMPLATE = "this is a photo of a {answer}"
"""TVP's words for a class (arXiv 2404.11207, released code)."""
CAPTION = "caption"
"""The field of a sample that holds its own text for TSE."""
_STILL = 1e-4
"""Share of the unit below which a token counts as unmoved."""


class Features(NamedTuple):
    """tokens: (n, t, w) float32 image tokens; pooled: (n, e) float32 unit image embeddings.

    The first token stands for the whole image (CLIP's class token), the others for its parts. An
    encoder without a class token gives the mean of its tokens first.
    """

    tokens: torch.Tensor
    pooled: torch.Tensor


class Surrogate(ABC):
    """Features of uint8 images and of texts in one space, and FCA and TSE between them.

    A subclass gives `seen`, `embedded`, `dense` and `device`; `ClipSurrogate` is ours. It is frozen
    and deterministic: equal inputs give equal features. `compares` says what FCA compares, and
    `reads_text` whether there is a TSE.
    """

    compares: Compared = "tokens"
    reads_text: bool = True

    def __init__(self, spec: str, *, batch: int = 128, logit_scale: float = 100.0) -> None:
        """spec: its name, such as "zoo/clip". batch: images taken together, at least 1.

        logit_scale: what its zero-shot head multiplies cosines by; about 100 in CLIP's weights.
        """
        if batch < 1:
            raise UsageError(f"a surrogate's batch of {batch}; give at least 1 image")
        self.spec = spec
        self.batch = batch
        self.logit_scale = logit_scale
        self.origin: Origin | None = None

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where its tensors lie."""

    @abstractmethod
    def seen(self, levels: torch.Tensor, images: Sequence[Pixels]) -> Features:
        """Features of up to `batch` rendered images of one size, each (H, W, 3) uint8.

        levels: the same images as (n, H, W, 3) float32 levels 0-255; gradients must flow from the
        features back to them.
        """

    @final
    def watched(self, images: Sequence[Pixels]) -> tuple[torch.Tensor, Features]:
        """Levels of up to `batch` images of one size that ask for a gradient, and their features.

        Returns (n, H, W, 3) float32 levels 0-255, and what `seen` makes of them.
        """
        import torch

        levels = torch.from_numpy(np.stack(images).astype(np.float32))
        levels = levels.to(self.device).requires_grad_()
        return levels, self.seen(levels, images)

    @abstractmethod
    def embedded(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, e) unit embeddings of plain texts, in the space of `Features.pooled`."""

    @abstractmethod
    def dense(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, t, e) unit embeddings of (n, t, w) image tokens, as the pooled one is embedded."""

    def features(self, images: Sequence[Pixels]) -> Features:
        """Features of images, each (H, W, 3) uint8, without gradients. UsageError for no images."""
        import torch

        self._check_some(images)
        starts = range(0, len(images), self.batch)
        chunks = [self.watched(images[start : start + self.batch])[1] for start in starts]
        return Features(
            torch.cat([chunk.tokens.detach() for chunk in chunks]),
            torch.cat([chunk.pooled.detach() for chunk in chunks]),
        )

    @final
    def compared(self, features: Features) -> torch.Tensor:
        """(n, t, w) what FCA compares: the tokens, or the pooled embedding as one token."""
        return features.tokens if self.compares == "tokens" else features.pooled[:, None]

    @final
    def fca(self, prompted: Features, unprompted: Features) -> NDArray[np.float64]:
        """(n,) `token_distance`, ≥ 0, in units of the norm of what is compared."""
        plain = self.compared(unprompted)
        moved = token_distance(self.compared(prompted), plain, token_norm(plain))
        return np.asarray(moved.double().cpu())

    @final
    def tse(self, prompted: Features, answers: Sequence[str | Sample]) -> NDArray[np.float64]:
        """(n,) cosine between image and text, in [−1, 1]. TVP multiplies it by the logit scale.

        answers: plain answers, put into the template; or samples, whose own `caption` comes first
        (see `wording`).
        """
        texts = self.embedded([wording(answer) for answer in answers])
        return np.asarray((prompted.pooled * texts).sum(-1).double().cpu())

    def _check_some(self, images: Sequence[Pixels]) -> None:
        if not images:
            raise UsageError("the surrogate was given no images; give at least one")


def wording(sample: Sample | str) -> str:
    """The text that TSE draws an image to: a sample's own caption, or else TVP's template.

    TVP's POPE loader hands on the list of the objects that are there: a caption for each sample is
    that, and the template with "yes" would say nothing. A plain answer goes into the template.
    """
    if isinstance(sample, str):
        return TEMPLATE.format(answer=sample)
    return sample.fields.get(CAPTION) or TEMPLATE.format(answer=sample.answer)


def token_norm(unprompted: torch.Tensor) -> float:
    """Mean norm of (n, t, w) image tokens: the unit of FCA."""
    return float(unprompted.norm(dim=-1).mean())


def token_distance(prompted: torch.Tensor, unprompted: torch.Tensor, scale: float) -> torch.Tensor:
    """(n,) FCA in units of `scale`, so that a weight means the same for every surrogate.

    A token that has moved by less than 1e-4 of the scale has gradient 0: that is the rounding
    between two batches, and the slope of a norm has length 1 however short the way.
    """
    moved = (prompted - unprompted).norm(dim=-1)
    distance: torch.Tensor = moved.where(moved > _STILL * scale, moved.detach()).mean(-1) / scale
    return distance
