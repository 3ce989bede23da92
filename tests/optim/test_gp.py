"""The Gaussian process: its arithmetic against formulas written out here, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import check_grad  # type: ignore[import-untyped]

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.optim import Optimiser, optimiser
from bbtvp.optim.gp import LIMIT, REACH, GaussianProcess, categories
from bbtvp.optim.gp_model import KEPT, WINSOR, Surface, standardised

DIM = 7
BATCHES = 20
Data = tuple[Matrix, Vector, NDArray[np.int64]]


def gp(dim: int = DIM, seed: int = 0, **settings: Any) -> GaussianProcess:
    search = optimiser("gp", dim, seed, **settings)
    assert isinstance(search, GaussianProcess)
    return search


class Bowl:
    """A quadratic around a point of its own, with noise, and an offset for each batch that is
    larger than both.
    """

    def __init__(self, seed: int, *, noise: float = 0.2, offset: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.lowest = rng.uniform(-1.2, 1.2, DIM)
        self.noise = noise
        self.offset = offset
        self.rng = np.random.default_rng((seed, 1))

    def truth(self, z: Matrix) -> Vector:
        return np.asarray(((z - self.lowest) ** 2 * np.linspace(0.5, 2, DIM)).mean(axis=-1))

    def __call__(self, z: Matrix) -> Vector:
        return (
            self.truth(z) + self.rng.normal(0, self.offset) + self.rng.normal(0, self.noise, len(z))
        )


def driven(search: Optimiser, loss: Callable[[Matrix], Vector], batches: int) -> Optimiser:
    for _ in range(batches):
        z = search.ask()
        search.tell(z, loss(z))
    return search


# -- what it finds ---------------------------------------------------------------------------------
def test_it_finds_what_noise_and_easy_batches_hide() -> None:
    """Of four bowls, against random search: what its recommendation is truly worth."""
    found: dict[str, list[float]] = {"gp": [], "random": []}
    for seed in range(4):
        for name, worth in found.items():
            bowl = Bowl(seed)
            search = driven(optimiser(name, DIM, seed), bowl, BATCHES)
            worth.append(float(bowl.truth(search.recommend())))
    start = float(np.mean([Bowl(seed).truth(np.zeros(DIM)) for seed in range(4)]))
    assert np.mean(found["gp"]) < 0.35 * np.mean(found["random"])
    assert np.mean(found["gp"]) < 0.4 * start
    assert sum(a < b for a, b in zip(found["gp"], found["random"], strict=True)) >= 3


def test_a_category_is_found_from_a_start_that_chooses_another() -> None:
    x0 = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    best = 3

    def loss(z: Matrix) -> Vector:
        return np.asarray((z[:, 0] - 0.5) ** 2 + (z[:, 1:].argmax(axis=1) != best))

    for seed in range(3):
        search = driven(gp(5, seed, popsize=6, x0=x0, choices=((1, 4),)), loss, 8)
        assert search.recommend()[1:].argmax() == best


# -- the model -------------------------------------------------------------------------------------
def data(seed: int = 0, n: int = 24, dim: int = 3, batch: int = 6) -> Data:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, dim))
    return z, np.sin(z).sum(axis=1) + 0.1 * rng.normal(size=n), np.arange(n) // batch


@pytest.mark.parametrize("seed", range(4))
def test_the_slope_of_the_likelihood_is_that_of_finite_differences(seed: int) -> None:
    z, losses, batches = data(seed)
    surface = Surface(3)
    rng = np.random.default_rng(seed)
    log = np.concatenate([rng.uniform(-0.5, 0.5, 1), rng.uniform(0, 1.5, 3), rng.uniform(-2, 0, 2)])
    given_ = (z[:, None] - z[None], standardised(losses), batches[:, None] == batches)
    off = check_grad(
        lambda x: surface._cost(x, *given_)[0], lambda x: surface._cost(x, *given_)[1], log
    )
    assert off < 1e-4 * (1 + float(np.linalg.norm(surface._cost(log, *given_)[1])))


def posterior(surface: Surface, known: Data, z: Matrix) -> tuple[Vector, Matrix]:
    """Mean and covariance of f by the textbook (Rasmussen and Williams, eq. 2.23 and 2.24), by
    plain inversion.
    """
    variance, noise, offset = np.exp(2 * surface._log[[0, -2, -1]])

    def kernel(a: Matrix, b: Matrix) -> Matrix:
        r = np.sqrt(5) * np.sqrt((((a[:, None] - b[None]) / surface.scales) ** 2).sum(axis=-1))
        return np.asarray(variance * (1 + r + r**2 / 3) * np.exp(-r))

    at, losses, batches = known
    gram = kernel(at, at) + offset * (batches[:, None] == batches) + noise * np.eye(len(at))
    gain = kernel(z, at) @ np.linalg.inv(gram)
    return gain @ standardised(losses), kernel(z, z) - gain @ kernel(at, z)


def test_the_posterior_is_the_textbook_s() -> None:
    known = data()
    z = np.random.default_rng(9).normal(size=(5, 3))
    surface = Surface(3)
    surface.fit(*known)
    mean, covariance = posterior(surface, known, z)
    assert surface.mean(z) == pytest.approx(mean, abs=1e-5)
    count = 40_000
    draws = surface.draws(z, count, np.random.default_rng(0))
    spread = np.sqrt(np.diag(covariance))
    assert np.abs((draws.mean(axis=0) - mean) / spread).max() < 5 / np.sqrt(count)
    assert np.abs((np.cov(draws.T) - covariance) / np.outer(spread, spread)).max() < 0.03


def test_it_knows_f_where_it_was_told_and_not_far_away() -> None:
    z, losses, batches = data(n=60, dim=1)
    surface = Surface(1)
    surface.fit(z, losses, np.zeros_like(batches))
    draws = surface.draws(np.array([[0.0], [30.0]]), 500, np.random.default_rng(0)).std(axis=0)
    assert draws[0] < 0.3 * draws[1]


def test_what_one_batch_has_in_common_is_not_terrain() -> None:
    """All losses of one batch moved by as much as they differ: the minimum stays where it was."""
    z, losses, batches = data(n=48, batch=8)
    grid = np.random.default_rng(3).uniform(-1.5, 1.5, (300, 3))
    moved = losses + np.where(batches == 2, losses.std(), 0.0)
    means = []
    for told in (losses, moved):
        surface = Surface(3)
        surface.fit(z, told, batches)
        means.append(surface.mean(grid))
    assert np.corrcoef(*means)[0, 1] > 0.97
    assert np.sin(grid[means[1].argmin()]).sum() < np.quantile(np.sin(grid).sum(axis=1), 0.05)


def test_moving_every_loss_moves_nothing() -> None:
    one, other = (driven(gp(), lambda z, by=by: (z**2).sum(axis=1) + by, 4) for by in (0.0, 64.0))  # type: ignore[misc]
    assert one.recommend() == pytest.approx(other.recommend(), abs=1e-3)


# -- losses that are no terrain --------------------------------------------------------------------
def test_a_loss_far_above_the_rest_is_pulled_in() -> None:
    losses = np.random.default_rng(0).normal(size=50)
    wild = np.append(losses, 1e9)
    middle = np.median(wild)
    bound = middle + WINSOR * 1.4826 * np.median(np.abs(wild - middle))
    assert standardised(wild) == pytest.approx(standardised(np.append(losses, bound)))
    assert standardised(np.append(losses, -1e3))[-1] < -5  # a low one is what is sought
    assert standardised(wild)[:50].std() > 0.5


@pytest.mark.parametrize("batch", [0, 9])
def test_one_absurd_loss_does_not_spoil_the_search(batch: int) -> None:
    found = []
    start = []
    for seed in range(3):
        search = gp(seed=seed)
        bowl = Bowl(seed, offset=0.3)
        for number in range(12):
            z = search.ask()
            losses = bowl(z)
            losses[-1] += 1e6 * (number == batch)
            search.tell(z, losses)
        found.append(float(bowl.truth(search.recommend())))
        start.append(float(bowl.truth(np.zeros(DIM))))
    assert np.mean(found) < 0.5 * np.mean(start)


@given(st.integers(1, 40), st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_standard_losses_have_median_0_and_deviation_1(n: int, by: float, times: float) -> None:
    losses = np.random.default_rng(n).normal(size=n)
    shown = standardised(losses * times + by)
    assert np.median(shown) == pytest.approx(0, abs=1e-6)
    assert shown.std() == pytest.approx(float(n > 1), abs=1e-6)
    assert np.array_equal(np.argsort(shown[shown < WINSOR]), np.argsort(losses[shown < WINSOR]))


@pytest.mark.parametrize("level", [0.0, 0.1, 1.0])
def test_equal_losses_say_nothing_and_break_nothing(level: float) -> None:
    search = driven(gp(3, popsize=6), lambda z: np.full(len(z), level), 5)
    assert np.isfinite(search.ask()).all()
    assert np.isfinite(search.recommend()).all()


# -- categories ------------------------------------------------------------------------------------
def test_a_group_is_shown_as_the_category_chosen() -> None:
    z = np.array([[0.1, 0.2, 0.5, -1.0, 9.0], [0.1, 0.7, 0.7, 0.0, 9.0]])
    before = z.copy()
    shown = categories(z, ((1, 3),))
    assert shown.tolist() == [[0.1, 0, 1, 0, 9.0], [0.1, 1, 0, 0, 9.0]]  # of equals, the first
    assert np.array_equal(z, before)
    assert np.array_equal(categories(z, ()), z)


def test_the_category_is_that_of_z_wherever_the_search_began() -> None:
    """Not that of z − x0: x0 itself, and what lies near it, chooses what x0 chooses."""
    x0 = np.array([3.0, 0.0, 1.0, 0.0])
    search = gp(4, x0=x0, sigma=2.0, choices=((1, 3),))
    z = np.array([[3.0, 0.0, 1.0, 0.0], [5.0, 0.2, 0.9, 0.1], [1.0, 1.2, 1.0, 0.0]])
    assert search._shown(z).tolist() == [[0, 0, 1, 0], [1, 0, 1, 0], [-1, 1, 0, 0]]


# -- the search ------------------------------------------------------------------------------------
@pytest.mark.parametrize("popsize", [1])
def test_one_candidate_compares_with_nothing(popsize: int) -> None:
    with pytest.raises(UsageError, match="popsize must be at least 2, got 1"):
        gp(popsize=popsize)


def test_too_many_variables_are_refused() -> None:
    assert gp(LIMIT).dim == LIMIT == 64
    with pytest.raises(UsageError, match="at most 64 variables, got 65: use cma"):
        gp(LIMIT + 1)


def test_the_first_batch_is_x0_and_a_design_around_it() -> None:
    x0 = np.linspace(-1, 1, DIM)
    z = gp(x0=x0, sigma=0.5, popsize=33).ask()
    assert np.array_equal(z[0], x0)
    assert len(np.unique(z, axis=0)) == 33
    assert (z[1:].mean(axis=0) - x0) == pytest.approx(np.zeros(DIM), abs=0.12)
    assert z[1:].std(axis=0) == pytest.approx(np.full(DIM, 0.5), rel=0.15)


def test_later_batches_hold_the_recommendation_and_no_candidate_twice() -> None:
    search = gp()
    bowl = Bowl(0)
    for _ in range(4):
        z = search.ask()
        search.tell(z, bowl(z))
        found = search.recommend()
        asked = search.ask()
        assert np.array_equal(asked[0], found)
        assert len(np.unique(asked[1:], axis=0)) == search.popsize - 1


def test_a_recommendation_changes_nothing() -> None:
    quiet = gp()
    curious = gp()
    for _ in range(4):
        asked = [search.ask() for search in (quiet, curious)]
        assert asked[0].tobytes() == asked[1].tobytes()
        for search, z in zip((quiet, curious), asked, strict=True):
            search.tell(z, (z**2).sum(axis=1))
        assert curious.recommend().tobytes() == curious.recommend().tobytes()
    assert quiet.recommend().tobytes() == curious.recommend().tobytes()


@given(st.integers(0, 100), st.integers(1, 5), st.floats(0.1, 4), st.sampled_from([-1.0, 1.0]))
@settings(max_examples=6)
def test_it_stays_within_its_reach_however_the_losses_pull(
    seed: int, dim: int, sigma: float, way: float
) -> None:
    x0 = np.random.default_rng(seed).normal(size=dim)
    search = gp(dim, seed, sigma=sigma, x0=x0, popsize=5)
    for _ in range(5):
        z = search.ask()
        assert np.abs(z - x0).max() <= REACH * sigma * (1 + 1e-12)
        search.tell(z, way * z.sum(axis=1))
    found = search.recommend()
    assert np.abs(found - x0).max() <= REACH * sigma * (1 + 1e-12)
    assert way * (found - x0).sum() < 0  # it followed


def test_the_longest_run_fits() -> None:
    """More losses than scales are fitted to, and than predictions rest on."""
    search = gp(popsize=90)
    bowl = Bowl(2)
    driven(search, bowl, 8)
    assert len(search._z) == KEPT < 8 * 90
    assert bowl.truth(search.recommend()) < 0.1 * bowl.truth(np.zeros(DIM))


def test_a_pull_leaves_at_zero_what_no_loss_depends_on() -> None:
    """Of three variables only the first counts; the others stay where they were told to."""

    def loss(z: Matrix) -> Vector:
        return np.asarray((z[:, 0] - 1) ** 2)

    free = driven(gp(3, pull=0.0), loss, 6).recommend()
    drawn = driven(gp(3, pull=0.03), loss, 6).recommend()
    assert drawn[0] == pytest.approx(1, abs=0.4)
    assert np.abs(drawn[1:]).max() < 0.2 < np.abs(free[1:]).max()


@pytest.mark.parametrize("pull", [-1.0, float("nan")])
def test_a_pull_is_a_number_from_zero_up(pull: float) -> None:
    with pytest.raises(UsageError, match="give a number from 0 up"):
        gp(pull=pull)
