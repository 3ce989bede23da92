"""The demo's figures: `python tests/benchmarks/demo.py [--seeds 3]`.

Runs `bbtvp demo` once per seed, each in a new process and an empty folder, and prints time, peak memory, image queries,
gains and transfer, with medians; then the start-up time of `bbtvp --help`.
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


def demo(seed: int) -> dict[str, Any]:
    """One run: its result document, seconds of wall clock and peak resident memory in GB."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        command = [sys.executable, "-m", "bbtvp.cli", "demo", "--seed", str(seed), "--json"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        out = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"demo --seed {seed} ended with status {os.waitstatus_to_exitcode(status)}")
        return {**json.loads(out), "wall": time.monotonic() - began, "peak_gb": usage.ru_maxrss / 1e6}


def help_seconds() -> float:
    """Wall clock of `bbtvp --help`."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "bbtvp.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Print one line per seed, then medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    runs = []
    for seed in range(args.seeds):
        run = demo(seed)
        source, *others = run["models"]
        run["transfer"] = statistics.mean(row["gain"] for row in others)
        runs.append(run)
        spent = run["queries"]
        low, high = source["gain_ci95"]
        gains = " ".join(f"{100 * row['gain']:+.1f}" for row in others)
        print(
            f"seed {seed}: source {100 * source['zero_shot']:.1f} -> {100 * source['prompted']:.1f} "
            f"({100 * source['gain']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]), "
            f"transfer {100 * run['transfer']:+.1f} ({gains}); {spent['search']} + {spent['validation']} "
            f"image queries; {run['wall']:.0f} s, {run['peak_gb']:.2f} GB",
            flush=True,
        )

    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    gain = statistics.median(run["models"][0]["gain"] for run in runs)
    print(
        f"median of {len(runs)}: gain {100 * gain:+.1f}, transfer {100 * median('transfer'):+.1f}, "
        f"{median('wall'):.0f} s, {median('peak_gb'):.2f} GB; bbtvp --help "
        f"{statistics.median(help_seconds() for _ in range(5)):.2f} s (median of 5)"
    )


if __name__ == "__main__":
    main()
