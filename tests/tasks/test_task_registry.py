from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core import plugins
from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks import Task, load
from bbtvp.tasks.registry import load_task as task

CALLS: list[tuple[str, dict[str, Any]]] = []
FOUND: list[object] = []


def loader(name: str, **options: Any) -> object:
    CALLS.append((name, options))
    return FOUND[-1]


def narrow(name: str, *, question: str | None = None) -> object:
    """A source that takes a question and nothing else."""
    return loader(name, question=question)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, pets: Path, tmp_path: Path) -> Task:
    """Three plug-ins that return a task of pets, and one that cannot be imported."""
    points = [
        EntryPoint("zoo", f"{__name__}:loader", "bbtvp.tasks"),
        EntryPoint("narrow", f"{__name__}:narrow", "bbtvp.tasks"),
        EntryPoint("broken", "bbtvp.no_such_module:load", "bbtvp.tasks"),
        EntryPoint("pope", f"{__name__}:loader", "bbtvp.datasets"),
    ]
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [point for point in points if point.group == group]
    )
    monkeypatch.chdir(tmp_path)
    made = load(pets)
    CALLS.clear()
    FOUND[:] = [made]
    return made


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("zoo/digits", "digits"),
        ("zoo/a/b:c", "a/b:c"),
        ("pope:/data/coco", "/data/coco"),
        ("pope:./x", "./x"),
    ],
)
def test_a_plug_in_is_called_with_what_follows_the_first_separator(
    spec: str, name: str, registered: Task
) -> None:
    assert task(spec, seed=3, limit=4) is registered
    assert CALLS[0] == (name, {"seed": 3, "limit": 4}) and len(CALLS) == 1


def test_a_path_that_exists_is_loaded(registered: Task) -> None:
    assert task("pets").digest == task("./pets").digest == registered.digest
    assert task("pets", limit=4).train != registered.train
    assert not CALLS


@pytest.mark.parametrize("spec", ["./gone", "gone.csv", "data/gone.JSONL", "/no/such/folder"])
def test_what_looks_like_a_path_is_missing_as_one(spec: str) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        task(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zo/digits", "unknown task source 'zo'; did you mean zoo"),
        ("poppe:/data", "unknown data set 'poppe'; did you mean pope"),
        (
            "zoo",
            "unknown task 'zoo'; did you mean zoo/.*or give a folder, or a .csv, .tsv, .jsonl file",
        ),
        ("zoo/", "unknown task 'zoo/'"),
        ("", "unknown task ''"),
        (
            "broken/x",
            r"'broken' \(bbtvp\.no_such_module:load\) cannot be loaded: .*no_such_module",
        ),
    ],
)
def test_unknown_specs(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task(spec)


def test_a_plug_in_must_return_a_task() -> None:
    FOUND.append("digits")
    with pytest.raises(UsageError, match="the task source 'zoo' returned str, not a Task"):
        task("zoo/digits")


def test_an_option_that_a_task_source_does_not_take() -> None:
    with pytest.raises(UsageError, match=r"'narrow' cannot be called so: .*'labels'"):
        task("narrow/digits", labels=("a", "b"))
    assert not CALLS
