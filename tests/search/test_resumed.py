"""A search that goes on takes what a slow optimiser asked from the journal, and ends where it would
have ended.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.core.arrays import Matrix
from bbtvp.core.errors import JournalError
from bbtvp.optim.gp import GaussianProcess
from tests.jobs.made import lines, made, rewrite
from tests.support import install_plugin


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Matrix]:
    """What a Gaussian process had to work out."""
    found: list[Matrix] = []
    once = GaussianProcess._ask

    def ask(self: GaussianProcess) -> Matrix:
        found.append(once(self))
        return found[-1]

    monkeypatch.setattr(GaussianProcess, "_ask", ask)
    return found


def search(folder: str) -> Any:
    return made(folder, budget=300, method="gp")


def torn(generations: int) -> None:
    """The run as it lay after so many generations."""
    shutil.rmtree("torn", ignore_errors=True)
    Path("torn").mkdir()
    kept = []
    seen = 0
    for record in lines("whole"):
        if seen == generations:
            break
        kept.append(record)
        seen += "evaluations" in record
    rewrite("torn", kept)


def test_only_the_last_known_generation_is_asked_again(asked: list[Matrix]) -> None:
    whole = search("whole").prompt
    total = len(asked)
    assert total > 8
    for generations in (0, 1, 2, total - 3):
        asked.clear()
        torn(generations)
        assert search("torn").prompt.digest == whole.digest
        assert len(asked) == total - max(0, generations - 1)
        assert lines("torn") == lines("whole")


def test_a_journal_without_candidates_is_replayed(asked: list[Matrix]) -> None:
    whole = search("whole").prompt
    total = len(asked)
    torn(4)
    rewrite(
        "torn",
        [{k: v for k, v in one.items() if k not in ("asked", "memory")} for one in lines("torn")],
    )
    asked.clear()
    assert search("torn").prompt.digest == whole.digest
    assert len(asked) == total


def test_other_libraries_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    search("whole")
    torn(5)
    drawn = GaussianProcess._drawn
    monkeypatch.setattr(GaussianProcess, "_drawn", lambda self: np.nextafter(drawn(self), 9.0))
    with pytest.raises(JournalError, match="step tone/4 was journalled for other candidates"):
        search("torn")


def test_candidates_and_memory_are_kept_to_the_bit() -> None:
    search("whole")
    steps = [record for record in lines("whole") if "evaluations" in record]
    assert all(np.array(step["asked"]).shape == (len(step["evaluations"]), 3) for step in steps)
    assert all(json.loads(json.dumps(step["memory"])) == step["memory"] for step in steps)
    made("other", budget=300, method="cma")
    assert not any("asked" in record for record in lines("other"))
