"""What a local model's image processor makes of a canvas, as it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, final


class CanvasRegion(NamedTuple):
    """A part of the canvas, by its edges in pixels."""

    left: int
    top: int
    right: int
    bottom: int


@final
@dataclass(frozen=True)
class InputPicture:
    """A picture among a model's inputs, which shows the canvas or a part of it.

    width, height: in pixels. tiles: the number of pieces that the model gets it in; tile: width and
    height of the largest piece. box: what it shows of the canvas. scale: pixels of the picture per
    pixel of the canvas, across and down.
    """

    width: int
    height: int
    tiles: int
    tile: tuple[int, int]
    box: CanvasRegion
    scale: tuple[float, float]

    def __str__(self) -> str:
        size = f"{self.width} x {self.height} px"
        if self.tiles == 1:
            return size
        return f"{size} in {self.tiles} tiles of up to {self.tile[0]} x {self.tile[1]} px"


@final
@dataclass(frozen=True)
class Preprocessed:
    """What a processor makes of a canvas of `width` x `height` pixels.

    processor: its class. inputs: the shape of each tensor that depends on the pixels. views: the
    pictures in them; the first one shows most of the canvas, and shows it finest. copied: each
    number shows one pixel of the canvas, so nothing is resampled. arrives: share of the canvas's
    pixels of which each, changed alone, changes the inputs; frame_arrives: the same of the outer
    `frame` pixels. padding: share of the inputs that show no pixel. Shares are in [0, 1].
    """

    processor: str
    width: int
    height: int
    inputs: Mapping[str, tuple[int, ...]]
    views: tuple[InputPicture, ...]
    copied: bool
    arrives: float
    frame: int
    frame_arrives: float
    padding: float

    @property
    def scale(self) -> float:
        """Pixels after per pixel before, along the side that loses more; 1 if it is copied."""
        return 1.0 if self.copied else min(self.views[0].scale)

    @property
    def whole(self) -> bool:
        """Whether nothing of the canvas is cut off."""
        return self.views[0].box == CanvasRegion(0, 0, self.width, self.height)

    def as_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        found = asdict(self)
        found["views"] = [{**view, "box": list(view["box"])} for view in found["views"]]
        return found


class Preprocessor(Protocol):
    """The image processor of a local model; no weights are loaded for it."""

    def measure(self, width: int, height: int, *, frame: int) -> Preprocessed:
        """Measure what it makes of a canvas. Raises ModelError if that cannot be measured."""

    def side(self) -> int | None:
        """Return the side in pixels of the square that it makes of a square canvas of any size.

        None if the square's side depends on the canvas's. Raises ModelError as `measure` does.
        """

    def fitting(self, wanted: int) -> int:
        """Return the side, nearest to `wanted` pixels, of a square canvas that it takes as it is.

        `wanted` itself where every canvas is resampled to the same size, or none is found.
        """
