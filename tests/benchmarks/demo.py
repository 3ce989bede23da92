"""The demo's figures: `python tests/benchmarks/demo.py [--seeds 3] [--tasks NAME … | suite/old]`.

Runs `bbtvp demo` once per task and seed, each in a new process and an empty folder, and prints
gains over zero-shot and over the empty frame, transfer, image queries, time and peak memory, with
medians; then the start-up time of `bbtvp --help`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from bbtvp.cli import DEMO_TASK
from bbtvp.zoo.suites import expanded


def demo(task: str, seed: int) -> dict[str, Any]:
    """One run: its result document, the mean gain on the targets, seconds of wall clock, peak
    resident memory in GB.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "bbtvp.cli",
            "demo",
            "--task",
            task,
            "--seed",
            str(seed),
            "--json",
        ]
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        out = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(
                f"demo --task {task} --seed {seed} ended with {os.waitstatus_to_exitcode(status)}"
            )
        run = json.loads(out)
        run["transfer"] = statistics.mean(row["gain"] for row in run["models"][1:])
        return {**run, "wall": time.monotonic() - began, "peak_gb": usage.ru_maxrss / 1e6}


def line(run: dict[str, Any]) -> str:
    """One run in one line, in points."""
    source, *others = run["models"]
    low, high = source["gain_ci95"]
    gains = " ".join(f"{100 * row['gain']:+.1f}" for row in others)
    spent = run["queries"]
    return (
        f"{run['task']} seed {run['seed']}: source {100 * source['zero_shot']:.1f} -> "
        f"{100 * source['prompted']:.1f} "
        f"({100 * source['gain']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]; "
        f"{100 * source['over_empty_frame']:+.1f} over the empty frame), "
        f"transfer {100 * run['transfer']:+.1f} ({gains}); "
        f"{spent['search']} + {spent['validation']} image queries; {run['wall']:.0f} s, "
        f"{run['peak_gb']:.2f} GB"
    )


def medians(runs: list[dict[str, Any]]) -> str:
    """The middle run by each figure."""
    sources = [run["models"][0] for run in runs]
    gain, over = (
        100 * statistics.median(s[key] for s in sources) for key in ("gain", "over_empty_frame")
    )
    transfer, wall, peak = (
        statistics.median(run[key] for run in runs) for key in ("transfer", "wall", "peak_gb")
    )
    return (
        f"{runs[0]['task']} median of {len(runs)}: gain {gain:+.1f}, over the empty frame "
        f"{over:+.1f}, "
        f"transfer {100 * transfer:+.1f}, {wall:.0f} s, {peak:.2f} GB"
    )


def help_seconds() -> float:
    """Wall clock of `bbtvp --help`."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "bbtvp.cli", "--help"], check=True, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - began


def main() -> None:
    """Print one line per run, and medians per task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=[DEMO_TASK],
        help="zoo/NAME …, or a suite: suite/old has the ten of the card",
    )
    args = parser.parse_args()
    for task in expanded(args.tasks):
        runs = []
        for seed in range(args.seeds):
            runs.append(demo(task, seed))
            print(line(runs[-1]), flush=True)
        print(medians(runs), flush=True)
    print(f"bbtvp --help: {statistics.median(help_seconds() for _ in range(5)):.2f} s, median of 5")


if __name__ == "__main__":
    main()
