"""Rivals that need several images, several queries, or a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.models import (
    Budget,
    Capabilities,
    FunctionModel,
    Model,
    Outcome,
    Probe,
    Reply,
    Request,
    Usage,
)
from bbtvp.prompt import preset
from bbtvp.rivals import RivalRow, RivalTable, compare_rivals, plan_rivals
from bbtvp.rivals.closer import Region, crop_of, on_one_canvas
from bbtvp.rivals.examples import balanced, drawn
from tests.support import LABELS, PATTERNS, SIDE, Eye, Recorder, patterns

TASK = patterns()


def row(table: RivalTable, name: str) -> RivalRow:
    return next(row for row in table.rows if row.name == name)


class Reader(Model):
    """Says what a function makes of a request, for $0.01 an image query."""

    spec = "mine/reader"
    is_endpoint = True

    def __init__(self, say: object, images: int = 1) -> None:
        self.say = say
        self.capabilities = Capabilities(logprobs=False, deterministic=True, images=images)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        found: list[Outcome] = []
        for request in requests:
            (budget or Budget()).reserve(0.01)
            text = self.say(request)  # type: ignore[operator]
            found.append(Reply(text, usage=Usage(100 * request.images, 4, 1, 0.01)))
        return found


def seen(image: Pixels) -> str:
    """The pattern of an image, whatever its size and contrast."""
    small = np.asarray(Image.fromarray(image).resize((SIDE, SIDE)), np.float64).mean(axis=2)
    return LABELS[int((PATTERNS * small).mean(axis=(1, 2)).argmax())]


# -- examples --------------------------------------------------------------------------------------
def test_examples_are_training_images_with_each_answer_in_turn() -> None:
    model = Recorder(Reader(lambda request: "rows", images=6))
    table = compare_rivals(TASK, [model], rivals=["few-shot"])
    train = {sample.pixels().tobytes(): sample.answer for sample in TASK.train}
    shown = [request.context for request in model.asked if request.context]
    assert len(shown) == len(TASK.test)
    answers = [train[example.image.tobytes()] for example in shown[0]]
    assert len(answers) == 5 and set(answers) == set(LABELS)
    assert all(
        example.text.endswith(f"?\nAnswer: {a}")
        for example, a in zip(shown[0], answers, strict=True)
    )
    # 600 tokens in and $0.01 an image query, as the usage says.
    assert row(table, "few-shot").use.input_tokens == 600
    assert row(table, "few-shot").use.usd_per_1000 == pytest.approx(10)


def test_more_examples_than_images_are_all_of_them() -> None:
    assert len(balanced(TASK.train[:3], 5, 0)) == 3


def test_an_example_that_the_test_holds_too_is_not_shown() -> None:
    shown = drawn(TASK, 5, 0, [0])[0]
    task = replace(TASK, test=(replace(TASK.test[0], image=shown[0].pixels()), *TASK.test[1:]))
    others = drawn(task, 5, 0, [0])[0]
    assert len(others) == 5 and shown[0] not in others


def test_an_endpoint_is_asked_how_many_images_it_takes() -> None:
    class Unsaid(Reader):
        is_endpoint = True
        tried: ClassVar[list[int]] = []

        def probe_images(self, images: int, budget: Budget) -> Probe | None:
            self.tried.append(images)
            if images <= 3:
                self.capabilities = replace(self.capabilities, images=images)
            return Probe(self.capabilities, (), 1, 0.0)

    model = Unsaid(lambda request: "rows")
    large = tuple(
        replace(s, image=np.kron(s.pixels(), np.ones((16, 16, 1), np.uint8))) for s in TASK.train
    )
    table = compare_rivals(
        replace(TASK, train=large), [model], rivals=["few-shot", "mpo", "hand-made"], tuning=200
    )
    assert Unsaid.tried[:2] == [6, 2]
    assert {one.name for one in table.rows} == {"zero-shot", "few-shot", "mpo", "hand-made"}


def test_a_model_of_one_image_sees_the_examples_in_a_strip() -> None:
    model = Recorder(Reader(lambda request: "rows"))
    large = tuple(
        replace(s, image=np.kron(s.pixels(), np.ones((16, 16, 1), np.uint8))) for s in TASK.train
    )
    table = compare_rivals(replace(TASK, train=large), [model], rivals=["few-shot"])
    assert "in a strip on the canvas" in row(table, "few-shot").note
    shapes = {request.image.shape for request in model.asked}
    assert shapes == {(16, 16, 3), (256, 256, 3)} and not any(r.context for r in model.asked)


def test_what_a_model_cannot_do_is_an_error_or_left_out_with_the_reason() -> None:
    model = Recorder(Eye())
    with pytest.raises(UsageError, match="mpo cannot be asked: eye/near takes one image"):
        compare_rivals(TASK, [model], rivals=["mpo"])
    with pytest.raises(UsageError, match="a strip of 5 exemplars is too small"):
        compare_rivals(TASK, [model], rivals=["few-shot"])
    assert not model.asked


def test_one_reference_picture_beside_the_words_that_were_found() -> None:
    model = Recorder(Reader(lambda request: seen(request.image) if request.context else "?", 2))
    table = compare_rivals(TASK, [model], rivals=["mpo"], tuning=800)
    pictures = [request.context for request in model.asked if request.context]
    assert {len(context) for context in pictures} == {1}
    assert "reference picture" in row(table, "mpo").note
    assert row(table, "mpo").paired.after > 0.9 and table.choice == "mpo"


# -- words -----------------------------------------------------------------------------------------
def test_words_alone_are_searched_and_named() -> None:
    """The model answers only where something stands beside the question."""
    model = Recorder(
        Reader(lambda request: "?" if request.text == TASK.question else seen(request.image))
    )
    table = compare_rivals(TASK, [model], rivals=["words"], tuning=800)
    words = row(table, "words")
    assert table.choice == "words" and "words alone are enough" in table.advice
    assert 0 < words.tuning.queries <= 800
    assert words.tuning.usd == pytest.approx(0.01 * words.tuning.queries)
    assert table.queries == words.tuning.queries + 2 * len(TASK.test)
    raw = {sample.pixels().tobytes() for sample in TASK.test}
    assert raw <= {request.image.tobytes() for request in model.asked}


def test_a_search_of_words_is_continued(tmp_path: Path) -> None:
    model = Recorder(Reader(lambda request: seen(request.image)))
    first = compare_rivals(TASK, [model], rivals=["words"], tuning=800, out=tmp_path)
    asked = len(model.asked)
    again = compare_rivals(TASK, [model], rivals=["words"], tuning=800, out=tmp_path)
    assert len(model.asked) == asked
    assert again.as_json() == first.as_json()


# -- the closer look -------------------------------------------------------------------------------
def _four(answer: str) -> NDArray[np.uint8]:
    """A picture with the pattern in its bottom right quarter, and grey elsewhere."""
    picture = np.full((64, 64, 3), 128, np.uint8)
    pattern = next(s for s in patterns(0.3).test if s.answer == answer).pixels()
    picture[40:56, 40:56] = pattern
    return picture


def _task_of_corners() -> object:
    splits = {
        name: tuple(replace(s, image=_four(s.answer)) for s in samples[:24])
        for name, samples in TASK.splits.items()
    }
    return replace(TASK, **splits)  # type: ignore[arg-type]


def test_the_closer_look_asks_where_and_then_about_both_pictures() -> None:
    def say(request: Request) -> str:
        if "Do not answer this yet" in request.text:
            return "The bottom right."
        return seen(request.image[20:52, 20:52]) if request.context else "?"

    model = Recorder(Reader(say, images=2))
    table = compare_rivals(_task_of_corners(), [model], rivals=["zoom"])  # type: ignore[arg-type]
    zoom = row(table, "zoom")
    # The middle of the crop, doubled, holds the pattern.
    assert zoom.use.queries == 2 and zoom.use.usd_per_1000 == pytest.approx(20)
    assert zoom.use.input_tokens == 100 + 200
    second = [request for request in model.asked if request.context]
    assert {request.context[0].image.shape for request in second} == {(64, 64, 3)}
    assert all("its bottom right" in request.text for request in second)
    assert all(request.text.endswith(TASK.question) for request in second)


def test_where_it_cannot_be_read_the_question_is_asked_plainly_and_counted() -> None:
    def say(request: Request) -> str:
        if "Do not answer this yet" in request.text:
            return "I would rather not point"
        return seen(request.image)

    table = compare_rivals(TASK, [Reader(say)], rivals=["zoom"])
    zoom = row(table, "zoom")
    assert "80 images fell back to the plain question" in zoom.note
    assert zoom.paired.gain == 0 and zoom.use.queries == 2
    assert zoom.use.usd_per_1000 == pytest.approx(20)


def test_a_model_of_one_image_gets_both_on_one_canvas() -> None:
    def say(request: Request) -> str:
        return "top left" if "Do not answer this yet" in request.text else "rows"

    model = Recorder(Reader(say))
    compare_rivals(TASK, [model], rivals=["zoom"])
    second = [request for request in model.asked if "closer look" in request.text]
    assert {request.image.shape for request in second} == {(16, 32, 3)}


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("[500, 500, 900, 900]", 77),  # 1.5 × 0.4 of 64 px, doubled
        ('{"bbox_2d": [0, 0, 10, 10]}', 26),  # no less than a fifth
        ("everywhere", None),
        ("[900, 900, 100, 100]", None),
    ],
)
def test_a_box_in_the_models_own_words_is_cropped_with_a_margin(
    said: str, size: int | None
) -> None:
    model = Recorder(
        Reader(lambda request: said if "Do not answer" in request.text else "rows", images=2)
    )
    compare_rivals(_task_of_corners(), [model], rivals=["zoom"])  # type: ignore[arg-type]
    crops = {request.image.shape[0] for request in model.asked if request.context}
    assert crops == ({size - size % 2} if size else set())


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (2, 2), (300, 400), (1600, 1200)])
def test_every_crop_lies_in_its_picture(shape: tuple[int, int]) -> None:
    picture = np.arange(shape[0] * shape[1] * 3, dtype=np.uint8).reshape(*shape, 3)
    for x, y in product((0, 0.2, 0.5, 1), repeat=2):
        crop = crop_of(picture, Region("there", x, y, 0.4, 1.5))
        assert crop.size and crop.dtype == np.uint8
    canvas, where = on_one_canvas(picture, crop)
    assert canvas.shape[:2] == (
        (2 * shape[0], shape[1]) if where == "below" else (shape[0], 2 * shape[1])
    )


def test_a_function_that_takes_no_shown_images_is_one_of_one_image() -> None:
    own = FunctionModel(lambda image, question: "rows", name="mine/one")
    table = compare_rivals(TASK, [own], rivals=["all"], tuning=12)
    assert set(table.left_out) == {"mpo", "words"}
    assert "image queries do not reach" in table.left_out["words"]


def test_the_closer_look_is_tried_over_the_prompt_too() -> None:
    def say(request: Request) -> str:
        return "top left" if "Do not answer" in request.text else seen(request.image)

    prompt = preset("tone", SIDE).prompt(np.array([3.0, 0.0, 0.0]))
    table = compare_rivals(TASK, [Reader(say, images=2)], prompt=prompt, rivals=["zoom"])
    planned = plan_rivals(TASK, [Reader(say, images=2)], prompt=prompt, rivals=["zoom"])
    assert planned.arms == ("zero-shot", "prompt", "zoom", "prompt+zoom")
    assert table.queries <= planned.queries == 6 * len(TASK.test)
    both = row(table, "prompt+zoom")
    assert both.use.queries == 2 and both.paired.after != row(table, "zoom").paired.after
