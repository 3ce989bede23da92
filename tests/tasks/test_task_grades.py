"""Graded metrics, against published values where there are some."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.cli.metric import open_metric
from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks import Metric, Sample, Task, read_reply
from bbtvp.tasks.grades.boxes import BOXES, read_box
from bbtvp.tasks.metrics import METRICS, per_sample
from bbtvp.tasks.registry import load_task

IMAGE = np.zeros((8, 8, 3), np.uint8)


def score(metric: str, given: str, *answers: str) -> float:
    return float(per_sample(metric, [given], [answers])[0])


def task_of(metric: Any, answer: str = "stop", **fields: Any) -> Task:
    splits = {
        split: (Sample(f"{split}-1", answer, np.full((8, 8, 3), i, np.uint8), **fields),)
        for i, split in enumerate(("train", "validation", "test"))
    }
    return Task("signs", "what does the sign say?", None, metric=metric, **splits)


def test_every_metric_scores_from_0_to_1_and_full_marks_for_the_answer() -> None:
    boxes = {"iou": "[0, 0, 0.5, 1]", "iou-pixels": "[0, 0, 200, 300]"}
    for name in METRICS.names():
        answer = boxes.get(name, "[0, 0, 500, 900]") if name.startswith("iou") else "3"
        assert score(name, answer, answer) == 1
        assert score(name, "", answer) == 0


@pytest.mark.parametrize(
    ("given", "answers", "expected"),
    [
        ("Hello  World", ("hello world",), 1),
        ("hello wrld", ("hello world", "something else"), 1 - 1 / 11),
        ("abcd", ("abxy",), 0),  # a ratio of 0.5 gives nothing in eq. 1 of the paper
        ("abcde", ("abcxy",), 0.6),
        ("", ("stop",), 0),
    ],
)
def test_anls(given: str, answers: tuple[str, ...], expected: float) -> None:
    assert score("anls", given, *answers) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "given", "answer", "expected"),
    [
        # "kitten" and "sitting" are 3 edits apart (Levenshtein's usual example)
        ("1-cer", "kitten", "sitting", 1 - 3 / 7),
        ("1-cer", "STOP", "stop", 0),
        ("1-cer", "a long reply that was not asked for", "a", 0),
        ("1-wer", "hello duck", "hello world", 0.5),
        ("1-wer", "the cat sat", "the cat sat down", 0.75),
        ("token-f1", "The cat sat.", "cat sat down", 0.8),
        ("token-f1", "Denver Broncos", "the Denver Broncos!", 1),
        ("relaxed", "about 104", "100", 1),
        ("relaxed", "106", "100", 0),
        ("relaxed", "0.001", "0", 0),
        ("relaxed", "Yes", "yes", 1),
        ("count", "three", "4", 0.75),
        ("count", "9", "4", 0),
        ("count", "1", "0", 0),
        ("count", "many", "4", 0),
    ],
)
def test_published_and_worked_values(metric: str, given: str, answer: str, expected: float) -> None:
    assert score(metric, given, answer) == pytest.approx(expected)


@pytest.mark.parametrize(("people", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1)])
def test_vqa_accuracy_leaves_each_of_ten_answers_out_once(people: int, expected: float) -> None:
    answers = ("yes",) * people + tuple(f"other {i}" for i in range(10 - people))
    assert score("vqa", "Yes.", *answers) == pytest.approx(expected)


def test_vqa_accuracy_compares_as_published() -> None:
    assert score("vqa", "two dogs", *("2 dogs",) * 10) == 1
    assert score("vqa", "the dog", *("dog",) * 10) == 1
    assert score("vqa", "It isnt", *("it isn't",) * 10) == 1
    with pytest.raises(DataError, match="3 answers, of which 'vqa' needs 4"):
        task_of("vqa", "a", answers=("a", "b", "c"))


@pytest.mark.parametrize(
    ("metric", "reply", "expected"),
    [
        ("iou", "[0.1, 0.1, 0.5, 0.3]", (0.1, 0.1, 0.5, 0.3)),
        ("iou", "[10, 10, 50, 30]", None),  # outside the picture in this form
        ("iou-1000", '[{"bbox_2d": [10, 20, 110, 220], "label": "dog"}]', (10, 20, 110, 220)),
        ("iou-1000", '```json\n[{"box_2d": [20, 10, 220, 110]}]\n```', (10, 20, 110, 220)),
        ("iou-1000-yx", "[20, 10, 220, 110]", (10, 20, 110, 220)),
        ("iou-1000-yx", '{"bbox_2d": [10, 20, 110, 220]}', (10, 20, 110, 220)),
        ("iou-1000", "<box>(10,20),(110,220)</box>", (10, 20, 110, 220)),
        ("iou-pixels", "The dog is at [12, 40, 1210, 900].", (12, 40, 1210, 900)),
        ("iou-pixels", "12, 40, 1210, 900", (12, 40, 1210, 900)),
        ("iou-1000", "[110, 220, 10, 20]", None),  # no upper left corner
        ("iou-1000", "[10, 20, 110, 220] or [10, 20, 300, 400]", None),
        ("iou-1000", "[10, 20, 110, 220], that is [10, 20, 110, 220]", (10, 20, 110, 220)),
        ("iou-1000", "[-5, 20, 110, 220]", None),
        ("iou-1000", "no box", None),
    ],
)
def test_boxes_as_models_write_them(
    metric: str, reply: str, expected: tuple[float, ...] | None
) -> None:
    assert read_box(reply, BOXES[metric]) == expected
    read = read_reply(reply, None, whole=True)
    assert read_box(read.answer or "", BOXES[metric]) == expected


def test_a_true_box_outside_the_picture_is_named() -> None:
    with pytest.raises(DataError, match=r"sample 'train-1': .*no box within the picture.*1000"):
        task_of("iou-1000", "[10, 20, 1100, 220]")
    with pytest.raises(DataError, match="'many' is no number, which 'count' needs"):
        task_of("count", "many")


def test_several_answers_give_the_best_grade_and_are_part_of_the_task() -> None:
    several = task_of("1-cer", answers=("halt", "stop"))
    (sample,) = several.test
    assert several.grade("halt", sample) == several.grade("stop", sample) == 1
    assert several.digest != task_of("1-cer").digest
    with pytest.raises(DataError, match="'stop' is not among"):
        task_of("1-cer", answers=("halt",))


def nan(given: str, answer: str) -> float:
    return math.nan


def two(given: str, answer: str) -> float:
    return 2


def words(given: str, answer: str) -> Any:
    return "good"


def broken(given: str, answer: str) -> float:
    return float(given)


class Unforeseen(Exception):
    """An error that nobody but a user's function knows."""


def failing(given: str, answer: str) -> float:
    raise Unforeseen("no grade")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (nan, "gives nan"),
        (two, "gives 2"),
        (words, "gives 'good'"),
        (broken, "ValueError"),
        (failing, "Unforeseen: no grade"),
    ],
)
def test_a_metric_that_gives_no_score_names_the_sample_and_the_value(
    function: Callable[[str, str], float], said: str
) -> None:
    task = task_of(function, answers=("stop", "halt"))
    with pytest.raises(UsageError, match=f"sample 'test-1': metric '{function.__name__}'.*{said}"):
        task.grade("STOP", task.test[0])


def test_a_function_is_a_metric_and_is_told_from_others() -> None:
    task = task_of(lambda given, answer: 0.5)
    assert task.grade("x", task.test[0]) == 0.5
    assert task.digest != task_of(lambda given, answer: 0.25).digest
    with pytest.raises(UsageError, match="metric of type int"):
        task_of(3)


@pytest.mark.parametrize("text", ["def grade(given, answer) return 1", "import no_such_package"])
def test_a_file_that_cannot_be_imported_is_named_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "grade.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"grade\.py cannot be imported: .*; mend it") as caught:
        open_metric(f"{path}:grade")
    assert "\n" not in str(caught.value)


def test_a_metric_in_a_file_is_named_by_the_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def half(given, answer):\n    return 0.5\n", "utf-8")
    metric = open_metric(f"{file}:half")
    assert isinstance(metric, Metric)
    task = task_of(metric)
    assert task.grade("x", task.test[0]) == 0.5
    with pytest.raises(UsageError, match="name it yourself: --metric"):
        task_of(f"{file}:half")
    with pytest.raises(UsageError, match="unknown function 'hal'; did you mean half"):
        open_metric(f"{file}:hal")
    with pytest.raises(UsageError, match="no such file"):
        open_metric(f"{tmp_path}/none.py:half")
    assert open_metric("anls") == "anls"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "image,answers\n{0}.png,stop|halt|stop\n"),
        ("t.jsonl", '{{"image": "{0}.png", "answers": ["stop", "halt", "stop"]}}\n'),
        ("t.jsonl", '{{"image": "{0}.png", "answer": ["stop", "halt", "stop"]}}\n'),
        (
            "t.jsonl",
            (
                '{{"image": "{0}.png", "answers": [{{"answer": "halt"}}, {{"answer": "stop"}}, '
                '{{"answer": "stop"}}]}}\n'
            ),
        ),
    ],
)
def test_tables_give_several_answers(tmp_path: Path, name: str, text: str) -> None:
    rows = ""
    for i in range(20):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
        rows += text.format(i).removeprefix("image,answers\n" if i else "")
    (tmp_path / name).write_text(rows, "utf-8")
    task = load_task(tmp_path / name, question="what?", metric="anls", max_tokens=40)
    sample = task.test[0]
    assert (sample.answer, sorted(sample.accepted)) == ("stop", ["halt", "stop", "stop"])
    assert task.labels is None and task.max_tokens == 40
    assert task.grade("halt", sample) == 1


def test_max_tokens_is_part_of_the_task() -> None:
    splits = dict(task_of("exact").splits)
    plain = Task("signs", "what?", None, **splits, metric="exact")
    longer = Task("signs", "what?", None, **splits, metric="exact", max_tokens=64)
    assert plain.digest != longer.digest
    with pytest.raises(UsageError, match="max_tokens is 0"):
        Task("signs", "what?", None, **splits, metric="exact", max_tokens=0)
