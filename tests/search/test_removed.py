"""Files of older versions: what was removed since does not keep them from opening."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import JournalError, UsageError
from bbtvp.jobs.file import read_jobs
from bbtvp.runs.record import FILE as RECORD
from bbtvp.runs.recording import Recording
from bbtvp.runs.records import FILE
from bbtvp.search import Run, optimize
from bbtvp.search.recipe import Recipe
from tests.support import Eye, Recorder, patterns

OLD = Path(__file__).parent / "old"
"""A run of commit 624ab1b, killed in its fourth generation, and the record of a finished one."""

PROMPT = "e650d9669a344d0a6778fdf8dc773ec70ee39d92e4c7acb8cee1ab2007822046"
"""Digest of the prompt that commit 624ab1b finds if the run is not killed."""


def resumed(model: Any, out: Path) -> Run:
    """The call that began the run."""
    options = {"prompt": "tone", "images": 2, "popsize": 4, "seed": 7, "reader": "text"}
    return optimize(patterns(), model, budget=60, out=out, **options)


def changed(folder: Path, **values: object) -> Path:
    """A copy of the old run, with other values in the first line of its journal."""
    first, *rest = (OLD / FILE).read_text().splitlines(keepends=True)
    config = json.loads(first)
    for name, value in values.items():
        table = config["plan"]["allocation"] if name in config["plan"]["allocation"] else config
        table[name] = value
    (folder / FILE).write_text("".join([json.dumps(config) + "\n", *rest]))
    return folder


def test_a_run_that_an_older_version_began_goes_on(tmp_path: Path) -> None:
    shutil.copy(OLD / FILE, tmp_path)
    model = Recorder(Eye())
    run = resumed(model, tmp_path)
    assert run.prompt.digest == PROMPT
    assert 0 < len(model.asked) < 30 < sum(run.queries.values())
    whole = Recorder(Eye())
    assert resumed(whole, tmp_path / "whole").prompt.digest == PROMPT
    assert len(whole.asked) == sum(run.queries.values())


@pytest.mark.parametrize(
    ("name", "value"), [("arbiter", True), ("race", 2), ("paired", True), ("control", True)]
)
def test_a_journal_with_a_removed_option_names_the_version_that_can_run_it(
    name: str, value: object, tmp_path: Path
) -> None:
    folder = changed(tmp_path, **{name: value})
    before = (folder / FILE).read_bytes()
    with pytest.raises(
        JournalError, match=f"{name} = {value} is .*; bbtvp 0.1.0 at commit 624ab1b"
    ):
        resumed(Eye(), folder)
    assert (folder / FILE).read_bytes() == before
    assert Recording.read(folder).steps, "it can still be read"


def test_the_record_of_an_older_version_is_read(tmp_path: Path) -> None:
    shutil.copy(OLD / RECORD, tmp_path)
    recipe = Recipe.of_run(tmp_path)
    assert recipe.task.spec == "zoo/shapes-dark"
    assert (recipe.config.queries, recipe.config.seed, recipe.config.images) == (400, 3, 8)


@pytest.mark.parametrize(("name", "value"), [("arbiter", True), ("race", 3), ("paired", True)])
def test_a_record_with_a_removed_option_names_the_version(
    name: str, value: object, tmp_path: Path
) -> None:
    record = json.loads((OLD / RECORD).read_text())
    table = record["arguments"] if name == "arbiter" else record["arguments"]["allocation"]
    table[name] = value
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(JournalError, match=f"{name} = {value} is .*; bbtvp 0.1.0 at commit"):
        Recipe.of_run(tmp_path)


JOB = '[[job]]\ntask = "t"\nmodel = "m/n"\n'


def test_a_jobs_file_may_name_a_removed_option_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    path.write_text(f"{JOB}arbiter = false\nrace = 1\npaired = false\n")
    (job,) = read_jobs(path)
    path.write_text(JOB)
    assert read_jobs(path) == [job]


@pytest.mark.parametrize("line", ["arbiter = true", "race = 2", "paired = true"])
def test_a_jobs_file_with_a_removed_option_names_the_version(line: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    path.write_text(JOB + line)
    with pytest.raises(UsageError, match=r"job 1 \(t-m/n\): .*bbtvp 0.1.0 at commit 624ab1b"):
        read_jobs(path)
