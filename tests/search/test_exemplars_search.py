"""Training images as examples in a search: which are shown, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.models import Budget, FunctionModel, InMemoryCache, MeteredModel, Request
from bbtvp.prompt import Exemplars, Prompt, PromptSpace, Tone
from bbtvp.runs.folder import BUNDLE
from bbtvp.search import SearchConfig, optimize
from bbtvp.search.events import SearchPrepared
from bbtvp.search.exemplars import DRAWS, with_exemplars
from bbtvp.search.setup import set_up
from bbtvp.tasks import Sample, Task
from bbtvp.verify import verify
from tests.support import LABELS, QUESTION, Recorder

SIDE = 224
SPACE = PromptSpace((Tone(),), SIDE)
MOST = 4


def noise(*names: object, side: int = 48) -> Pixels:
    """Blobs of colour, which no other name gives."""
    return np.repeat(
        np.repeat(stream(0, *names).integers(0, 256, (6, 6, 3), np.uint8), side // 6, 0),
        side // 6,
        1,
    )


def drawn(split: str, count: int) -> tuple[Sample, ...]:
    return tuple(
        Sample(f"{split}-{i}", LABELS[i % len(LABELS)], noise(split, i)) for i in range(count)
    )


TASK = Task("blobs", QUESTION, LABELS, drawn("train", 40), drawn("held", 24), drawn("test", 40))


def model(images: int) -> Recorder:
    made = Recorder()
    made.capabilities = replace(made.capabilities, images=images)
    return made


def proposed(task: Task = TASK, most: int = MOST, images: int = 9, seed: int = 0) -> Exemplars:
    space = with_exemplars(SPACE, task, [model(images)], most=most, seed=seed).space
    (layer,) = (one for one in space.layers if isinstance(one, Exemplars))
    return layer


def is_shown(sample: Sample, layer: Exemplars) -> bool:
    return any(np.array_equal(sample.pixels(), layer.pixels(one)) for one in layer.exemplars)


# -- which are proposed ----------------------------------------------------------------------------
def test_sets_of_every_size_are_drawn_balanced_over_the_labels() -> None:
    layer = proposed()
    assert Counter(map(len, layer.sets)) == {1: DRAWS, 2: DRAWS, 3: DRAWS, 4: DRAWS}
    for one in layer.sets:
        answers = Counter(layer.exemplars[place].caption for place in one)
        assert max(answers.values()) == 1


def test_examples_are_training_images_with_question_and_answer_and_are_not_scored() -> None:
    found = with_exemplars(SPACE, TASK, [model(9)], most=MOST, seed=0)
    layer = proposed()
    shown = [sample for sample in TASK.train if is_shown(sample, layer)]
    assert len(shown) == len(layer.exemplars) == DRAWS * MOST
    texts = {exemplar.text for exemplar in layer.exemplars}
    assert texts == {f"{QUESTION}\nAnswer: {sample.answer}" for sample in shown}
    assert {sample.id for sample in found.task.train} == {
        sample.id for sample in TASK.train if sample not in shown
    }
    assert not any(is_shown(sample, layer) for sample in (*TASK.validation, *TASK.test))


def test_a_seed_draws_the_same_and_another_seed_others() -> None:
    assert proposed() == proposed()
    assert proposed() != proposed(seed=1)


def test_a_model_of_one_image_gets_a_strip() -> None:
    assert proposed(images=MOST + 1).form == "images"
    assert proposed(images=MOST).form == "strip"


def test_a_training_image_that_the_test_holds_is_no_example() -> None:
    copies = tuple(
        Sample(f"copy-{i}", sample.answer, sample.image) for i, sample in enumerate(TASK.train[:36])
    )
    layer = proposed(replace(TASK, test=copies), most=1)
    assert layer.exemplars
    assert not any(is_shown(sample, layer) for sample in copies)


# -- bad input -------------------------------------------------------------------------------------
def test_a_label_without_an_image_to_show_is_named() -> None:
    held = tuple(sample for sample in TASK.train if sample.answer == LABELS[2])
    copies = tuple(Sample(f"copy-{i}", LABELS[2], one.image) for i, one in enumerate(held))
    with pytest.raises(UsageError, match="no training image of 'checks' to show as an example"):
        proposed(replace(TASK, test=copies))


def test_more_examples_than_images_are_refused() -> None:
    with pytest.raises(UsageError, match="--exemplars 16 would take more than half of the 24"):
        proposed(replace(TASK, train=TASK.train[:24]), most=16)


def by_hand(pixels: Pixels) -> PromptSpace:
    layer = Exemplars.of([(pixels, "Answer: rows", "rows")], [(0,)])
    return PromptSpace((layer, Tone()), SIDE)


def test_an_example_that_is_a_test_image_is_refused_by_its_id(tmp_path: Path) -> None:
    space = by_hand(TASK.test[7].pixels())
    with pytest.raises(UsageError, match="an exemplar is the test image 'test-7'"):
        set_up(TASK, [model(2)], SearchConfig(prompt=space, queries=200))
    space.prompt(space.starts()[1]).save(tmp_path / "p.vprompt")
    with pytest.raises(UsageError, match="an exemplar is the test image 'test-7'"):
        verify(Prompt.load(tmp_path / "p.vprompt"), TASK, model(2))


def test_a_faint_test_image_that_was_made_smaller_is_refused_too() -> None:
    grey = stream(0, "faint").integers(100, 103, (90, 120, 1), np.uint8)
    faint = np.repeat(grey, 3, 2)
    task = replace(TASK, test=(replace(TASK.test[0], image=faint), *TASK.test[1:]))
    layer = Exemplars.of([(faint, "Answer: rows", "rows")], [(0,)], side=48)
    space = PromptSpace((layer, Tone()), SIDE)
    with pytest.raises(UsageError, match="an exemplar is the test image 'test-0'"):
        set_up(task, [model(2)], SearchConfig(prompt=space, queries=200))


def test_a_test_image_that_cannot_be_read_keeps_no_one_from_examples(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    task = replace(TASK, test=(replace(TASK.test[0], image=broken), *TASK.test[1:]))
    space = set_up(task, [model(9)], SearchConfig(queries=400, exemplars=2)).space
    assert any(isinstance(layer, Exemplars) for layer in space.layers)


def test_a_proof_on_a_model_of_one_image_is_refused_before_anything_is_asked() -> None:
    space = by_hand(TASK.train[0].pixels())
    asked = model(1)
    with pytest.raises(UsageError, match="takes one image in a request, and this one holds 2"):
        verify(space.prompt(space.starts()[1]), TASK, asked)
    assert not asked.asked


# -- a search --------------------------------------------------------------------------------------
def test_a_search_shows_them_and_never_scores_what_it_shows() -> None:
    asked = model(9)
    events: list[object] = []
    run = optimize(
        TASK, asked, queries=300, prompt="tone", canvas=SIDE, exemplars=2, watch=events.append
    )
    held = [request.images for request in asked.asked]
    assert {1, 2, 3} <= set(held)
    layer = next(one for one in run.best.space.layers if isinstance(one, Exemplars))
    plain: list[Request] = [request for request in asked.asked if request.context]
    assert plain
    assert {shown.text for request in plain for shown in request.context} <= {
        exemplar.text for exemplar in layer.exemplars
    }
    (prepared,) = (event for event in events if isinstance(event, SearchPrepared))
    assert any("will lie inside the bundle" in line for line in prepared.preflight.warnings)


def test_without_examples_nothing_changes() -> None:
    setup = set_up(TASK, [model(9)], SearchConfig(prompt=SPACE, queries=200))
    assert setup.task is TASK
    assert setup.space is SPACE


def test_a_model_that_takes_fewer_images_than_a_prompt_shows_is_refused_in_one_line() -> None:
    space = by_hand(TASK.train[0].pixels())
    prompt = space.prompt(space.starts()[1])
    metered = MeteredModel(model(1), InMemoryCache(), budget=Budget(9))
    request = Request(TASK.test[0].pixels(), QUESTION, LABELS, context=prompt.context())
    with pytest.raises(UsageError, match="takes one image in a request, and this one holds 2"):
        metered.query([request])
    assert metered.budget.total == 0


# -- a model that needs them -----------------------------------------------------------------------
WORDS = ("blick", "dax")
"""Names that nobody can guess: only an example tells which colour is which."""


def coloured(split: str, count: int) -> tuple[Sample, ...]:
    found = []
    for i in range(count):
        pixels = noise(split, i) // 4
        pixels[..., 2 * (i % 2)] += 150
        found.append(Sample(f"{split}-{i}", WORDS[i % 2], pixels))
    return tuple(found)


COLOURS = Task(
    "words",
    "which one is this?",
    WORDS,
    coloured("train", 30),
    coloured("held", 40),
    coloured("t", 60),
)


def learner(image: Image.Image, question: str, shown: list[tuple[Image.Image, str]]) -> str:
    """The answer of the example whose colour is nearest; without examples a guess."""
    if not shown:
        return WORDS[int(np.asarray(image)[0, 0, 1]) % 2]
    mean = np.asarray(image, float).mean(axis=(0, 1))
    far = [np.abs(np.asarray(one, float).mean(axis=(0, 1)) - mean).sum() for one, _ in shown]
    return shown[int(np.argmin(far))][1].rpartition(" ")[2]


def test_a_search_finds_examples_where_they_help_and_a_proof_shows_it(tmp_path: Path) -> None:
    options = {"queries": 600, "prompt": "tone", "exemplars": 2, "out": tmp_path / "run"}
    run = optimize(COLOURS, FunctionModel(learner, deterministic=True), **options)
    assert run.improved
    assert {shown.text.rpartition(" ")[2] for shown in run.prompt.context()} == set(WORDS)
    again = optimize(COLOURS, FunctionModel(learner, deterministic=True), **options)
    assert again.prompt.digest == run.prompt.digest
    loaded = Prompt.load(tmp_path / "run" / BUNDLE)
    assert loaded.contains_data
    proof = verify(loaded, COLOURS, FunctionModel(learner, deterministic=True))
    (row,) = proof.rows
    assert row.prompted == 1.0
    assert row.gain_ci95[0] > 0.3
