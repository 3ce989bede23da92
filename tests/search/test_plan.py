"""How a budget is divided: within its cap, and refused with the reason where nothing can come of
it.
"""

from __future__ import annotations

import re
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.errors import UsageError
from bbtvp.prompt import PromptSpace, preset
from bbtvp.search import SearchConfig
from bbtvp.search.plan import CHECK, Plan, make_plan

PRESETS = ("tvp", "frame", "tone", "default")


@lru_cache
def space(name: str) -> PromptSpace:
    return preset(name)


def plan(
    name: str, budget: int, *, training: int = 256, validation: int = 128, images: int = 8
) -> Plan:
    config = SearchConfig(queries=budget, images=images)
    return make_plan(space(name), config, training=training, validation=validation)


@given(
    st.sampled_from(PRESETS),
    st.integers(1, 20_000),
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(1, 16),
)
@settings(max_examples=150, deadline=None)
def test_a_plan_never_passes_its_budget(
    name: str, budget: int, training: int, validation: int, images: int
) -> None:
    try:
        made = plan(name, budget, training=training, validation=validation, images=images)
    except UsageError:
        return  # too small for one generation
    assert made.queries <= budget
    assert 0 < made.validation <= validation
    assert all(0 < stage.images <= training and stage.generations > 0 for stage in made.stages)


@pytest.mark.parametrize("name", PRESETS)
def test_the_smallest_budget_that_is_named_does(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(name, 20)
    least = re.search(r"give at least (\d+)", str(caught.value))
    assert least
    assert plan(name, int(least[1])).queries <= int(least[1])


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_of_nothing_is_refused(budget: int) -> None:
    with pytest.raises(
        UsageError, match=f"queries is {budget}: input should be greater than or equal to 1"
    ):
        plan("tone", budget)


def test_a_space_without_variables_is_refused() -> None:
    with pytest.raises(UsageError, match="no variables to search"):
        make_plan(PromptSpace((), 64), SearchConfig(), training=10, validation=10)


# -- other options ---------------------------------------------------------------------------------
@given(
    st.sampled_from(PRESETS),
    st.integers(1, 6000),
    st.integers(1, 12),
    st.integers(1, 5),
    st.just(0) | st.integers(8, 300),
    st.booleans(),
    st.none() | st.integers(2, 40),
)
@settings(max_examples=100, deadline=None)
def test_whatever_is_asked_for_fits_or_the_least_that_would_is_named(
    name: str,
    queries: int,
    images: int,
    repeats: int,
    prime: int,
    warm: bool,
    popsize: int | None,
) -> None:
    config = SearchConfig(
        queries=queries,
        images=images,
        repeats=repeats,
        prime=prime,
        warm=warm or prime > 0,
        popsize=popsize,
        surrogate="zoo/clip",
    )
    try:
        found = make_plan(space(name), config, training=256, validation=128)
    except UsageError as error:
        least = int(re.findall(r"give at least (\d+)", str(error))[0])
        assert least > queries
        queries = least
        more = config.changed({"queries": least})
        found = make_plan(space(name), more, training=256, validation=128)
    assert found.queries <= queries
    assert all(
        stage.generations >= 1 and stage.popsize == (popsize or stage.popsize)
        for stage in found.stages
    )
    assert all(stage.cost == stage.popsize * images * repeats for stage in found.stages)


def test_priming_and_starts_are_paid_for() -> None:
    plain = SearchConfig(surrogate="zoo/clip")
    dear = plain.changed({"warm": True, "prime": 100})
    first, second = (
        make_plan(space("tone"), config, training=256, validation=128) for config in (plain, dear)
    )
    assert (first.extra, second.extra) == (0, 100 + 2 * CHECK)
    assert second.stages[0].queries + second.extra <= first.stages[0].queries + first.stages[0].cost


def test_fewer_training_images_than_asked_for_are_all_asked() -> None:
    found = make_plan(space("tone"), SearchConfig(images=8, patience=2), training=5, validation=9)
    assert found.patience == 2
    assert found.stages[0].images == 5
