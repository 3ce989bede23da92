"""The contract of an optimiser, as tests that anyone can run on an optimiser of their own.

class TestMine(OptimiserContract):
    def make(self, dim, seed, **settings):
        return MyOptimiser(Start(dim, seed, **settings))
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import canonical_json
from bbtvp.core.errors import JournalError
from bbtvp.optim import Optimiser, replay
from bbtvp.optim.global_random import GlobalRandom, global_digest
from bbtvp.testing.support import Contract, ContractBroken, ensure, refused

Loss: TypeAlias = Callable[[Matrix], Vector]


class OptimiserContract(Contract, ABC):
    """Checks of an optimiser: shapes, determinism, replay, refusals, progress.

    Subclass it under a name that begins with Test, implement `make`, and run pytest. A subclass may
    set these:

    dim, wide: a small and a moderate number of variables.
    candidates: how many the checks spend that need some progress.
    improves: the share by which the loss on a sphere must fall with these candidates.
    placed: the variables that follow x0 and sigma, if not all do. A categorical one does not.
    """

    dim: int = 5
    candidates: int = 240
    improves: float = 0.5
    placed: tuple[int, ...] | None = None
    wide: int = 20

    @abstractmethod
    def make(self, dim: int, seed: int, **settings: Any) -> Optimiser:
        """A new search with these settings of `Start` (sigma, x0, …).

        It must be able to spend `candidates`.
        """

    # -- batches -----------------------------------------------------------------------------------
    def test_a_batch_has_its_shape(self) -> None:
        search = self._new()
        for _ in range(4):
            z = search.ask()
            ensure(
                z.ndim == 2 and z.shape[1] == self.dim, f"a batch is (n, {self.dim}), not {z.shape}"
            )
            ensure(
                1 <= len(z) <= search.popsize,
                f"a batch has 1 to {search.popsize} rows (popsize), not {len(z)}",
            )
            ensure(
                z.dtype == np.float64 and bool(np.isfinite(z).all()), "a batch is finite float64"
            )
            search.tell(z, sphere(z))

    def test_asking_again_changes_nothing(self) -> None:
        search = self._new()
        z = search.ask()
        ensure(search.ask().tobytes() == z.tobytes(), "ask returns the same batch until it is told")
        search.tell(z, sphere(z))
        ensure(search.ask().tobytes() != z.tobytes(), "ask returns another batch after a tell")

    def test_a_batch_is_read_only(self) -> None:
        ensure(not self._new().ask().flags.writeable, "an asked batch is read-only")

    def test_x0_and_sigma_place_the_first_batch(self) -> None:
        centre = np.full(self.dim, 50.0)
        search = self.make(self.dim, 0, sigma=0.1, x0=centre)
        placed = list(range(self.dim) if self.placed is None else self.placed)
        away = float(np.abs(search.ask() - centre)[:, placed].max())
        ensure(0 < away < 2.0, f"sigma 0.1 around x0 = 50 asks near 50, not {away:g} away")
        ensure(
            search.recommend().tobytes() == centre.tobytes(),
            "before anything is told, the recommendation is x0",
        )
        wide = np.abs(self.make(self.dim, 0, sigma=10.0, x0=centre).ask() - centre)[:, placed].max()
        ensure(wide > 5 * away, "a sigma 100 times as large asks further from x0")

    def test_the_callers_x0_is_copied(self) -> None:
        centre = np.full(self.dim, 2.0)
        search, twin = (self.make(self.dim, 0, x0=each) for each in (centre, centre.copy()))
        centre[:] = -7
        ensure(
            search.ask().tobytes() == twin.ask().tobytes(),
            "an x0 that its caller changes later changes nothing",
        )

    # -- determinism -------------------------------------------------------------------------------
    def test_equal_seeds_and_losses_give_equal_searches(self) -> None:
        for seed in (0, 2**40):
            one = self._new(seed)
            two = self._new(seed)
            with GlobalRandom(1).lent():
                first = drive(one, sphere, 60)
            with GlobalRandom(2).lent():
                second = drive(two, sphere, 60)
            ensure(
                _asked(first) == _asked(second),
                "equal seeds and losses ask the same, whatever the global state",
            )
            ensure(one.recommend().tobytes() == two.recommend().tobytes(), "and recommend the same")

    def test_another_seed_gives_another_search(self) -> None:
        one, two = (drive(self._new(seed), sphere, 40) for seed in (0, 1))
        ensure(_asked(one) != _asked(two), "another seed gives another search")

    def test_other_losses_lead_elsewhere(self) -> None:
        one = self._new()
        two = self._new()
        drive(one, sphere, self.candidates)
        drive(two, lambda z: sphere(-z), self.candidates)
        ensure(
            one.recommend().tobytes() != two.recommend().tobytes(), "other losses lead elsewhere"
        )

    def test_global_random_state_is_left_alone(self) -> None:
        before = global_digest()
        search = self._new()
        ensure(global_digest() == before, "construction leaves the global random state as it was")
        for _ in range(4):
            z = search.ask()
            ensure(global_digest() == before, "ask leaves the global random state as it was")
            search.tell(z, sphere(z))
            ensure(global_digest() == before, "tell leaves the global random state as it was")
        search.recommend()
        ensure(global_digest() == before, "recommend leaves the global random state as it was")

    def test_replay_restores_the_state(self) -> None:
        search = self._new()
        resumed = self._new()
        replay(resumed, drive(search, sphere, 80))
        ensure(
            resumed.ask().tobytes() == search.ask().tobytes(),
            "a replayed search asks what the first one asks",
        )
        ensure(
            resumed.recommend().tobytes() == search.recommend().tobytes(), "and recommends the same"
        )

    def test_replay_refuses_another_run(self) -> None:
        history = drive(self._new(1), sphere, 40)
        try:
            replay(self._new(2), history)
        except JournalError:
            return
        raise ContractBroken("the journal of another seed is refused")

    # -- what is told ------------------------------------------------------------------------------
    def test_losses_that_are_not_finite_are_refused_and_change_nothing(self) -> None:
        for bad in (np.nan, np.inf, -np.inf):
            harmed = self._new()
            sound = self._new()
            z = harmed.ask()
            losses = sphere(z)
            losses[-1] = bad
            with refused(f"a loss of {bad} is refused"):
                harmed.tell(z, losses)
            one = drive(harmed, sphere, 40)
            two = drive(sound, sphere, 40)
            ensure(_asked(one) == _asked(two), "a refused tell changes nothing")

    def test_only_the_asked_batch_can_be_told(self) -> None:
        search = self._new()
        twin = self._new()
        with refused("tell before ask is refused"):
            search.tell(np.zeros((1, self.dim)), np.zeros(1))
        z = search.ask()
        losses = sphere(z)
        for wrong in (z + 1e-9, z[:-1], z[:, :-1], np.vstack((z, z))):
            with refused("a batch that was not asked is refused"):
                search.tell(wrong, losses)
        if len(z) > 1:
            with refused("a batch in another order is refused"):
                search.tell(z[::-1], losses[::-1])
        for several in (np.append(losses, 0.0), losses[:-1], losses[None]):
            with refused("anything but one loss per candidate is refused"):
                search.tell(z, several)
        search.tell(z, losses)
        with refused("a batch is told once"):
            search.tell(z, losses)
        twin.tell(twin.ask(), losses)
        ensure(search.ask().tobytes() == twin.ask().tobytes(), "refused tells change nothing")

    def test_the_callers_losses_are_left_alone(self) -> None:
        search = self._new()
        twin = self._new()
        z = search.ask()
        losses = sphere(z)
        kept = losses.copy()
        search.tell(z, losses)
        ensure(losses.tobytes() == kept.tobytes(), "tell does not write into the caller's losses")
        losses[:] = 1e9
        twin.tell(twin.ask(), kept)
        ensure(
            search.ask().tobytes() == twin.ask().tobytes(),
            "losses that change after the tell change nothing",
        )

    def test_equal_losses_leave_the_search_finite(self) -> None:
        for loss in (
            lambda z: np.full(len(z), 0.5),
            lambda z: np.zeros(len(z)),
            lambda z: np.round(sphere(z)),
        ):
            search = self._new()
            drive(search, loss, 200)
            ensure(
                bool(np.isfinite(search.ask()).all()),
                "ties and constant losses leave the candidates finite",
            )
            ensure(bool(np.isfinite(search.recommend()).all()), "and the recommendation")

    # -- results -----------------------------------------------------------------------------------
    def test_the_loss_falls(self) -> None:
        search = self._new()
        start = float(sphere(search.recommend()[None])[0])
        drive(search, sphere, self.candidates)
        end = float(sphere(search.recommend()[None])[0])
        ensure(
            end <= (1 - self.improves) * start,
            f"after {self.candidates} candidates on a sphere the loss falls from {start:g} "
            f"by {self.improves:.0%}, not to {end:g}",
        )

    def test_the_loss_falls_in_more_variables(self) -> None:
        search = self.make(self.wide, 0)
        drive(search, sphere, self.candidates)
        end = float(sphere(search.recommend()[None])[0])
        ensure(
            end < 1,
            f"after {self.candidates} candidates in {self.wide} variables the loss is below that "
            f"at x0, 1, not {end:g}",
        )

    def test_recommend_gives_a_copy_and_changes_nothing(self) -> None:
        search = self._new()
        twin = self._new()
        for each in (search, twin):
            drive(each, sphere, 40)
        point = search.recommend()
        ensure(
            point.shape == (self.dim,) and bool(np.isfinite(point).all()),
            "a recommendation is (dim,) and finite",
        )
        search.recommend()[:] = 9.0
        ensure(
            search.recommend().tobytes() == point.tobytes(),
            "a recommendation that its caller changes changes nothing",
        )
        ensure(
            search.ask().tobytes() == twin.ask().tobytes(), "recommend does not change the search"
        )

    def test_a_memory_is_json_and_enough_to_resume(self) -> None:
        search = self._new()
        other = self._new()
        if search.memory is None:
            with refused("an optimiser without a memory cannot be resumed", "replay"):
                other.resume([], None)
            return
        told = drive(search, sphere, self.candidates)
        other.resume([(z, sphere(z)) for z, _ in told], json.loads(canonical_json(search.memory)))
        ensure(
            other.recommend().tobytes() == search.recommend().tobytes(),
            "a resumed search recommends the same",
        )
        for _ in range(2):
            z = search.ask()
            ensure(other.ask().tobytes() == z.tobytes(), "a resumed search asks the same")
            search.tell(z, sphere(z))
            other.tell(z, sphere(z))
        with refused("a search that has begun is not resumed", "new one"):
            other.resume([], search.memory)

    def test_resolved_is_json_and_complete(self) -> None:
        search = self._new(7)
        resolved = search.resolved
        text = canonical_json(resolved)
        for name, value in (
            ("dim", self.dim),
            ("seed", 7),
            ("popsize", search.popsize),
            ("method", search.method),
        ):
            ensure(
                resolved.get(name) == value,
                f"resolved holds {name} = {value!r}, not {resolved.get(name)!r}",
            )
        drive(search, sphere, 40)
        ensure(
            canonical_json(search.resolved) == text,
            "resolved stays as it was while the search goes on",
        )
        ensure(canonical_json(self._new(7).resolved) == text, "equal settings resolve equally")

    def test_no_variables_are_refused(self) -> None:
        with refused("dim 0 is refused"):
            self.make(0, 0)

    def _new(self, seed: int = 0) -> Optimiser:
        return self.make(self.dim, seed)


def sphere(z: Matrix) -> Vector:
    """(n,) mean of squares around 1: 1 at the origin, 0 at the optimum."""
    return np.asarray(((z - 1) ** 2).mean(axis=1))


def drive(search: Optimiser, loss: Loss, candidates: int) -> list[tuple[Matrix, Vector]]:
    """Ask and tell, at least once, until `candidates` are spent; all (batch, losses) pairs."""
    history: list[tuple[Matrix, Vector]] = []
    spent = 0
    while not history or spent < candidates:
        z = search.ask()
        losses = loss(z)
        search.tell(z, losses)
        spent += len(z)
        history.append((z, losses))
    return history


def _asked(history: list[tuple[Matrix, Vector]]) -> list[bytes]:
    return [z.tobytes() for z, _ in history]
