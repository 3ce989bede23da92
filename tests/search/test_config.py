"""SearchConfig: how values are read and refused, and that every field can be reached."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from click.testing import CliRunner

from bbtvp.cli.optimize import optimize as command
from bbtvp.core.errors import UsageError
from bbtvp.jobs.job import KEYS, SearchJob
from bbtvp.optim import Optimiser
from bbtvp.prompt import preset
from bbtvp.prompt.channel import Channel
from bbtvp.search import SearchConfig, optimize
from bbtvp.search.config import GROUPS, options
from tests.support import Eye, Recorder, patterns

NAMES = [each.name for each in fields(SearchConfig)]
OTHER: dict[str, str] = {
    "queries": "500",
    "usd": "2.5",
    "minutes": "3",
    "prompt": "tone",
    "words": "bundled",
    "exemplars": 3,
    "goal": "cost",
    "canvas": "64",
    "start": "pets.vprompt",
    "proposer": "python/x",
    "seed": "4",
    "method": "cma",
    "method_options": '{"c": 0.5}',
    "reader": "text",
    "normalise": "sum",
    "combine": "worst",
    "channel": "true",
    "images": "16",
    "popsize": "6",
    "patience": "2",
    "repeats": "3",
    "unread": "0.5",
    "keep_best": "true",
    "surrogate": "zoo/clip",
    "fca": "0.5",
    "tse": "0.1",
    "warm": "true",
    "prime": "64",
    "matched": "false",
    "free": "16",
}
"""Another value of each field than its default, as text."""


def page(*arguments: str) -> str:
    ran = CliRunner().invoke(command, arguments)
    assert ran.exit_code == 0, ran.output
    return ran.output


# -- every field can be reached --------------------------------------------------------------------
def test_every_field_has_a_help_text_and_a_group() -> None:
    assert [option.name for option in options()] == NAMES == list(OTHER)
    assert all(option.help.endswith(".") and option.group in GROUPS for option in options())


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_in_the_help_and_among_the_keys_of_a_job(name: str) -> None:
    assert f"-S {name}=" in page("-S", "help")
    shown = page("--help")
    assert f"--{name.replace('_', '-')}" in shown or f"-S {name}=" in shown
    assert name in KEYS


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_read_from_text_and_kept_in_a_record(name: str) -> None:
    helped = {} if name in ("surrogate", "start") else {"surrogate": "zoo/clip", "warm": True}
    config = SearchConfig.of({**helped, name: OTHER[name]})
    assert getattr(config, name) != getattr(SearchConfig(), name)
    record = json.loads(json.dumps(config.as_record()))
    assert SearchConfig.of({**record, "surrogate": config.surrogate}) == config
    job = SearchJob.of({"task": "t", "model": "m/n", **helped, name: OTHER[name]})
    assert job.search == config


def test_the_help_has_few_everyday_options_and_then_groups() -> None:
    shown = page("--help")
    titles = [line[:-1] for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == [
        "Everyday",
        "The task and the model",
        "Budget",
        "What is searched",
        "How it is searched",
        "Surrogate",
        "Output",
    ]
    everyday = shown.split("Everyday:")[1].split("The task and the model:")[0]
    names = [line.split()[0] for line in everyday.splitlines() if line.strip().startswith("-")]
    assert names[:3] == ["--task", "--model", "--queries"]
    assert len([name for name in names if name.startswith("-")]) <= 10


# -- what was a flag -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--images", "--images is no flag; write -S images=8"),
        ("--patience", "--patience is no flag; write -S patience=0"),
        ("--popsize", "--popsize is no flag; write -S popsize=N"),
        ("--race", "--race was removed, for it did not pay (docs/bench.md); bbtvp 0.1.0 at commit"),
        ("--arbiter", "--arbiter was removed"),
        ("--imges", "No such option"),
    ],
)
def test_a_flag_of_an_older_version_says_what_to_write(flag: str, said: str) -> None:
    ran = CliRunner().invoke(command, ["--task", "t", "--model", "m/n", flag, "4"])
    assert ran.exit_code == 2
    assert said in ran.output


# -- values ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"imges": 4}, "unknown option of the search 'imges'; did you mean images"),
        ({"queries": "many"}, "queries is 'many': input should be a valid integer"),
        ({"queries": 0}, "queries is 0: input should be greater than or equal to 1"),
        ({"usd": "inf"}, "usd is 'inf': input should be a finite number"),
        ({"combine": "best"}, "unknown value of combine 'best'; choose from: mean, worst"),
        ({"method": "cmaes"}, "unknown optimiser 'cmaes'; did you mean cma"),
        ({"channel": {"rezise": 0.5}}, "channel is .*, which describes none"),
        ({"prompt": {"layers": 3}}, "prompt is .*, which describes none"),
        ({"budget": 5, "queries": 6}, "budget and queries are one option"),
        ({"warm": True}, "a warm start and priming need a surrogate"),
        ({"start": "a.vprompt", "prompt": "tone"}, "leave out --prompt, or search without --start"),
        ({"start": "a.vprompt", "canvas": 64}, "leave out --canvas, or search without --start"),
        ({"start": "a.vprompt", "words": "task"}, "leave out --words, or search without --start"),
        ({"start": "a.vprompt", "exemplars": 2}, "leave out --exemplars, or search without"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SearchConfig.of(values)


def test_a_config_cannot_be_changed_in_place() -> None:
    config = SearchConfig()
    with pytest.raises(AttributeError):
        config.queries = 5  # type: ignore[misc]
    assert config.changed({"queries": 5}).queries == 5


def test_objects_made_in_python_are_taken_as_they_are() -> None:
    space = preset("tone", 64)
    channel = Channel(0.5, 0.1, None)
    config = SearchConfig(prompt=space, channel=channel)
    assert config.prompt is space
    assert config.channel is channel
    assert SearchConfig.of(json.loads(json.dumps(config.as_record()))) == config


def test_older_names_are_accepted() -> None:
    assert SearchConfig.of({"budget": 300, "seconds": 90}) == SearchConfig(queries=300, minutes=1.5)


def test_text_may_be_null() -> None:
    assert SearchConfig.of({"canvas": "null", "usd": "null"}) == SearchConfig()


def test_a_method_may_be_a_factory_and_is_recorded_by_its_place() -> None:
    def mine(start: Any) -> Optimiser:
        raise NotImplementedError

    found = SearchConfig(method=mine).as_record()["method"]
    assert found.startswith(f"{__name__}:test_a_method") and found.endswith("mine")


def test_optimize_takes_fields_a_config_or_both() -> None:
    runs = [
        optimize(patterns(), Eye(), prompt="tone", budget=60, images=2, seed=3),
        optimize(
            patterns(), Eye(), config=SearchConfig(prompt="tone", queries=60, images=2, seed=3)
        ),
        optimize(
            patterns(), Eye(), config=SearchConfig(prompt="tone", seed=3), queries=60, images=2
        ),
    ]
    assert len({run.prompt.digest for run in runs}) == 1


def test_a_mistyped_keyword_is_refused_before_a_query() -> None:
    model = Recorder()
    with pytest.raises(UsageError, match="unknown option of the search 'quries'; did you mean"):
        optimize(patterns(), model, quries=60)
    assert model.asked == []
