"""Which optimiser searches a stage, and what it is told of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.prompt import Frame, Guidance, PromptSpace, Tone, preset
from bbtvp.search import SearchConfig, optimize
from bbtvp.search.engines import Engines
from bbtvp.search.methods import method_for
from bbtvp.search.plan import Plan, make_plan
from bbtvp.search.variables import searched
from bbtvp.surrogate import Surrogate
from tests.support import SIDE, Eye, Recorder, patterns
from tests.surrogate.conftest import tiny_clip


@pytest.fixture(scope="module")
def clip() -> Surrogate:
    return tiny_clip(SIDE, batch=256)


def plan_of(space: PromptSpace, budget: int) -> Plan:
    return make_plan(space, SearchConfig(queries=budget), training=48, validation=64)


def begun(space: PromptSpace, budget: int, stage: int = 0, method: str = "auto") -> Any:
    plan = plan_of(space, budget)
    config = SearchConfig(method=method)
    places = searched(space, plan.stages[stage].kinds, config)
    return Engines(space, plan, config).begin(plan.stages[stage], space.neutral(), places)


@pytest.mark.parametrize(
    ("space", "dim", "method"),
    [
        (preset("tone", 32), 3, "gp"),
        (preset("annotate", 64), 6, "gp"),
        (preset("frame", 64), 72, "cma"),
        (PromptSpace((*preset("tvp", 32).layers[:1], Frame("pixels")), 32), None, "cma-diagonal"),
    ],
)
def test_auto_goes_by_the_number_of_variables(
    space: PromptSpace, dim: int | None, method: str
) -> None:
    search = begun(space, 1500)
    assert search.dim == (dim or space.dim)
    assert search.method == method


@pytest.mark.parametrize(
    ("dim", "method"),
    [
        (1, "gp"),
        (32, "gp"),
        (33, "cma"),
        (500, "cma"),
        (501, "cma-diagonal"),
        (70_000, "cma-diagonal"),
    ],
)
def test_the_borders_of_auto(dim: int, method: str) -> None:
    assert method_for("auto", dim) == method
    assert method_for("spsa", dim) == "spsa"


def test_each_stage_has_the_method_that_fits_it() -> None:
    space = preset("default+frame", 64)
    assert [begun(space, 4000, stage).method for stage in (0, 1)] == ["gp", "cma"]


def test_categories_reach_the_optimiser_at_their_places() -> None:
    """Of a space without recipes; else the race has chosen."""
    space = PromptSpace((Guidance(), Tone()), 64)
    assert len(space.starts()) == 1
    search = begun(space, 1500)
    assert search.start.choices == space.choices
    assert len(space.choices) == 1
    assert begun(preset("annotate", 64), 1500).start.choices == ()


def test_a_search_begins_where_it_is_told_to() -> None:
    space = preset("annotate", 64)
    plan = plan_of(space, 1500)
    start = space.starts()[2]
    config = SearchConfig(method="gp")
    places = searched(space, plan.stages[0].kinds, config)
    search = Engines(space, plan, config).begin(plan.stages[0], start, places)
    assert np.array_equal(search.start.origin(), start[places])
    assert np.array_equal(search.ask()[0], start[places])


def test_stages_and_seeds_search_apart() -> None:
    space = preset("tone", 32)
    plan = plan_of(space, 600)
    places = np.arange(space.dim)
    asked = [
        Engines(space, plan, SearchConfig(method="gp", seed=seed))
        .begin(plan.stages[0], space.neutral(), places)
        .ask()
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(asked[0], asked[1])
    assert not np.array_equal(asked[0], asked[2])


# -- what needs a surrogate ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"method": "guided-es", "popsize": 6},
            "guided-es follows a surrogate's gradient: add --surrogate zoo/clip",
        ),
        ({"method": "p-rgf"}, "p-rgf follows a surrogate's gradient"),
        ({"method": "p-rgf@2"}, "p-rgf@2 follows a surrogate's gradient"),
        ({"warm": True}, "a warm start and priming need a surrogate"),
        ({"prime": 16}, "a warm start and priming need a surrogate"),
        ({"tse": 0.1}, "FCA and TSE need a surrogate"),
    ],
)
def test_what_needs_a_surrogate_is_refused_without_one(options: dict[str, Any], said: str) -> None:
    model = Recorder()
    with pytest.raises(UsageError, match=said):
        optimize(patterns(), model, budget=300, prompt="tone", **options)
    assert model.calls == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prime": 4, "warm": True}, "4 answers teach a student nothing; prime with at least 8"),
        ({"prime": -1}, "prime is -1: input should be greater"),
        ({"prime": 500, "warm": True, "budget": 60}, "do not reach one generation"),
        ({"method": "gp", "popsize": 1}, "popsize must be at least 2"),
        (
            {"method": "gp", "method_options": {"kernel": "rbf"}},
            "unknown option of gp 'kernel'",
        ),
        ({"method": "gp", "prompt": "frame"}, "gp is for at most 64 variables, got 72"),
        ({"combine": "best"}, "unknown value of combine 'best'"),
    ],
)
def test_misuse_is_refused_before_a_query(
    options: dict[str, Any], said: str, clip: Surrogate
) -> None:
    model = Recorder()
    with pytest.raises(UsageError, match=said):
        optimize(
            patterns(), model, **{"budget": 300, "prompt": "tone", "surrogate": clip, **options}
        )
    assert model.calls == []


def test_a_run_without_a_source_is_refused() -> None:
    with pytest.raises(UsageError, match="name at least one source model"):
        optimize(patterns(), [], budget=300, prompt="tone")


@pytest.mark.parametrize(("method", "popsize"), [("guided-es", 6), ("p-rgf", None)])
def test_a_guided_search_runs_within_its_budget(
    method: str, popsize: int | None, clip: Surrogate
) -> None:
    model = Recorder(Eye())
    run = optimize(
        patterns(),
        model,
        budget=200,
        prompt="tone",
        images=2,
        method=method,
        popsize=popsize,
        surrogate=clip,
    )
    assert 100 < sum(run.queries.values()) <= 200
    assert sum(run.queries.values()) == len(model.asked)
