"""Median milliseconds of a render, by preset and by layer, at 64, 224 and 1,000 px: `python
tests/benchmarks/render.py [RUNS] [BUNDLE …]`. Processor time of one thread.

"image": one more image of a candidate whose z is ready. "candidate": making a z ready, once for all
its images.

Then what a deployed prompt costs between decoding and encoding: a photo of 1,024 px to a canvas of
448 px, and a photo of one megapixel as it is. "/ Pillow" is the ratio to Pillow's bicubic
resampling from 1,024 to 448 px in the same run. Presets are shown over random z, of which nearly
every one of the default restores in several ways and turns all knobs of tone. A search keeps less:
"typical" is the default as most searches leave it: shrunk, with one restoration and a tone; "one of
each group" has a restoration of each kind. Bundles that are named are shown too, each with its own
layers and variables on these canvases.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.rng import stream
from bbtvp.prompt import (
    Coordinator,
    Frame,
    Legend,
    Marks,
    Overlay,
    Placement,
    Prompt,
    PromptSpace,
    Restore,
    Tone,
    preset,
)
from bbtvp.prompt.placement import Shape

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
    """Median processor time of one call, in milliseconds, after one call to warm up."""
    action()
    times = []
    for _ in range(runs):
        start = time.thread_time()
        action()
        times.append(time.thread_time() - start)
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
    values = 128 + 60 * np.sin(across) + 40 * np.cos(down) + noise
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def deployed(canvas: int, shape: Shape, bundles: Sequence[str]) -> dict[str, list[Prompt]]:
    """The prompts of each row of the second table."""
    found = {}
    for name in ("tone", "default", "annotate"):
        space = preset(name, canvas, shape)
        draws = [stream(seed, "deployed").standard_normal(space.dim) for seed in range(24)]
        found[f"{name}, random z"] = [space.prompt(z) for z in draws]
    found["default, typical"] = [_chosen(canvas, shape, "wide-median")]
    each = ("unsqueeze", "destripe", "wide-median", "deblur", "white-balance")
    found["default, one of each group"] = [_chosen(canvas, shape, *each)]
    if bundles:
        prompts = map(Prompt.load, bundles)
        found["bundles"] = [PromptSpace(p.space.layers, canvas, shape).prompt(p.z) for p in prompts]
    return found


def _chosen(canvas: int, shape: Shape, *restorations: str) -> Prompt:
    """The default with these restorations, a little smaller, clearer and with more contrast."""
    space = preset("default", canvas, shape)
    z = space.neutral()
    for layer in space.layers:
        if isinstance(layer, Placement):
            part = layer.at({"shrink": 0.4})
        elif isinstance(layer, Restore):
            part = layer.start(*restorations)
        elif isinstance(layer, Tone):
            part = layer.at({"contrast": 0.5, "gamma": -0.5, "clarity": 0.5})
        else:
            continue
        z = space.embed(part, (layer.kind,), z)
    return space.prompt(z)


def print_deployed(runs: int, bundles: Sequence[str]) -> None:
    """Print the table of deployed prompts: of several, the middle, the best and the worst."""
    square = Image.fromarray(photo(1024, 1024))
    pillow = median_ms(lambda: square.resize((448, 448)), runs)
    print(f"{'Pillow: bicubic, 1,024 to 448 px':46} {pillow:9.2f}")
    cases: dict[str, tuple[int, Shape, Image.Image]] = {
        "1,024 px to 448": (448, "square", square),
        "1 megapixel": (2048, "picture", Image.fromarray(photo(1155, 866))),
    }
    print(
        f"{'deployed':28} {'picture':>17} {'middle ms':>10} {'least':>9} {'most':>9} "
        f"{'/ Pillow':>9}"
    )
    for case, (canvas, shape, image) in cases.items():
        for name, prompts in deployed(canvas, shape, bundles).items():
            few = max(3, runs // (8 if len(prompts) == 1 else 40))
            times = [median_ms(lambda: prompt.apply(image), few) for prompt in prompts]  # noqa: B023
            middle, least, most = statistics.median(times), min(times), max(times)
            print(
                f"{name:28} {case:>17} {middle:10.2f} {least:9.2f} {most:9.2f} "
                f"{middle / pillow:9.2f}",
                flush=True,
            )


def main(runs: int, bundles: Sequence[str]) -> None:
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
    print_deployed(runs, bundles)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, sys.argv[2:])
