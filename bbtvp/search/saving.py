"""The cheapest size to send that is shown to be no worse: what `--goal cost` adds to a search.

Beside the prompt that validation chose, or the images as they are, the same is sent smaller. A
first look at a third of the validation images drops the sizes that do worse; then the cheapest of
the others is asked about all images, and kept if its loss is shown to rise by less than `MARGIN`.
If not, the next one is asked, as long as the budget lasts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import BudgetReached, UsageError
from bbtvp.models import Model
from bbtvp.prompt import Placement, PromptSpace
from bbtvp.prompt.layer import Size
from bbtvp.prompt.placement import SIZES
from bbtvp.search.validation import ArmLosses, Validation, paired
from bbtvp.stats import paired_z
from bbtvp.stats.power import Z

MARGIN = 0.02
"""The rise of the loss that counts as none, as the proof's `Rule.max_harm` has it."""

LOOK = 1 / 3
"""Share of the validation images on which each size is looked at first."""


@final
@dataclass(frozen=True)
class SavedSize:
    """A size that is kept: its name, the whole prompt, and its losses on validation."""

    size: str
    z: Vector
    losses: ArmLosses


def with_sizes(space: PromptSpace) -> PromptSpace:
    """The space with the size that is sent among its variables.

    UsageError for one that keeps the images as they are, or draws on pixels of one canvas.
    """
    if space.keeps_image:
        raise UsageError(
            "--goal cost sends smaller images, and this prompt leaves them as they are; "
            "choose another --prompt"
        )
    if "size" in space.placement.search:
        return space
    kept = (name for name in space.placement.search if name != "enlarge")
    placement = replace(space.placement, search=(*kept, "size"))
    others = [layer for layer in space.layers if not isinstance(layer, Placement)]
    return replace(space, layers=(placement, *others))


def of_size(space: PromptSpace, z: Vector, size: str) -> Vector:
    """z with another size, one of `SIZES`. UsageError where sizes are not searched."""
    placement = space.placement
    chosen = placement.start(size)
    places = placement.size_places
    found = z.copy()
    part = found[space.slices[placement.kind]]
    part[places] = chosen[places]
    return found


def price_of(model: Model, sent: Size) -> float:
    """What a picture of this size costs: its image tokens, or its pixels where none are known."""
    tokens = model.image_tokens(*sent)
    return float(sent.width * sent.height if tokens is None else tokens)


def prices(space: PromptSpace, model: Model, picture: Size) -> dict[str, float]:
    """The price of each size for a picture, see `price_of`."""
    return {
        name: price_of(model, space.canvases.geometry(picture, size).canvas)
        for name, size in SIZES.items()
    }


def cheapest(
    space: PromptSpace,
    z: Vector,
    incumbent: ArmLosses,
    *,
    validation: Validation,
    priced: Mapping[str, float],
) -> SavedSize | None:
    """The cheapest size of this prompt that is shown to be no worse than the incumbent.

    priced: as of `prices`. None where none is shown, or the budget does not reach.
    """
    now = priced[str(space.params(z)[Placement.kind]["size"])]
    cheaper = sorted((name for name in SIZES if priced[name] < now), key=priced.__getitem__)
    if not cheaper:
        return None
    points = {name: of_size(space, z, name) for name in cheaper}
    count = math.ceil(LOOK * len(validation.held))
    try:
        looked = validation.look("saving/look", np.stack(list(points.values())), count)
        for name, losses in zip(cheaper, looked, strict=True):
            fall, noise = paired(incumbent.losses[:count], losses)
            if fall < -max(MARGIN, noise):
                continue
            found = validation.losses(f"size {name}", points[name])
            if is_no_worse(incumbent.losses, found.losses) and not found.cut:
                return SavedSize(name, points[name], found)
    except BudgetReached:
        return None
    return None


def is_no_worse(before: Vector, after: Vector, margin: float = MARGIN) -> bool:
    """Whether the mean loss is shown to rise by less than the margin, one-sided at 5 %.

    Losses of right and wrong answers alone are tested as the proof tests them (`paired_z`), others
    by the mean of their paired differences.
    """
    known = np.isfinite(before) & np.isfinite(after)
    first = before[known]
    second = after[known]
    if not len(first):
        return False
    if np.isin(np.concatenate([first, second]), (0.0, 1.0)).all():
        gained = int((second < first).sum())
        lost = int((second > first).sum())
        return bool(paired_z(gained, lost, len(first), -margin) >= Z)
    fall, noise = paired(first, second)
    return bool(fall + margin > Z * noise)
