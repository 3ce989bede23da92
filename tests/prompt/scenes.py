"""Pictures and spaces that several tests of marks share."""

from __future__ import annotations

from typing import Any

import numpy as np

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.prompt import Guidance, Marks, Prompt, PromptSpace

MARKS = Marks()


def blank(side: int, level: int = 255) -> Pixels:
    return np.full((side, side, 3), level, np.uint8)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def plain_scene(side: int) -> Pixels:
    """A fixed picture in whole numbers: a slope and three squares."""
    rows, columns = np.mgrid[:side, :side]
    scene = np.stack(
        [rows * 255 // side, columns * 255 // side, (rows + columns) * 127 // side], axis=2
    ).astype(np.uint8)
    for at in (1, 3, 5):
        scene[side * at // 8 : side * (at + 1) // 8, side * at // 8 : side * (at + 1) // 8] = (
            at * 40,
            250 - at * 40,
            90,
        )
    return scene


def marked(side: int, divisions: int = 3, layer: Marks = MARKS, **choices: str) -> Prompt:
    """A prompt of marks alone, opaque."""
    space = PromptSpace((layer, Guidance()), side)
    z = layer.start(divisions, **choices)
    z[space.names.index("marks.alpha")] = 1e9
    return space.prompt(space.embed(z, ["marks"], space.neutral()))


def with_values(prompt: Prompt, **values: float) -> Prompt:
    """The same with these variables of its marks set."""
    z: Vector = prompt.z.copy()
    for name, value in values.items():
        z[prompt.space.names.index(f"marks.{name}")] = value
    return prompt.space.prompt(z)


def inked(prompt: Prompt, level: int = 255) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(side, side): where the prompt changes a blank canvas."""
    side = prompt.space.canvas
    changed: np.ndarray[Any, np.dtype[np.bool_]] = (prompt.render(blank(side, level)) != level).any(
        axis=2
    )
    return changed
