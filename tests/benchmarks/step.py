"""What a search costs beside the model: ask + tell + render, in milliseconds per image query.

    python tests/benchmarks/step.py [--canvas 224] [--photo 640 480] [--runs 5]
        [--preset default] [--shape square] [--methods auto …]
    python tests/benchmarks/step.py --shape picture --canvas 2048 --photo 1155 866  # 1 megapixel

One thread, no model: losses are those of a noisy bowl. A run is the first stage of a search with
1,000 image queries: 10 generations of λ candidates on 8 photos of 640 x 480. Medians over runs,
each with a fresh optimiser.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import numpy as np

from bbtvp.core.rng import stream
from bbtvp.optim import optimiser
from bbtvp.prompt import PromptSpace, preset
from bbtvp.search.config import SearchConfig
from bbtvp.search.methods import method_for
from bbtvp.search.plan import make_plan

IMAGES = 8


def seconds(
    space: PromptSpace, method: str, photo: tuple[int, int], seed: int
) -> tuple[float, float, float, int]:
    """Seconds in ask, tell and render, and the image queries they were for."""
    stage = make_plan(space, SearchConfig(), training=256, validation=128).stages[0]
    dim = space.dim_of(stage.kinds)
    rng = stream(seed, "bench-step")
    engine = optimiser(
        method_for(method, dim),
        dim,
        seed,
        popsize=stage.popsize,
        budget=stage.popsize * stage.generations,
    )
    photos = [
        space.prepare(rng.integers(0, 256, (photo[1], photo[0], 3), np.uint8))
        for _ in range(IMAGES)
    ]
    asked = told = rendered = 0.0
    for _ in range(stage.generations):
        began = time.perf_counter()
        active = engine.ask()
        asked += time.perf_counter() - began
        began = time.perf_counter()
        for row in active:
            render = space.renderer(space.embed(row, stage.kinds, space.neutral()))
            for prepared in photos:
                render(prepared)
        rendered += time.perf_counter() - began
        losses = (
            ((active - 0.7) ** 2).mean(axis=1)
            + 0.1 * rng.standard_normal(len(active))
            + rng.standard_normal()
        )
        began = time.perf_counter()
        engine.tell(active, losses)
        told += time.perf_counter() - began
    return asked, told, rendered, stage.generations * stage.popsize * IMAGES


def main() -> None:
    """Print one line per method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--canvas", type=int, default=224)
    parser.add_argument(
        "--photo", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT")
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--shape", choices=["square", "picture"], default="square")
    parser.add_argument("--methods", nargs="+", default=["auto", "cma"])
    args = parser.parse_args()
    space = preset(args.preset, args.canvas, args.shape)
    seconds(space, args.methods[0], args.photo, 99)  # imports, and the first touch of memory
    for method in args.methods:
        rows = [seconds(space, method, args.photo, seed) for seed in range(args.runs)]
        parts = [statistics.median(1000 * row[i] / row[3] for row in rows) for i in range(3)]
        total = statistics.median(1000 * sum(row[:3]) / row[3] for row in rows)
        print(
            f"{args.preset} at {args.canvas} px, {method}: {total:.2f} ms per image query "
            f"(ask {parts[0]:.2f}, tell {parts[1]:.2f}, render {parts[2]:.2f}); median of "
            f"{args.runs}"
        )


if __name__ == "__main__":
    main()
