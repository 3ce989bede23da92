"""Median milliseconds of one ask and tell, per optimiser and dimension; per candidate with --each.

    python tests/benchmarks/optim.py [--dims 10 72 1000 10000 70000] [--rounds 7]
        [--names cma spsa] [--each]

A search spends seconds per batch on the model: anything far below that is free. A dash: the
optimiser refuses.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from typing import Any

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.optim import METHODS, Optimiser, optimiser

NAMES = (*METHODS, "cma@48", "cma@500", "p-rgf@48", "ng:TBPSA", "ng:DE", "ng:NGOpt")


def guide(z: Vector) -> Matrix:
    """A surrogate gradient that costs nothing, so that the optimiser alone is timed."""
    return (z - 1)[None]


def search_of(name: str, dim: int) -> Optimiser:
    """The search with what its method needs."""
    settings: dict[str, Any] = {"budget": 2000}
    if name.startswith(("guided-es", "p-rgf")):
        settings["guide"] = guide
    if name == "catcma":
        settings["choices"] = ((0, 4),)
    return optimiser(name, dim, 0, **settings)


def milliseconds(search: Optimiser, rounds: int, *, each: bool) -> float:
    """Median of `rounds` ask and tell pairs, after one that warms up."""
    times = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        z = search.ask()
        asked = time.perf_counter() - begin
        losses = np.asarray(((z - 1) ** 2).mean(axis=1))
        begin = time.perf_counter()
        search.tell(z, losses)
        times.append((asked + time.perf_counter() - begin) / (len(z) if each else 1))
    return 1000 * statistics.median(times[1:])


def cell(name: str, dim: int, rounds: int, *, each: bool) -> str:
    """One measurement as text; a dash where the optimiser refuses the dimension."""
    try:
        return f"{milliseconds(search_of(name, dim), rounds, each=each):.2f}"
    except UsageError:
        return "-"


def main() -> None:
    """Print one row per optimiser, one column per dimension."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dims", type=int, nargs="+", default=[10, 72, 1000, 10000, 70000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--each", action="store_true", help="per candidate instead of per batch")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    title = "ms per candidate" if given.each else "ms per ask + tell"
    print(f"{title:<18}" + "".join(f"{f'd={dim}':>10}" for dim in given.dims))
    for name in given.names:
        cells = (cell(name, dim, given.rounds, each=given.each) for dim in given.dims)
        print(f"{name:<18}" + "".join(f"{text:>10}" for text in cells), flush=True)


if __name__ == "__main__":
    main()
