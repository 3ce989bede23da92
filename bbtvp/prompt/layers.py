"""All layers, in the order in which they are rendered and in which their variables lie in z.

Crop and canvas, tone, frame, overlays, marks, labels: what is drawn last is neither resampled nor
recoloured. Guidance draws nothing.
"""

from __future__ import annotations

from bbtvp.prompt.coordinator import Coordinator
from bbtvp.prompt.frame import Frame
from bbtvp.prompt.layer import Layer
from bbtvp.prompt.marks.guidance import Guidance
from bbtvp.prompt.marks.legend import Legend
from bbtvp.prompt.marks.marks import Marks
from bbtvp.prompt.overlay import Overlay
from bbtvp.prompt.placement import Placement
from bbtvp.prompt.tone import Tone

_ORDER: tuple[type[Layer], ...] = (
    Placement,
    Tone,
    Frame,
    Overlay,
    Coordinator,
    Marks,
    Legend,
    Guidance,
)
LAYERS: dict[str, type[Layer]] = {layer.kind: layer for layer in _ORDER}
