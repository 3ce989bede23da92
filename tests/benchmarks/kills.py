"""Kills of a run at random instants: what is asked again, and whether the prompt differs.

    python tests/benchmarks/kills.py [--kills 200] [--budget 400] [--seed 0] [--json]
    python tests/benchmarks/kills.py --signal TERM [--kills 20]

KILL: searches on a miniature model, of several kinds, in forked children that begin with their
imports done. Each is killed at a random instant and started again in the same folder until it ends;
then its journal and its prompt are compared with those of a run that was left alone. A wrapper
writes down what the model is asked, beside the journal, before it is asked. TERM, INT: the command
line in processes of their own, from the moment when it is imported; how long it takes to exit, with
which code, and whether the journal is whole.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from bbtvp.core.digest import digest
from bbtvp.models import Budget, Model, Outcome, Request, load_model
from bbtvp.runs.folder import BUNDLE
from bbtvp.runs.records import FILE
from bbtvp.search import optimize
from bbtvp.tasks import Task
from bbtvp.tasks.registry import load_task

MODEL = "zoo/llava"
TASK = "zoo/digits-low-contrast"
KINDS: dict[str, dict[str, Any]] = {
    "gp": {"prompt": "tone", "images": 4},
    "cma, frame": {"prompt": "frame", "images": 2, "method": "cma"},
    "patience": {"prompt": "default", "images": 8, "patience": 3},
    "race": {"prompt": "default", "images": 4, "popsize": 4},
    "text": {"prompt": "tone", "images": 4, "reader": "text"},
    "nevergrad": {"prompt": "tone", "images": 4, "method": "ng:TBPSA"},
}


class Logged(Model):
    """Writes down what it is asked, before it is asked: one line per call, the keys of the
    journal.
    """

    def __init__(self, inner: Model, log: Path) -> None:
        self.inner = inner
        self.log = log
        self.spec = inner.spec
        self.capabilities = inner.capabilities

    @property
    def identity(self) -> str:
        return self.inner.identity

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        keys = [digest(self.identity.encode(), request.key.encode()) for request in requests]
        with self.log.open("a") as file:
            file.write(" ".join(keys) + "\n")
        return self.inner.query(requests, budget)


class Tally(NamedTuple):
    """What came of the kills. lost: queries of calls under way at a kill, asked again by right."""

    kills: int = 0
    runs: int = 0
    repeated: int = 0
    lost: int = 0
    differing: int = 0

    def plus(self, **more: int) -> Tally:
        return self._replace(**{name: getattr(self, name) + count for name, count in more.items()})


def answered(folder: Path) -> set[str]:
    """Keys whose replies stand in whole lines of the journal."""
    path = folder / FILE
    data = path.read_bytes() if path.exists() else b""
    records = map(json.loads, data[: data.rfind(b"\n") + 1].splitlines())
    return {
        row[0]
        for record in records
        if record["record"].startswith("replies")
        for row in record["got"]
        if row[4] is None
    }


def asked(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def files(folder: Path) -> tuple[bytes, ...]:
    return tuple((folder / name).read_bytes() for name in (FILE, BUNDLE))


class Runs:
    """Searches in forked children, with the task and the model loaded before."""

    def __init__(self, budget: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.budget = budget
        self.task: Task = load_task(TASK)
        self.model = load_model(MODEL)

    def fork(self, kind: str, folder: Path, log: Path) -> int:
        """The process of a search in `folder`."""
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            optimize(
                self.task,
                Logged(self.model, log),
                budget=self.budget,
                seed=3,
                out=folder,
                **KINDS[kind],
            )
            code = 0
        finally:
            os._exit(code)

    def seconds(self, kind: str, folder: Path) -> float:
        """How long a search takes that is left alone."""
        began = time.perf_counter()
        if os.waitpid(self.fork(kind, folder, folder.with_suffix(".log")), 0)[1]:
            raise RuntimeError(f"{kind} failed")
        return time.perf_counter() - began

    def killed(
        self,
        kind: str,
        whole: Path,
        folder: Path,
        seconds: float,
        rng: np.random.Generator,
        most: int,
    ) -> Tally:
        """One search, killed at most so many times, until it ends."""
        found = Tally()
        log = folder.with_suffix(".log")
        while True:
            known = answered(folder)
            before = len(asked(log))
            process = self.fork(kind, folder, log)
            if found.kills < most:
                time.sleep(
                    rng.uniform(0, 0.5 * seconds)
                )  # so that there are several kills in a run
                os.kill(process, signal.SIGKILL)
            status = os.waitpid(process, 0)[1]
            fresh = asked(log)[before:]
            killed = os.WIFSIGNALED(status)
            left = answered(folder)
            found = found.plus(
                kills=killed,
                repeated=len(known & set(fresh)),
                lost=len(set(fresh) - left) if killed else 0,
            )
            if not killed:
                if status:
                    raise RuntimeError(f"{kind} failed after {found.kills} kills")
                return found.plus(runs=1, differing=files(folder) != files(whole))


def kill(args: argparse.Namespace, root: Path) -> dict[str, Any]:
    runs = Runs(args.budget)
    rng = np.random.default_rng(args.seed)
    total = Tally()
    seconds: dict[str, float] = {}
    while total.kills < args.kills:
        kind = list(KINDS)[total.runs % len(KINDS)]
        whole = root / f"whole-{kind}"
        if kind not in seconds:
            seconds[kind] = runs.seconds(kind, whole)
        each = runs.killed(
            kind, whole, root / f"run-{total.runs}", seconds[kind], rng, args.kills - total.kills
        )
        total = Tally(*map(sum, zip(total, each, strict=True)))
    return {
        **total._asdict(),
        "seconds of a run left alone": {kind: round(s, 2) for kind, s in seconds.items()},
    }


# -- signals that can be answered ------------------------------------------------------------------
FRONT = """
import signal, sys
import bbtvp.adapters.hf, bbtvp.search, bbtvp.zoo.tasks, torch, transformers
from bbtvp.cli import main
# A process started in the background would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)
print("imported", flush=True)
main()
"""


def command(budget: int, folder: Path) -> subprocess.Popen[str]:
    """The command line, imported."""
    words = [
        "optimize",
        "--task",
        TASK,
        "--model",
        MODEL,
        "--prompt",
        "tone",
        "-S",
        "images=4",
        "--queries",
        str(budget),
    ]
    child = subprocess.Popen(
        [sys.executable, "-c", FRONT, *words, "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if child.stdout is None or child.stdout.readline() != "imported\n":
        raise RuntimeError(f"the command did not start: {child.communicate()[1]}")
    return child


def interrupt(args: argparse.Namespace, root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(args.seed)
    number = signal.Signals[f"SIG{args.signal}"]
    began = time.perf_counter()
    with command(args.budget, root / "whole") as child:
        began = time.perf_counter()
        if child.communicate() and child.returncode:
            raise RuntimeError("the run that was left alone failed")
    whole = time.perf_counter() - began
    took: list[float] = []
    codes = []
    torn = 0
    differing = 0
    run = 0
    while len(took) < args.kills:
        folder = root / f"run-{run}"
        with command(args.budget, folder) as child:
            time.sleep(rng.uniform(0, 0.8 * whole))
            began = time.perf_counter()
            child.send_signal(number)
            printed = child.communicate()[0]
        if child.returncode == 0 or (
            printed and child.returncode < 0
        ):  # it had ended, the interpreter perhaps not yet
            differing += files(folder) != files(root / "whole")
            run += 1
            continue
        took.append(time.perf_counter() - began)
        codes.append(child.returncode)
        data = (folder / FILE).read_bytes() if (folder / FILE).exists() else b""
        torn += not all(map(json.loads, data.splitlines())) or (
            data != b"" and not data.endswith(b"\n")
        )
    with command(args.budget, root / f"run-{run}") as child:
        child.communicate()
    differing += files(root / f"run-{run}") != files(root / "whole")
    return {
        "signals": len(took),
        "exit codes": sorted(set(codes)),
        "median s": round(statistics.median(took), 3),
        "most s": round(max(took), 3),
        "torn journals": torn,
        "runs": run + 1,
        "differing": differing,
    }


def main() -> None:
    """Print the figures, one a line, or as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT"], default="KILL")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--budget", type=int, default=400, help="image queries of a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        found = (kill if args.signal == "KILL" else interrupt)(args, Path(root))
    print(
        json.dumps(found)
        if args.json
        else "\n".join(f"{name}: {value}" for name, value in found.items())
    )


if __name__ == "__main__":
    main()
