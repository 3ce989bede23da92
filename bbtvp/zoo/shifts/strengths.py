"""The strength of every shift for every subject."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SUBJECTS = ("digits", "shapes", "counting", "reasoning", "hallucination")
"""The columns of both tables. POPE's other samplings ask about the pictures of hallucination."""

_BY_HAND = {
    "low-contrast": (0.80, 0.87, 0.80, 0.80, 0.86),
    "dark": (0.65, 0.73, 0.65, 0.62, 0.73),
    "bright": (0.60, 0.70, 0.66, 0.62, 0.71),
    "noise": (38, 38, 28, 46, 66),
    "blur": (4.0, 3.0, 3.0, 2.3, 3.2),
}
"""Strengths that leave zoo/llava between 5 points above chance and 70 %."""

_POPULAR_NOISE = 110
"""One sampling was given a noise of its own."""

_BY_RULE = {
    "jpeg": (0.954, 0.938, 0.844, 0.954, 0.962),
    "motion-blur": (17.5, 12.5, 22.5, 11.2, 12.5),
    "uneven-light": (2.16, 3.44, 2.19, 2.19, 3.12),
    "color-cast": (0.656, 0.812, 0.562, 0.594, 0.656),
    "occlusion": (0.157, 0.133, 0.0391, 0.546, 0.312),
    "rotation": (26, 20, 45, 45, 45),
    "perspective": (0.506, 0.665, 0.485, 0.605, 0.52),
    "shadow": (0.406, 0.406, 0.344, 0.688, 0.625),
    "outline": (0.454, 0.578, 0.922, 1, 0.594),
    "glare": (0.656, 1.03, 0.82, 0.796, 1.59),
    "moire": (0.398, 0.446, 0.281, 0.446, 0.656),
    "salt-pepper": (0.0234, 0.0234, 0.0039, 0.0195, 0.0586),
    "clutter": (0.312, 0.296, 0.141, 0.157, 0.75),
    "elastic": (3, 3, 4.75, 13.5, 5),
    "fog": (0.922, 1.12, 1.03, 1.09, 1.31),
    "glass": (3.75, 2.38, 3, 9, 4),
    "halftone": (0.808, 0.855, 0.788, 1, 0.938),
    "interlacing": (32, 6, 6.75, 32, 32),
    "low-light": (2.79, 3.22, 3.17, 2.52, 3.17),
    "misregistration": (32, 32, 3.5, 4, 12),
    "pixelation": (5.32, 3.88, 3.88, 5.81, 4.36),
    "rain": (0.0469, 0.0312, 0.0117, 0.5, 0.125),
}
"""Strengths that leave zoo/llava in the middle between chance and its accuracy without a shift, as
`python -m bbtvp.zoo.training.strengths` finds them on the training split.
"""

ABOVE_THE_MIDDLE = frozenset(
    {
        ("reasoning", "outline"),
        ("counting", "rotation"),
        ("reasoning", "rotation"),
        ("hallucination", "rotation"),
        ("reasoning", "halftone"),
        ("digits", "interlacing"),
        ("reasoning", "interlacing"),
        ("hallucination", "interlacing"),
        ("digits", "misregistration"),
        ("shapes", "misregistration"),
    }
)
"""(subject, shift) where even the strongest leaves the model above the middle."""


def _by_subject() -> dict[str, dict[str, float]]:
    rows = {**_BY_HAND, **_BY_RULE}
    found = {
        subject: {shift: float(row[i]) for shift, row in rows.items()}
        for i, subject in enumerate(SUBJECTS)
    }
    found["hallucination-popular"] = {**found["hallucination"], "noise": _POPULAR_NOISE}
    found["hallucination-adversarial"] = found["hallucination"]
    return found


STRENGTH: Mapping[str, Mapping[str, float]] = MappingProxyType(_by_subject())
"""By subject and shift."""
