"""Median milliseconds of one ask and tell, per optimiser and dimension.

    python tests/benchmarks/optim.py [--dims 10 72 1000 10000] [--rounds 7]

A search spends seconds per batch on the model: anything far below that is free.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

from bbtvp.core.errors import UsageError
from bbtvp.optim import Optimiser, optimiser

NAMES = ("cma", "cma-diagonal", "spsa-gc", "random", "ng:TBPSA", "ng:DE", "ng:NGOpt")


def milliseconds(search: Optimiser, rounds: int) -> float:
    """Median of `rounds` ask and tell pairs, after one that warms up."""
    times = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        z = search.ask()
        asked = time.perf_counter() - begin
        losses = ((z - 1) ** 2).mean(axis=1)
        begin = time.perf_counter()
        search.tell(z, losses)
        times.append(asked + time.perf_counter() - begin)
    return 1000 * statistics.median(times[1:])


def cell(name: str, dim: int, rounds: int) -> str:
    """One measurement as text; a dash where the optimiser refuses the dimension."""
    try:
        return f"{milliseconds(optimiser(name, dim, 0, budget=2000), rounds):.2f}"
    except UsageError:
        return "-"


def main() -> None:
    """Print one row per optimiser, one column per dimension."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[10, 72, 1000, 10000])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'ms per ask + tell':<18}" + "".join(f"{f'd={dim}':>10}" for dim in given.dims))
    for name in NAMES:
        print(f"{name:<18}" + "".join(f"{cell(name, dim, given.rounds):>10}" for dim in given.dims), flush=True)


if __name__ == "__main__":
    main()
