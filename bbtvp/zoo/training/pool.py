"""What the zoo is trained on: scenes with their questions.

It also says how an image varies from step to step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bbtvp.core.rng import stream
from bbtvp.zoo import scenes

MIX = {"digit": 0.28, "shape": 0.08, "count": 0.2, "pair": 0.22, "presence": 0.22}
PRESENCES = len(scenes.CATEGORIES)
POSITIONS = len(scenes.SHAPES)


class Pool(NamedTuple):
    """Training scenes with their questions, drawn once and shared by all members of the zoo."""

    pixels: Tensor  # (n, 3, 64, 64) uint8
    questions: Tensor  # (n, q) index into `texts`; column 0 is the scene's main question
    answers: Tensor  # (n, q) index into `words`
    digit: Tensor  # (n,) 0 = none, else digit + 1
    number: Tensor  # (n,) number of things
    present: Tensor  # (n, 25) whether each category is there
    # (n, 6, 4): x, y and radius in scene coordinates, [-1, 1]; category. Radius 0: no thing.
    things: Tensor
    place: Tensor  # (n, 5, 2) centre of each shape that appears once, in [0, 1]; NaN otherwise
    texts: list[str]
    words: list[str]

    def to(self, device: torch.device) -> Pool:
        """The same pool on another device."""
        moved: Any = {
            name: part.to(device)
            for name, part in self._asdict().items()
            if isinstance(part, Tensor)
        }
        return self._replace(**moved)


def make_pool(size: int, seed: int, *, others: int = 3) -> Pool:
    """Draw `size` scenes of every kind, each with its main question and `others` more.

    Digits are learned last, so their scenes ask the main question again.
    """
    rng = stream(seed, "zoo-pool")
    texts: dict[str, int] = {}
    words: dict[str, int] = {}
    rows: list[tuple[scenes.Scene, list[scenes.Question]]] = []
    for kind in rng.choice(list(MIX), size, p=list(MIX.values())):
        scene = scenes.draw(str(kind), rng)
        again = others - 1 if scene.kind == "digit" else 0
        questions = [scenes.main_question(scene, rng) for _ in range(1 + again)]
        questions += [scenes.other_question(scene, rng) for _ in range(others - again)]
        rows.append((scene, questions))

    def index(table: dict[str, int], key: str) -> int:
        return table.setdefault(key, len(table))

    asked = torch.tensor([[index(texts, q.text) for q in questions] for _, questions in rows])
    answered = torch.tensor([[index(words, q.answer) for q in questions] for _, questions in rows])
    place = torch.full((size, POSITIONS, 2), math.nan)
    present = torch.zeros(size, PRESENCES)
    things = torch.zeros(size, len(scenes.COUNTS), 4)
    for i, (scene, _) in enumerate(rows):
        for j, thing in enumerate(scene.things):
            category = scenes.CATEGORIES.index((thing.color, thing.shape))
            present[i, category] = 1
            half = scenes.SIDE / 2
            things[i, j] = torch.tensor(
                [thing.x / half - 1, thing.y / half - 1, thing.r / half, category]
            )
            if sum(other.shape == thing.shape for other in scene.things) == 1:
                place[i, scenes.SHAPES.index(thing.shape)] = (
                    torch.tensor([thing.x, thing.y]) / scenes.SIDE
                )
    return Pool(
        torch.from_numpy(np.stack([scene.pixels for scene, _ in rows]))
        .permute(0, 3, 1, 2)
        .contiguous(),
        asked,
        answered,
        torch.tensor([scene.digit + 1 for scene, _ in rows]),
        torch.tensor([len(scene.things) for scene, _ in rows]),
        present,
        things,
        place,
        list(texts),
        list(words),
    )


def augment(pixels: Tensor, side: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(b, 3, 64, 64) uint8 → (b, 3, side, side) in [0, 1].

    Adds mild tone and noise, and for two images in five a plain letterbox.

    The letterbox (one colour, no pattern) keeps a miniature working inside a frame without teaching
    it any border. Also gives (b, 2, 3), the map from the new image's coordinates in [-1, 1] to the
    scene's.
    """
    b = len(pixels)
    device = pixels.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(b, *shape, generator=rng, device=device) * (high - low) + low

    boxed = uniform(0, 1) < 0.4
    scale = torch.where(boxed, uniform(0.62, 1.0), torch.ones(b, device=device))
    shift = uniform(-1, 1, 2) * (1 - scale)[:, None]
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -shift / scale[:, None]
    grid = F.affine_grid(theta, [b, 3, side, side], align_corners=False)
    x = F.grid_sample(pixels.float() / 255, grid, padding_mode="border", align_corners=False)
    x = (x - 0.5) * uniform(0.75, 1.2, 1, 1, 1) + 0.5 + uniform(-0.08, 0.08, 1, 1, 1)
    x = x + torch.randn(x.shape, generator=rng, device=device) * uniform(0, 0.03, 1, 1, 1)
    outside = (grid.abs() > 1).any(-1)[:, None]
    grey = uniform(0, 1, 1, 1, 1)
    fill = torch.where(
        uniform(0, 1, 1, 1, 1) < 0.6, grey.expand(b, 3, 1, 1), uniform(0, 1, 3, 1, 1)
    )
    return torch.where(outside, fill, x).clamp(0, 1), theta


def caption(pool: Pool, row: int) -> str:
    """A sentence about a scene, for CLIP.

    Where there is only one thing, every other sentence has TSE's words.
    """
    if pool.digit[row]:
        return f"this is a photo of a {scenes.DIGITS[int(pool.digit[row]) - 1]}"
    if pool.number[row] == 1 and row % 2:
        return f"this is a photo of a {scenes.CATEGORIES[int(pool.present[row].argmax())][1]}"
    present = [
        category
        for category, there in zip(scenes.CATEGORIES, pool.present[row], strict=True)
        if there
    ]
    return scenes.inventory(int(pool.number[row]), present)
