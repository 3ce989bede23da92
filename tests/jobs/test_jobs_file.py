"""Files of jobs: grids, defaults, precedence, and what is said of a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bbtvp.core.errors import UsageError
from bbtvp.core.origin import Origin
from bbtvp.jobs import SearchJob, read_jobs
from bbtvp.prompt.channel import Channel
from bbtvp.search import SearchConfig
from bbtvp.zoo.suites import SUITES

GRID = """
[defaults]
queries = 500
prompt = "tone"

[models."zoo/llava"]
batch = 8

[[grid]]
task = ["zoo/a", "zoo/b"]
model = ["zoo/llava", ["zoo/llava", "zoo/blip2"]]
seed = [0, 1, 2]
queries = 300
verify = ["zoo/paligemma"]

[[job]]
name = "alone"
task = "photos/"
model = "zoo/blip2"
options = {batch = 4}
minutes = 2
"""


def written(text: str) -> Path:
    path = Path("jobs.toml")
    path.write_text(text)
    return path


def test_a_grid_is_multiplied_and_the_last_key_turns_fastest() -> None:
    jobs = read_jobs(written(GRID))
    assert [job.name for job in jobs[:5]] == [
        "alone",
        "zoo/a-zoo/llava-seed=0",
        "zoo/a-zoo/llava-seed=1",
        "zoo/a-zoo/llava-seed=2",
        "zoo/a-zoo/llava+zoo/blip2-seed=0",
    ]
    assert len(jobs) == 1 + 2 * 2 * 3
    assert jobs[1].folder == "zoo_a-zoo_llava-seed=0"
    assert jobs[4].models == ("zoo/llava", "zoo/blip2")
    assert jobs[4].proved_on == ("zoo/llava", "zoo/blip2", "zoo/paligemma")


def test_defaults_fill_in_and_the_table_goes_before_them() -> None:
    alone, first, *_ = read_jobs(written(GRID))
    assert (alone.search.queries, first.search.queries) == (500, 300)
    assert {alone.search.prompt, first.search.prompt} == {"tone"}
    assert (alone.search.method, alone.proved_on) == ("auto", ())


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BBTVP_JOB_QUERIES", "200")
    monkeypatch.setenv("BBTVP_JOB_PATIENCE", "3")
    jobs = read_jobs(written(GRID), {"queries": 100})
    assert {job.search.queries for job in jobs} == {100}
    assert all(job.search.patience == 3 for job in jobs)
    assert {job.search.queries for job in read_jobs(written(GRID))} == {200}


def test_options_of_a_model_are_its_own_and_those_of_a_job_go_before_them() -> None:
    alone, first, *_, last = read_jobs(written(GRID))
    assert first.origin("zoo/llava") == Origin("zoo/llava", {"batch": 8})
    assert last.recipe.models == (Origin("zoo/llava", {"batch": 8}), Origin("zoo/blip2"))
    assert alone.recipe.models == (Origin("zoo/blip2", {"batch": 4}),)


def test_a_recipe_has_the_options_of_optimize() -> None:
    row = {
        "task": "t",
        "model": "m/n",
        "question": "what?",
        "minutes": 2,
        "channel": True,
        "usd": 3,
    }
    row = {**row, "labels": "a,b"}
    recipe = SearchJob.of({**row, "name": "x", "images": 4, "repeats": 2}).recipe
    assert recipe.task == Origin("t", {"question": "what?", "labels": "a,b"})
    config = SearchConfig(minutes=2, channel=Channel(), usd=3, images=4, repeats=2)
    assert recipe.config == config
    assert config.seconds == 120


def test_a_job_is_made_again_from_its_description() -> None:
    row = {
        "task": "t",
        "model": ("a/b", "c/d"),
        "surrogate": "zoo/clip",
        "fca": 0.5,
        "also": ("u",),
    }
    job = SearchJob.of({**row, "name": "x", "channel": True, "verify": True})
    assert SearchJob.of(json.loads(json.dumps(job.described()))) == job


ONE = '[[job]]\ntask = "t"\nmodel = "m/n"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no job"),
        ("[[job]\n", r"jobs.toml: .*line 1"),
        ('[[jobs]]\ntask = "t"\n', "unknown table 'jobs'; did you mean job"),
        ('[job]\ntask = "t"\n', r"\[\[job\]\]"),
        ("defaults = 3\n" + ONE, r"defaults must be a table"),
        (
            ONE + "querys = 3\n",
            r"jobs.toml, job 1 \(t-m/n\): unknown key 'querys'; did you mean queries",
        ),
        (
            ONE + "queries = 0\nimages = 0\n",
            r"queries is 0: input should be greater than or equal to 1",
        ),
        (ONE + 'reader = "logprobs"\n', "unknown value of reader 'logprobs'; did you mean logprob"),
        ('[[job]]\ntask = "t"\n', "model is missing"),
        (ONE + ONE, "'t-m_n' is the name of more than one job"),
        ("[[grid]]\ntask = []\nmodel = 'm/n'\n", "task is an empty list"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_jobs(written(text))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"nothing.toml cannot be read"):
        read_jobs(Path("nothing.toml"))


def test_an_unknown_key_from_outside_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="did you mean queries"):
        read_jobs(written(ONE), {"querries": 3})
    monkeypatch.setenv("BBTVP_JOB_SEDE", "3")
    with pytest.raises(UsageError, match="did you mean seed"):
        read_jobs(written(ONE))


def test_a_file_may_begin_with_a_byte_order_mark() -> None:
    path = Path("jobs.toml")
    path.write_text(GRID, "utf-8-sig")
    assert read_jobs(path) == read_jobs(written(GRID))


def test_a_very_long_name_still_makes_a_folder() -> None:
    one, other = (SearchJob(name="x" * 300 + end, task="t", model="m/n").folder for end in "ab")
    assert len(one) == len(other) == 120
    assert one != other


def test_a_suite_is_the_list_of_its_tasks() -> None:
    grid = """
    [[grid]]
    task = ["suite/wide-dev", "photos/"]
    model = "zoo/llava"
    seed = [0, 1]
    also = ["suite/old"]
    """
    jobs = read_jobs(written(grid))
    wide = SUITES["suite/wide-dev"]
    assert [job.task for job in jobs[::2]] == [*wide, "photos/"]
    assert jobs[0].also == SUITES["suite/old"]
    assert jobs[1].name == f"{wide[0]}-zoo/llava-seed=1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[job]]\ntask = "suite/old"\nmodel = "zoo/llava"', "a job has one task"),
        ('[[grid]]\ntask = "suite/wide-"\nmodel = "zoo/llava"', "did you mean suite/wide"),
    ],
)
def test_a_suite_in_the_wrong_place_or_with_the_wrong_name_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_jobs(written(text))
