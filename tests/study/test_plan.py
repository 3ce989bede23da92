"""How a budget is divided: within its cap, and refused with the reason where nothing can come of it."""

from __future__ import annotations

import re
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.errors import UsageError
from bbtvp.prompt import PromptSpace, preset
from bbtvp.study.allocation import Allocation
from bbtvp.study.plan import Plan, make_plan

PRESETS = ("tvp", "frame", "tone", "default")


@lru_cache
def space(name: str) -> PromptSpace:
    return preset(name)


def plan(name: str, budget: int, *, training: int = 256, validation: int = 128, images: int = 8) -> Plan:
    return make_plan(space(name), budget, training=training, validation=validation, allocation=Allocation(images))


@given(st.sampled_from(PRESETS), st.integers(1, 20_000), st.integers(1, 400), st.integers(1, 400), st.integers(1, 16))
@settings(max_examples=150, deadline=None)
def test_a_plan_never_passes_its_budget(name: str, budget: int, training: int, validation: int, images: int) -> None:
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
    with pytest.raises(UsageError, match=f"a budget of {budget} image queries finds nothing; try --queries 1000"):
        plan("tone", budget)


def test_a_space_without_variables_is_refused() -> None:
    with pytest.raises(UsageError, match="no variables to search"):
        make_plan(PromptSpace((), 64), 1000, training=10, validation=10)
