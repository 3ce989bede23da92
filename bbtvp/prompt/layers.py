"""All layers, in the order in which they are rendered and in which their variables lie in z."""

from __future__ import annotations

from bbtvp.prompt.frame import Frame
from bbtvp.prompt.layer import Layer
from bbtvp.prompt.placement import Placement
from bbtvp.prompt.tone import Tone

LAYERS: dict[str, type[Layer]] = {layer.kind: layer for layer in (Placement, Tone, Frame)}
