"""Whether a surrogate's free terms tell which prompts transfer to models that nobody asked.

    python tests/benchmarks/surrogate_transfer.py [--candidates 16] [--images 48]
        [--source zoo/llava] [--targets zoo/llava-seed1 …] [--keep FILE]

For each task of the suite, the same candidates are drawn over the variables of the tone preset.
Each is tried on test images: gain in accuracy over zero-shot on the source and, as a mean, on the
independent targets. Rows: Spearman's correlation over candidates between a term and the gain on
the targets, and the partial one at equal gain on the source, which is what a term would add to the
answers that a search pays for. Means over tasks, with 95 % bootstrap intervals over tasks. --keep
remembers answers, so that another target costs only its own.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from transformers import AutoModelForImageTextToText, AutoProcessor

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.models import Model, load_model
from bbtvp.prompt import PromptSpace, preset
from bbtvp.search import LogProbReader, ask
from bbtvp.surrogate import Surrogate, load_surrogate
from bbtvp.tasks import Sample, Task
from bbtvp.zoo import suites, tasks
from bbtvp.zoo.catalogue import independent, weights

RELATED = "paligemma"
"""Its tower comes from the source's, so that it stands for a surrogate close to the source."""


def tower(folder: Path) -> str:
    """The spec of a vision encoder: the tower of a member that is related to the source."""
    model = AutoModelForImageTextToText.from_pretrained(weights() / RELATED, dtype="float32")
    model.model.vision_tower.save_pretrained(folder)
    AutoProcessor.from_pretrained(weights() / RELATED).image_processor.save_pretrained(folder)
    return f"hf/{folder}"


def accuracy(model: Model, task: Task, samples: Sequence[Sample], images: list[Pixels]) -> float:
    return float(ask(model, LogProbReader(), task, samples, images=images).correct.mean())


def terms(surrogates: dict[str, Surrogate], samples: Sequence[Sample]) -> Callable[..., Vector]:
    """A function of prompted and plain images: the mean of each term, higher is better."""

    def found(prompted: list[Pixels], plain: list[Pixels]) -> Vector:
        row = []
        for surrogate in surrogates.values():
            one, other = surrogate.features(prompted), surrogate.features(plain)
            row.append(-surrogate.fca(one, other).mean())
            if surrogate.reads_text and surrogate.compares == "tokens":
                row.append(surrogate.tse(one, samples).mean())
        return np.array(row)

    return found


def names(surrogates: dict[str, Surrogate]) -> list[str]:
    """The rows of the table, in the order of `terms`."""
    rows = []
    for name, surrogate in surrogates.items():
        rows.append(f"−FCA, {name}")
        if surrogate.reads_text and surrogate.compares == "tokens":
            rows.append(f"TSE, {name}")
    return rows


def partial(x: Vector, y: Vector, given: Vector) -> float:
    """Spearman's correlation of x and y at equal `given`."""
    xy, xg, yg = (float(spearmanr(a, b)[0]) for a, b in ((x, y), (x, given), (y, given)))
    return (xy - xg * yg) / math.sqrt(max(1e-9, (1 - xg**2) * (1 - yg**2)))


def interval(values: Vector, seed: int = 0) -> str:
    """The mean over tasks and its bootstrap interval."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (4000, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{values.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def gains(
    model: Model,
    task: Task,
    samples: Sequence[Sample],
    rendered: list[list[Pixels]],
    kept: dict[str, list[float]],
) -> Vector:
    """(k,) gain of each candidate over zero-shot."""
    key = f"{model.spec} {task.name} {len(rendered)} {len(samples)}"
    if key not in kept:
        plain = accuracy(model, task, samples, [sample.pixels() for sample in samples])
        kept[key] = [accuracy(model, task, samples, images) - plain for images in rendered]
    return np.array(kept[key])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--source", default="zoo/llava")
    parser.add_argument("--targets", nargs="+", default=[f"zoo/{name}" for name in independent()])
    parser.add_argument("--keep", type=Path, help="a JSON file of answers, read and renewed")
    args = parser.parse_args()
    kept = json.loads(args.keep.read_text()) if args.keep and args.keep.exists() else {}
    source = load_model(args.source)
    targets = [load_model(spec) for spec in args.targets]
    with tempfile.TemporaryDirectory() as folder:
        related = tower(Path(folder))
        surrogates = {
            name: load_surrogate(spec)
            for name, spec in {
                "zoo/clip": "zoo/clip",
                "zoo/clip, pooled": "zoo/clip,features=pooled",
                f"tower of zoo/{RELATED}": related,
                "both": f"zoo/clip + {related}",
            }.items()
        }
        space: PromptSpace = preset("tone", 64)
        zs: Matrix = np.random.default_rng(0).normal(size=(args.candidates, space.dim))
        rows: list[list[tuple[float, float]]] = []
        for name in suites.OLD:
            task = tasks.load(name)
            samples = task.test[: args.images]
            rendered = [[space.render(z, sample.pixels()) for sample in samples] for z in zs]
            plain = [space.render(space.neutral(), sample.pixels()) for sample in samples]
            own = gains(source, task, samples, rendered, kept)
            others = np.mean([gains(m, task, samples, rendered, kept) for m in targets], axis=0)
            term = terms(surrogates, samples)
            columns = np.array([term(images, plain) for images in rendered]).T
            reference = (float(spearmanr(own, others)[0]), float("nan"))
            rows.append(
                [reference]
                + [(float(spearmanr(c, others)[0]), partial(c, others, own)) for c in columns]
            )
            if args.keep:
                args.keep.write_text(json.dumps(kept))
            print(f"{name}: gain on the source {own.mean():+.3f}, on others {others.mean():+.3f}")
    table = np.array(rows)
    print(f"\n{args.candidates} candidates, {args.images} images, targets {' '.join(args.targets)}")
    print(
        "| what predicts | with the gain on others | at equal gain on the source |\n|---|---|---|"
    )
    for index, label in enumerate(["gain on the source", *names(surrogates)]):
        alone = interval(table[:, index, 0])
        beyond = interval(table[:, index, 1]) if index else "–"
        print(f"| {label} | {alone} | {beyond} |")


if __name__ == "__main__":
    main()
