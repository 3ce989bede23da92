"""Where the wordings of a search come from: a file, the task, the package."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.errors import DataError, UsageError
from bbtvp.models import FunctionModel
from bbtvp.prompt import Guidance, PromptSpace
from bbtvp.prompt.wordings import Wording, bundled
from bbtvp.search import SearchConfig, optimize
from bbtvp.search.setup import set_up
from bbtvp.search.words import file_wordings, task_wordings, wordings_of
from bbtvp.tasks import Sample, Task

LABELS = ("circle", "square")
QUESTION = "Which shape is it?"


def samples(kind: str, count: int, labels: tuple[str, ...] = LABELS) -> tuple[Sample, ...]:
    return tuple(
        Sample(
            f"{kind}{i}",
            labels[i % len(labels)],
            np.full((8, 8, 3), 100 + i, np.uint8),
        )
        for i in range(count)
    )


def task(
    labels: tuple[str, ...] | None = LABELS,
    question: str = QUESTION,
    definitions: dict[str, str] | None = None,
) -> Task:
    answers = labels or LABELS
    parts = [samples(kind, 24, answers) for kind in ("train", "val", "test")]
    metric = "exact" if labels is None else "accuracy"
    return Task("shapes", question, labels, *parts, metric=metric, definitions=definitions or {})


def texts(found: tuple[Wording, ...]) -> dict[str, str]:
    return {wording.name: wording.text for wording in found}


# -- the task's own --------------------------------------------------------------------------------
def test_the_wordings_of_a_task_name_all_labels_or_none() -> None:
    assert texts(task_wordings(task())) == {
        "answer-only": "{question} Reply with the answer only.",
        "one-of": "{question} Answer with one word from: circle, square.",
    }
    assert texts(task_wordings(task(("red fox", "cat"))))["one-of"] == (
        "{question} Answer with one of: red fox, cat."
    )
    assert "yes-or-no" in texts(task_wordings(task(("yes", "no"))))
    assert "one-number" in texts(task_wordings(task(("1", "2", "3"))))
    assert list(texts(task_wordings(task(None)))) == ["answer-only"]
    assert list(texts(task_wordings(task(question="circle or square?")))) == ["answer-only"]


def test_definitions_are_the_user_s_and_all_labels_are_named() -> None:
    found = texts(task_wordings(task(definitions={"square": "four equal sides"})))
    meaning = "What each answer means: circle; square: four equal sides."
    assert found["defined"] == f"{meaning} {{question}}"
    assert found["defined-last"] == f"{{question}} {meaning}"


def test_a_wording_too_long_to_be_one_is_left_out() -> None:
    many = tuple(f"the label that has the number {i}" for i in range(80))
    parts = [
        tuple(Sample(f"{k}{i}", label, np.full((8, 8, 3), i, np.uint8)) for i, label in pairs)
        for k, pairs in zip("abc", [list(enumerate(many))] * 3, strict=True)
    ]
    assert list(texts(task_wordings(Task("many", QUESTION, many, *parts)))) == ["answer-only"]


@pytest.mark.parametrize(
    ("definitions", "line"),
    [
        ({"circl": "round"}, "a definition of an unknown label 'circl'; did you mean circle"),
        ({"circle": " "}, "the definition of 'circle' is empty"),
    ],
)
def test_definitions_that_cannot_be(definitions: dict[str, str], line: str) -> None:
    with pytest.raises(DataError, match=line):
        task(definitions=definitions)


def test_definitions_change_no_digest() -> None:
    """No question holds them; the wordings do, and the prompt holds those."""
    assert task(definitions={"circle": "round"}).digest == task().digest


# -- a file ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "mine.txt",
            "# mine\n\nLook twice.\n{question} Eine von: {labels}.\nSag {nichts}.\n",
            {
                "look-twice": ("Look twice.", 0),
                "eine-von-circle-square": ("{question} Eine von: circle, square.", 0),
                "sag-nichts": ("Sag {nichts}.", 0),
            },
        ),
        (
            "mine.toml",
            'short = "{question} Kurz."\n[long]\ntext = "Think. {question}"\nreply_tokens = 99\n',
            {"short": ("{question} Kurz.", 0), "long": ("Think. {question}", 99)},
        ),
        (
            "mine.json",
            json.dumps({"日本語": "よく見て。", "b": {"text": "Q: {question}\nA:"}}),
            {"日本語": ("よく見て。", 0), "b": ("Q: {question}\nA:", 0)},
        ),
    ],
)
def test_a_file_of_wordings(
    name: str, content: str, expected: dict[str, tuple[str, int]], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    found = file_wordings(tmp_path / name, task())
    assert {each.name: (each.text, each.reply_tokens) for each in found} == expected
    assert {each.source for each in found} == {name}


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.txt", b"\n# nothing\n", "holds no wording; write one on each line"),
        ("a.txt", b"{question} or {question}", "holds {question} twice; write it once"),
        ("a.txt", b"x " * 2000, "characters; give at most"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read as text in UTF-8"),
        ("a.toml", b"a = 3", "a is no wording; give"),
        ("a.toml", b"[a]\nreply_tokens = 3", "a is no wording; give"),
        ("a.toml", b"[a]\ntext = 'x'\ntokens = 3", "a is no wording; give"),
        ("a.toml", b"[a]\ntext = 'x'\nreply_tokens = -3", "wants -3 tokens"),
        ("a.toml", b"a = ", "cannot be read"),
        ("a.json", b"[1]", "the file is no wording; give"),
        ("a.json", b'{"a": ""}', "is empty"),
    ],
)
def test_a_file_that_cannot_be_used(name: str, content: bytes, line: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        file_wordings(tmp_path / name, task())
    assert line in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_slips_with_sources(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file of wordings: bundeld; give a file, bundled"):
        wordings_of("bundeld", task())
    path = tmp_path / "w.txt"
    path.write_text("One of {labels}.")
    with pytest.raises(UsageError, match=r"holds \{labels\}, and the answers of shapes are free"):
        file_wordings(path, task(None))
    path.write_text("Look.\nLook.\n")
    config = SearchConfig(prompt="words", words=str(path))
    with pytest.raises(UsageError, match="are equal; remove one"):
        set_up(task(), [MODEL], config)
    with pytest.raises(UsageError, match=r"add \+guidance to --prompt"):
        set_up(task(), [MODEL], SearchConfig(prompt="tone", words="bundled"))
    space = PromptSpace((Guidance(("Look.",)),), 32)
    with pytest.raises(UsageError, match="goes with a preset"):
        set_up(task(), [MODEL], SearchConfig(prompt=space, words="bundled"))


# -- the space of a search -------------------------------------------------------------------------
def answer(image: object, question: str) -> str:
    return "circle"


MODEL = FunctionModel(answer, deterministic=True)


def names_of(prompt: str, words: str | None = None) -> list[str]:
    space = set_up(task(), [MODEL], SearchConfig(prompt=prompt, words=words, queries=3000)).space
    (guidance,) = (layer for layer in space.layers if isinstance(layer, Guidance))
    return [each if isinstance(each, str) else each.name for each in guidance.wordings]


def test_what_a_preset_searches_over(tmp_path: Path) -> None:
    path = tmp_path / "w.txt"
    path.write_text("Look twice.")
    whole = ["none", "answer-only", "one-of", *bundled()]
    assert names_of("words") == whole
    assert names_of("words", str(path)) == ["none", "look-twice"]
    assert names_of("words", f"task + {path}") == ["none", "answer-only", "one-of", "look-twice"]
    four = ["none", "structure", "scan", "report"]
    assert names_of("annotate") == names_of("default+guidance") == four
    assert names_of("annotate", str(path)) == [*four, "look-twice"]
    assert names_of("default+guidance", str(path)) == ["none", "look-twice"]


def test_definitions_of_a_task_reach_its_wordings() -> None:
    known = task(definitions={"circle": "round", "square": "four sides"})
    space = set_up(known, [MODEL], SearchConfig(prompt="words", words="task", queries=2000)).space
    asked = [space.ask(z, "Q?") for z in space.starts()]
    assert "What each answer means: circle: round; square: four sides. Q?" in asked
    assert set_up(replace(known, definitions={}), [MODEL], SearchConfig(prompt="words")).space


# -- a search over words alone ---------------------------------------------------------------------
def follows(image: object, question: str) -> str:
    """A stand-in for a model that answers to words: right only where it is told to look twice."""
    level = int(np.asarray(image)[0, 0, 0])
    right = LABELS[(level - 100) % 2]
    return right if "twice" in question or level % 3 == 0 else "square"


def test_words_alone_find_the_wording_that_the_model_answers_to(tmp_path: Path) -> None:
    path = tmp_path / "w.txt"
    path.write_text("Hurry up.\nLook twice.\n{question} In one word.\n")
    sent: list[np.ndarray] = []  # type: ignore[type-arg]

    def model(image: object, question: str) -> str:
        sent.append(np.asarray(image))
        return follows(image, question)

    run = optimize(
        task(),
        FunctionModel(model, deterministic=True),
        prompt="words",
        words=str(path),
        queries=400,
        reader="text",
        out=tmp_path / "run",
    )
    assert run.improved
    assert run.prompt.theta["guidance"]["wording"] == "look-twice"
    assert run.prompt.ask("Q?") == "Look twice. Q?"
    assert {image.shape for image in sent} == {(8, 8, 3)}
    assert all(len(np.unique(image)) == 1 for image in sent)
