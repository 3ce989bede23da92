"""Spaces by name."""

from __future__ import annotations

from bbtvp.core.errors import unknown
from bbtvp.prompt.frame import Frame
from bbtvp.prompt.layer import Layer
from bbtvp.prompt.marks.guidance import Guidance
from bbtvp.prompt.marks.marks import Marks
from bbtvp.prompt.placement import Placement
from bbtvp.prompt.space import PromptSpace
from bbtvp.prompt.tone import Tone

_TVP_INSIDE = 164 / 224
PRESETS: dict[str, tuple[Layer, ...]] = {
    "tvp": (Placement(_TVP_INSIDE), Frame("pixels")),
    "frame": (Placement(_TVP_INSIDE), Frame("dct")),
    "tone": (Placement(), Tone(("contrast", "brightness", "gamma"))),
    "default": (
        Placement(search=("zoom",)),
        Tone(("contrast", "brightness", "gamma", "sharpness", "clarity", "saturation")),
        Frame("dct"),
    ),
    "annotate": (Placement(search=("crop",)), Tone(("contrast",)), Marks(), Guidance()),
}


def preset(name: str, canvas: int = 224) -> PromptSpace:
    """A space by name, on a canvas of `canvas` pixels a side. UsageError for an unknown name.

    "tvp": the geometry of arXiv 2404.11207 with one variable per frame pixel and channel (69,840 at
    224). "frame": the same geometry with 72 low-frequency variables. "tone": the image fills the
    canvas; contrast, brightness, gamma. "default": zoom, all of tone, and 72 for a frame in
    whatever zoom leaves free. "annotate": marks over the image and the sentence that names them,
    with a crop and contrast; 25 variables for eleven choices, see `Marks`.
    """
    if name not in PRESETS:
        raise unknown("prompt preset", name, PRESETS)
    return PromptSpace(PRESETS[name], canvas)
