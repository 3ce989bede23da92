"""The surrogate `example/pixels`: statistics of pixels in the place of a network's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import unknown
from bbtvp.surrogate import Features, Surrogate
from bbtvp.tasks.replies import number

GRID = 6


def load(name: str) -> Surrogate:
    """The surrogate of this name. UsageError for any but `pixels`."""
    if name != "pixels":
        raise unknown("surrogate", f"example/{name}", ["example/pixels"])
    return PixelSurrogate()


@final
class PixelSurrogate(Surrogate):
    """Tokens: the mean colour of the image, then of each of 6 x 6 cells.

    The embedding is the profile of brightness from top to bottom; a text's is that of the bar of
    the height that it names.
    """

    def __init__(self) -> None:
        super().__init__("example/pixels", logit_scale=10.0)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def seen(self, levels: torch.Tensor, images: Sequence[Pixels]) -> Features:
        cells = torch.nn.functional.adaptive_avg_pool2d(levels.permute(0, 3, 1, 2) / 255, GRID)
        tokens = cells.flatten(2).transpose(1, 2)
        whole = tokens.mean(dim=1, keepdim=True)
        return Features(torch.cat([whole, tokens], dim=1), _unit(cells.mean(dim=(1, 3))))

    def embedded(self, texts: Sequence[str]) -> torch.Tensor:
        heights = [number(text.split()[-1]) or 0.0 for text in texts]
        edges = torch.arange(GRID, 0, -1) / GRID
        bars = [(edges <= height / 9 + 1e-6).float() for height in heights]
        return _unit(torch.stack(bars) + 0.1)

    def dense(self, tokens: torch.Tensor) -> torch.Tensor:
        return _unit(tokens.mean(dim=-1, keepdim=True).expand(*tokens.shape[:2], GRID))


def _unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows - rows.mean(dim=-1, keepdim=True) + 1e-3, dim=-1)
