"""What the journal costs: per image query, as a run grows, and when it is opened again.

    python tests/benchmarks/journal.py overhead [--queries 20000]
    python tests/benchmarks/journal.py growth   [--queries 1000000] [--methods gp cma]
    python tests/benchmarks/journal.py resume   [--queries 100000] [--methods gp cma]
        [--keep FOLDER]
    python tests/benchmarks/journal.py status   [--queries 100000]

overhead: calls of 64 image queries with ten labels each through a metered model and its journal,
against the same calls to the model, and a step after each. growth: a whole search on a model that
answers from the mean of the pixels and noise, ten labels, 32 px; wall clock and CPU of a generation
per image query, medians around 10³, 10⁴, …, and the memory of the process. resume: such a search is
broken off near its end, and the same call goes on, in a process of its own; from the call to the
end. status: the first and the second look of `bbtvp status` at a journal of answers with ten labels
each; CPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import numpy as np

from bbtvp.core.rng import stream
from bbtvp.jobs.status import StatusMonitor
from bbtvp.models import (
    Budget,
    Capabilities,
    InMemoryCache,
    LabelScore,
    MeteredModel,
    Model,
    Outcome,
    Reply,
    Request,
    Usage,
)
from bbtvp.runs.journal import Journal
from bbtvp.runs.records import FILE
from bbtvp.search import optimize
from bbtvp.search.events import GenerationDone, SearchPlanned, Watch, silent
from bbtvp.tasks import Sample, Task

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE = 32
CALL = 64


class Mean(Model):
    """Sees how bright an image is, with noise of its own for every image; log-probabilities with
    all their digits.
    """

    spec = "bench/mean"
    capabilities = Capabilities(logprobs=True, deterministic=True, image_side=SIDE)

    def __init__(self) -> None:
        self.asked = 0

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        self.asked += len(requests)
        return [self.look(request) for request in requests]

    def look(self, request: Request) -> Outcome:
        seen = (float(request.image.mean()) - 86.5) / 13 + int(request.key[:8], 16) / 2**32
        evidence = [-((seen - i) ** 2) / 7 for i in range(len(LABELS))]
        scores = tuple(LabelScore(value, 1) for value in evidence)
        return Reply(scores=scores, usage=Usage(300, 10))


def task() -> Task:
    rng = stream(0, "bench-journal")

    def split(name: str, count: int) -> tuple[Sample, ...]:
        shades = rng.integers(60, 190, count)
        images = [
            rng.integers(shade, shade + 40, (SIDE, SIDE, 3), np.uint8, endpoint=True)
            for shade in shades
        ]
        return tuple(
            Sample(f"{name}-{i}", LABELS[(int(shade) - 60) // 13], image)
            for i, (shade, image) in enumerate(zip(shades, images, strict=True))
        )

    return Task(
        "shades",
        "how bright is it?",
        LABELS,
        split("train", 5000),
        split("validation", 200),
        split("test", 10),
    )


def memory() -> float:
    """MiB that the process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# -- per image query -------------------------------------------------------------------------------
def overhead(queries: int) -> dict[str, float]:
    """ms per image query of a metered model with a journal, beyond those of one without."""
    rng = stream(0, "bench-overhead")
    calls = [
        [
            Request(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), "how bright is it?", LABELS)
            for _ in range(CALL)
        ]
        for _ in range(queries // CALL)
    ]
    for call in calls:
        for request in call:
            _ = request.key  # once, and not the journal's work
    with tempfile.TemporaryDirectory() as root, Journal({"task": "bench"}, Path(root)) as journal:
        bare = MeteredModel(Mean(), InMemoryCache())
        kept = MeteredModel(Mean(), journal)
        differences = []
        steps = []
        recalls = []
        evaluations = [
            dict.fromkeys(
                ("loss", "task", "fca", "tse", "stderr", "accuracy", "n_ok", "n_failed"), 0.1
            )
        ] * 8
        for number, call in enumerate(calls):
            began = time.perf_counter()
            bare.query(call)
            between = time.perf_counter()
            kept.query(call)
            ended = time.perf_counter()
            journal.write_step(
                f"bench/{number}", z="0" * 64, samples=["train-0"] * 8, evaluations=evaluations
            )
            steps.append(time.perf_counter() - ended)
            differences.append(ended - between - (between - began))
            began = time.perf_counter()
            kept.query(call)
            recalls.append(time.perf_counter() - began)
    per = 1000 / CALL
    return {
        "record ms": per * statistics.median(differences),
        "step, forced to disk ms": per * statistics.median(steps),
        "together, mean ms": per * (statistics.mean(differences) + statistics.mean(steps)),
        "answer from memory ms": per * statistics.median(recalls),
    }


# -- a whole search --------------------------------------------------------------------------------
class Pace:
    """When each generation ended. An image query counts, whether the model or memory answers it."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []
        self.cost = 0

    def __call__(self, event: object) -> None:
        if isinstance(event, SearchPlanned):
            self.cost = event.plan.stages[0].cost
        elif isinstance(event, GenerationDone):
            self.marks.append((time.perf_counter(), time.process_time()))

    def around(self, queries: int) -> list[float]:
        """ms per image query, of wall clock and of CPU, medians over the 40 generations up to so
        many.
        """
        last = min(queries // self.cost, len(self.marks) - 1)
        near = zip(*self.marks[max(0, last - 40) : last + 1], strict=True)
        spans = (
            [1000 * (b - a) / self.cost for a, b in itertools.pairwise(clock)] for clock in near
        )
        return [round(statistics.median(span), 3) for span in spans]


def search(method: str, queries: int, folder: Path, watch: Watch) -> int:
    """A search over the three variables of `tone`; the image queries that it asked."""
    model = Mean()
    with suppress(KeyboardInterrupt):
        optimize(
            task(),
            model,
            budget=queries,
            prompt="tone",
            method=method,
            seed=1,
            out=folder,
            watch=watch,
        )
    return model.asked


def broken_off(event: object) -> None:
    """Ctrl-C ten generations before the end."""
    if isinstance(event, GenerationDone) and event.generation == event.generations - 10:
        raise KeyboardInterrupt


def growth(method: str, queries: int) -> dict[str, Any]:
    pace = Pace()
    with tempfile.TemporaryDirectory() as root:
        search(method, queries, Path(root), pace)
    places = [10**k for k in range(3, 10) if 10**k <= queries]
    return {
        "ms per image query, wall and CPU": {f"{n:.0e}": pace.around(n) for n in places},
        "MiB": round(memory()),
    }


def resumed(method: str, queries: int, folder: Path) -> dict[str, Any]:
    """A process of its own: go on with what was broken off."""
    began = time.perf_counter()
    cpu = time.process_time()
    asked = search(method, queries, folder, silent)
    return {
        "s": time.perf_counter() - began,
        "cpu s": time.process_time() - cpu,
        "asked": asked,
        "MiB": memory(),
    }


def resume(method: str, queries: int, runs: int, keep: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as root:
        folder = (keep or Path(root)) / method
        if not (folder / FILE).exists():
            search(method, queries, folder, broken_off)
        torn = (folder / FILE).read_bytes()
        rows = []
        for _ in range(runs):
            (folder / FILE).write_bytes(torn)
            command = [
                sys.executable,
                __file__,
                "resumed",
                "--methods",
                method,
                "--queries",
                str(queries),
            ]
            done = subprocess.run(
                [*command, "--keep", str(folder)], capture_output=True, text=True, check=True
            )
            rows.append(json.loads(done.stdout))
        (folder / FILE).write_bytes(torn)
        read = torn.count(b'"record":"step"')
    found = {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}
    return {"MB of journal": round(len(torn) / 1e6, 1), "steps": read, **found, "runs": runs}


# -- a look at a run -------------------------------------------------------------------------------
def status(queries: int) -> dict[str, float]:
    """Seconds of CPU for two looks at a journal to which nothing is added between them."""
    scores = [[-1.2345678901234567, 1]] * len(LABELS)
    got = [[f"{i:064x}", [900, 10, 1, 0.0], None, scores, None] for i in range(100)]
    replies = json.dumps({"record": "replies", "phase": "search", "got": got}) + "\n"
    with tempfile.TemporaryDirectory() as root:
        with Journal({"budget": queries}, Path(root)):
            pass
        with (Path(root) / FILE).open("a") as file:
            file.writelines(replies for _ in range(queries // 100))
        monitor = StatusMonitor([Path(root)])
        marks = [time.process_time()]
        for _ in range(2):
            monitor.statuses()
            marks.append(time.process_time())
    first, second = (after - before for before, after in itertools.pairwise(marks))
    return {"first s": first, "second s": second}


def main() -> None:
    """Print the figures as JSON, one line a method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["overhead", "growth", "resume", "resumed", "status"])
    parser.add_argument("--queries", type=int)
    parser.add_argument("--methods", nargs="+", default=["gp", "cma"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="where the broken-off runs lie, or will")
    args = parser.parse_args()
    if args.what in ("overhead", "status"):
        measure, queries = {"overhead": (overhead, 20_000), "status": (status, 100_000)}[args.what]
        rows = [measure(args.queries or queries) for _ in range(args.runs)]
        print(
            json.dumps(
                {name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]}
            )
        )
        return
    for method in args.methods:
        if args.what == "growth":
            found = growth(method, args.queries or 1_000_000)
        elif args.what == "resume":
            found = resume(method, args.queries or 100_000, args.runs, args.keep)
        else:
            found = resumed(method, args.queries, args.keep)
        print(
            json.dumps(found if args.what == "resumed" else {"method": method, **found}), flush=True
        )


if __name__ == "__main__":
    main()
