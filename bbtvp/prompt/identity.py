"""The prompt that changes nothing: what a search gives that found no gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from bbtvp.core.arrays import Vector
from bbtvp.prompt.layer import Box, Geometry, Layer


@final
@dataclass(frozen=True)
class Identity(Layer):
    """The image goes as it is, of whatever size: no canvas, no placement, no other layer.

    It has no variables. `PromptSpace.identity` makes the one prompt that it stands for.
    """

    kind: ClassVar[str] = "identity"
    order: ClassVar[int] = 0

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return ()

    def params(self, z: Vector, geometry: Geometry) -> Mapping[str, float | str]:
        return {}

    def shows_in(self, box: Box, geometry: Geometry) -> bool:
        return False
