"""Several surrogates as one: FCA and TSE are their means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.surrogate.features import Features, Surrogate

if TYPE_CHECKING:
    import torch

BETWEEN = " + "
"""Between the names of several surrogates in one spec."""


@final
class SurrogateGroup(Surrogate):
    """The mean FCA and the mean TSE of several surrogates; gradients flow through all of them.

    What each compares (its tokens or its embedding) is scaled to length 1 first, since encoders
    differ in scale, and each surrogate weighs the same, however many tokens it has. TSE is that of
    the surrogates that read texts.
    """

    def __init__(self, members: Sequence[Surrogate]) -> None:
        """members: at least two. UsageError for fewer."""
        if len(members) < 2:
            raise UsageError("a group of surrogates needs two or more; name another one")
        self.members = tuple(members)
        self._readers = tuple(m for m in members if m.reads_text)
        scales = [member.logit_scale for member in self._readers or members]
        super().__init__(
            BETWEEN.join(member.spec for member in members),
            batch=min(member.batch for member in members),
            logit_scale=sum(scales) / len(scales),
        )
        self.reads_text = bool(self._readers)

    @property
    def device(self) -> torch.device:
        found: torch.device = self.members[0].device
        return found

    def features(self, images: Sequence[Pixels]) -> Features:
        """As of any surrogate; the images may differ in size if the members allow it."""
        return self._joined([member.features(images) for member in self.members])

    def seen(self, levels: torch.Tensor, images: Sequence[Pixels]) -> Features:
        return self._joined(
            [member.seen(levels.to(member.device), images) for member in self.members]
        )

    def embedded(self, texts: Sequence[str]) -> torch.Tensor:
        """UsageError if no member reads texts."""
        import torch

        rows: list[torch.Tensor] = [
            m.embedded(texts).to(self.device) for m in self._readers or self.members[:1]
        ]
        return torch.cat(rows, dim=-1) / math.sqrt(len(rows))

    def dense(self, tokens: torch.Tensor) -> torch.Tensor:
        """UsageError: the tokens of several encoders lie in different spaces."""
        raise UsageError(
            f"{self.spec}: single image tokens of several surrogates cannot be embedded; "
            "give one --surrogate"
        )

    def _joined(self, found: Sequence[Features]) -> Features:
        import torch
        from torch.nn.functional import normalize, pad

        here = self.device
        parts = [
            normalize(member.compared(features), dim=-1).to(here)
            for member, features in zip(self.members, found, strict=True)
        ]
        total = sum(part.shape[1] for part in parts)
        width = max(part.shape[2] for part in parts)
        tokens = [
            pad(part * (total / (len(parts) * part.shape[1])), (0, width - part.shape[2]))
            for part in parts
        ]
        pooled = [
            features.pooled.to(here)
            for member, features in zip(self.members, found, strict=True)
            if member.reads_text or not self.reads_text
        ]
        return Features(torch.cat(tokens, dim=1), torch.cat(pooled, dim=-1) / len(pooled) ** 0.5)
