"""Shifts that a user would know: what happens to an image between the training data and the field.

Each takes (H, W, 3) pixels, a strength from 0 (none) and a generator for what differs from picture
to picture. `bbtvp.zoo.shifts.strengths` holds the strength of each task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.zoo.shifts import camera, far, light, scene

Shift = Callable[[Pixels, float, np.random.Generator], Pixels]

TONED: Mapping[str, Shift] = MappingProxyType(
    {
        "low-contrast": light.low_contrast,
        "dark": light.dark,
        "bright": light.bright,
        "noise": camera.noise,
        "blur": camera.blur,
    }
)
"""The first five, which the layers of tone and placement were made against."""

WIDE: Mapping[str, Shift] = MappingProxyType(
    {
        "jpeg": camera.jpeg,
        "motion-blur": camera.motion_blur,
        "uneven-light": light.uneven_light,
        "color-cast": light.color_cast,
        "occlusion": scene.occlusion,
        "rotation": scene.rotation,
        "perspective": scene.perspective,
        "shadow": light.shadow,
        "outline": scene.outline,
        "glare": light.glare,
        "moire": camera.moire,
        "salt-pepper": camera.salt_pepper,
        "clutter": scene.clutter,
    }
)
"""Thirteen that no layer had been made for."""

FAR: Mapping[str, Shift] = MappingProxyType(
    {
        "elastic": far.elastic,
        "fog": far.fog,
        "glass": far.glass,
        "halftone": far.halftone,
        "interlacing": far.interlacing,
        "low-light": far.low_light,
        "misregistration": far.misregistration,
        "pixelation": far.pixelation,
        "rain": far.rain,
    }
)
"""Nine in the order of the alphabet, added when operations had been made for the kinds of the wide
ones. Nothing is tuned on these."""

SHIFTS: Mapping[str, Shift] = MappingProxyType({**TONED, **WIDE, **FAR})
"""By name, as in `zoo/counting-dark`."""

STRONGEST: Mapping[str, float] = MappingProxyType(
    {
        "jpeg": 1.0,
        "motion-blur": 40.0,
        "uneven-light": 10.0,
        "color-cast": 1.0,
        "occlusion": 1.0,
        "rotation": 45.0,
        "perspective": 0.9,
        "shadow": 1.0,
        "outline": 1.0,
        "glare": 6.0,
        "moire": 6.0,
        "salt-pepper": 1.0,
        "clutter": 4.0,
        "elastic": 16.0,
        "fog": 4.0,
        "glass": 32.0,
        "halftone": 1.0,
        "interlacing": 32.0,
        "low-light": 14.0,
        "misregistration": 32.0,
        "pixelation": 31.0,
        "rain": 1.0,
    }
)
"""The largest strength that is tried of each shift after the first five. A square turned by more
than 45 degrees is less of a change again."""
