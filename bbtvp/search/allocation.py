"""How a generation of candidates is queried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from bbtvp.core.errors import UsageError


@final
@dataclass(frozen=True)
class Allocation:
    """How a generation of candidates is queried. All candidates see the same images.

    images: of each generation. patience: end a stage after this many generations in a row without a
    lower mean loss; 0 never does. repeats: answers per image and candidate, for models that do not
    always answer the same.
    """

    images: int = 8
    patience: int = 0
    repeats: int = 1

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("patience", 0), ("repeats", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; give at least {least}")

    def cost(self, candidates: int) -> int:
        """Image queries of a generation of so many candidates."""
        return candidates * self.images * self.repeats
