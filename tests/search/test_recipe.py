"""run.json, and the searches that are made again from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import JournalError
from bbtvp.core.origin import Origin
from bbtvp.models import load_model
from bbtvp.prompt import Placement, PromptSpace, Tone
from bbtvp.prompt.channel import Channel
from bbtvp.runs.record import FILE, read_record
from bbtvp.search import optimize
from bbtvp.search.recipe import Loader, Recipe
from bbtvp.tasks.registry import load_task
from tests.support import Eye, patterns

SPACE = PromptSpace((Placement(), Tone(("contrast", "gamma"))), 64)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "a preset": {"prompt": "tone"},
    "a space of one's own": {"prompt": SPACE, "method": "cma", "popsize": 4},
    "an allocation and a channel": {
        "prompt": "tone",
        "images": 4,
        "patience": 2,
        "channel": Channel(),
    },
    "an option of the optimiser": {
        "prompt": "tone",
        "method": "spsa",
        "method_options": {"c": 0.5},
        "canvas": 56,
    },
}


@pytest.mark.parametrize("named", ARGUMENTS)
def test_the_search_that_a_record_describes_is_the_same(named: str, tmp_path: Path) -> None:
    first = optimize(
        "zoo/shapes-dark",
        "zoo/llava",
        budget=150,
        seed=3,
        out=tmp_path / "first",
        **{"images": 4, **ARGUMENTS[named]},
    )
    again = Recipe.of_run(tmp_path / "first").search(out=tmp_path / "again")
    assert again.prompt.digest == first.prompt.digest
    files = [tmp_path / name / "journal.jsonl" for name in ("first", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_a_record_says(tmp_path: Path) -> None:
    optimize("zoo/shapes-dark", "zoo/llava", budget=150, seed=3, usd=2.0, out=tmp_path)
    record = read_record(tmp_path)
    assert record["task"] == {
        "name": "zoo/shapes-dark",
        "digest": load_task("zoo/shapes-dark").digest,
        "spec": "zoo/shapes-dark",
        "options": {},
    }
    assert (
        record["arguments"]["queries"],
        record["arguments"]["usd"],
        record["arguments"]["seed"],
    ) == (150, 2.0, 3)
    assert not {"out", "watch", "options", "task", "model"} & record["arguments"].keys()
    (here,) = record["environments"]
    assert {"bbtvp", "torch", "numpy"} <= here["packages"].keys() and "pytest" not in here[
        "packages"
    ]


def test_going_on_renews_the_caps_and_adds_an_environment_only_if_it_is_another(
    tmp_path: Path,
) -> None:
    def run(usd: float) -> dict[str, Any]:
        optimize("zoo/shapes-dark", "zoo/llava", budget=150, usd=usd, out=tmp_path)
        return read_record(tmp_path)

    assert len(run(1.0)["environments"]) == 1
    record = run(2.0)
    assert (record["arguments"]["usd"], len(record["environments"])) == (2.0, 1)
    record["environments"][0]["python"] = "3.0"
    (tmp_path / FILE).write_text(json.dumps(record))
    assert [there["python"] == "3.0" for there in run(2.0)["environments"]] == [True, False]


def test_what_was_made_in_python_cannot_be_made_again(tmp_path: Path) -> None:
    optimize(patterns(), Eye(), budget=150, prompt="tone", out=tmp_path / "task")
    model = load_model("zoo/llava")
    model.origin = None
    optimize("zoo/shapes-dark", model, budget=150, prompt="tone", out=tmp_path / "model")
    for what in ("task", "model"):
        with pytest.raises(JournalError, match=f"the {what} was made in Python"):
            Recipe.of_run(tmp_path / what)


def test_a_task_that_was_changed_has_no_origin() -> None:
    task = load_task("zoo/shapes-dark")
    assert task.origin == Origin("zoo/shapes-dark", {})
    assert dataclasses.replace(task, test=task.test[:10]).origin is None


def test_options_are_kept(tmp_path: Path) -> None:
    model = load_model("zoo/llava", batch=8)
    assert model.origin == Origin("zoo/llava", {"batch": 8})
    assert load_task("zoo/shapes-dark").origin == Origin("zoo/shapes-dark")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no run folder"),
        ("{", "is damaged"),
        ("[]", "holds no object"),
        ('{"schema": "bbtvp.run/2"}', "a newer bbtvp wrote it"),
    ],
)
def test_a_folder_without_a_record_that_can_be_read(
    text: str | None, message: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / FILE).write_text(text)
    with pytest.raises(JournalError, match=message):
        read_record(tmp_path)


def test_a_loader_loads_once() -> None:
    loader = Loader()
    one, same, other = (loader.model(Origin("zoo/llava", {"batch": n})) for n in (8, 8, 4))
    assert one is same
    assert one is not other
    assert loader.task(Origin("zoo/shapes-dark")) is loader.task(Origin("zoo/shapes-dark"))
