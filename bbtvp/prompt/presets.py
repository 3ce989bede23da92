"""Spaces by name."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, replace
from typing import Any

from bbtvp.core.errors import UsageError, unknown
from bbtvp.prompt.frame import Frame
from bbtvp.prompt.guidance import Guidance
from bbtvp.prompt.identity import Identity
from bbtvp.prompt.layer import Layer
from bbtvp.prompt.layers import LAYERS
from bbtvp.prompt.margin import Margin
from bbtvp.prompt.marks.marks import Marks
from bbtvp.prompt.placement import Placement, Shape
from bbtvp.prompt.restore import Restore
from bbtvp.prompt.space import PromptSpace
from bbtvp.prompt.tone import Tone
from bbtvp.prompt.wordings import bundled

_TVP_INSIDE = 164 / 224
_PRESETS: dict[str, tuple[Layer, ...]] = {
    "tvp": (Placement(_TVP_INSIDE), Frame("pixels")),
    "frame": (Placement(_TVP_INSIDE), Frame("dct")),
    "tone": (Placement(), Tone(("contrast", "brightness", "gamma"))),
    "default": (
        Placement(search=("shrink",), reduce=True),
        Restore(),
        Tone(("contrast", "brightness", "gamma", "sharpness", "clarity", "saturation")),
        Margin(),
    ),
    "annotate": (Placement(search=("crop",)), Tone(("contrast",)), Marks(), Guidance()),
    "words": (Identity(), Guidance(tuple(bundled()))),
}


_SQUARE = ("tvp", "frame")
"""Presets of TVP's geometry, whose canvas is a square."""


def takes_any_shape(name: str) -> bool:
    """Whether the preset may be drawn on canvases of the pictures' own shapes."""
    return name.partition("+")[0] not in _SQUARE


def may_enlarge(name: str) -> bool:
    """Whether the preset may send a picture at twice its size: without a layer of one canvas."""
    return name == "default"


def preset(
    name: str, canvas: int = 224, shape: Shape = "square", *, enlarges: bool = False
) -> PromptSpace:
    """A space by name, on a canvas of `canvas` pixels a side. UsageError for an unknown name.

    shape: see `PromptSpace`; with "picture" `canvas` bounds the longer side. enlarges: whether
    the picture may be sent at twice its size, see `may_enlarge`; other presets never do that.

    `<preset>+<layer>` adds a layer with its default options, a plug-in's too: "tone+overlay".

    "tvp": the geometry of arXiv 2404.11207 with one variable per frame pixel and channel (69,840 at
    224). "frame": the same geometry with 72 low-frequency variables. "tone": the image fills the
    canvas; contrast, brightness, gamma. "default": a smaller picture, restoration that follows the
    picture, all of tone, and a margin in the picture's own colour. "annotate": marks over the image
    and the sentence that names them, with a crop and contrast; 25 variables for eleven choices, see
    `Marks`. "words": the image as it is, and the bundled wordings around the question, one variable
    each; see `Guidance`.
    """
    base, *added = name.split("+")
    if base not in _PRESETS:
        raise unknown("prompt preset", base, _PRESETS)
    layers = _PRESETS[base]
    if enlarges and may_enlarge(name):
        layers = tuple(map(_enlarging, layers))
    return PromptSpace((*layers, *map(_by_default, added)), canvas, shape)


def _enlarging(layer: Layer) -> Layer:
    """A placement may also send twice the size; other layers are what they were."""
    if not isinstance(layer, Placement):
        return layer
    return replace(layer, search=(*layer.search, "enlarge"))


def _by_default(kind: str) -> Layer:
    """A layer with its default options."""
    layer: type[Layer] = LAYERS.load(kind)
    needed = [field.name for field in fields(layer) if _is_needed(field)]
    if needed:
        raise UsageError(
            f"the layer {kind} needs {', '.join(needed)}: build a PromptSpace with it in Python"
        )
    return layer()


def _is_needed(field: Field[Any]) -> bool:
    return field.init and field.default is MISSING and field.default_factory is MISSING
