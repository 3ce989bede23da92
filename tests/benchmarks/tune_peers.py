"""Step sizes of the peers: `python tests/benchmarks/tune_peers.py [--methods NAME …] [--budget
1000] [--jobs N]`.

Walks a grid for each method on tasks that are not in the suite, one source model, and ranks by the
mean gain on the source. What is tuned: step sizes, the minibatch and the number of candidates per
step that a budget of thousands affords. What is not: update rules, schedules and momentum, which
stay as published. The published step size, converted to our units, is one point of the grid where
there is such a conversion.

A peer's constants in `bbtvp.bench.methods` are the winner here; the same protocol tunes the weights
of FCA and TSE. The scenes under a task's shifts are the same as the suite's under other shifts,
which can only help a peer.

Resumable: the same command goes on, in the folder --out. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bbtvp.bench import methods, report, tables
from bbtvp.bench.cells import BenchGrid
from bbtvp.bench.run import BenchSettings, run_bench
from bbtvp.core.table import markdown_table
from bbtvp.jobs.runner import BatchEvent, JobEnded

TASKS = ("zoo/digits-dark", "zoo/counting-bright", "zoo/hallucination-dark")
SOURCE = "zoo/llava"

VP_PUBLISHED = 40 / 1.39**2
"""VP's a = 40 acts on normalised pixels; one of z, through the sigmoid's slope at grey, is 1.39 of
those.
"""

GRIDS: dict[str, list[dict[str, list[Any]]]] = {
    "vp-spsa-gc": [
        {
            "images": [8],
            "popsize": [10],
            "a": [0.003, 0.03, 0.3, round(VP_PUBLISHED, 1)],
            "c": [0.1, 0.3],
        },
        {
            "images": [16],
            "popsize": [2],
            "a": [0.003, 0.03, 0.3, round(VP_PUBLISHED, 1)],
            "c": [0.1, 0.3],
        },
    ],
    "blackvip": [
        {"images": [8], "popsize": [10], "a": [0.01, 0.1, 1], "c": [0.1, 0.3]},
        {"images": [16], "popsize": [2], "a": [0.01, 0.1, 1], "c": [0.1, 0.3]},
    ],
    "bar": [
        {"images": [8], "popsize": [6], "eta": [0.001, 0.003, 0.01, 0.1], "beta": [2, 7, 23]},
        {"images": [16], "popsize": [2], "eta": [0.001, 0.003, 0.01, 0.1], "beta": [2, 7, 23]},
    ],
    "bbt-cma": [{"images": [8, 16], "popsize": [10, 20], "sigma": [0.3, 1], "fixed": [0, 1]}],
    "ngopt": [{"images": [8, 32], "sigma": [0.1, 0.3, 1]}],
    "random": [{"images": [8, 32], "sigma": [0.1, 0.3, 1]}],
    "default+fca+tse": [{"fca": [0.1, 0.5, 2], "tse": [0, 0.1, 1]}],
}
"""Options of each method; every combination within an entry is tried."""


def variants(name: str) -> Iterator[str]:
    """`name[key=value,…]` for every point of its grid."""
    for grid in GRIDS[name]:
        for values in itertools.product(*grid.values()):
            pairs = ",".join(f"{key}={value}" for key, value in zip(grid, values, strict=True))
            yield f"{name}[{pairs}]"


def say(event: BatchEvent) -> None:
    if not isinstance(event, JobEnded):
        return
    ended = event.result
    gain = f"failed: {ended.error}"
    if ended.document is not None:
        gain = f"{100 * ended.document['rows'][0]['gain']:+.1f}"
    print(f"{event.number}/{event.total} {ended.job.name}: {gain}", file=sys.stderr, flush=True)


def main() -> None:
    """Print one table per method, the best point first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=list(GRIDS), choices=list(GRIDS))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument(
        "--targets", nargs="*", default=[], help="also try prompts on these: for FCA and TSE"
    )
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--test-limit", type=int, default=250)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/tune"))
    args = parser.parse_args()
    for name in args.methods:
        axes = tuple(methods.get(variant).axis for variant in variants(name))
        seeds = tuple(range(args.seeds))
        grid = BenchGrid(
            axes, tuple(args.tasks), (SOURCE,), tuple(args.targets), (args.budget,), seeds
        )
        ended = run_bench(
            grid, BenchSettings(args.out, args.test_limit), parallel=args.jobs, watch=say
        )
        rows = [row for done in ended if done.document for row in done.document["rows"]]
        found = sorted(tables.summaries(rows), key=lambda s: -s.gain.mean)
        lines = []
        for s in found:
            by_task = tables.by_task(
                [row for row in rows if row["method"] == s.method], tables.own("gain")
            )
            gains = (report.points(by_task.get(task)) for task in args.tasks)
            carry = report.points(None if s.transfer is None else s.transfer.mean)
            lines.append((s.method, f"{s.queries:.0f}", report.points(s.gain.mean), carry, *gains))
        head = (
            "method",
            "queries",
            "gain",
            "others",
            *(task.removeprefix("zoo/") for task in args.tasks),
        )
        print(markdown_table([head, *lines]) + "\n", flush=True)


if __name__ == "__main__":
    main()
