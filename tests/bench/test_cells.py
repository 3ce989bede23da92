"""The grid, names on disk, bits, and methods by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bbtvp.bench import methods
from bbtvp.bench.cells import (
    BenchCell,
    BenchGrid,
    MethodAxis,
    cell_id,
    pack_scores,
    slug,
    unpack_scores,
)
from bbtvp.core.errors import UsageError
from bbtvp.optim import optimiser

GRID = BenchGrid(
    (MethodAxis("default"), MethodAxis("zero-shot", budgeted=False, seeded=False)),
    ("t1", "t2"),
    ("a", "b"),
    ("a", "b", "c"),
    budgets=(100, 200),
    seeds=(0, 1, 2),
)


def test_what_depends_on_no_budget_and_no_seed_is_one_cell() -> None:
    cells = list(GRID.cells())
    assert len(cells) == len(set(cells)) == 2 * 2 * (2 * 3 + 1)
    assert {(c.budget, c.seed) for c in cells if c.method == "zero-shot"} == {(0, 0)}


def test_the_first_seed_comes_first_on_every_task_and_source() -> None:
    seeds = [cell.seed for cell in GRID.cells()]
    assert seeds == sorted(seeds)


def test_a_prompt_is_tried_on_its_source_first_and_once() -> None:
    assert GRID.asked("b") == ["b", "a", "c"]
    assert GRID.asked("z") == ["z", "a", "b", "c"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tasks": ()}, "needs at least one task"),
        ({"sources": ("a", "a")}, "source model a is named twice"),
        ({"budgets": (0,)}, "a budget of 0 image queries finds nothing"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        BenchGrid(
            **{
                "methods": (MethodAxis("m"),),
                "tasks": ("t",),
                "sources": ("a",),
                "targets": (),
                **changed,
            }
        )  # type: ignore[arg-type]


def test_a_cell_is_named_by_all_that_decides_it() -> None:
    cell = BenchCell("default", "zoo/digits", "hf/./my model", 100, 0)
    name = cell_id(cell, {"images": 8})
    assert name.startswith("default--zoo_digits--hf_._my_model--100--s0--")
    assert name != cell_id(cell, {"images": 16})
    assert cell_id(BenchCell("m", "a_b", "c", 1, 0), {}) != cell_id(
        BenchCell("m", "a/b", "c", 1, 0), {}
    )
    assert len(slug("x" * 500)) <= 100


def test_bits_come_back() -> None:
    correct = np.array([1.0, 0.0, np.nan, 1.0])
    assert pack_scores(correct) == "10-1"
    assert np.array_equal(unpack_scores("10-1"), correct, equal_nan=True)


def test_graded_scores_come_back() -> None:
    graded = np.array([1.0, 0.25, np.nan, 0.0])
    assert pack_scores(graded) == [1.0, 0.25, None, 0.0]
    assert np.array_equal(unpack_scores(pack_scores(graded)), graded, equal_nan=True)


# -- methods ---------------------------------------------------------------------------------------
def test_an_unknown_method_gets_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="unknown method 'blakvip'; did you mean blackvip"):
        methods.get("blakvip")
    with pytest.raises(UsageError, match="did you mean images"):
        methods.get("bar[image=3]")
    with pytest.raises(UsageError, match="write key=value"):
        methods.get("bar[images]")


def test_a_method_with_other_constants_is_another_method() -> None:
    other = methods.get("bar[images=3,loss=ce]")
    assert other.name == "bar[images=3,loss=ce]"
    assert (other.constants["images"], other.constants["loss"]) == (3, "ce")
    assert methods.get("bar").constants["loss"] == "focal"
    assert methods.get("default[images=4,method=random]").constants == {
        "images": 4,
        "method": "random",
    }


def test_every_method_says_what_it_is_in_json() -> None:
    assert set(methods.DEFAULT) <= set(methods.METHODS)
    for name, method in methods.METHODS.items():
        described = json.loads(json.dumps(method.describe()))
        assert described["method"] == name
        assert described["about"] and described["source"]


def test_the_optimisers_of_the_peers_take_their_constants() -> None:
    from bbtvp.bench.peers import SEARCH

    for method in methods.METHODS.values():
        if method.kind == "peer":
            space = methods.SPACES[method.constants["space"]](64)
            options = {key: value for key, value in method.constants.items() if key not in SEARCH}
            optimiser(
                method.constants["optimiser"],
                space.dim,
                0,
                popsize=method.constants["popsize"],
                sigma=method.constants["sigma"],
                budget=100,
                **options,
            )
