"""Examples in the request: labelled training images, or one picture of them beside words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import ClassVar, final

import numpy as np
from PIL import Image, ImageOps

from bbtvp.core.arrays import Pixels
from bbtvp.core.rng import stream
from bbtvp.core.shown import Shown
from bbtvp.models import Model
from bbtvp.prompt import Exemplars, Identity, Prompt, PromptSpace
from bbtvp.prompt.exemplars import ExemplarForm
from bbtvp.rivals.procedure import Asked, Beyond, OneQuery, Procedure, ProcedureAnswers
from bbtvp.rivals.rival import Rival, Tuned, Tuning, TuningCost, bare, best_on_validation
from bbtvp.rivals.words import searched_words
from bbtvp.search.canvas import choose_canvas
from bbtvp.search.exemplars import seen_elsewhere, shown_text, takes
from bbtvp.tasks import Sample, Task

_SPARE = 4
"""Training samples that are looked at for each that is shown, since some may be in other splits."""


def balanced(train: Sequence[Sample], k: int, seed: int, draw: int = 0) -> list[Sample]:
    """`k` training samples, or all if there are fewer; each answer in turn, in a drawn order."""
    order = stream(seed, "rivals", "examples", draw).permutation(len(train))
    by_answer: dict[str, list[Sample]] = defaultdict(list)
    for i in order:
        by_answer[train[i].answer].append(train[i])
    in_turn = chain.from_iterable(zip_longest(*by_answer.values()))
    return [sample for sample in in_turn if sample is not None][:k]


def drawn(task: Task, k: int, seed: int, draws: Sequence[int]) -> list[list[Sample]]:
    """`k` training samples of each draw, without pictures that validation or test hold too."""
    found = [balanced(task.train, _SPARE * k, seed, draw) for draw in draws]
    seen = seen_elsewhere(list(chain.from_iterable(found)), task)
    return [[sample for sample in samples if sample.id not in seen][:k] for samples in found]


def takes_images(model: Model, needed: int) -> bool:
    """Whether a model takes so many images in a request; a local one is tried."""
    return takes(bare(model), needed)


@final
@dataclass(frozen=True)
class FewShot(Rival):
    """`k` training images, each with its question and its answer, before the image asked about.

    They are drawn once, each answer in turn, and are the same for every image. A model that takes
    fewer images in a request sees them in a strip on the image's own canvas, with their answers
    as captions.
    """

    name: ClassVar[str] = "few-shot"
    about: ClassVar[str] = "5 labelled training images before the question"
    source: ClassVar[str] = "many-shot in-context learning, arXiv 2405.09798"
    seeded: ClassVar[bool] = True

    k: int = 5

    @property
    def images_in_request(self) -> int:
        return self.k + 1

    def prepare(self, tuning: Tuning) -> Tuned:
        task = tuning.task
        (chosen,) = drawn(task, self.k, tuning.seed, [0])
        side = choose_canvas(task, [bare(tuning.model)])
        procedure = _Examples(_layers(task, chosen), side, len(chosen))
        form = procedure.form(tuning.model)
        procedure.prompt(form)  # a strip that cannot be told is an error before anything is asked
        answers = ", ".join(sample.answer for sample in chosen)
        said = {"images": "as images", "strip": "in a strip on the canvas"}[form]
        return Tuned(procedure, note=f"{said}: {answers}"[:120])


@final
@dataclass(frozen=True)
class _Examples(Procedure):
    """The examples as a layer, in both forms; side: of the canvas of a strip, in pixels."""

    layers: Mapping[ExemplarForm, Exemplars]
    side: int
    count: int

    def ask(self, asked: Asked, samples: Sequence[Sample]) -> ProcedureAnswers:
        return OneQuery(self.prompt(self.form(asked.model))).ask(asked, samples)

    def form(self, model: Model) -> ExemplarForm:
        """How they are shown to a model."""
        return "images" if takes_images(model, self.count + 1) else "strip"

    def prompt(self, form: ExemplarForm) -> Prompt:
        """The prompt that shows them. UsageError for a strip that could not be told."""
        layer = self.layers[form]
        whole = (Identity(), layer) if form == "images" else (layer,)
        space = PromptSpace(whole, self.side)
        return space.prompt(space.embed(layer.start(0), (layer.kind,), space.neutral()))


def _layers(task: Task, chosen: Sequence[Sample]) -> dict[ExemplarForm, Exemplars]:
    shown = [(sample.pixels(), shown_text(task, sample), sample.answer) for sample in chosen]
    forms: tuple[ExemplarForm, ...] = ("images", "strip")
    return {form: Exemplars.of(shown, [range(len(chosen))], form=form) for form in forms}


_TILE = 224
"""Side in pixels of an example in a reference picture."""


@final
@dataclass(frozen=True)
class ReferencePicture(Rival):
    """The words of the rival "words", and one reference picture of examples before the image.

    It has the form of MPO, a text and a reference image, and not its search: the best of `draws`
    pictures of up to `k` training images, and of none, is taken on `images` validation images.
    """

    name: ClassVar[str] = "mpo"
    seeded: ClassVar[bool] = True
    about: ClassVar[str] = "searched words with one reference picture of labelled examples"
    source: ClassVar[str] = "the form of MPO, arXiv 2510.09201; not its search"

    k: int = 6
    draws: int = 3
    images: int = 64

    @property
    def images_in_request(self) -> int:
        return 2

    def obstacle(self, model: Model, task: Task) -> str:
        return "" if takes_images(model, 2) else "takes one image in a request, and two are needed"

    def most_queries(self, tuning: Tuning) -> int:
        held = min(self.images, len(tuning.task.validation))
        return tuning.queries + (self.draws + 1) * held

    def prepare(self, tuning: Tuning) -> Tuned:
        words = searched_words(tuning)
        tried = {"no reference picture": words.procedure}
        if isinstance(words.procedure, OneQuery) and words.procedure.prompt is not None:
            draws = range(1, self.draws + 1)
            sets = drawn(tuning.task, self.k, tuning.seed, draws)
            for draw, chosen in zip(draws, sets, strict=True):
                prompt = Beyond(words.procedure.prompt, (_reference(chosen),))
                tried[f"reference picture {draw}"] = OneQuery(prompt)
        best, asked = best_on_validation(tuning, tried, self.images)
        cost = TuningCost.of(tuning.model, asked).plus(words.cost)
        return Tuned(tried[best], cost, f"{words.note}; {best}")


def _reference(chosen: Sequence[Sample]) -> Shown:
    """One picture of the samples from left to right, and the text that names their answers."""
    tiles = [_tile(sample.pixels()) for sample in chosen]
    answers = ", ".join(sample.answer for sample in chosen)
    text = f"This is a reference picture. From left to right it shows examples of: {answers}."
    return Shown(np.concatenate(tiles, axis=1), text)


def _tile(pixels: Pixels) -> Pixels:
    return np.asarray(ImageOps.pad(Image.fromarray(pixels), (_TILE, _TILE), color=(128,) * 3))
