"""The closer look: ask where, crop there, and ask again with both pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import ClassVar, NamedTuple, final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.shown import Shown
from bbtvp.models import Outcome, Reply, Request
from bbtvp.rivals.procedure import Asked, HandPrompt, Procedure, ProcedureAnswers
from bbtvp.rivals.rival import Rival, Tuned, Tuning
from bbtvp.search import Answers, ask
from bbtvp.search.ask import BATCH, Beside, PromptLike
from bbtvp.tasks import Sample
from bbtvp.tasks.replies import read_reply

_PLACES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        f"{vertical} {horizontal}": (row, column)
        for (row, vertical), (column, horizontal) in product(
            enumerate(("top", "middle", "bottom")), enumerate(("left", "center", "right"))
        )
    }
)
"""The nine places of a picture that a model may name, as (row, column)."""

_EVERYWHERE = "everywhere"
_WHERE = (
    "Do not answer this yet: {question}\n"
    "Which part of the picture must be looked at closely to answer it? Reply with one of these and "
    "nothing else: {places}."
)
_WHERE_TOKENS = 32
_SMALL = 768
"""Pixels of the longer side below which a crop is doubled."""


@final
@dataclass(frozen=True)
class CloserLook(Rival):
    """Two image queries an image: where is it, and the question about the whole and the crop."""

    name: ClassVar[str] = "zoom"
    about: ClassVar[str] = "two queries: where to look, then the whole with a crop of there"
    source: ClassVar[str] = "the form of Zoom-Refine and Zoomer, arXiv 2505.00742"

    @property
    def queries_per_image(self) -> int:
        return 2

    def prepare(self, tuning: Tuning) -> Tuned:
        several = tuning.model.capabilities.images > 1
        return Tuned(TwoPass(), note="two pictures" if several else "both pictures on one canvas")


@final
@dataclass(frozen=True)
class TwoPass(Procedure):
    """Asks where to look, and then the question about the whole picture and a crop of that place.

    The model names one of nine places, or says that it must look everywhere. The crop has half of
    the picture's width and height and comes from the image at its own resolution. A model that
    takes several images in a request gets the crop after the whole; for any other they lie on one
    canvas. Where the place cannot be read, the second query is the plain question. prompt: what is
    done to the whole, to the crop and to the question.
    """

    prompt: PromptLike = field(default_factory=HandPrompt)

    def ask(self, asked: Asked, samples: Sequence[Sample]) -> ProcedureAnswers:
        parts = [
            self._batch(asked, samples[start : start + BATCH])
            for start in range(0, len(samples), BATCH)
        ]
        return ProcedureAnswers(
            Answers.joined(part.answers for part in parts),
            tuple(outcome for part in parts for outcome in part.outcomes),
            sum(part.fell_back for part in parts),
        )

    def _batch(self, asked: Asked, samples: Sequence[Sample]) -> ProcedureAnswers:
        several = asked.model.capabilities.images > 1
        pictures = [sample.pixels() for sample in samples]
        plain = [asked.task.ask(sample) for sample in samples]
        first = asked.model.query(
            [
                Request(
                    self.prompt.render(picture),
                    _WHERE.format(question=question, places=", ".join((*_PLACES, _EVERYWHERE))),
                    max_tokens=_WHERE_TOKENS,
                )
                for picture, question in zip(pictures, plain, strict=True)
            ]
        )
        places = [_place(outcome) for outcome in first]
        sent = [
            self._second(picture, question, place, several=several)
            for picture, question, place in zip(pictures, plain, places, strict=True)
        ]
        found = ask(
            asked.model,
            asked.reader,
            asked.task,
            samples,
            images=[one.image for one in sent],
            questions=[one.question for one in sent],
            beside=[one.beside for one in sent],
        )
        return ProcedureAnswers(found, (*first, *found.outcomes), places.count(None))

    def _second(
        self, picture: Pixels, question: str, place: str | None, *, several: bool
    ) -> _SecondQuery:
        whole = self.prompt.render(picture)
        words = self.prompt.ask(question)
        beside = Beside.of(self.prompt)
        if place is None or place == _EVERYWHERE:
            return _SecondQuery(whole, words, beside)
        crop = self.prompt.render(crop_at(picture, *_PLACES[place]))
        if several:
            said = f"The picture before shows the whole; this one is a closer look at its {place}."
            shown = beside._replace(context=(*beside.context, Shown(whole, "The whole picture.")))
            return _SecondQuery(crop, f"{said}\n{words}", shown)
        canvas, where = on_one_canvas(whole, crop)
        said = f"The part {where} is a closer look at the {place} of the picture beside it."
        return _SecondQuery(canvas, f"{said}\n{words}", beside)


class _SecondQuery(NamedTuple):
    image: Pixels
    question: str
    beside: Beside


def _place(outcome: Outcome) -> str | None:
    """The place that a reply names; None where it failed or cannot be read."""
    if not isinstance(outcome, Reply) or outcome.text is None:
        return None
    return read_reply(outcome.text, (*_PLACES, _EVERYWHERE), cut=outcome.cut).answer


def crop_at(picture: Pixels, row: int, column: int) -> Pixels:
    """Half of the width and of the height around a cell of a 3 × 3 grid, doubled if it is small.

    picture: (H, W, 3) uint8. row, column: 0 to 2.
    """
    height, width = picture.shape[:2]
    tall = max(1, height // 2)
    wide = max(1, width // 2)
    top = min(max(0, round((row + 0.5) * height / 3 - tall / 2)), height - tall)
    left = min(max(0, round((column + 0.5) * width / 3 - wide / 2)), width - wide)
    crop = np.ascontiguousarray(picture[top : top + tall, left : left + wide])
    if max(tall, wide) >= _SMALL:
        return crop
    doubled = Image.fromarray(crop).resize((2 * wide, 2 * tall), Image.Resampling.LANCZOS)
    return np.asarray(doubled)


def on_one_canvas(whole: Pixels, crop: Pixels) -> tuple[Pixels, str]:
    """Both pictures on one canvas, and where the crop lies: below a wide picture, right of others.

    The crop is brought to the size of the whole.
    """
    height, width = whole.shape[:2]
    fitted = np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.LANCZOS))
    if width > height:
        return np.concatenate([whole, fitted], axis=0), "below"
    return np.concatenate([whole, fitted], axis=1), "on the right"
