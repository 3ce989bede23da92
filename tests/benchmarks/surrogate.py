"""What the surrogate's free work costs: seconds per image of a gradient, by preset, and of the
pull-back alone.

    python tests/benchmarks/surrogate.py [--surrogate zoo/clip] [--canvas 64] [--images 32]
        [--presets default tvp]

A query of a real model takes about a second; a gradient that costs as much is not free.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from bbtvp.prompt import preset
from bbtvp.surrogate import Guide, ZeroShot, load_surrogate, pullback
from bbtvp.zoo import tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surrogate", default="zoo/clip")
    parser.add_argument("--canvas", type=int, default=64)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--presets", nargs="+", default=["tone", "default", "frame", "tvp"])
    args = parser.parse_args()
    task = tasks.load("shapes-dark")
    head = ZeroShot(load_surrogate(args.surrogate), task)
    print("| preset | variables | three rows, ms per image | pull-back alone |\n|---|---|---|---|")
    for name in args.presets:
        space = preset(name, args.canvas)
        guide = Guide(head, space, task.train[: args.images])
        z = space.neutral() + 0.1
        guide(z)
        begin = time.perf_counter()
        guide(z)
        whole = time.perf_counter() - begin
        images = [guide.prepared(sample) for sample in guide.samples]
        cotangents = np.ones((3, len(images), args.canvas, args.canvas, 3), np.float32)
        begin = time.perf_counter()
        pullback(space, z, images, cotangents)
        back = time.perf_counter() - begin
        each = 1000 / len(images)
        print(f"| {name} | {space.dim} | {whole * each:.1f} | {back * each:.1f} |")


if __name__ == "__main__":
    main()
