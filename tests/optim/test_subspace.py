"""Searching few directions of many variables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.optim import Projected, RandomSearch, Start, Subspace, optimiser, replay
from bbtvp.optim.subspace import orthonormal
from tests.optim.support import drive, sphere


@pytest.mark.parametrize("rank", [1, 3, 48])
def test_a_random_projection_keeps_unit_scale(rank: int) -> None:
    space = Subspace.random_projection(600, rank, seed=0)
    assert space.basis.shape == (600, rank) and space.basis.dtype == np.float32
    z = space.lift(np.random.default_rng(0).standard_normal((20_000, rank)))
    assert np.allclose(z.std(axis=0), 1, atol=0.03), "every variable, not only their mean"
    assert np.allclose(np.linalg.norm(space.basis, axis=1), 1, atol=1e-5)


def test_a_projection_is_its_seeds() -> None:
    one, two, other = (Subspace.random_projection(50, 4, seed) for seed in (1, 1, 2))
    assert one.digest == two.digest != other.digest
    assert one.resolved() == {"kind": "random", "dim": 50, "rank": 4, "digest": one.digest}


def test_principal_directions_span_the_gradients() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((3, 40))
    space = Subspace.principal(rng.standard_normal((10, 3)) @ truth, 3)
    inside = orthonormal(space.basis.T.astype(np.float64))
    assert np.allclose(truth @ inside.T @ inside, truth, atol=1e-5)
    z = space.lift(rng.standard_normal((50_000, 3)))
    assert (z**2).mean() == pytest.approx(1, abs=0.02)


def test_principal_directions_come_by_weight_and_are_completed() -> None:
    axes = np.zeros((4, 30))
    axes[0, 5] = -7.0
    axes[1, 9] = 2.0
    axes[2, 9] = 2.0  # the last row is zero: it spans nothing
    space = Subspace.principal(axes, 6, seed=3)
    basis = space.basis.astype(np.float64) / math.sqrt(30 / 6)
    assert np.allclose(basis.T @ basis, np.eye(6), atol=1e-6)
    assert basis[5, 0] == pytest.approx(1) and basis[9, 1] == pytest.approx(1), "signs are fixed"
    assert Subspace.principal(axes, 6, seed=4).digest != space.digest
    assert (
        Subspace.principal(axes[:2], 2, seed=3).digest
        == Subspace.principal(axes[:2], 2, seed=4).digest
    )


def test_orthonormal_drops_what_depends() -> None:
    rows = np.array(
        [[0.0, 0, 0], [2, 0, 0], [1, 1, 0], [5, -3, 0], [1e-12, 1e-12, 1e-12], [1, 2, 3]]
    )
    basis = orthonormal(rows)
    assert np.allclose(basis @ basis.T, np.eye(3), atol=1e-12)
    assert np.allclose(basis[0], [1, 0, 0]), "earlier rows come first"


def test_lift_and_pull_are_adjoint() -> None:
    space = Subspace.random_projection(30, 5, 0)
    rng = np.random.default_rng(0)
    u = rng.standard_normal((1, 5))
    g = rng.standard_normal((1, 30))
    assert float((space.lift(u) * g).sum()) == pytest.approx(
        float((u * space.pull(g)).sum()), rel=1e-5
    )


@pytest.mark.parametrize(
    "basis",
    [np.ones((3, 4)), np.ones(3), np.ones((3, 0)), np.full((3, 2), np.nan)],
    ids=["wide", "flat", "0", "nan"],
)
def test_a_bad_basis_is_refused(basis: Any) -> None:
    with pytest.raises(UsageError, match="a subspace needs"):
        Subspace(basis)


def test_a_basis_of_any_precision_is_taken() -> None:
    frozen = np.eye(4, 2)
    frozen.setflags(write=False)
    for basis in (frozen, np.eye(4, 2).tolist()):
        assert Subspace(basis).basis.dtype == np.float32


def test_a_callers_basis_is_copied() -> None:
    mine = np.eye(4, 2, dtype=np.float32)
    space = Subspace(mine)
    mine[:] = 9
    assert space.basis[0, 0] == 1 and not space.basis.flags.writeable


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cma@0", "1 to 20 directions, not 0"),
        ("cma@21", "1 to 20 directions, not 21"),
        ("cma@", "after the @ comes a number"),
        ("cma@x", "after the @ comes a number"),
        ("cmaa@4", "did you mean cma"),
        ("ng:NGOp@4", "did you mean NGOpt"),
        ("p-rgf@4", "needs surrogate gradients"),
    ],
)
def test_bad_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        optimiser(name, 20, 0, budget=100)


def test_a_subspace_of_ones_own() -> None:
    space = Subspace.principal(np.eye(20)[:2], 2)
    search = optimiser("cma", 20, 0, subspace=space)
    z = search.ask()
    assert (z[:, 2:] == 0).all() and np.abs(z[:, :2]).min() > 0
    with pytest.raises(UsageError, match="subspace of its own"):
        optimiser("cma@2", 20, 0, subspace=space)
    with pytest.raises(UsageError, match="lies in 20 variables, the search has 21"):
        optimiser("cma", 21, 0, subspace=space)


def test_it_stays_in_x0_plus_the_span() -> None:
    x0 = np.arange(20.0)
    space = Subspace.random_projection(20, 3, 0)
    search = Projected(Start(20, 0, x0=x0), space, RandomSearch)
    history = drive(search, sphere, 40)
    inside = orthonormal(space.basis.T.astype(np.float64))
    away = np.vstack([z for z, _ in history] + [search.recommend()[None]]) - x0
    assert np.allclose(away @ inside.T @ inside, away, atol=1e-5)


def test_a_guide_is_pulled_back() -> None:
    asked = []

    def guide(z: Vector) -> Matrix:
        asked.append(z)
        return (z - 1)[None]

    search = optimiser("p-rgf@8", 200, 0, guide=guide, x0=np.full(200, 0.5))
    assert search.popsize == 12 and search.resolved["inner"]["dim"] == 8  # type: ignore[index, call-overload]
    drive(search, sphere, 40)
    assert all(z.shape == (200,) for z in asked) and np.array_equal(asked[0], np.full(200, 0.5))


def test_the_search_of_bbt_solves_what_its_subspace_holds() -> None:
    space = Subspace.random_projection(400, 6, 0)
    goal = space.lift(np.full((1, 6), 0.7))
    search = optimiser("cma@6", 400, 0)
    drive(search, lambda z: np.asarray(((z - goal) ** 2).mean(axis=1)), 1500)
    assert np.abs(search.recommend() - goal).max() < 1e-3


def test_a_frame_of_a_tvp_prompt_in_500_directions() -> None:
    search = optimiser("cma-diagonal@500", 69_840, 0)
    again = optimiser("cma-diagonal@500", 69_840, 0)
    history = drive(search, sphere, 40)
    replay(again, history)
    assert again.ask().tobytes() == search.ask().tobytes()
    assert search.ask().std() == pytest.approx(1, abs=0.1)
