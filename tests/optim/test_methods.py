"""What is particular to one method."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.core.rng import stream
from bbtvp.optim import Optimiser, SpsaGc, optimiser
from bbtvp.optim.global_random import global_digest
from tests.optim.support import drive, ellipsoid, sphere


def loss_of(search: Optimiser) -> float:
    return float(ellipsoid(search.recommend()[None])[0])


def test_cma_solves_an_ill_conditioned_ellipsoid_and_the_diagonal_does_not() -> None:
    full, diagonal = (optimiser(name, 6, 0) for name in ("cma", "cma-diagonal"))
    for search in (full, diagonal):
        drive(search, ellipsoid, 3000)
    assert loss_of(full) < 1e-6
    assert loss_of(diagonal) > 100 * loss_of(full)


def test_cma_recommends_the_mean_not_the_luckiest() -> None:
    noise = np.random.default_rng(0)
    search = optimiser("cma", 5, 0)
    history = drive(search, lambda z: sphere(z) + noise.normal(0, 0.5, len(z)), 800)
    best = min(
        ((losses.min(), z[losses.argmin()]) for z, losses in history), key=lambda pair: pair[0]
    )[1]
    assert not any((z == search.recommend()).all(axis=1).any() for z, _ in history)
    assert sphere(search.recommend()[None])[0] < sphere(best[None])[0]


@pytest.mark.parametrize("name", ["cma", "cma-diagonal"])
def test_cma_from_300_variables_on_leaves_the_global_state_alone(name: str) -> None:
    """pycma changes to two-point step sizes there, whose consistency check draws from np.random."""
    before = global_digest()
    search = optimiser(name, 300, 0)
    drive(search, sphere, 5 * search.popsize)
    assert global_digest() == before
    assert search.resolved["step_size"] == "CMAAdaptSigmaTPA"
    assert optimiser(name, 72, 0).resolved["step_size"] == "CMAAdaptSigmaCSA"


def test_cma_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="cma-diagonal"):
        optimiser("cma", 69_840, 0)
    with pytest.raises(UsageError, match="at least 2"):
        optimiser("cma", 5, 0, popsize=1)
    assert optimiser("cma-diagonal", 10_000, 0).ask().shape == (31, 10_000)


@pytest.mark.parametrize(("dim", "popsize"), [(1, 2), (1, None), (5, 3), (2, 40)])
def test_cma_small_and_odd_batches(dim: int, popsize: int | None) -> None:
    search = optimiser("cma", dim, 0, popsize=popsize)
    drive(search, sphere, 600)
    assert sphere(search.recommend()[None])[0] < 0.1


def test_random_recommends_the_first_lowest() -> None:
    search = optimiser("random", 3, 0, popsize=4)
    z = search.ask()
    search.tell(z, np.array([2.0, 1.0, 1.0, 3.0]))
    second = search.ask()
    search.tell(second, np.array([1.0, 1.0, 5.0, 5.0]))
    assert search.recommend().tobytes() == z[1].tobytes()


def test_random_is_a_normal_around_x0() -> None:
    z = optimiser(
        "random", 4, 0, popsize=20_000, sigma=2.0, x0=np.array([0.0, 1.0, 2.0, 3.0])
    ).ask()
    assert np.allclose(z.mean(axis=0), [0, 1, 2, 3], atol=0.06)
    assert np.allclose(z.std(axis=0), 2.0, atol=0.05)


def by_hand(
    options: dict[str, Any], pairs: int, steps: int, dim: int, seed: int
) -> list[list[float]]:
    """SPSA-GC in plain Python, from the published equations; the draws come from the same
    stream.
    """
    random = stream(seed, "optim", "spsa-gc")
    theta = [0.0] * dim
    m = [0.0] * dim
    path = []
    for i in range(1, steps + 1):
        a_i = options["a"] / (i + options["o"]) ** options["alpha"]
        c_i = options["c"] / i ** options["gamma"]
        size = random.uniform(0.5, 1.0, (pairs, dim))
        sign = random.choice((-1.0, 1.0), (pairs, dim))
        g = [0.0] * dim
        for k in range(pairs):
            delta = [float(size[k][j] * sign[k][j]) for j in range(dim)]
            plus = sum((t + c_i * e - 1) ** 2 for t, e in zip(theta, delta, strict=True)) / dim
            minus = sum((t - c_i * e - 1) ** 2 for t, e in zip(theta, delta, strict=True)) / dim
            g = [x + (plus - minus) / (2 * c_i) / e / pairs for x, e in zip(g, delta, strict=True)]
        m = g if i == 1 else [options["beta"] * x + y for x, y in zip(m, g, strict=True)]
        theta = [t - a_i * (y + options["beta"] * x) for t, y, x in zip(theta, g, m, strict=True)]
        path.append(theta)
    return path


OTHER = {"o": 2.0, "c": 0.2, "a": 0.3, "alpha": 0.5, "gamma": 0.2, "beta": 0.7}


@pytest.mark.parametrize("options", [dict(SpsaGc.published), dict(SpsaGc.vp), OTHER])
def test_spsa_gc_follows_the_published_update(options: dict[str, Any]) -> None:
    search = optimiser("spsa-gc", 4, 7, popsize=6, **options)
    for theta in by_hand(options, pairs=3, steps=3, dim=4, seed=7):
        z = search.ask()
        search.tell(z, sphere(z))
        assert np.allclose(search.recommend(), theta, rtol=1e-9, atol=0)


def test_spsa_gc_asks_mirrored_pairs_of_the_published_width() -> None:
    search = optimiser("spsa-gc", 50, 0, x0=np.full(50, 3.0), **SpsaGc.published)
    z = search.ask()
    assert len(z) == 10
    assert np.allclose(z[0::2] + z[1::2], 6.0)
    widths = np.abs(z - 3.0)
    assert widths.min() >= 0.005 - 1e-12 and widths.max() <= 0.01 + 1e-12


def test_spsa_gc_defaults_scale_with_sigma() -> None:
    resolved = optimiser("spsa-gc", 5, 0, sigma=2.0).resolved
    assert resolved["c"] == pytest.approx(0.6) and resolved["a"] == pytest.approx(1.2)


def test_spsa_gc_refuses_bad_options() -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"popsize": 5}, "must be even"),
        ({"c": 0.0}, "option c"),
        ({"a": -1.0}, "option a"),
        ({"beta": 1.0}, "option beta"),
        ({"gamma": float("nan")}, "option gamma"),
    )
    for bad, message in cases:
        with pytest.raises(UsageError, match=message):
            optimiser("spsa-gc", 5, 0, **bad)


def test_divergence_is_one_clear_error() -> None:
    search = optimiser("spsa-gc", 3, 0, a=1e308)
    with pytest.raises(BbtvpError, match=r"diverged.*smaller steps"), np.errstate(all="ignore"):
        drive(search, lambda z: np.tile([1e3, 0.0], len(z) // 2), 200)


def test_unknown_names_and_options_get_a_hint() -> None:
    with pytest.raises(UsageError, match="did you mean cma"):
        optimiser("cmaa", 5, 0)
    with pytest.raises(UsageError, match=r"did you mean .*NGOpt"):
        optimiser("ng:NGOptt", 5, 0, budget=10)
    with pytest.raises(UsageError, match="unknown option of spsa-gc 'alpa'; did you mean alpha"):
        optimiser("spsa-gc", 5, 0, alpa=0.1)
    with pytest.raises(UsageError, match="no options of its own"):
        optimiser("cma", 5, 0, active=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": float("inf")}, "sigma"),
        ({"popsize": 0}, "popsize"),
        ({"budget": 0}, "budget"),
        ({"x0": np.zeros(4)}, "x0 must hold 5"),
        ({"x0": np.full(5, np.nan)}, "x0 must hold 5"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        optimiser("random", 5, 0, **settings)


def test_nevergrad_needs_a_budget_and_respects_sequential_methods() -> None:
    with pytest.raises(UsageError, match="budget="):
        optimiser("ng:TBPSA", 5, 0)
    with pytest.raises(UsageError, match="one candidate at a time"):
        optimiser("ng:SPSA", 5, 0, budget=10, popsize=4)
    assert optimiser("ng:SPSA", 5, 0, budget=10).popsize == 1


@pytest.mark.parametrize(
    "name", ["ng:Cobyla", "ng:Carola8", "ng:DSproba", "ng:VoxelizeMetaModelOnePlusOne"]
)
def test_nevergrad_methods_with_threads_or_clocks_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="thread or a clock"):
        optimiser(name, 5, 0, budget=100)


@pytest.mark.filterwarnings("ignore::Warning")
def test_nevergrads_meta_models_survive_the_installed_numpy() -> None:
    search = optimiser("ng:MetaModel", 3, 0, budget=100)
    drive(search, sphere, 100)
    assert sphere(search.recommend()[None])[0] < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")
def test_all_of_nevergrad_is_repeatable_or_refused() -> None:
    import nevergrad  # type: ignore[import-untyped]

    for name in sorted(nevergrad.optimizers.registry):
        if "RF1Meta" in name or name.startswith("BO"):
            continue  # minutes each
        asked = []
        before = global_digest()
        for _ in range(2):
            try:
                search = optimiser(f"ng:{name}", 5, 0, budget=100)
                asked.append([z.tobytes() for z, _ in drive(search, sphere, 60)])
            except BbtvpError:
                asked.append([])
        assert asked[0] == asked[1] and global_digest() == before, name


def test_the_import_is_light() -> None:
    code = (
        "import sys, bbtvp.optim, bbtvp.stats\n"
        "print([m for m in ('cma', 'cmaes', 'nevergrad', 'scipy', 'pandas', 'torch') if m in "
        "sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
