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
from bbtvp.rivals.examples import takes_images
from bbtvp.rivals.procedure import Asked, HandPrompt, Procedure, ProcedureAnswers
from bbtvp.rivals.rival import Rival, Tuned, Tuning
from bbtvp.search import Answers, ask
from bbtvp.search.ask import BATCH, Beside, PromptLike
from bbtvp.tasks import Sample
from bbtvp.tasks.grades.boxes import BOXES, read_box
from bbtvp.tasks.replies import read_reply


@final
class Region(NamedTuple):
    """A part of a picture: its centre and its size, as shares of the sides, and its name."""

    name: str
    x: float
    y: float
    width: float = 0.5
    height: float = 0.5


_PLACES: Mapping[str, Region] = MappingProxyType(
    {
        f"{vertical} {horizontal}": Region(f"{vertical} {horizontal}", x / 6, y / 6)
        for (y, vertical), (x, horizontal) in product(
            ((1, "top"), (3, "middle"), (5, "bottom")), ((1, "left"), (3, "center"), (5, "right"))
        )
    }
)
"""The nine places that a model may name: half of the picture around each cell of a 3 × 3 grid."""

_EVERYWHERE = "everywhere"
_BOX = BOXES["iou-1000"]
_MARGIN = 1.5
"""Sides of a crop, in those of the box that the model gave."""
_LEAST = 0.2
"""The least side of a crop, as a share of the picture's."""
_WHERE = (
    "Do not answer this yet: {question}\n"
    "Which part of the picture must be looked at closely to answer it? Reply with one of these and "
    f"nothing else: {', '.join((*_PLACES, _EVERYWHERE))}; or with a box as {_BOX}."
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
    def images_in_request(self) -> int:
        return 2

    @property
    def queries_per_image(self) -> int:
        return 2

    def over(self, prompt: PromptLike) -> Procedure:
        return TwoPass(prompt)

    def prepare(self, tuning: Tuning) -> Tuned:
        several = takes_images(tuning.model, 2)
        return Tuned(TwoPass(), note="two pictures" if several else "both pictures on one canvas")


@final
@dataclass(frozen=True)
class TwoPass(Procedure):
    """Asks where to look, and then the question about the whole picture and a crop of that place.

    The model names one of nine places, gives a box, or says that it must look everywhere. The crop
    has half of the picture's width and height, or the box with a margin, and comes from the image
    at its own resolution. A model that takes several images in a request gets the crop after the
    whole; for any other they lie on one canvas. Where no place can be read, the second query is the
    plain question. prompt: what is done to the whole, to the crop and to the question.
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
        several = takes_images(asked.model, 2)
        pictures = [sample.pixels() for sample in samples]
        plain = [asked.task.ask(sample) for sample in samples]
        first = asked.model.query(
            [
                Request(
                    self.prompt.render(picture),
                    _WHERE.format(question=question),
                    max_tokens=_WHERE_TOKENS,
                )
                for picture, question in zip(pictures, plain, strict=True)
            ]
        )
        places = [_region(outcome) for outcome in first]
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
        self, picture: Pixels, question: str, region: Region | None, *, several: bool
    ) -> _SecondQuery:
        whole = self.prompt.render(picture)
        words = self.prompt.ask(question)
        beside = Beside.of(self.prompt)
        if region is None or region == _WHOLE:
            return _SecondQuery(whole, words, beside)
        crop = self.prompt.render(crop_of(picture, region))
        if several:
            said = (
                f"The picture before is the whole; this one is a closer look at its {region.name}."
            )
            shown = beside._replace(context=(*beside.context, Shown(whole, "The whole picture.")))
            return _SecondQuery(crop, f"{said}\n{words}", shown)
        canvas, where = on_one_canvas(whole, crop)
        said = f"The part {where} is a closer look at the {region.name} of the picture beside it."
        return _SecondQuery(canvas, f"{said}\n{words}", beside)


class _SecondQuery(NamedTuple):
    image: Pixels
    question: str
    beside: Beside


_WHOLE = Region(_EVERYWHERE, 0.5, 0.5, 1.0, 1.0)


def _region(outcome: Outcome) -> Region | None:
    """The region that a reply names; None where the query failed or no region can be read."""
    if not isinstance(outcome, Reply) or outcome.text is None:
        return None
    box = read_box(outcome.text, _BOX)
    if box is not None:
        most = _BOX.most or 1.0
        left, top, right, bottom = (value / most for value in box)
        return Region(
            "part that you named",
            (left + right) / 2,
            (top + bottom) / 2,
            max(_LEAST, _MARGIN * (right - left)),
            max(_LEAST, _MARGIN * (bottom - top)),
        )
    named = read_reply(outcome.text, (*_PLACES, _EVERYWHERE), cut=outcome.cut).answer
    return _PLACES.get(named or "", _WHOLE if named else None)


def crop_of(picture: Pixels, region: Region) -> Pixels:
    """The region, moved into the picture where it leaves it, and doubled if it is small.

    picture: (H, W, 3) uint8.
    """
    height, width = picture.shape[:2]
    tall = min(height, max(1, round(region.height * height)))
    wide = min(width, max(1, round(region.width * width)))
    top = min(max(0, round(region.y * height - tall / 2)), height - tall)
    left = min(max(0, round(region.x * width - wide / 2)), width - wide)
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
