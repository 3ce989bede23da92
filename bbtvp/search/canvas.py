"""The canvas of a search: its shape, its limit, and what of it arrives at each model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.errors import DataError, UsageError
from bbtvp.models import Delivered, Model
from bbtvp.prompt import (
    Placement,
    Prompt,
    PromptSpace,
    may_enlarge,
    preset,
    takes_any_shape,
)
from bbtvp.prompt.image import read_header
from bbtvp.prompt.layer import MAX_CANVAS, MIN_CANVAS, Size
from bbtvp.prompt.rendering import Canvases
from bbtvp.tasks import Sample, Task

LARGEST_CANVAS = 768
"""Side in pixels of the largest square that is chosen. It passes the resizing rules of every vendor
known to us without a second resize.
"""

USUAL_CANVAS = 224
"""Side in pixels where nothing is known of a model."""

_LOOKED_AT = 16
"""Training images whose size is read."""
_DETAIL = 2
"""Sides of the square that a local model's processor makes, of which it loses no detail."""


def choose_space(name: str, task: Task, models: Sequence[Model]) -> PromptSpace:
    """The space of this preset for these pictures and models.

    The canvas has each picture's own shape and pixels, unless the training pictures are all equal
    squares that a square of `choose_canvas` holds. It is a square all the same for presets of TVP's
    geometry, and where a model's processor cuts off the sides of a picture: of a square it sees
    all. Where pictures are small, the default may send them at twice their size. UsageError for an
    unknown name, or no picture that can be read.
    """
    sizes = picture_sizes(task)
    side = choose_canvas(task, models)
    equal = len(set(sizes)) == 1 and sizes[0].width == sizes[0].height <= side
    if equal or not takes_any_shape(name) or _is_cut(models, sizes):
        return preset(name, side)
    longest = longest_side(models, sizes)
    if may_enlarge(name) and _may_double(models, sizes):
        return preset(name, 2 * longest, "picture", enlarges=True)
    return preset(name, longest, "picture")


def choose_canvas(task: Task, models: Sequence[Model]) -> int:
    """Side of a square canvas in pixels, so that nothing the model could see is lost.

    The larger of what the models' processors make and the median training image's longer side, at
    most 768, and no more than what models take as it is.
    """
    longer = [size.longer for size in picture_sizes(task)]
    seen = max(_seen(model) for model in models)
    wanted = min(LARGEST_CANVAS, max(seen, int(np.median(longer))))
    return min([wanted, *(model.fitting_canvas(wanted) for model in models)])


def longest_side(models: Sequence[Model], sizes: Iterable[Size]) -> int:
    """The longer side up to which all these pictures arrive as they are sent, in pixels.

    Where a local model's processor makes all pictures one size: twice that size.
    """
    shapes = set(sizes)
    longest = max(size.longer for size in shapes)
    passing = min(_passing(model, size) for model in models for size in shapes)
    return max(MIN_CANVAS, min(MAX_CANVAS, longest, passing))


def _may_double(models: Sequence[Model], sizes: Sequence[Size]) -> bool:
    """Whether all pictures arrive as they are sent at twice their size, and some model gains by it.

    A processor that makes all pictures one size shows no more of one that was enlarged before.
    """
    if any(model.capabilities.image_side and not model.is_endpoint for model in models):
        return False
    doubled = [Size(2 * size.width, 2 * size.height) for size in sizes]
    longest = max(size.longer for size in doubled)
    return longest <= LARGEST_CANVAS and longest_side(models, doubled) >= longest


def canvas_seen(side: int | None, fitting: Callable[[int], int]) -> int:
    """Side in pixels of the square that a local model sees of a canvas of the usual size.

    side: what its processor makes of any square, None if that depends on the image. fitting: gives
    the side nearest to the given one that is not resampled.
    """
    return side or fitting(USUAL_CANVAS)


def picture_sizes(task: Task, split: str = "train") -> list[Size]:
    """The sizes of the first images of a split. UsageError if none can be read."""
    samples = task.splits[split][:_LOOKED_AT]
    sizes = [size for sample in samples if (size := _size(sample)) is not None]
    if not sizes:
        raise UsageError(f"task {task.name} has no {split} images that can be read")
    return sizes


def sides_sent(task: Task, canvas: int, *splits: str) -> Iterator[int]:
    """The longer sides of what is sent of these splits: the canvas, and each picture as it is.

    Nothing is read of a picture but the size in its file.
    """
    yield canvas
    for split in splits:
        for sample in task.splits[split]:
            if (size := _size(sample)) is not None:
                yield size.longer


def _size(sample: Sample) -> Size | None:
    """The size of a sample's image; None for a file that cannot be read."""
    if not isinstance(sample.image, Path):
        return Size(sample.image.shape[1], sample.image.shape[0])
    try:
        header = read_header(sample.image)
    except DataError:
        return None
    return Size(header.width, header.height)


def _seen(model: Model) -> int:
    if model.is_endpoint:
        return model.capabilities.image_side or USUAL_CANVAS
    return canvas_seen(model.capabilities.image_side, model.fitting_canvas)


def _passing(model: Model, size: Size) -> int:
    """The longer side up to which a picture of this shape loses nothing at the model."""
    side = model.capabilities.image_side
    if side is not None and not model.is_endpoint:
        return _DETAIL * side
    arriving = model.delivered(*size)
    if arriving is None or max(arriving[:2]) >= size.longer:
        return MAX_CANVAS
    return max(arriving[:2])


def _is_cut(models: Sequence[Model], sizes: Iterable[Size]) -> bool:
    arriving = (model.delivered(*size) for model in models for size in set(sizes))
    return any(found is not None and not found.whole for found in arriving)


# -- what arrives ----------------------------------------------------------------------------------
@final
class DeliveredPicture(NamedTuple):
    """A picture on its way. arrives: None where it is not known."""

    own: Size
    sent: Size
    arrives: Delivered | None

    def __str__(self) -> str:
        sent = "" if self.sent == self.own else f", sent as {_px(self.sent)}"
        arriving = self.arrives or "unknown"
        return f"{arriving} (of {_px(self.own)}{sent})"


@final
class Delivery(NamedTuple):
    """What arrives at one model of the median picture, and of the smallest one."""

    model: str
    median: DeliveredPicture
    smallest: DeliveredPicture

    def __str__(self) -> str:
        return (
            f"{self.model}: of the median picture arrives {self.median}; "
            f"of the smallest {self.smallest}"
        )

    def as_json(self) -> Mapping[str, Any]:
        """The sizes as [width, height]."""
        return {
            "model": self.model,
            **{
                name: {
                    "own": list(found.own),
                    "sent": list(found.sent),
                    "arrives": found.arrives and list(found.arrives[:2]),
                    "whole": found.arrives and found.arrives.whole,
                }
                for name, found in (("median", self.median), ("smallest", self.smallest))
            },
        }


def median_size(sizes: Iterable[Size]) -> Size:
    """The size of the picture in the middle, by area; of two the larger."""
    ordered = sorted(sizes, key=_area)
    return ordered[len(ordered) // 2]


def sent_size(prompt: Prompt, own: Size) -> Size:
    """The size at which a picture is sent with a prompt."""
    if prompt.keeps_image:
        return own
    space = prompt.space
    view = space.placement.view(prompt.z[space.slices.get(Placement.kind, slice(0, 0))])
    return space.canvases.geometry(own, view.size).canvas


def deliveries(
    models: Sequence[Model], sizes: Iterable[Size], canvases: Canvases | None
) -> list[Delivery]:
    """What arrives at each model, through the vendor's or the processor's own resizing.

    canvases: of the prompt; None for one that keeps the pictures as they are.
    """
    known = list(sizes)
    chosen = (median_size(known), min(known, key=_area))
    found = []
    for model in models:
        pictures = []
        for own in chosen:
            sent = own if canvases is None else canvases.geometry(own).canvas
            pictures.append(DeliveredPicture(own, sent, model.delivered(*sent)))
        found.append(Delivery(model.spec, *pictures))
    return found


def _area(size: Size) -> int:
    return size.width * size.height


def _px(size: Size) -> str:
    return f"{size.width} x {size.height} px"
