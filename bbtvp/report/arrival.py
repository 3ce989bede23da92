"""What arrives of a canvas at a local model, as its image processor was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

from bbtvp.endpoint.resizing import ResizeResult, ResizeStep
from bbtvp.models.preprocessing import InputPicture, Preprocessed, Preprocessor

FRAME = 30 / 224
"""Width of TVP's frame per side of the canvas (arXiv 2404.11207)."""
ALL = 0.995
"""From this share of pixels on, all of them are said to arrive: it is measured on a sample."""
_STRETCHED = 1.02
"""Scales across and down that differ by more than this factor change the picture's shape."""


@final
@dataclass(frozen=True)
class Arrival:
    """What a processor makes of a canvas (`made`) and of one of half its height (`wide`).

    largest: side of the largest square canvas that is not resampled; None if that depends on the
    canvas.
    """

    made: Preprocessed
    wide: Preprocessed
    largest: int | None

    @classmethod
    def measure(cls, processor: Preprocessor, canvas: int) -> Arrival:
        """Run a processor on test images. Raises ModelError if it cannot be measured."""
        made = _measured(processor, canvas, canvas)
        side = processor.side()
        fits = made if side in (None, canvas) else _measured(processor, side or canvas, side or 0)
        return cls(
            made,
            _measured(processor, canvas, max(1, canvas // 2)),
            side if fits.copied else None,
        )

    @property
    def survives(self) -> bool:
        """Whether all of the frame's pixels change what the model gets."""
        return self.made.frame_arrives >= ALL

    def result(self) -> ResizeResult:
        """Return the same as the result of a rule, but for the tokens, which are not measured."""
        steps = tuple(_steps(self.made))
        return ResizeResult(steps, self.made.scale, None, 0, tuple(self._warnings()))

    def _warnings(self) -> Iterator[str]:
        if not self.survives:
            yield (
                f"the frame does not arrive whole: of its pixels, the outer {self.made.frame} px, "
                f"{self.made.frame_arrives:.0%} change what the model gets"
            )

    def lines(self) -> Iterator[str]:
        """What was measured, in words."""
        made = self.made
        size = f"{made.width} x {made.height} px"
        yield f"measured with the model's own processor, {made.processor}, on test images of {size}"
        yield f"the model gets {_pictures(made)}"
        if made.arrives < ALL:
            yield f"of the canvas's pixels, {made.arrives:.0%} change what the model gets"
        yield (
            f"of the frame's pixels, the outer {made.frame} px, {made.frame_arrives:.0%} change it"
        )
        if made.padding >= 0.01:
            yield f"{made.padding:.0%} of what the model gets is padding"
        yield (
            f"a canvas of {self.wide.width} x {self.wide.height} px: the model gets "
            f"{_pictures(self.wide)}{_shape(self.wide)}"
        )

    def as_json(self) -> dict[str, Any]:
        """A JSON object: what was made of the canvas, and of one of half the height."""
        return {"canvas": self.made.as_json(), "half_height": self.wide.as_json()}


def _measured(processor: Preprocessor, width: int, height: int) -> Preprocessed:
    return processor.measure(width, height, frame=max(1, round(min(width, height) * FRAME)))


def _steps(made: Preprocessed) -> Iterator[ResizeStep]:
    view = made.views[0]
    box = view.box
    if not made.whole:
        yield ResizeStep("cut to the inner", box.right - box.left, box.bottom - box.top)
    if not made.copied:
        yield ResizeStep(_scaling(view), view.width, view.height)


def _scaling(view: InputPicture) -> str:
    if max(view.scale) > _STRETCHED * min(view.scale):
        return "stretched to"
    if view.scale[0] == 1:
        return "mixed with neighbouring pixels, at"
    return "scaled down to" if view.scale[0] < 1 else "scaled up to"


def _pictures(made: Preprocessed) -> str:
    return ", and ".join(map(str, made.views))


def _shape(made: Preprocessed) -> str:
    """What is done to the shape of a canvas, "" if it is kept."""
    changes = []
    if not made.whole:
        box = made.views[0].box
        changes.append(f"cut to {box.right - box.left} x {box.bottom - box.top} px of it")
    scale = made.views[0].scale
    if max(scale) > _STRETCHED * min(scale):
        changes.append("stretched")
    if made.padding >= 0.01:
        changes.append(f"{made.padding:.0%} of it padding")
    return "".join(f", {change}" for change in changes)
