"""Aggregation on rows made by hand, whose answers are known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from bbtvp.bench import tables
from bbtvp.bench.tables import Cube, carried, figures, own


def row(
    method: str,
    gain: float,
    *,
    task: str = "t",
    source: str = "a",
    target: str = "a",
    seed: int = 0,
    budget: int = 100,
) -> dict[str, Any]:
    return {
        "method": method,
        "task": task,
        "source": source,
        "target": target,
        "budget": budget,
        "queries": budget - 1,
        "seed": seed,
        "zero_shot": 0.5,
        "prompted": 0.5 + gain,
        "gain": gain,
        "over_empty_frame": gain - 0.01,
    }


def grid(method: str, gains: dict[tuple[str, str], float], **more: Any) -> list[dict[str, Any]]:
    """A source and its one target, which gains half, for each (task, source); seeds 0 and 1 differ
    by ±0.01.
    """
    rows = []
    for ((task, source), gain), seed in itertools.product(gains.items(), (0, 1)):
        own_gain = gain + (0.01 if seed else -0.01)
        rows.append(
            row(method, own_gain, task=task, source=source, target=source, seed=seed, **more)
        )
        rows.append(
            row(method, own_gain / 2, task=task, source=source, target="x", seed=seed, **more)
        )
    return rows


GAINS = {("t1", "a"): 0.1, ("t1", "b"): 0.2, ("t2", "a"): 0.3, ("t2", "b"): 0.4}


def test_a_summary_is_the_mean_over_tasks_and_sources_of_the_mean_over_seeds() -> None:
    (summary,) = tables.summaries(grid("m", GAINS))
    assert (summary.method, summary.budget, summary.cells, summary.queries) == ("m", 100, 8, 99)
    assert summary.gain.mean == pytest.approx(0.25)
    assert summary.over_empty is not None and summary.over_empty.mean == pytest.approx(0.24)
    assert summary.transfer is not None and summary.transfer.mean == pytest.approx(0.125)
    assert summary.ratio is not None
    assert tuple(summary.ratio) == pytest.approx((0.5, 0.5, 0.5))  # in every resample alike
    assert summary.gain.low < 0.25 < summary.gain.high


def test_a_place_with_more_seeds_counts_no_more() -> None:
    found = {("t1", "a", 0): 0.0, ("t2", "a", 0): 1.0, ("t2", "a", 1): 0.5, ("t2", "a", 2): 0.0}
    assert Cube(found).mean == pytest.approx(0.25)
    assert Cube(found).resampled().min() >= 0


def test_the_interval_covers_the_spread_of_tasks_of_sources_and_of_seeds() -> None:
    level = {(f"t{i}", f"s{j}", k): 0.3 for i in range(5) for j in range(3) for k in range(4)}
    assert tuple(Cube(level).interval()) == pytest.approx((0.3, 0.3, 0.3))
    rng = np.random.default_rng(0)
    for axis, count in ((0, 5), (1, 3), (2, 4)):
        noise = rng.normal(0, 0.1, count)
        moved = {
            place: 0.3 + noise[int(place[axis]) if axis == 2 else int(place[axis][1:])]  # type: ignore[index]
            for place in level
        }
        low, high = Cube(moved).interval()[1:]
        assert high - low > 0.03
    tasks = rng.normal(0, 0.1, 40)  # the interval of a plain mean over 40 tasks
    one = Cube({(f"t{i:02d}", "s", 0): float(value) for i, value in enumerate(tasks)}).interval()
    assert (one.high - one.low) / 2 == pytest.approx(1.96 * tasks.std() / math.sqrt(40), rel=0.15)


def test_holes_are_no_zeros() -> None:
    whole = Cube({(t, s, 0): 0.4 for t in "xyz" for s in "ab"})
    holes = Cube({(t, s, 0): 0.4 for t in "xyz" for s in "ab" if (t, s) != ("y", "b")})
    assert holes.mean == pytest.approx(whole.mean)
    assert holes.resampled() == pytest.approx(0.4)


def test_methods_are_compared_on_the_cells_of_both() -> None:
    better = grid("b", {place: gain + 0.03 for place, gain in GAINS.items()})
    lacking = [r for r in better if (r["task"], r["source"]) != ("t2", "b")]
    found = tables.paired(lacking, grid("a", GAINS), own("gain"))
    assert found is not None
    assert tuple(found) == pytest.approx((0.03, 0.03, 0.03))  # the spread of the cells is in both
    carry = tables.paired(better, grid("a", GAINS), carried("gain"))
    assert carry is not None and carry.mean == pytest.approx(0.015)
    assert tables.paired(better, grid("a", {("t9", "a"): 0.1}), own("gain")) is None


def test_a_method_without_seeds_meets_every_seed_of_the_other() -> None:
    control = [row("c", 0.05, task=t, source=s, target=s, budget=0) for t, s in GAINS]
    found = tables.paired(grid("a", GAINS), control, own("gain"))
    assert found is not None and found.mean == pytest.approx(0.2)
    back = tables.paired(control, grid("a", GAINS), own("gain"))
    assert back is not None and back.mean == pytest.approx(-0.2)


def test_a_method_without_images_has_no_transfer_and_no_control() -> None:
    rows = [{**row("calibration", 0.1), "over_empty_frame": None}]
    (summary,) = tables.summaries(rows)
    assert (summary.transfer, summary.ratio, summary.over_empty) == (None, None, None)
    assert figures(rows, carried("gain")) == {}


def test_no_ratio_to_a_gain_that_is_not_there() -> None:
    place = ("t", "a", 0)
    assert tables.ratio({place: 0.1}, {place: -0.1}) is None
    assert tables.ratio({place: 0.1}, {}) is None


# -- the sign-flip test and harm -------------------------------------------------------------------
@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (3, 9), (40, 40), (1, 0), (60, 20)])
def test_with_one_seed_the_sign_flip_test_is_mcnemars(gained: int, lost: int) -> None:
    changes = np.array([1] * gained + [-1] * lost + [0] * 7)
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert tables.sign_flip(changes) == pytest.approx(expected)


def test_the_sign_flip_test_counts_every_assignment_of_signs() -> None:
    changes = np.array([3, -1, 2, 2, 0, -3, 1])
    sums = [
        sum(s * abs(c) for s, c in zip(signs, changes, strict=True))
        for signs in itertools.product((1, -1), repeat=7)
    ]
    assert tables.sign_flip(changes) == pytest.approx(np.mean(np.abs(sums) >= abs(changes.sum())))


def test_seeds_of_one_place_are_no_independent_images() -> None:
    """Five seeds with the same prompt say no more than one."""
    before = np.zeros(20)
    after = np.array([1.0] * 5 + [0.0] * 15)
    once = tables.harm({("s", "t", "q"): [(before, after)]})
    often = tables.harm({("s", "t", "q"): [(before, after)] * 5})
    assert (once.above, often.above) == (0, 0)  # p = 2 / 2^5


def test_harm_counts_the_places_below_after_holm() -> None:
    right = np.ones(40)
    wrong = np.zeros(40)
    some = np.where(
        np.arange(40) < 34, 1.0, 0.0
    )  # 6 lost: p = 2 / 2^6 = 0.031, alone significant, with one more not
    places = {
        ("s", "x", "q"): [(right, wrong)],
        ("s", "y", "q"): [(right, some)],
        ("s", "z", "q"): [(wrong, right)],
    }
    found = tables.harm({**places, ("s", "s", "q"): [(right, right)]})
    assert (found.places, found.below, found.above) == (4, 1, 1)
    assert found.worst[0][:4] == ("s", "x", "q", -1.0)
    assert tables.harm({("s", "y", "q"): [(right, some)]}).below == 1


def test_missing_answers_are_no_change() -> None:
    before = np.array([1.0, np.nan, 1.0])
    after = np.array([np.nan, 1.0, 1.0])
    found = tables.harm({("s", "t", "q"): [(before, after)]})
    assert (found.below, found.above) == (0, 0)


# -- curves and matrices ---------------------------------------------------------------------------
CURVE = [(1000.0, 0.3), (250.0, 0.1), (500.0, 0.2)]


@pytest.mark.parametrize(
    ("goal", "queries"),
    [
        (0.05, 250.0),
        (0.1, 250.0),
        (0.2, 500.0),
        (0.25, 500 * math.sqrt(2)),
        (0.3, 1000.0),
        (0.31, None),
    ],
)
def test_queries_to_reach_a_gain(goal: float, queries: float | None) -> None:
    assert tables.reach(CURVE, goal) == (None if queries is None else pytest.approx(queries))


def test_a_curve_that_falls_back_has_reached() -> None:
    assert tables.reach([(100, 0.0), (200, 0.4), (400, 0.1)], 0.4) == pytest.approx(200)


def test_the_matrix_weighs_tasks_alike() -> None:
    rows = [row("m", 0.2, task="t1", seed=seed) for seed in range(3)] + [
        row("m", 0.6, task="t2", target="a")
    ]
    assert tables.matrix(rows) == {("a", "a"): pytest.approx(0.4)}
    assert tables.by_task(rows, own("gain")) == {"t1": pytest.approx(0.2), "t2": pytest.approx(0.6)}
