"""The model `example/ruler`: reads how high the bright part of a picture stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import unknown
from bbtvp.models import Budget, Capabilities, LabelScore, Model, Outcome, Reply, Request


def load(name: str) -> Model:
    """The model of this name. UsageError for any but `ruler`."""
    if name != "ruler":
        raise unknown("model", f"example/{name}", ["example/ruler"])
    return Ruler()


@final
class Ruler(Model):
    """A rule on pixels: what lies above mid grey counts, so a dark picture seems empty to it."""

    def __init__(self) -> None:
        self.spec = "example/ruler"
        self.capabilities = Capabilities(logprobs=True, deterministic=True, image_side=36)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Reply:
        height = measured(request.image)
        if request.labels is None:
            return Reply(str(round(height)))
        scores = _logprobs(height, request.labels)
        return Reply(scores=tuple(LabelScore(float(score), 1) for score in scores))


def measured(image: Pixels) -> float:
    """The height in marks, 0 to 9: the share of bright pixels, with a soft edge at mid grey."""
    levels = image.astype(np.float64).mean(axis=2)
    bright = 1 / (1 + np.exp((128 - levels) / 12))
    return 9 * float(bright.mean())


def _logprobs(height: float, labels: Sequence[str]) -> Vector:
    """(labels,) normalised; a label that is no number stands for its place in the list."""
    marks = np.array([int(x) if x.isdigit() else place for place, x in enumerate(labels)])
    evidence = -0.5 * (height - marks) ** 2
    found: Vector = evidence - np.log(np.exp(evidence).sum())
    return found
