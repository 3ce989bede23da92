"""Looks far from neutral that a search may begin with: tones, a smaller or an enlarged picture.

A search from the neutral point seldom gets so far; a race tells in a few images which is worth it.
"""

from __future__ import annotations

from collections.abc import Mapping

from bbtvp.core.arrays import Vector
from bbtvp.prompt.layer import Layer
from bbtvp.prompt.placement import Placement
from bbtvp.prompt.tone import Tone

_LOOKS: tuple[Mapping[str, Mapping[str, float]], ...] = (
    {Placement.kind: {"shrink": 2.0}},
    {Placement.kind: {"zoom": -2.0}},
    {Placement.kind: {"enlarge_2": 1.0}},
    {Tone.kind: {"gamma": -2.0}},
    {Tone.kind: {"gamma": 2.0}},
    {Placement.kind: {"shrink": 1.0}, Tone.kind: {"clarity": 1.0}},
    {Placement.kind: {"zoom": -1.0}, Tone.kind: {"clarity": 1.0}},
    {Tone.kind: {"sharpness": -2.0}},
)
"""Values of z, by layer: smaller, twice the size, lighter, darker, smaller and clearer, softer.
What is smaller is there by either name that it has in a space.
"""


def looks(layers: Mapping[str, Layer]) -> list[dict[str, Vector]]:
    """Those looks whose variables these layers search, as z by kind of layer."""
    found = []
    for look in _LOOKS:
        parts = {kind: _part(layers.get(kind), values) for kind, values in look.items()}
        known = {kind: part for kind, part in parts.items() if part is not None}
        if len(known) == len(look):
            found.append(known)
    return found


def _part(layer: Layer | None, values: Mapping[str, float]) -> Vector | None:
    """The layer's z for these values; None where it has no such variables."""
    if isinstance(layer, Placement) and values.keys() <= set(layer.variables):
        return layer.at(values)
    if isinstance(layer, Tone) and values.keys() <= set(layer.variables):
        return layer.at(values)
    return None
