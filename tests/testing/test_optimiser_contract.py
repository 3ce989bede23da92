"""The contract passes what keeps it, and names what breaks it."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.optim import JSON, Optimiser, Start
from bbtvp.testing import ContractBroken, OptimiserContract
from bbtvp.testing.support import refused


class Walk(Optimiser):
    """A third party's own: a (1 + n) evolution strategy with the one-fifth rule."""

    def __init__(self, start: Start) -> None:
        super().__init__("walk", start, start.popsize or 8)
        self._random = stream(self.seed, "walk")
        self._best = start.origin()
        self._lowest = np.inf
        self._size = start.sigma

    def _ask(self) -> Matrix:
        return self._best + self._size * self._random.standard_normal((self.popsize, self.dim))

    def _tell(self, z: Matrix, losses: Vector) -> None:
        better = losses.min() < self._lowest
        if better:
            self._best = z[losses.argmin()]
            self._lowest = losses.min()
        self._size *= 1.3 if better else 0.8

    def _recommend(self) -> Vector:
        return self._best

    def _options(self) -> dict[str, JSON]:
        return {}


class TestWalk(OptimiserContract):
    def make(self, dim: int, seed: int, **settings: Any) -> Optimiser:
        return Walk(Start(dim, seed, **settings))


def test_it_runs_without_pytest() -> None:
    TestWalk.check_all()


class Clock(Walk):
    """Draws from everywhere but its own stream."""

    def _ask(self) -> Matrix:
        return self._best + self._size * np.random.standard_normal((self.popsize, self.dim))


class Shuffled(Walk):
    def _tell(self, z: Matrix, losses: Vector) -> None:
        random.random()
        super()._tell(z, losses)


class Deaf(Walk):
    def _tell(self, z: Matrix, losses: Vector) -> None:
        pass


class Elsewhere(Walk):
    def _ask(self) -> Matrix:
        return super()._ask() - self.start.origin()


class Narrow(Walk):
    def _ask(self) -> Matrix:
        return self._best + 0.01 * self._random.standard_normal((self.popsize, self.dim))


class Fragile(Walk):
    def _tell(self, z: Matrix, losses: Vector) -> None:
        spread = losses.std()
        super()._tell(z, losses)
        self._size = self._size * 0.8 if spread > 0 else np.nan


class Restless(Walk):
    def _recommend(self) -> Vector:
        return self._best + 1e-9 * self._random.standard_normal(self.dim)


class Talkative(Walk):
    def _options(self) -> dict[str, JSON]:
        return {"size": self._size}


class Array(Walk):
    def _options(self) -> dict[str, JSON]:
        return {"best": self._best}  # type: ignore[dict-item]


class Uphill(Walk):
    def _tell(self, z: Matrix, losses: Vector) -> None:
        super()._tell(z, -losses)


class Seedless(Walk):
    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._random = stream(0, "walk")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("broken", "check", "error"),
    [
        (Clock, "test_global_random_state_is_left_alone", ContractBroken),
        (Clock, "test_equal_seeds_and_losses_give_equal_searches", ContractBroken),
        (Shuffled, "test_global_random_state_is_left_alone", ContractBroken),
        (Deaf, "test_other_losses_lead_elsewhere", ContractBroken),
        (Deaf, "test_the_loss_falls", ContractBroken),
        (Uphill, "test_the_loss_falls", ContractBroken),
        (Elsewhere, "test_x0_and_sigma_place_the_first_batch", ContractBroken),
        (Narrow, "test_x0_and_sigma_place_the_first_batch", ContractBroken),
        (Fragile, "test_equal_losses_leave_the_search_finite", Exception),
        (Restless, "test_recommend_gives_a_copy_and_changes_nothing", ContractBroken),
        (Talkative, "test_resolved_is_json_and_complete", ContractBroken),
        (Array, "test_resolved_is_json_and_complete", TypeError),
        (Seedless, "test_another_seed_gives_another_search", ContractBroken),
        (Seedless, "test_replay_refuses_another_run", ContractBroken),
    ],
)
def test_what_breaks_it_is_found(broken: type[Walk], check: str, error: type[Exception]) -> None:
    class Contract(OptimiserContract):
        def make(self, dim: int, seed: int, **settings: Any) -> Optimiser:
            return broken(Start(dim, seed, **settings))

    with pytest.raises(error):
        getattr(Contract(), check)()


class Duck:
    """No subclass of ours at all: the final methods of `Optimiser` are what the rest of the
    contract rests on.
    """

    def __init__(self, start: Start) -> None:
        self._inner = Walk(start)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def tell(self, z: Matrix, losses: Vector) -> None:
        self._inner._tell(z, losses)
        self._inner._batch = None


@pytest.mark.parametrize(
    "check",
    [
        "test_only_the_asked_batch_can_be_told",
        "test_losses_that_are_not_finite_are_refused_and_change_nothing",
    ],
)
def test_one_that_believes_everything_is_found(check: str) -> None:
    class Contract(OptimiserContract):
        def make(self, dim: int, seed: int, **settings: Any) -> Any:
            return Duck(Start(dim, seed, **settings))

    with pytest.raises(ContractBroken):
        getattr(Contract(), check)()


def test_a_refusal_is_one_line_that_says_why() -> None:
    with refused("fine", "two", "three"):
        raise UsageError("it is three")
    with pytest.raises(ContractBroken, match="says something else"), refused("silent", "two"):
        raise UsageError("it is three")
    with pytest.raises(ContractBroken, match="several lines"), refused("long"):
        raise UsageError("it\nis")
    with pytest.raises(ContractBroken, match="nothing was raised"), refused("lax"):
        pass


def test_it_is_light_and_needs_no_pytest() -> None:
    code = (
        "import sys, bbtvp.testing; print([m for m in ('pytest', 'torch', 'cma', 'nevergrad') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
