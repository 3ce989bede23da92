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
from bbtvp.search.allocation import Allocation
from bbtvp.search.plan import CHECK, Plan, make_plan

PRESETS = ("tvp", "frame", "tone", "default")


@lru_cache
def space(name: str) -> PromptSpace:
    return preset(name)


def plan(
    name: str, budget: int, *, training: int = 256, validation: int = 128, images: int = 8
) -> Plan:
    return make_plan(
        space(name), budget, training=training, validation=validation, allocation=Allocation(images)
    )


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
        UsageError, match=f"a budget of {budget} image queries finds nothing; try --queries 1000"
    ):
        plan("tone", budget)


def test_a_space_without_variables_is_refused() -> None:
    with pytest.raises(UsageError, match="no variables to search"):
        make_plan(PromptSpace((), 64), 1000, training=10, validation=10)


# -- other allocations -----------------------------------------------------------------------------
ALLOCATIONS = st.builds(
    lambda images, repeats: Allocation(images, repeats=repeats),
    st.integers(1, 12),
    st.integers(1, 5),
)


@given(
    st.sampled_from(PRESETS),
    st.integers(1, 6000),
    ALLOCATIONS,
    st.integers(0, 300),
    st.integers(1, 7),
    st.none() | st.integers(2, 40),
)
@settings(max_examples=100, deadline=None)
def test_whatever_is_asked_for_fits_or_the_least_that_would_is_named(
    name: str, budget: int, how: Allocation, prime: int, starts: int, popsize: int | None
) -> None:
    def made(queries: int) -> Plan:
        return make_plan(
            space(name),
            queries,
            training=256,
            validation=128,
            allocation=how,
            popsize=popsize,
            prime=prime,
            starts=starts,
        )

    try:
        found = made(budget)
    except UsageError as error:
        least = int(re.findall(r"give at least (\d+)", str(error))[0])
        assert least > budget
        found = made(least)
        budget = least
    assert found.queries <= budget
    assert all(
        stage.generations >= 1 and stage.popsize == (popsize or stage.popsize)
        for stage in found.stages
    )
    assert all(stage.cost == how.cost(stage.popsize) for stage in found.stages)


def test_priming_and_starts_are_paid_for() -> None:
    plain = make_plan(space("tone"), 1000, training=256, validation=128)
    dear = make_plan(space("tone"), 1000, training=256, validation=128, prime=100, starts=3)
    assert (plain.extra, dear.extra) == (0, 100 + 3 * CHECK)
    assert dear.stages[0].queries + dear.extra <= plain.stages[0].queries + dear.stages[0].cost


def test_fewer_training_images_than_asked_for_are_all_asked() -> None:
    found = make_plan(
        space("tone"), 1000, training=5, validation=9, allocation=Allocation(8, patience=2)
    )
    assert found.allocation == Allocation(5, patience=2)
    assert found.stages[0].images == 5
