"""Prompts of all layers and presets, and pictures of all kinds, drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt import (
    Coordinator,
    Exemplars,
    Frame,
    Guidance,
    Identity,
    Layer,
    Legend,
    Margin,
    Marks,
    Overlay,
    Placement,
    Prompt,
    PromptSpace,
    Restore,
    Tone,
    preset,
)

Rng: TypeAlias = np.random.Generator
T = TypeVar("T")

PRESETS = (
    *("tvp", "frame", "tone", "default", "annotate", "words"),
    *("tvp+overlay", "default+marks", "default+coordinator", "annotate+frame", "words"),
)
_CANVASES = (8, 33, 64, 100, 224)
_RESTORATIONS = (
    *("deskew", "trim", "unsqueeze", "destripe", "median", "wide-median"),
    *("chroma", "deblur", "autocontrast", "equalize", "white-balance", "flatten"),
    *("refocus", "local-stretch"),
)
_TONES = ("brightness", "contrast", "gamma", "saturation", "sharpness", "clarity")


def random_prompt(rng: Rng) -> Prompt:
    """A prompt of a preset, of layers drawn at random, or of words alone."""
    kind = rng.random()
    while True:
        try:
            space = _of_preset(rng) if kind < 0.3 else _of_layers(rng)
        except UsageError:  # such as a frame of more frequencies than pixels
            continue
        return space.prompt(rng.standard_normal(space.dim) * _one(rng, (0.0, 0.3, 1.0, 1.0, 3.0)))


def random_image(rng: Rng) -> Image.Image:
    """A smooth or a noisy picture, 1 px to 300 px a side, of one of seven modes."""
    width, height = _size(rng)
    if rng.random() < 0.5:
        width, height = height, width
    pixels = _pixels(rng, width, height)
    if rng.random() < 0.2:  # an even margin, such as a scan has
        pixels[: height // 3] = pixels[-height // 4 :] = pixels[0, 0]
        pixels[:, : width // 3] = pixels[:, -width // 4 :] = pixels[0, 0]
    mode = _one(rng, ("RGB", "RGB", "RGB", "RGBA", "L", "LA", "P", "1", "I;16"))
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)))
    return image.convert(mode)


def _size(rng: Rng) -> tuple[int, int]:
    shape = _one(rng, ("pixel", "line", "four to one", "any", "any", "any"))
    if shape == "pixel":
        return 1, 1
    if shape == "line":
        return int(rng.integers(1, 200)), 1
    if shape == "four to one":
        side = int(rng.integers(5, 75))
        return 4 * side, side
    return int(rng.integers(1, 300)), int(rng.integers(1, 300))


def _pixels(rng: Rng, width: int, height: int) -> Pixels:
    if rng.random() < 0.2:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    down, across = np.mgrid[:height, :width][..., None] / rng.uniform(3, 60, (2, 1, 1, 3))
    waves = np.sin(across) * rng.uniform(0, 100) + np.cos(down) * rng.uniform(0, 60)
    noise = rng.normal(0, rng.uniform(0, 30), (height, width, 3))
    return np.clip(waves + noise + rng.uniform(0, 255, 3), 0, 255).astype(np.uint8)


def _of_preset(rng: Rng) -> PromptSpace:
    name = _one(rng, PRESETS)
    return preset(name, _one(rng, _CANVASES), _one(rng, ("square", "picture")))


def _of_layers(rng: Rng) -> PromptSpace:
    if rng.random() < 0.05:
        return PromptSpace((Identity(), *_some(rng, [_exemplars, _guidance])))
    sized = _one(rng, ("size", "enlarge"))
    search = _subset(rng, ("zoom", "shrink", "crop", "x", "y", sized), 0.35)
    placement = Placement(_one(rng, (1.0, 0.75, 164 / 224, 0.4)), search, _one(rng, (False, True)))
    makers = [_restore, _tone, _margin, _frame, _overlay, _marks, _legend, _exemplars, _guidance]
    layers = _some(rng, makers)
    if rng.random() < 0.1:
        layers += (Coordinator(_one(rng, (1, 3, 16)), float(rng.uniform(0.01, 0.49))),)
    return PromptSpace(
        (placement, *layers), _one(rng, _CANVASES), _one(rng, ("square", "square", "picture"))
    )


def _restore(rng: Rng) -> Layer:
    return Restore(_subset(rng, _RESTORATIONS, 0.6) or ("median",))


def _tone(rng: Rng) -> Layer:
    return Tone(_subset(rng, _TONES, 0.6) or ("gamma",))


def _margin(rng: Rng) -> Layer:
    return Margin()


def _frame(rng: Rng) -> Layer:
    return Frame(
        _one(rng, ("dct", "color", "blocks", "pixels")),
        size=int(rng.integers(1, 8)),
        init=_one(rng, (0.0, 0.3, 0.5, 1.0)),
        amplitude=float(rng.uniform(0.1, 3)),
    )


def _overlay(rng: Rng) -> Layer:
    return Overlay(
        _one(rng, ("dct", "blocks", "pixels")),
        size=int(rng.integers(1, 8)),
        amplitude=float(rng.uniform(0.01, 1)),
    )


def _marks(rng: Rng) -> Layer:
    return Marks(phase=_one(rng, (0.0, -0.2, 0.25)))


def _legend(rng: Rng) -> Layer:
    return Legend(("cat", "red fox", "#: (A)"), height=float(rng.uniform(1 / 30, 1 / 12)))


def _guidance(rng: Rng) -> Layer:
    return Guidance(("structure", "scan", "report", "Look. {question} \u2028 Réponds {en} un mot."))


def _exemplars(rng: Rng) -> Layer:
    shown = [(_pixels(rng, 40 + 9 * at, 30), f"It is {at}: ü", f"No {at}") for at in range(3)]
    return Exemplars.of(
        shown,
        [(0,), (1, 2)],
        form=_one(rng, ("images", "strip")),
        place=_one(rng, ("right", "below")),
    )


def _some(rng: Rng, makers: list[Callable[[Rng], Layer]]) -> tuple[Layer, ...]:
    return tuple(make(rng) for make in makers if rng.random() < 0.4)


def _subset(rng: Rng, names: tuple[str, ...], share: float) -> tuple[str, ...]:
    return tuple(name for name in names if rng.random() < share)


def _one(rng: Rng, options: tuple[T, ...]) -> T:
    return options[int(rng.integers(len(options)))]
