"""How often a check of the registry sees a model that got worse, and how often it is wrong.

    python tests/benchmarks/drift.py simulate          # baselines of 50 to 95 %, with and without noise
    python tests/benchmarks/drift.py zoo               # miniatures made worse in several ways

In a simulation each image has a probability of a right answer, drawn from a Beta distribution with
the baseline's mean; `noise` is its spread, from a model that always answers the same (0) to one that
is equally unsure of every image (1). `differ` is how many answers are then judged differently the
second time. Accuracy falls by 10 points: spread evenly over all answers, wholly on some images, or
by a successor that answers half of the images anew. The last two columns are not to be flagged: the
same model, and a successor of equal accuracy that answers a third of the images anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.rng import stream
from bbtvp.models import Budget, Capabilities, Model, Outcome, Reply, Request, load_model
from bbtvp.prompt import Prompt
from bbtvp.registry import PromptRegistry
from bbtvp.registry.check import REPEATS, DriftOptions, check
from bbtvp.registry.drift import DriftTest
from bbtvp.tasks import Task
from bbtvp.tasks.registry import load_task

IMAGES = 200
DROP = 0.10
WAYS = ("evenly", "some images", "successor", "same", "equal successor")
ACCURACIES = (0.5, 0.65, 0.8, 0.95)
NOISES = (0.0, 0.1, 0.3, 1.0)


def skills(rng: np.random.Generator, accuracy: float, noise: float, images: int) -> Vector:
    """(n,) the probability of a right answer to each image."""
    if noise == 0:
        return (rng.random(images) < accuracy).astype(float)
    if noise == 1:
        return np.full(images, accuracy)
    weight = noise / (1 - noise)  # Beta's spread leaves this share of the variance within an image
    return rng.beta(accuracy * weight, (1 - accuracy) * weight, images)


def worse(rng: np.random.Generator, p: Vector, way: str, accuracy: float, noise: float) -> Vector:
    """The probabilities after the change."""
    images = len(p)
    if way == "evenly":
        return p * (1 - DROP / accuracy)
    if way == "some images":
        return np.where(rng.random(images) < DROP / accuracy, 0.0, p)
    if way == "successor":
        anew = skills(rng, accuracy - 2 * DROP, noise, images)
        return np.where(rng.random(images) < 0.5, anew, p)
    if way == "equal successor":
        return np.where(rng.random(images) < 1 / 3, skills(rng, accuracy, noise, images), p)
    return p


@cache
def test_of(exact: bool) -> DriftTest:
    return DriftTest(IMAGES, exact=exact)


def simulated(rng: np.random.Generator, accuracy: float, noise: float, way: str) -> tuple[str, int]:
    """What one check finds about the prompted score, and with how many image queries."""
    exact = noise == 0
    repeats = 1 if exact else REPEATS
    p = skills(rng, accuracy, noise, IMAGES)
    old = (rng.random((repeats, IMAGES)) < p).astype(float)
    new = (rng.random(IMAGES) < worse(rng, p, way, accuracy, noise)).astype(float)
    test = test_of(exact)
    for number, end in enumerate(test.ends):
        look = test.look(number, old[:, :end], new[:end])
        if look.found != "open":
            break
    return look.found, end


def simulate(checks: int) -> None:
    print("flagged stale, % (image queries, mean)")
    print(f"{'baseline':>8} {'noise':>5} {'differ':>6}", *(f"{way:>15}" for way in WAYS))
    for accuracy in ACCURACIES:
        for noise in NOISES:
            differ = 2 * accuracy * (1 - accuracy) * noise
            cells = []
            for way in WAYS:
                rng = stream(0, "drift", f"{accuracy} {noise} {way}")
                found = [simulated(rng, accuracy, noise, way) for _ in range(checks)]
                flagged = np.mean([word == "stale" for word, _ in found])
                cells.append(f"{100 * flagged:8.1f} ({np.mean([n for _, n in found]):4.0f})")
            print(
                f"{accuracy:8.0%} {noise:5.1f} {differ:6.1%}",
                *(f"{c:>15}" for c in cells),
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("simulate", "zoo"))
    parser.add_argument("--checks", type=int, default=500)
    arguments = parser.parse_args()
    simulate(arguments.checks)


if __name__ == "__main__":
    main()
