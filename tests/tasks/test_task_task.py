from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks import Sample, Task


def sample(name: str, answer: str = "yes", **rest: Any) -> Sample:
    return Sample(name, answer, rest.pop("image", np.zeros((2, 2, 3), np.uint8)), **rest)


def make(**changes: Any) -> Task:
    parts: dict[str, Any] = {
        "name": "t",
        "question": "is it?",
        "labels": ("yes", "no"),
        "train": (sample("a"), sample("b", "no")),
        "validation": (sample("c"),),
        "test": (sample("d"), sample("e", "no")),
    }
    return Task(**(parts | changes))


def test_pixels_are_read_only_and_lazy(image: Any, tmp_path: Path) -> None:
    path = image("a.png")
    pixels = Sample("a", "yes", path).pixels()
    assert pixels.shape == (3, 4, 3) and pixels.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        sample("b").pixels()[:] = 1
    missing = Sample("c", "yes", tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"gone\.png"):
        missing.pixels()


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        Sample("a", "yes", tmp_path / "bad.png").pixels()


@pytest.mark.parametrize(
    "image",
    [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.uint8), 7],
)
def test_other_images_are_refused(image: Any) -> None:
    with pytest.raises(DataError, match="sample 'x': the image must be"):
        sample("x", image=image)


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(DataError, match="not Unicode"):
        sample("\udcff.png")
    with pytest.raises(DataError, match="not Unicode"):
        sample("a", fields={"object": "\ud800"})


def test_the_template_is_filled_from_plain_field_names() -> None:
    fields = {"object": "dog", "object name": "big {dog}", "a.b": "dotted"}
    one = sample("a", fields=fields)
    assert make().ask(one) == "is it?"
    asked = make(
        question="{object}, {object name}, {a.b}, {{text}}",
        train=(one, sample("b", "no", fields=fields)),
        validation=(sample("c", fields=fields),),
        test=(sample("d", fields=fields),),
    )
    assert asked.ask(one) == "dog, big {dog}, dotted, {text}"


@pytest.mark.parametrize(
    "template", ["is there a {objct}?", "{}", "{object.__class__}", "{object[0]}"]
)
def test_a_field_that_is_lacking_is_named_with_those_there(template: str) -> None:
    with pytest.raises(UsageError, match=r"sample 'a' lacks \(it has: object\)"):
        make(question=template, train=(sample("a", fields={"object": "dog"}),))


def test_every_sample_is_asked_when_the_task_is_made() -> None:
    parts = {name: (sample(name, fields={"object": "x"}),) for name in ("train", "validation")}
    with pytest.raises(UsageError, match="needs the field 'object', which sample 'late' lacks"):
        make(question="{object}", test=(sample("late"),), **parts)


@pytest.mark.parametrize("question", ["is it {", "is it }", "{object:d}"])
def test_a_broken_template_is_a_usage_error(question: str) -> None:
    with pytest.raises(UsageError, match="is no template"):
        make(question=question, train=(sample("a", fields={"object": "dog"}),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "acuracy"}, "unknown metric 'acuracy'; did you mean accuracy"),
        ({"question": " "}, "empty question"),
        ({"labels": ("yes",)}, "at least two labels"),
        ({"labels": ("yes", "no", " ")}, "empty label"),
        ({"labels": ("yes", "no", "Yes")}, "'yes' and 'Yes' read the same"),
        ({"labels": ("no", "no", "yes")}, "'no' and 'no' read the same"),
        ({"labels": None}, "sample 'a' has no labels, which accuracy needs"),
        ({"validation": ()}, "the validation split is empty"),
        ({"test": ()}, "the test split is empty"),
        ({"train": (sample("a"), sample("a", "no"))}, "the id 'a' comes twice in train"),
        ({"test": (sample("a"),)}, "the splits overlap: 'a' is in train and in test"),
        ({"test": (sample("d", "yess"),)}, "sample 'd': unknown answer 'yess'; did you mean yes"),
        ({"train": (sample("a"),)}, "class 'no' has no images in train"),
        (
            {"test": (sample("d", labels=("left", "right")),)},
            "sample 'd': unknown answer 'yes'; choose from: left, right",
        ),
        ({"test": (sample("d", labels=("yes",)),)}, "sample 'd' needs at least two labels"),
    ],
)
def test_what_cannot_be_a_task(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, UsageError), match="^[^\n]*" + message.replace("(", r"\(")):
        make(**changes)


def test_one_image_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    one, two = (sample(name, image=tmp_path / "same.png") for name in "xy")
    assert make(test=(one, two)).test == (one, two)
    with pytest.raises(DataError, match=r"overlap: .*same\.png' is in validation and in test"):
        make(validation=(one,), test=(two,))


def test_a_sample_may_have_its_own_labels() -> None:
    left = sample("d", "left", labels=("left", "right"))
    task = make(test=(left, sample("e")))
    assert task.sample_labels(left) == ("left", "right")
    assert task.sample_labels(task.test[1]) == ("yes", "no")
    assert make(labels=None, metric="exact").sample_labels(task.test[1]) is None


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    task = make()
    assert task.digest == make().digest == pickle.loads(pickle.dumps(task)).digest
    assert make(test=task.test[::-1]).digest == task.digest, "the order in a split is not content"
    others = [
        make(name="u"),
        make(question="was it?"),
        make(labels=("no", "yes")),
        make(metric="exact"),
        make(validation=task.test, test=task.validation),
        make(validation=(sample("c", "no"),)),
        make(validation=(sample("c", fields={"k": "v"}),)),
        make(validation=(sample("c", labels=("yes", "no")),)),
        make(validation=(sample("c", image=np.ones((2, 2, 3), np.uint8)),)),
        make(validation=(sample("c", image=np.zeros((4, 1, 3), np.uint8)),)),
    ]
    assert len({task.digest, *(other.digest for other in others)}) == len(others) + 1
    here, there = (
        make(validation=(sample("c", image=tmp_path / name / "c.png"),))
        for name in ("here", "there")
    )
    assert here.digest == there.digest, "the same task on another machine"


def test_the_description_is_json_with_counts_of_every_label() -> None:
    described = json.loads(json.dumps(make().describe()))
    assert described["splits"]["validation"] == {"samples": 1, "answers": {"yes": 1, "no": 0}}
    assert described["labels"] == ["yes", "no"] and described["digest"] == make().digest
    free = make(labels=None, metric="exact").describe()
    assert free["labels"] is None and free["splits"]["test"] == {"samples": 2, "answers": None}
