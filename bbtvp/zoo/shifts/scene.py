"""Shifts of the scene: its pose, what lies over it, what lies around it, how it is drawn."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from bbtvp.core.arrays import Pixels
from bbtvp.zoo.shifts.planes import border, levels

_CELLS = 8
"""Patches that may cover a picture, along each side."""

_STROKES = 24
"""Strokes of clutter for each area of the size of the subject."""

_EDGE = 40
"""Levels between neighbours that make a contour."""


def rotation(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Turned by `strength` degrees to the left or the right, in a picture that holds all of it."""
    image = Image.fromarray(pixels)
    degrees = strength * rng.choice((-1, 1))
    turned = image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=border(pixels))
    return np.asarray(turned)


def perspective(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Seen from one side: the far edge and the depth shrink by a share `strength`."""
    quarter = int(rng.integers(4))
    turned = np.rot90(pixels, quarter)
    height, width = turned.shape[:2]
    inset = strength * width / 2
    top = strength * height
    corners = [(inset, top), (width - inset, top), (width, height), (0, height)]
    source = [(0, 0), (width, 0), (width, height), (0, height)]
    seen = Image.fromarray(turned).transform(
        (width, height),
        Image.Transform.PERSPECTIVE,
        _homography(corners, source),
        Image.Resampling.BICUBIC,
        fillcolor=border(pixels),
    )
    return np.ascontiguousarray(np.rot90(np.asarray(seen), -quarter))


def _homography(
    seen: list[tuple[float, float]], source: list[tuple[float, float]]
) -> tuple[float, ...]:
    """The eight coefficients that take four places of the result to four places of the source."""
    rows = []
    for (x, y), (u, v) in zip(seen, source, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return tuple(np.linalg.solve(np.array(rows), np.array(source).ravel()).tolist())


def occlusion(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Grey patches of an eighth of the side cover a share `strength` of the picture."""
    height, width = pixels.shape[:2]
    order = rng.permutation(_CELLS * _CELLS).reshape(_CELLS, _CELLS)
    rows = np.arange(height) * _CELLS // height
    columns = np.arange(width) * _CELLS // width
    covered = order[np.ix_(rows, columns)] < strength * _CELLS * _CELLS
    return np.where(covered[:, :, None], np.uint8(128), pixels)


def clutter(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A small subject: a picture 1 + `strength` times as large, full of strokes around it.

    The subject keeps its pixels and lies anywhere.
    """
    height, width = pixels.shape[:2]
    size = round(width * (1 + strength)), round(height * (1 + strength))
    image = Image.new("RGB", size, border(pixels))
    draw = ImageDraw.Draw(image)
    for _ in range(round(_STROKES * ((1 + strength) ** 2 - 1))):
        x, y = rng.uniform(0, 1, 2) * size
        right, down = rng.uniform(-0.3, 0.3, 2) * (width, height)
        red, green, blue = rng.integers(0, 256, 3).tolist()
        draw.line((x, y, x + right, y + down), fill=(red, green, blue), width=2)
    left, top = (rng.uniform(0, 1, 2) * (size[0] - width, size[1] - height)).astype(int).tolist()
    image.paste(Image.fromarray(pixels), (left, top))
    return np.asarray(image)


def outline(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Another renderer, which draws contours: a share `strength` of what they enclose is paper."""
    image = Image.fromarray(pixels)
    highest = np.asarray(image.filter(ImageFilter.MaxFilter(3))).astype(np.int16)
    lowest = np.asarray(image.filter(ImageFilter.MinFilter(3))).astype(np.int16)
    contour = ((highest - lowest) > _EDGE).any(axis=2, keepdims=True)
    paper = np.array(border(pixels))
    return np.where(contour, pixels, levels((1 - strength) * pixels + strength * paper))
