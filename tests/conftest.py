"""What holds for every test: no network, one thread, no window, one day, and nothing written into
the checkout.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from bbtvp.core import clock

# Read once, when the libraries are first imported: so set here, and inherited by every process that
# a test starts.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["OMP_NUM_THREADS"] = "1"

# A shell ignores Ctrl-C for what it runs in the background, and so would every process that a test
# interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no bug: no test fails because it took long. Every run draws the same examples:
# what fails is the change.
settings.register_profile(
    "bbtvp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("bbtvp")


@pytest.fixture(autouse=True, scope="session")
def _one_day() -> Iterator[None]:
    """The day on which the vendors' tables were read: later, models end and prices change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "today", lambda: date(2026, 11, 30))
        yield


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in a folder of its own, so that a relative path cannot reach the checkout.

    The store of replies is there too: none of the user's answers is seen, and none of ours kept.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BBTVP_STORE", str(tmp_path / "replies.sqlite"))
