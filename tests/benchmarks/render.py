"""Median milliseconds of a render, by preset and by layer, at 64, 224 and 1,000 px: `python
tests/benchmarks/render.py [RUNS]`. One thread.

"image": one more image of a candidate whose z is ready. "candidate": making a z ready, once for all
its images.

Then what a deployed prompt costs: a photo of 1,024 px to a canvas of 448 px, and a photo of one
megapixel as it is, over random z of each preset; decoding and encoding are left out.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.rng import stream
from bbtvp.prompt import Coordinator, Frame, Legend, Marks, Overlay, Placement, PromptSpace, preset

LAYERS = {
    "frame blocks": Frame("blocks", size=14),
    "overlay dct": Overlay(),
    "overlay pixels": Overlay("pixels"),
    "coordinator 16": Coordinator(),
    "coordinator 40": Coordinator(width=40),
    "legend": Legend(("cat", "dog")),
}

PER_PIXEL = ("tvp", "overlay pixels")
"""Three variables a pixel: more than a prompt may have on a canvas of 1,000 px."""


def median_ms(action: Callable[[], object], runs: int) -> float:
    """Median wall-clock time of one call, in milliseconds, after one call to warm up."""
    action()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def spaces(canvas: int) -> dict[str, tuple[PromptSpace, Vector]]:
    """Each preset and layer with a z that makes it work: marks at their densest, names shown."""
    rng = stream(0, "render", canvas)
    found = {}
    left_out = PER_PIXEL if canvas > 448 else ()
    for name in ("tvp", "frame", "tone", "default", "annotate"):
        if name in left_out:
            continue
        space = preset(name, canvas)
        found[name] = space, rng.standard_normal(space.dim)
    space = found["annotate"][0]
    for name, start in {
        "rows, margin": (3, "rows", "margin"),
        "cells 8 x 8": (8, "grid", "cell"),
    }.items():
        z = Marks().start(start[0], layout=start[1], anchors="digits", place=start[2])
        found[f"annotate: {name}"] = space, space.embed(z, ("marks",), found["annotate"][1])
    for name, layer in LAYERS.items():
        if name in left_out:
            continue
        space = PromptSpace((Placement(0.75), layer), canvas)
        found[name] = (
            space,
            np.array([0.0, 1.0]) if name == "legend" else rng.standard_normal(space.dim),
        )
    return found


def photo(width: int, height: int) -> Pixels:
    """Waves of all widths, and a little noise."""
    down, across = np.mgrid[:height, :width][..., None] / np.array([37.0, 23.0, 11.0])
    noise = stream(2, width, height).normal(0, 12, (height, width, 3))
    return np.clip(128 + 60 * np.sin(across) + 40 * np.cos(down) + noise, 0, 255).astype(np.uint8)


def print_deployed(runs: int) -> None:
    """Print the table of deployed prompts: the middle, the best and the worst of random z."""
    square = photo(1024, 1024)
    print(f"{'Pillow: bicubic, 1,024 to 448 px':40} ", end="")
    print(f"{median_ms(lambda: Image.fromarray(square).resize((448, 448)), runs):9.2f}")
    cases = {
        "1,024 px to 448": (448, "square", square),
        "1 megapixel": (2048, "picture", photo(1155, 866)),
    }
    print(f"{'deployed':22} {'picture':>17} {'middle ms':>10} {'least':>9} {'most':>9}")
    for case, (canvas, shape, pixels) in cases.items():
        for name in ("tone", "default", "annotate"):
            space = preset(name, canvas, shape)
            times = []
            for seed in range(24):
                renderer = space.renderer(stream(seed, "deployed").standard_normal(space.dim))
                times.append(median_ms(lambda: renderer(pixels), max(3, runs // 40)))  # noqa: B023
            middle, least, most = statistics.median(times), min(times), max(times)
            print(f"{name:22} {case:>17} {middle:10.2f} {least:9.2f} {most:9.2f}", flush=True)


def main(runs: int) -> None:
    """Print the tables."""
    print(
        f"{'preset or layer':22} {'canvas':>6} {'variables':>9} {'image ms':>9} "
        f"{'candidate ms':>12}"
    )
    for canvas in (64, 224, 1000):
        pixels = stream(1, canvas).integers(0, 256, (canvas, canvas, 3), dtype=np.uint8)
        for name, (space, z) in spaces(canvas).items():
            prepared = space.prepare(pixels)
            renderer = space.renderer(z)
            image = median_ms(lambda: renderer(prepared), runs)  # noqa: B023  # called at once
            candidate = median_ms(lambda: space.renderer(z), runs)  # noqa: B023
            print(f"{name:22} {canvas:6} {space.dim:9} {image:9.3f} {candidate:12.3f}", flush=True)
    print_deployed(runs)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
