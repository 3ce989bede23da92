"""All layers by kind: ours, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bbtvp.core.plugins import Registry
from bbtvp.prompt.coordinator import Coordinator
from bbtvp.prompt.exemplars import Exemplars
from bbtvp.prompt.frame import Frame
from bbtvp.prompt.guidance import Guidance
from bbtvp.prompt.identity import Identity
from bbtvp.prompt.layer import Layer
from bbtvp.prompt.margin import Margin
from bbtvp.prompt.marks.legend import Legend
from bbtvp.prompt.marks.marks import Marks
from bbtvp.prompt.overlay import Overlay
from bbtvp.prompt.placement import Placement
from bbtvp.prompt.restore import Restore
from bbtvp.prompt.tone import Tone

_OURS: tuple[type[Layer], ...] = (
    Placement,
    Restore,
    Tone,
    Margin,
    Frame,
    Overlay,
    Coordinator,
    Marks,
    Legend,
    Exemplars,
    Guidance,
    Identity,
)
"""By rising `order`. What is drawn last is neither resampled nor recoloured: crop and canvas,
restoration, tone, margin, frame, overlays, marks, labels. Guidance draws nothing. Identity goes
with no other layer.
"""

_BUILTIN: Mapping[str, type[Layer]] = MappingProxyType({layer.kind: layer for layer in _OURS})


def _is_layer(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Layer) and hasattr(found, "kind")


LAYERS = Registry(
    "bbtvp.layers",
    "layer",
    check=_is_layer,
    expected="a subclass of bbtvp.prompt.Layer with a kind",
    builtin=_BUILTIN,
)
"""The classes of layers by kind; a plug-in's entry point is named as its kind."""
