"""How often the tests of a graded gain err, with the true gain at the margin.

    python tests/benchmarks/graded_level.py --runs 4000

Prints the share of runs in which a one-sided test of 5 % shows a gain above, and below, the margin:
the score test of `bbtvp.stats.graded`, and Student's t beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import numpy as np
from scipy import stats

from bbtvp.core.rng import stream
from bbtvp.stats import graded_z
from bbtvp.stats.power import Z

Draw = Callable[[np.random.Generator, int], np.ndarray]

SCENES: Mapping[str, tuple[float, Draw, float, Draw, float]] = {
    "half-right texts": (
        *(0.6, lambda draw, n: draw.beta(2, 1, n), 2 / 3),
        *(lambda draw, n: draw.beta(2, 1, n), 2 / 3),
    ),
    "small errors": (
        *(0.1, lambda draw, n: draw.beta(1, 8, n), 1 / 9),
        *(lambda draw, n: draw.beta(1, 8, n), 1 / 9),
    ),
    "a few large losses": (
        *(0.5, lambda draw, n: draw.beta(1, 12, n), 1 / 13),
        *(lambda draw, n: np.ones(n), 1.0),
    ),
    "a few large gains": (
        *(0.5, lambda draw, n: np.ones(n), 1.0),
        *(lambda draw, n: draw.beta(1, 12, n), 1 / 13),
    ),
}
"""Share unchanged, gains and their mean, losses and their mean."""


def errors(scene: str, n: int, margin: float, runs: int) -> np.ndarray:
    """(4,) shares of runs: the score test above and below, Student's t above and below."""
    same, up, mean_up, down, mean_down = SCENES[scene]
    rising = (margin / (1 - same) + mean_down) / (mean_up + mean_down)
    draw = stream(0, "graded-level", scene, n)
    found = np.zeros(4)
    for _ in range(runs):
        changed = draw.binomial(n, 1 - same)
        better = draw.binomial(changed, rising)
        parts = (up(draw, better), -down(draw, changed - better), np.zeros(n - changed))
        d = np.concatenate(parts)
        z = graded_z(d, margin)
        t = (d.mean() - margin) / max(d.std(ddof=1), 1e-12) * np.sqrt(n)
        bound = stats.t.ppf(0.95, n - 1)
        found += (z > Z, z < -Z, t > bound, t < -bound)
    shares: np.ndarray = found / runs
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--margin", type=float, default=0.02)
    args = parser.parse_args()
    for scene in SCENES:
        for n in (30, 60, 120, 300, 500):
            shares = 100 * errors(scene, n, args.margin, args.runs)
            print(f"{scene:<20} n {n:>3}  score {shares[:2].round(1)}  t {shares[2:].round(1)}")


if __name__ == "__main__":
    main()
