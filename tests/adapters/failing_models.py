"""Models that die, err or dawdle in the workers of a Ray cluster, each in its own way; the tests'
`Eye` answers.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from bbtvp.core.errors import ModelError
from bbtvp.models import Budget, Model, Outcome, Reply, Request, Usage
from tests.support import Eye, Vendor, Wrapper

DEADLY = "which of these kills?"


def frail(name: str, *, folder: str = "", inner: str = "") -> Model:
    """`frail/<name>`; folder is where it leaves word of itself, inner the model that answers
    instead of `Eye`.
    """
    if name == "vendor":
        return Vendor()
    if name == "stillborn":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "missing":
        raise ModelError("there are no such weights; name others")
    if name == "two-faced":  # each worker holds another
        return Eye(f"eye/{os.getpid()}")
    return Frail(name, Path(folder), inner)


@final
class Frail(Wrapper):
    """Kind, as all of its kind until something else is asked of it."""

    def __init__(self, kind: str, folder: Path, inner: str) -> None:
        if inner:
            from bbtvp.models import load_model

            super().__init__(load_model(inner))
        else:
            super().__init__(Eye(f"frail/{kind}"))
        self.kind = kind
        self.folder = folder

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        if self.kind == "candid":
            return [Reply(f"{os.getpid()} {request.text}") for request in requests]
        if self.kind == "threads":
            import torch

            return [Reply(str(torch.get_num_threads())) for _ in requests]
        if self.kind == "deadly" and any(request.text == DEADLY for request in requests):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "refusing":
            raise ModelError("the weights are gone; fetch them again")
        if self.kind == "buggy" and any(request.text == DEADLY for request in requests):
            raise ZeroDivisionError("a bug")
        if self.kind == "held":
            self._wait_if_first()
        if self.kind == "doomed":
            self._wait_if_doomed()
        if self.kind == "slow":
            time.sleep(0.2)
        return [
            replace(o, usage=Usage(9, 4)) if self.kind == "slow" else o
            for o in super().query(requests, budget)
        ]

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """The inner model's, or fours from the last to the first."""
        if "batches" in dir(self.inner):
            return self.inner.batches(requests)  # type: ignore[attr-defined,no-any-return]
        backwards = list(range(len(requests)))[::-1]
        return [backwards[start : start + 4] for start in range(0, len(requests), 4)]

    def _wait_if_first(self) -> None:
        """The first of all calls says who makes it, and never ends."""
        try:
            (self.folder / "held").touch(exist_ok=False)
        except FileExistsError:
            return
        self._say("pid", str(os.getpid()))
        time.sleep(600)

    def _wait_if_doomed(self) -> None:
        """Every call says on which node it is made. On the one that is doomed, it never ends."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        (self.folder / here).touch()
        doomed = self.folder / "doomed"
        if doomed.exists() and doomed.read_text() == here:
            self._say("at work", here)
            time.sleep(600)

    def _say(self, name: str, what: str) -> None:
        (self.folder / f"{name}.part").write_text(what)
        (self.folder / f"{name}.part").rename(self.folder / name)
