"""Categorical variables, restarts, noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.optim import Optimiser, Start, optimiser
from tests.optim.support import drive, onehot, sphere

CHOICES = ((1, 3), (6, 2))
DIM = 9


def mixed(z: Matrix) -> Vector:
    """Continuous variables near 1; category 2 of three and 1 of two are right."""
    free = z[:, [0, 4, 5, 8]]
    wrong = (z[:, 1:4].argmax(axis=1) != 2) + 1.0 * (z[:, 6:8].argmax(axis=1) != 1)
    return np.asarray(((free - 1) ** 2).mean(axis=1) + wrong)


def test_catcma_solves_a_mixed_problem() -> None:
    search = optimiser("catcma", DIM, 0, choices=CHOICES)
    history = drive(search, mixed, 1200)
    assert all(onehot(z, *group) for z, _ in history for group in CHOICES)
    best = search.recommend()
    assert onehot(best[None], *CHOICES[0]) and onehot(best[None], *CHOICES[1])
    assert mixed(best[None])[0] < 1e-3


@pytest.mark.parametrize(
    ("dim", "choices"), [(4, ((0, 4),)), (4, ((0, 2), (2, 2))), (4, ((1, 3),)), (5, ((0, 3),))]
)
def test_catcma_with_few_or_no_continuous_variables(
    dim: int, choices: tuple[tuple[int, int], ...]
) -> None:
    def loss(z: Matrix) -> Vector:
        return np.asarray(sum(1.0 - z[:, first + count - 1] for first, count in choices))

    search = optimiser("catcma", dim, 0, choices=choices)
    drive(search, loss, 400)
    assert loss(search.recommend()[None])[0] == 0


def test_catcma_begins_at_the_choice_of_x0() -> None:
    x0 = np.zeros(DIM)
    x0[3] = 1.0
    z = optimiser("catcma", DIM, 0, choices=CHOICES, popsize=4000, x0=x0).ask()
    assert z[:, 1:4].mean(axis=0) == pytest.approx([1 / 6, 1 / 6, 2 / 3], abs=0.03)
    assert z[:, 6:8].mean(axis=0) == pytest.approx([1 / 2, 1 / 2], abs=0.03)


def test_the_others_take_choices_as_continuous() -> None:
    search = optimiser("cma", DIM, 0, choices=CHOICES)
    drive(search, mixed, 1500)
    assert mixed(search.recommend()[None])[0] < 0.05
    assert search.resolved["choices"] == [[1, 3], [6, 2]]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (((1, 1),), "2 or more categories"),
        (((-1, 2),), "2 or more categories"),
        (((7, 3),), "inside 9 variables"),
        (((0, 3), (2, 2)), "choices overlap"),
        (((0, 3), (0, 3)), "choices overlap"),
        (((0.0, 3),), "pairs of integers"),
        ((3,), "pairs of integers"),
        (3, "pairs"),
        (((0, 3, 1),), "pairs of integers"),
    ],
)
def test_bad_choices_are_refused(choices: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Start(DIM, 0, choices=choices)


def test_catcma_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="beyond 500"):
        optimiser("catcma", 503, 0, choices=((0, 2),))
    with pytest.raises(UsageError, match="pass choices="):
        optimiser("catcma", DIM, 0)
    with pytest.raises(UsageError, match="at least 2"):
        optimiser("catcma", DIM, 0, choices=CHOICES, popsize=1)


# -- restarts --------------------------------------------------------------------------------------
def sizes(search: Optimiser, candidates: int) -> list[int]:
    return list(dict.fromkeys(len(z) for z, _ in drive(search, rugged, candidates)))


def rugged(z: Matrix) -> Vector:
    """Rastrigin's function around 1.3: many local minima, one global."""
    x = 2 * (z - 1.3)
    return np.asarray((x**2 - 3 * np.cos(2 * np.pi * x) + 3).mean(axis=1))


def test_restarts_double_the_population_up_to_the_limit() -> None:
    search = optimiser("cma-restarts", 3, 0, popsize=6, restarts=2)
    assert search.popsize == 24
    assert sizes(search, 6_000) == [6, 12, 24]


def test_restarts_find_what_one_run_misses() -> None:
    ends = {}
    for name in ("cma", "cma-restarts"):
        searches = [optimiser(name, 4, seed, popsize=8, budget=6_000) for seed in range(3)]
        for search in searches:
            drive(search, rugged, 6_000)
        ends[name] = float(np.mean([rugged(search.recommend()[None])[0] for search in searches]))
    assert ends["cma-restarts"] < 0.5 * ends["cma"]


def test_restarts_plan_for_the_budget() -> None:
    assert optimiser("cma-restarts", 10, 0, popsize=10, budget=1000).popsize == 80
    assert optimiser("cma-restarts", 10, 0, popsize=10, budget=90).popsize == 10
    assert optimiser("cma-restarts", 10, 0, popsize=10).popsize == 160


def test_a_plateau_restarts() -> None:
    search = optimiser("cma-restarts", 3, 0, popsize=6, patience=4)
    drive(search, lambda z: np.zeros(len(z)), 30)
    assert len(search.ask()) > 6


@pytest.mark.parametrize(
    "bad", [{"restarts": -1}, {"restarts": 21}, {"patience": 1}, {"restarts": 1.5}]
)
def test_bad_restarts_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"restarts|patience"):
        optimiser("cma-restarts", 3, 0, **bad)


# -- noise -----------------------------------------------------------------------------------------
def test_the_noise_aware_one_gets_further_in_noise() -> None:
    ends = {}
    for name in ("cma", "cma-noise"):
        total = 0.0
        for seed in range(6):
            noise = np.random.default_rng(seed)
            search = optimiser(name, 10, seed)
            drive(search, lambda z, noise=noise: sphere(z) + noise.normal(0, 1.0, len(z)), 3000)  # type: ignore[misc]
            total += float(sphere(search.recommend()[None])[0])
        ends[name] = total
    assert ends["cma-noise"] < 0.7 * ends["cma"]


def test_the_noise_aware_one_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        optimiser("cma-noise", 5, 0, popsize=3)
    with pytest.raises(UsageError, match="beyond 500 use cma"):
        optimiser("cma-noise", 501, 0)
    search = optimiser("cma-noise", 1, 0)
    drive(search, sphere, 200)
    assert sphere(search.recommend()[None])[0] < 1e-3


@pytest.mark.parametrize(("name", "choices"), [("cma-noise", ()), ("catcma", ((0, 2),))])
def test_divergence_inside_the_library_is_one_clear_error(name: str, choices: Any) -> None:
    search = optimiser(name, 4, 0, choices=choices, sigma=1e31)
    with pytest.raises(BbtvpError, match="diverged"):
        drive(search, lambda z: -np.abs(z).sum(axis=1), 20_000)
