"""The estimators against their published equations, written out again in plain numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.core.rng import stream
from bbtvp.optim import BanditsTd, GuidedEs, Nes, Optimiser, Rgf, Spsa, Start, optimiser
from bbtvp.optim.p_rgf import prior_weight
from tests.optim.support import drive, sphere

DIM = 6


def bowl(z: Matrix) -> Vector:
    """Neither symmetric nor quadratic, so that a wrong sign, factor or order shows."""
    return np.asarray(
        np.log1p((np.arange(1, z.shape[1] + 1) * (z - 0.5) ** 2).sum(axis=1))
        + 0.1 * np.sin(z).sum(axis=1)
    )


def at(point: Vector) -> float:
    return float(bowl(point[None])[0])


def slope_of(z: Vector) -> Vector:
    weights = np.arange(1, len(z) + 1)
    return np.asarray(
        2 * weights * (z - 0.5) / (1 + (weights * (z - 0.5) ** 2).sum()) + 0.1 * np.cos(z)
    )


def guide(z: Vector) -> Matrix:
    gradient = slope_of(z)
    return np.stack((gradient + 0.4 * np.roll(gradient, 1), np.roll(gradient, 2)))


def follow(search: Optimiser, path: list[Vector]) -> None:
    """Each step, of one batch or two, ends where the equations say."""
    for point in path:
        before = search.recommend()
        while np.array_equal(search.recommend(), before):
            z = search.ask()
            search.tell(z, bowl(z))
        assert np.allclose(search.recommend(), point, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        dict(Spsa.zip),
        {"a": 40.0, "clip": True, "o": 1.0, "c": 0.01},
        {"a": 0.3, "c": 0.2, "o": 2.0},
    ],
)
def test_spsa(options: dict[str, Any]) -> None:
    given = {"alpha": 0.602, "gamma": 0.101, "perturbation": "rademacher", "clip": False, **options}
    random = stream(7, "optim", "spsa")
    theta = np.zeros(DIM)
    path = []
    for i in range(1, 5):
        a = given["a"] / (i + given["o"]) ** given["alpha"]
        c = given["c"] / i ** given["gamma"]
        size = (
            random.uniform(0.5, 1.0, (3, DIM))
            if given["perturbation"] == "segmented"
            else np.ones((3, DIM))
        )
        g = np.zeros(DIM)
        for delta in size * random.choice((-1.0, 1.0), (3, DIM)):
            g += (at(theta + c * delta) - at(theta - c * delta)) / (2 * c) / delta / 3
        if given["clip"]:
            g *= min(1, math.sqrt(DIM) / np.linalg.norm(g))
        theta = theta - a * g
        path.append(theta)
    follow(optimiser("spsa", DIM, 7, popsize=6, **options), path)


def test_spsa_clips_what_is_longer_than_the_root_of_d() -> None:
    free, clipped = (optimiser("spsa", DIM, 0, a=1.0, o=0.0, clip=clip) for clip in (False, True))
    for search in (free, clipped):
        z = search.ask()
        search.tell(z, 1e4 * bowl(z))
    step = clipped.recommend()
    assert np.linalg.norm(step) == pytest.approx(math.sqrt(DIM))
    assert np.allclose(
        step / np.linalg.norm(step), free.recommend() / np.linalg.norm(free.recommend())
    )


@pytest.mark.parametrize(
    "options", [dict(Nes.published), {"a": 0.2, "c": 0.3, "o": 1.0, "alpha": 0.4, "gamma": 0.1}]
)
def test_nes(options: dict[str, Any]) -> None:
    random = stream(3, "optim", "nes")
    theta = np.zeros(DIM)
    path = []
    for i in range(1, 5):
        a = options["a"] / (i + options["o"]) ** options["alpha"]
        c = options["c"] / i ** options["gamma"]
        noise = random.standard_normal((4, DIM))
        g = sum(((at(theta + c * e) - at(theta - c * e)) * e for e in noise), np.zeros(DIM)) / (
            2 * c * 4
        )
        theta = theta - a * g
        path.append(theta)
    follow(optimiser("nes", DIM, 3, popsize=8, **options), path)


@pytest.mark.parametrize(
    "options",
    [dict(Rgf.published), {"beta": 0.4, "eta": 0.3, "end": 0.1, "power": 0.5, "steps": 3}],
)
def test_rgf(options: dict[str, Any]) -> None:
    random = stream(3, "optim", "rgf")
    theta = np.zeros(DIM)
    path = []
    for t in range(5):
        drawn = random.standard_normal((4, DIM))
        g = np.zeros(DIM)
        for u in drawn / np.linalg.norm(drawn, axis=1, keepdims=True):
            g += DIM / 4 * (at(theta + options["beta"] * u) - at(theta)) / options["beta"] * u
        left = 1 - min(t, options["steps"]) / options["steps"]
        theta = (
            theta
            - ((options["eta"] - options["end"]) * left ** options["power"] + options["end"]) * g
        )
        path.append(theta)
    follow(optimiser("rgf", DIM, 3, popsize=5, **options), path)


def test_rgf_takes_its_horizon_from_the_budget() -> None:
    assert optimiser("rgf", DIM, 0, budget=600).resolved["steps"] == 100
    assert optimiser("rgf", DIM, 0).resolved["steps"] is None


@pytest.mark.parametrize(
    "options", [dict(GuidedEs.published), {"a": 1.0, "c": 0.3, "mix": 0.3, "memory": 3, "o": 1.0}]
)
def test_guided_es(options: dict[str, Any]) -> None:
    given = {"beta": 1.0, "alpha": 0.4, "gamma": 0.1, **options}
    random = stream(3, "optim", "guided-es")
    theta = np.zeros(DIM)
    path = []
    rows = np.empty((0, DIM))
    for i in range(1, 5):
        a = given["a"] / (i + given["o"]) ** given["alpha"]
        c = given["c"] / i ** given["gamma"]
        rows = np.vstack((guide(theta), rows))[: given["memory"]]
        basis = np.linalg.qr(rows.T)[0]
        basis = basis * np.sign(
            np.einsum("dk,kd->k", basis, rows)
        )  # QR turns some of Gram and Schmidt's vectors
        k = basis.shape[1]
        around = random.standard_normal((3, DIM))
        along = random.standard_normal((3, k))
        g = np.zeros(DIM)
        for xi, zeta in zip(around, along, strict=True):
            e = c * (
                math.sqrt(given["mix"] / DIM) * xi
                + math.sqrt((1 - given["mix"]) / k) * basis @ zeta
            )
            g += given["beta"] / (2 * c * c * 3) * e * (at(theta + e) - at(theta - e))
        theta = theta - a * g
        path.append(theta)
    follow(optimiser("guided-es", DIM, 3, popsize=6, guide=guide, **options), path)


def test_guided_directions_have_the_published_covariance() -> None:
    search = optimiser(
        "guided-es", 4, 0, popsize=40_000, guide=lambda z: np.eye(4)[:2], mix=0.25, c=2.0, gamma=0.0
    )
    steps = search.ask()[0::2] / 2.0
    assert np.allclose(
        np.cov(steps.T), np.diag([0.25 / 4 + 0.75 / 2] * 2 + [0.25 / 4] * 2), atol=0.01
    )


def test_guided_es_without_a_usable_gradient_is_isotropic() -> None:
    search = optimiser("guided-es", 4, 0, popsize=20_000, guide=lambda z: np.zeros((1, 4)), c=1.0)
    assert np.allclose(np.cov(search.ask()[0::2].T), np.eye(4) / 4, atol=0.01)


def reference_weight(a: float, d: int, q: int) -> float:
    """The λ that maximises the expected squared cosine of the estimate, found by looking (P-RGF,
    equation 12).
    """
    weight = np.linspace(0, 1, 200_001)
    rest = (1 - weight) / (d - 1) * (1 - a * a)
    top = (weight * a * a + rest) ** 2
    return float(
        weight[
            (
                top
                / ((1 - 1 / q) * (weight**2 * a * a + rest * (1 - weight) / (d - 1)) + top**0.5 / q)
            ).argmax()
        ]
    )


@pytest.mark.parametrize(("d", "q"), [(10, 3), (72, 10), (1000, 50)])
def test_the_prior_weight_is_the_best_one(d: int, q: int) -> None:
    for a in (0.5 / math.sqrt(d), 1 / math.sqrt(d), 0.15, 0.3, 0.5, 0.9):
        assert prior_weight(a, d, q) == pytest.approx(reference_weight(a, d, q), abs=2e-5)
    assert (prior_weight(0.0, d, q), prior_weight(1.0, d, q), prior_weight(1.7, d, q)) == (
        0.0,
        1.0,
        1.0,
    )


def test_p_rgf() -> None:
    options = {"s": 0.3, "a": 0.4, "o": 1.0, "alpha": 0.4, "probes": 3}
    random = stream(5, "optim", "p-rgf")
    q = 4
    theta = np.zeros(DIM)
    norm = 0.0
    path = []
    weights = []
    for i in range(13):
        v = guide(theta).sum(axis=0)
        v = v / np.linalg.norm(v)
        if i % 10 == 0 or i == 3:
            probes = random.standard_normal((3, DIM))
            probes = probes / np.linalg.norm(probes, axis=1, keepdims=True)
            norm = math.sqrt(
                DIM * np.mean([((at(theta + 0.3 * w) - at(theta)) / 0.3) ** 2 for w in probes])
            )
        a = (at(theta + 0.3 * v) - at(theta)) / 0.3 / norm
        v = v if a >= 0 else -v
        weights.append(prior_weight(abs(a), DIM, q))
        g = v
        if weights[-1] < 1:
            g = np.zeros(DIM)
            for xi in random.standard_normal((q, DIM)):
                free = xi - (xi @ v) * v
                u = math.sqrt(weights[-1]) * v + math.sqrt(1 - weights[-1]) * free / np.linalg.norm(
                    free
                )
                g = g + (at(theta + 0.3 * u) - at(theta)) / 0.3 * u / q
        theta = theta - options["a"] / (i + 1 + options["o"]) ** options[
            "alpha"
        ] * g / np.linalg.norm(g)
        path.append(theta)
    assert min(weights) < 1 and max(weights) == 1, "both branches are on the way"
    follow(optimiser("p-rgf", DIM, 5, popsize=q + 1, guide=guide, **options), path)


def test_p_rgf_batches_hold_their_own_pivot() -> None:
    search = optimiser("p-rgf", DIM, 0, guide=guide)
    sizes = []
    pivots = []
    for _ in range(20):
        z = search.ask()
        sizes.append(len(z))
        pivots.append(np.array_equal(z[0], search.recommend()))
        search.tell(z, bowl(z))
    assert set(sizes) <= {12, 2} and sizes[0] == 12 and 2 in sizes
    assert all(pivots)


def test_p_rgf_trusts_a_true_gradient_and_ignores_a_random_one() -> None:
    def distance(guide: Any) -> float:
        search = optimiser("p-rgf", 200, 0, guide=guide, a=1.0)
        drive(search, sphere, 600)
        return float(sphere(search.recommend()[None])[0])

    fixed = np.random.default_rng(0).standard_normal((1, 200))
    true, against, useless = (
        distance(g) for g in (lambda z: (z - 1)[None], lambda z: (1 - z)[None], lambda z: fixed)
    )
    assert true < 0.01
    assert against < 0.5 * useless, "a prior that points the wrong way is turned round"
    assert useless < 1


def test_p_rgf_in_one_variable_and_on_a_plateau() -> None:
    search = optimiser("p-rgf", 1, 0, guide=lambda z: np.ones((1, 1)), budget=100)
    drive(search, sphere, 100)
    assert sphere(search.recommend()[None])[0] < 0.5
    flat = optimiser("p-rgf", DIM, 0, guide=guide)
    drive(flat, lambda z: np.zeros(len(z)), 60)
    assert flat.recommend().tobytes() == np.zeros(DIM).tobytes()


@pytest.mark.parametrize(
    "options", [dict(BanditsTd.published), {"h": 0.4, "e": 0.5, "lr": 2.0, "a": 0.3, "o": 1.0}]
)
def test_bandits_td(options: dict[str, Any]) -> None:
    given = {"alpha": 0.4, **options}
    random = stream(3, "optim", "bandits-td")
    h = given["h"]
    e = given["e"]
    theta = np.zeros(DIM)
    v = np.zeros(DIM)
    path = []
    for i in range(1, 6):
        g = np.zeros(DIM)
        for u in random.standard_normal((2, DIM)):
            noise = e * u / math.sqrt(DIM)
            one = v + noise
            two = v - noise
            one = one / np.linalg.norm(one)
            two = two / np.linalg.norm(two)
            g += (at(theta + h * one) - at(theta + h * two)) / (h * e) * noise / 2
        v = v + given["lr"] * g
        theta = theta - given["a"] / (i + given["o"]) ** given["alpha"] * v / np.linalg.norm(v)
        path.append(theta)
    follow(optimiser("bandits-td", DIM, 3, popsize=4, **options), path)


@pytest.mark.parametrize("name", ["p-rgf", "guided-es"])
def test_a_guide_is_needed_and_checked(name: str) -> None:
    with pytest.raises(UsageError, match="needs surrogate gradients: pass guide="):
        optimiser(name, DIM, 0)
    for shape in ((DIM,), (0, DIM), (1, DIM + 1)):
        with pytest.raises(UsageError, match="the guide gave an array of shape"):
            optimiser(name, DIM, 0, guide=lambda z, shape=shape: np.ones(shape)).ask()
    assert optimiser(name, DIM, 0, guide=guide).resolved["guide"] is True
    with pytest.raises(UsageError, match="guide must be a function"):
        Start(DIM, 0, guide=np.ones((1, DIM)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["p-rgf", "guided-es"])
def test_a_guide_that_fails_once_changes_nothing(name: str) -> None:
    calls = []

    def shaky(z: Vector) -> Matrix:
        calls.append(z)
        return guide(z) * (np.nan if len(calls) == 3 else 1.0)

    harmed, sound = (optimiser(name, DIM, 0, guide=each) for each in (shaky, guide))
    failures = 0
    for _ in range(6):
        try:
            z = harmed.ask()
        except BbtvpError:
            failures += 1
            z = harmed.ask()
        assert z.tobytes() == sound.ask().tobytes()
        for search in (harmed, sound):
            search.tell(z, bowl(z))
    assert failures == 1


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("spsa", {"popsize": 5}, "must be even"),
        ("spsa", {"perturbation": "gauss"}, "must be rademacher or segmented"),
        ("spsa", {"a": "fast"}, "option a must be finite"),
        ("nes", {"c": 0.0}, "option c"),
        ("nes", {"rate": 1.0}, "unknown option of nes"),
        ("rgf", {"popsize": 1}, "at least 2"),
        ("rgf", {"steps": 0}, "option steps must be an integer"),
        ("rgf", {"end": -1.0}, "option end"),
        ("guided-es", {"mix": 1.5}, "mix must be in"),
        ("guided-es", {"memory": 0}, "option memory"),
        ("p-rgf", {"popsize": 2}, "at least 3"),
        ("p-rgf", {"popsize": 5, "probes": 4}, "popsize 5 has room for 3"),
        ("bandits-td", {"popsize": 3}, "must be even"),
        ("bandits-td", {"e": 0.0}, "option e"),
    ],
)
def test_bad_options_are_refused(name: str, bad: dict[str, Any], message: str) -> None:
    needs = {"guide": guide} if name in ("guided-es", "p-rgf") else {}
    with pytest.raises(UsageError, match=message):
        optimiser(name, DIM, 0, **needs, **bad)
