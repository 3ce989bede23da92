"""Which places of z a stage searches."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Vector
from bbtvp.prompt import Prepared, PromptSpace
from bbtvp.search.config import SearchConfig
from bbtvp.search.methods import takes_whole_layers

Places = NDArray[np.intp]
"""(n,) rising places in z."""


def searched(space: PromptSpace, kinds: Collection[str], config: SearchConfig) -> Places:
    """The places of the variables of these layers that an optimiser searches.

    All of them, but for the categorical groups of a space that proposes recipes: there the race
    has chosen, unless the method takes whole layers.
    """
    whole = np.arange(space.dim)
    places = np.concatenate(
        [whole[:0], *(whole[where] for kind, where in space.slices.items() if kind in kinds)]
    )
    if takes_whole_layers(config.method) or len(space.starts()) == 1:
        return places
    chosen = [place for first, count in space.choices for place in range(first, first + count)]
    return np.setdiff1d(places, chosen)


def that_matter(
    space: PromptSpace, places: Places, z: Vector, pictures: Sequence[Prepared]
) -> Places:
    """Those of the places where a step of 1 either way changes a picture or the question.

    A variable of marks that are not drawn changes nothing, and would only be noise to a search.
    """
    shown = _shown(space, z, pictures)
    return np.array(
        [
            place
            for place in places
            if any(_shown(space, _moved(z, place, step), pictures) != shown for step in (1.0, -1.0))
        ],
        np.intp,
    )


def _moved(z: Vector, place: int, step: float) -> Vector:
    moved = z.copy()
    moved[place] += step
    return moved


def _shown(space: PromptSpace, z: Vector, pictures: Sequence[Prepared]) -> tuple[str | bytes, ...]:
    """All that the model would get."""
    render = space.renderer(z)
    return (space.ask(z, ""), *(render(picture).tobytes() for picture in pictures))
