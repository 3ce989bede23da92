"""A writer that is killed at any step of any write loses nothing that it had said was there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.prompt import Placement, PromptSpace
from bbtvp.registry import PromptRegistry
from bbtvp.registry.records import EVIDENCE, EvidenceRecord, EvidenceRow

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")

SPACE = PromptSpace((Placement(),), 32)
DAY = date(2026, 11, 30)


def work(url: str) -> None:
    """Make a registry, add two prompts and a proof, and take one back."""
    registry = PromptRegistry.create(url)
    for number in (1, 2):
        prompt = SPACE.prompt(np.full(SPACE.dim, number / 4))
        path = Path(f"prompt-{number}.vprompt")
        if not path.exists():
            prompt.save(path, {"task": f"task-{number}"})
        entry = registry.add(path)
    row = EvidenceRow(
        prompt=entry.facts.prompt,
        model="a/b",
        date=DAY,
        zero_shot=0.5,
        prompted=0.6,
        gain=0.1,
        ci=(0.0, 0.2),
        verdict="go",
    )
    registry.keep(EVIDENCE, EvidenceRecord(rows=(row,)))
    registry.retire(entry.digest, "as a test", DAY)


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do the work in a child that dies at a step of a write; whether it came to that step.

    A write has three steps: the data are in a temporary file, they are synced, they have their
    name.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    left = [step]

    def fatal(done: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            found = done(*arguments)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return stepped

    monkeypatch.setattr(os, "fsync", fatal(os.fsync))
    monkeypatch.setattr(Path, "replace", fatal(Path.replace))
    code = 1
    try:
        work("prompts")
        code = 0
    finally:
        os._exit(code)


def test_killed_at_every_step_of_every_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work("whole")
    whole = Path("whole/index.json").read_bytes()
    step = 0
    while True:
        step += 1
        place = tmp_path / f"step-{step}"
        place.mkdir()
        monkeypatch.chdir(place)
        if not killed_at(step, monkeypatch):
            break
        if Path("prompts/registry.json").exists():
            names = [path.name for path in Path("prompts").rglob("*.vprompt")]
            found = PromptRegistry.open("prompts")
            there = {name for name in names if not name.startswith(".")}
            assert {f"{entry.digest}.vprompt" for entry in found.entries()} == there
            assert found.index.damaged == {}
        else:
            with pytest.raises(UsageError, match="bbtvp registry init"):
                PromptRegistry.open("prompts")
        work("prompts")
        assert Path("prompts/index.json").read_bytes() == whole
    assert step > 30
