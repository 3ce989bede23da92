"""What every optimiser owes its caller, whatever its method."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import JournalError, UsageError
from bbtvp.optim import optimiser, replay
from tests.optim.support import DIM, NAMES, drive, global_state, make, sphere

pytestmark = [pytest.mark.parametrize("name", NAMES), pytest.mark.filterwarnings("ignore::Warning")]


def test_ask_is_a_float64_batch_and_idempotent(name: str) -> None:
    search = make(name)
    z = search.ask()
    assert z.shape == (search.popsize, DIM) and z.dtype == np.float64
    again = search.ask()
    assert again.tobytes() == z.tobytes()
    search.tell(again, sphere(again))
    assert search.ask().tobytes() != z.tobytes()


def test_the_asked_batch_cannot_be_altered(name: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        make(name).ask()[0, 0] = 7.0


@pytest.mark.parametrize("seed", [0, 2**40])
def test_equal_seeds_repeat_to_the_bit_whatever_the_global_state(name: str, seed: int) -> None:
    np.random.seed(1)
    first = make(name, seed=seed)
    one = [z.tobytes() for z, _ in drive(first, sphere, 60)]
    np.random.seed(2)
    second = make(name, seed=seed)
    two = [z.tobytes() for z, _ in drive(second, sphere, 60)]
    assert one == two
    assert first.recommend().tobytes() == second.recommend().tobytes()


def test_different_seeds_differ(name: str) -> None:
    def asked(seed: int) -> list[bytes]:
        return [z.tobytes() for z, _ in drive(make(name, seed=seed), sphere, 40)]

    assert asked(0) != asked(1)


def test_numpys_global_state_is_untouched(name: str) -> None:
    np.random.seed(3)
    np.random.standard_normal()  # leaves half a pair in the cache: that is state too
    before = global_state()
    search = make(name)
    assert global_state() == before, "by construction"
    for _ in range(max(2, 100 // search.popsize)):
        z = search.ask()
        assert global_state() == before, "by ask"
        search.tell(z, sphere(z))
        assert global_state() == before, "by tell"
    search.recommend()
    assert global_state() == before, "by recommend"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_refused_and_harms_nothing(name: str, bad: float) -> None:
    harmed, sound = make(name), make(name)
    z = harmed.ask()
    losses = sphere(z)
    losses[-1] = bad
    with pytest.raises(UsageError, match="NaN or infinite"):
        harmed.tell(z, losses)
    assert harmed.ask().tobytes() == z.tobytes()
    one, two = drive(harmed, sphere, 40), drive(sound, sphere, 40)
    assert [z.tobytes() for z, _ in one] == [z.tobytes() for z, _ in two]


def test_tell_takes_exactly_the_asked_batch(name: str) -> None:
    search = make(name)
    with pytest.raises(UsageError, match="tell before ask"):
        search.tell(np.zeros((search.popsize, DIM)), np.zeros(search.popsize))
    z = search.ask()
    losses = sphere(z)
    for wrong in (z + 1e-12, z[:-1], z[:, :-1], np.vstack((z, z))):
        with pytest.raises(UsageError, match="was not asked"):
            search.tell(wrong, losses)
    with pytest.raises(UsageError, match="one per candidate"):
        search.tell(z, np.append(losses, 0.0))
    search.tell(z, losses)
    with pytest.raises(UsageError, match="tell before ask"):
        search.tell(z, losses)


def test_the_order_of_the_batch_counts(name: str) -> None:
    search = make(name)
    z = search.ask()
    if len(z) > 1:
        with pytest.raises(UsageError, match="in order"):
            search.tell(z[::-1], sphere(z[::-1]))


def test_the_callers_losses_are_left_alone(name: str) -> None:
    search = make(name)
    z = search.ask()
    losses = sphere(z)
    kept = losses.copy()
    search.tell(z, losses)
    losses[:] = 1e9
    search.ask()
    assert not np.array_equal(losses, kept)
    assert np.isfinite(search.recommend()).all()


def test_it_gets_closer_to_the_optimum(name: str) -> None:
    search = make(name)
    start = sphere(search.recommend()[None])[0]
    assert start == 1.0, "before anything is told the recommendation is x0"
    drive(search, sphere, 240)
    assert sphere(search.recommend()[None])[0] < 0.5 * start


def test_recommend_is_pure_and_owned_by_the_caller(name: str) -> None:
    search, twin = make(name), make(name)
    for each in (search, twin):
        drive(each, sphere, 40)
    point = search.recommend()
    search.recommend()[:] = 9.0
    assert search.recommend().tobytes() == point.tobytes()
    assert search.ask().tobytes() == twin.ask().tobytes()


def test_replay_restores_the_state(name: str) -> None:
    search = make(name)
    history = drive(search, sphere, 80)
    resumed = make(name)
    replay(resumed, history)
    assert resumed.ask().tobytes() == search.ask().tobytes()
    assert resumed.recommend().tobytes() == search.recommend().tobytes()


def test_replay_refuses_a_journal_of_another_run(name: str) -> None:
    history = drive(make(name, seed=1), sphere, 40)
    with pytest.raises(JournalError, match="is not what"):
        replay(make(name, seed=2), history)


def test_resolved_is_json_and_names_what_was_chosen(name: str) -> None:
    search = make(name)
    resolved = search.resolved
    assert canonical_json(resolved)
    assert resolved["method"] == name and resolved["popsize"] == search.popsize == len(search.ask())
    assert (resolved["dim"], resolved["seed"], resolved["sigma"]) == (DIM, 0, 1.0)


def test_x0_and_sigma_place_the_first_batch(name: str) -> None:
    centre = np.full(DIM, 50.0)
    search = optimiser(name, DIM, 0, sigma=0.1, x0=centre, budget=100)
    assert np.abs(search.ask() - centre).max() < 2.0
    assert search.recommend().tobytes() == centre.tobytes()
    centre[:] = 0
    assert search.resolved["x0"] == digest(np.full(DIM, 50.0).tobytes())


def test_constant_losses_do_not_break_it(name: str) -> None:
    search = make(name)
    drive(search, lambda z: np.full(len(z), 0.5), 200)
    assert np.isfinite(search.ask()).all()


def test_dim_0_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="at least 1 variable"):
        optimiser(name, 0, 0, budget=10)


def test_another_process_asks_the_same(name: str, others: dict[str, str]) -> None:
    search = make(name)
    drive(search, sphere, 80)
    assert digest(search.ask().tobytes()) == others[name]


@pytest.fixture(scope="session")
def others() -> dict[str, str]:
    """What a new process asks after 80 candidates, with another hash seed."""
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from bbtvp.core.digest import digest\n"
        "from tests.optim.support import NAMES, drive, make, sphere\n"
        "for name in NAMES:\n"
        "    search = make(name); drive(search, sphere, 80)\n"
        "    print('asked', name, digest(search.ask().tobytes()))\n"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=60)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("asked ")]
    return {name: value for _, name, value in lines}
