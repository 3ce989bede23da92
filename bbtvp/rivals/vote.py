"""Votes: the commonest of several answers to one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from PIL import Image, ImageEnhance

from bbtvp.core.arrays import Pixels
from bbtvp.rivals.procedure import Asked, HandPrompt, Procedure, ProcedureAnswers, unchanged
from bbtvp.rivals.rival import Rival, Tuned, Tuning
from bbtvp.search import Answers, ask
from bbtvp.search.readers import Reading
from bbtvp.tasks import Sample


def _cropped(image: Pixels) -> Pixels:
    """Without a twentieth of each side at every edge, at least a pixel of a side of three."""
    height, width = image.shape[:2]
    top, left = (min(max(1, side // 20), (side - 1) // 2) for side in (height, width))
    return np.ascontiguousarray(image[top : height - top, left : width - left])


def _smaller(image: Pixels) -> Pixels:
    """Nine tenths of the size."""
    height, width = image.shape[:2]
    size = (max(1, width * 9 // 10), max(1, height * 9 // 10))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _lit(image: Pixels, factor: float) -> Pixels:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))


_VIEWS: tuple[Callable[[Pixels], Pixels], ...] = (
    unchanged,
    _cropped,
    _smaller,
    lambda image: _lit(image, 0.85),
    lambda image: _lit(image, 1.15),
)
"""Views that leave the answer what it is: no mirror, for a mirrored text says something else."""


@final
@dataclass(frozen=True)
class Vote(Rival):
    """The commonest answer of `k` image queries; of equally common ones the earliest.

    A model that does not always answer the same is asked k times about the image as it is, at its
    API's own temperature. One that does is asked about k views of the image. k: 2 to 5.
    """

    name: ClassVar[str] = "vote"
    about: ClassVar[str] = "the commonest of 5 answers"
    source: ClassVar[str] = "Wang et al., arXiv 2203.11171"

    k: int = len(_VIEWS)

    @property
    def queries_per_image(self) -> int:
        return self.k

    def prepare(self, tuning: Tuning) -> Tuned:
        views = tuning.model.capabilities.deterministic
        note = f"{self.k} views of the image" if views else f"{self.k} draws"
        return Tuned(_Voting(self.k), note=note)


@final
@dataclass(frozen=True)
class _Voting(Procedure):
    k: int

    def ask(self, asked: Asked, samples: Sequence[Sample]) -> ProcedureAnswers:
        same = asked.model.capabilities.deterministic
        draws = [
            ask(
                asked.model,
                asked.reader,
                asked.task,
                samples,
                HandPrompt(_VIEWS[i]) if same else None,
                replicate=0 if same else i,
            )
            for i in range(self.k)
        ]
        chosen = [_commonest(votes) for votes in zip(*(d.readings for d in draws), strict=True)]
        first = draws[0]
        outcomes = tuple(outcome for draw in draws for outcome in draw.outcomes)
        return ProcedureAnswers(Answers(tuple(chosen), first.scores, first.outcomes), outcomes)


def _commonest(votes: Sequence[Reading]) -> Reading:
    """The first reading with the commonest answer; the first of all where there is no answer."""
    given = [vote for vote in votes if vote.answer is not None]
    if not given:
        return next((vote for vote in votes if vote.status != "failed"), votes[0])
    answers = [vote.answer for vote in given]
    return given[answers.index(max(answers, key=answers.count))]
