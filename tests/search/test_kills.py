"""A few kills at random instants, on a miniature model; `tests/benchmarks/kills.py` makes as many
as you like.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
]


def kills(*options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/benchmarks/kills.py"), *options, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_killed_ten_times_nothing_is_asked_again_and_the_prompt_is_the_same() -> None:
    found = kills("--kills", "10", "--budget", "200")
    assert found["kills"] == 10
    assert (found["repeated"], found["differing"]) == (0, 0)


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_ends_a_run_at_once_and_leaves_the_journal_whole(name: str) -> None:
    found = kills("--signal", name, "--kills", "3", "--budget", "200")
    assert found["exit codes"] == [130]
    assert found["most s"] < 10  # 2 s on a machine that does nothing else
    assert (found["torn journals"], found["differing"]) == (0, 0)
