"""How much faster workers on Ray answer than one process with one thread: the same call, the same
answers.

    python tests/benchmarks/ray_workers.py [--model zoo/llava] [--workers 2] [--queries 512]
        [--runs 5] [--wait 0]

A call of so many image queries, 10 labels each, is made by one process, then by the workers (a
thread each), and so on by turns; medians of the pairs. Before that both are asked once: what is
measured is asking, not loading. A last figure is the same pair without Ray, in plain processes that
share nothing: what the machine itself can give just then.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded

import numpy as np

from bbtvp.core.rng import stream
from bbtvp.models import Request, load_model

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def requests(count: int, side: int) -> list[Request]:
    rng = stream(0, "bench-ray")
    images = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    return [Request(image, "which digit is this?", LABELS) for image in images]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def wait_for_quiet(seconds: float) -> None:
    """Until two seconds pass in which others used less than a tenth of a core, or so many seconds
    are over.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = busy()
        time.sleep(2)
        if busy() - before < 0.2:
            return


def busy() -> float:
    """CPU seconds that all processes used since the machine started, those that are niced aside
    (Linux).
    """
    user, _, system = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:4])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def plain(there: Any, model: str, batch: int, asked: list[Request]) -> None:
    """A process that answers its share each time it is told to."""
    loaded = load_model(model, batch=batch)
    loaded.query(asked)
    there.send(None)
    while there.recv():
        loaded.query(asked)
        there.send(None)


def main() -> None:
    """Print the medians, and each pair's factor."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/llava")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--wait",
        type=float,
        default=0,
        help="seconds to wait, before each pair, for a quiet machine",
    )
    args = parser.parse_args()
    asked = requests(args.queries, args.side)
    alone = load_model(args.model, batch=args.batch)
    many = load_model(f"ray/{args.model}", workers=args.workers, cpus=0, batch=args.batch)
    context = multiprocessing.get_context("spawn")
    pipes = []
    for i in range(args.workers):
        here, there = context.Pipe()
        share = asked[i * len(asked) // args.workers : (i + 1) * len(asked) // args.workers]
        context.Process(
            target=plain, args=(there, args.model, args.batch, share), daemon=True
        ).start()
        pipes.append(here)

    def ceiling() -> None:
        for pipe in pipes:
            pipe.send(True)
        for pipe in pipes:
            pipe.recv()

    for pipe in pipes:
        pipe.recv()
    if many.query(asked) != alone.query(asked):
        raise SystemExit("the answers differ")
    rows = []
    for _ in range(args.runs):
        wait_for_quiet(args.wait)
        one, workers, processes = (
            seconds(work)[0]
            for work in (lambda: alone.query(asked), lambda: many.query(asked), ceiling)
        )
        rows.append((one, workers, processes))
        print(
            f"  one {one:.2f} s, Ray {workers:.2f} s ({one / workers:.2f} x), plain processes "
            f"{one / processes:.2f} x"
        )
    for pipe in pipes:
        pipe.send(False)
    one, workers, processes = (statistics.median(row[i] for row in rows) for i in range(3))
    factors = [statistics.median(row[0] / row[i] for row in rows) for i in (1, 2)]
    print(
        f"{args.model}, {args.queries} image queries of {args.side} px, {len(LABELS)} labels: "
        f"one process {one:.2f} s, "
        f"{args.workers} workers on Ray {workers:.2f} s, {factors[0]:.2f} x; plain processes "
        f"{factors[1]:.2f} x; "
        f"medians of {args.runs}; answers equal to the bit"
    )


if __name__ == "__main__":
    main()
