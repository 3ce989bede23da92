"""What holds for any dimension, seed, batch size and losses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import canonical_json
from bbtvp.optim import Optimiser, optimiser, replay
from bbtvp.optim.p_rgf import prior_weight
from bbtvp.optim.subspace import orthonormal
from tests.optim.support import make

OWN = (
    "cma",
    "cma-diagonal",
    "cma-restarts",
    "cma-noise",
    "catcma",
    "spsa",
    "spsa-gc",
    "nes",
    "rgf",
    "guided-es",
    "p-rgf",
    "bandits-td",
    "random",
)
quick = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def search_of(name: str, dim: int, seed: int, size: int, x0: Vector | None = None) -> Optimiser:
    more = {"choices": ((0, 2),)} if name == "catcma" else {}
    return make(name, dim, seed, popsize=2 * size, x0=x0, **more)


def tell(search: Optimiser, losses: list[float], batches: int) -> list[tuple[Matrix, Vector]]:
    """Tell the losses over and over, whatever the candidates are."""
    history = []
    for number in range(batches):
        z = search.ask()
        told = np.resize(np.roll(losses, number), len(z))
        search.tell(z, told)
        history.append((z, told))
    return history


@pytest.mark.parametrize("name", OWN)
@pytest.mark.filterwarnings("ignore::Warning")
@quick
@given(
    dim=st.integers(2, 12),
    seed=st.integers(-(2**63), 2**63),
    size=st.integers(2, 6),
    losses=st.lists(st.floats(-10, 10), min_size=1, max_size=12),
)
def test_any_losses_are_survived_and_replayed(
    name: str, dim: int, seed: int, size: int, losses: list[float]
) -> None:
    search, resumed = (search_of(name, dim, seed, size) for _ in range(2))
    history = tell(search, losses, 6)
    assert all(1 <= len(z) <= search.popsize and z.shape[1] == dim for z, _ in history)
    assert np.isfinite(search.recommend()).all()
    replay(resumed, history)
    assert resumed.ask().tobytes() == search.ask().tobytes()
    assert canonical_json(resumed.resolved) == canonical_json(search.resolved)


@pytest.mark.parametrize("name", ["spsa", "spsa-gc", "nes", "rgf", "bandits-td", "random", "cma"])
@quick
@given(
    seed=st.integers(0, 2**32),
    away=st.floats(-100, 100),
    losses=st.lists(st.floats(-1, 1), min_size=3, max_size=9),
)
def test_a_search_moves_with_its_x0(name: str, seed: int, away: float, losses: list[float]) -> None:
    here, there = (search_of(name, 4, seed, 2, x0=np.full(4, x0)) for x0 in (0.0, away))
    tell(here, losses, 5)
    tell(there, losses, 5)
    assert np.allclose(there.recommend() - away, here.recommend(), atol=1e-9 * (1 + abs(away)))


@pytest.mark.parametrize(
    "name", ["spsa", "spsa-gc", "nes", "rgf", "guided-es", "p-rgf", "bandits-td", "cma", "catcma"]
)
@quick
@given(
    seed=st.integers(0, 2**32),
    offset=st.integers(-8, 8),
    losses=st.lists(st.integers(-4, 4), min_size=3, max_size=9),
)
def test_a_constant_added_to_a_batch_changes_nothing(
    name: str, seed: int, offset: int, losses: list[int]
) -> None:
    """So a caller may score each batch on other, easier or harder, images."""
    plain, shifted = (search_of(name, 4, seed, 2) for _ in range(2))
    tell(plain, [float(x) for x in losses], 5)
    for z, told in tell(search_of(name, 4, seed, 2), [float(x) for x in losses], 5):
        assert shifted.ask().tobytes() == z.tobytes()
        shifted.tell(z, told + offset)
    assert shifted.recommend().tobytes() == plain.recommend().tobytes()


@pytest.mark.parametrize("name", ["cma", "cma-diagonal", "cma-noise", "catcma"])
@quick
@given(
    seed=st.integers(0, 2**32),
    losses=st.lists(st.floats(-3, 3), min_size=12, max_size=12, unique=True),
)
def test_only_the_order_of_losses_counts_for_cma(name: str, seed: int, losses: list[float]) -> None:
    ranks = [float(x) for x in np.argsort(np.argsort(losses))]
    one, two = (search_of(name, 4, seed, 3) for _ in range(2))
    tell(one, losses, 4)
    tell(two, ranks, 4)
    assert one.recommend().tobytes() == two.recommend().tobytes()


@quick
@given(a=st.floats(0, 1), d=st.integers(2, 10**5), q=st.integers(1, 100))
def test_the_prior_weight_is_a_share_and_grows_with_the_cosine(a: float, d: int, q: int) -> None:
    weight = prior_weight(a, d, q)
    assert 0 <= weight <= 1
    assert prior_weight(min(1.0, a * 1.01 + 1e-9), d, q) >= weight - 1e-9


@quick
@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=5), min_size=1, max_size=8))
def test_orthonormal_rows_are_orthonormal_and_span(rows: list[list[float]]) -> None:
    given_rows = np.array(rows)
    basis = orthonormal(given_rows)
    assert np.allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-10)
    rest = given_rows - given_rows @ basis.T @ basis
    assert np.abs(rest).max() <= 1e-6 * (1 + np.abs(given_rows).max())


def test_a_seed_is_any_integer() -> None:
    asked = [optimiser("cma", 3, seed).ask().tobytes() for seed in (-1, 0, 1, 2**200)]
    assert len(set(asked)) == 4
