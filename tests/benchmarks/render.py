"""Median milliseconds of a render, for each preset at 64 and 224 px: `python tests/benchmarks/render.py [RUNS]`.

"image": one more image of a candidate whose z is ready. "candidate": making a z ready, once for all its images.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from bbtvp.core.rng import stream
from bbtvp.prompt import preset


def median_ms(action: Callable[[], object], runs: int) -> float:
    """Median wall-clock time of one call, in milliseconds, after one call to warm up."""
    action()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def main(runs: int) -> None:
    """Print the table."""
    print(f"{'preset':8} {'canvas':>6} {'variables':>9} {'image ms':>9} {'candidate ms':>12}")
    for name in ("tvp", "frame", "tone", "default"):
        for canvas in (64, 224):
            space = preset(name, canvas)
            rng = stream(0, name, canvas)
            z = rng.standard_normal(space.dim)
            prepared = space.prepare(rng.integers(0, 256, (canvas, canvas, 3), dtype=np.uint8))
            renderer = space.renderer(z)
            image = median_ms(lambda: renderer(prepared), runs)  # noqa: B023  # called at once
            candidate = median_ms(lambda: space.renderer(z), runs)  # noqa: B023
            print(f"{name:8} {canvas:6} {space.dim:9} {image:9.3f} {candidate:12.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
