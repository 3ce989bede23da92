"""Every method keeps the contract of an optimiser, in this process and in another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.digest import digest
from bbtvp.optim import METHODS, Optimiser
from bbtvp.testing import OptimiserContract
from tests.optim.support import NAMES, drive, make, sphere

SHARES = {"cma@3": 0.1, "p-rgf@4": 0.1, "ng:DE@3": 0.1, "catcma": 0.3, "bandits-td": 0.2}
"""What lies below one half. 5 variables cannot be solved in 3 or 4 directions, nor with three of
them one-hot, and the steps of bandits-td are made for more dimensions.
"""


@pytest.mark.filterwarnings("ignore::Warning")
class TestEveryMethod(OptimiserContract):
    name: str

    @pytest.fixture(autouse=True, params=NAMES)
    def _of(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param
        self.improves = SHARES.get(self.name, 0.5)
        self.wide = 5 if self.name in ("random", "ng:PSO") else 20
        self.placed = (0, 4) if self.name == "catcma" else None

    def make(self, dim: int, seed: int, **settings: Any) -> Optimiser:
        if self.name == "catcma" and dim == 0:
            settings["choices"] = ()
        return make(self.name, dim, seed, **settings)

    def test_the_method_is_the_one_that_was_named(self) -> None:
        assert self._new().resolved["method"] == self.name

    def test_another_process_asks_the_same(self, others: dict[str, str]) -> None:
        search = self._new()
        drive(search, sphere, 80)
        assert digest(search.ask().tobytes()) == others[self.name]


def test_every_method_is_listed() -> None:
    assert set(METHODS) <= set(NAMES)


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
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("asked ")]
    return {name: value for _, name, value in lines}
