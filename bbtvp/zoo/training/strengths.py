"""The strengths of all shifts after the first five, by one rule for all.

Run `python -m bbtvp.zoo.training.strengths`; it takes about twenty minutes on one core and prints
the rows of the table in `bbtvp/zoo/shifts/strengths.py`.

The rule: the strength where the zero-shot accuracy of zoo/llava lies in the middle between chance
(the best constant answer) and its accuracy without a shift. It is found on the training split, by
bisection between no shift and the strongest one. Where even the strongest leaves the model above
the middle, the strongest is taken, and the row says so.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from bbtvp.models import Model, load_model
from bbtvp.search import LogProbReader, ask
from bbtvp.tasks import Sample, Task
from bbtvp.zoo import tasks
from bbtvp.zoo.shifts import STRONGEST

SOURCE = "zoo/llava"
STEPS = 8
"""Halvings of the range, at most."""

NEAR = 0.01
"""An accuracy so near to the middle ends the bisection."""

SUBJECTS = (*tasks.SUBJECTS, "hallucination")


class Strength(NamedTuple):
    """What the rule found: the strength, and the accuracies (0..1) on the training split."""

    strength: float
    middle: float
    accuracy: float
    reached: bool


def bisect(accuracy: Callable[[float], float], goal: float, strongest: float) -> Strength:
    """The strength in 0..strongest where a falling accuracy comes nearest to `goal`."""
    low = 0.0
    high = strongest
    best = Strength(strongest, goal, accuracy(strongest), True)
    if best.accuracy > goal:
        return best._replace(reached=False)
    for _ in range(STEPS):
        if abs(best.accuracy - goal) <= NEAR:
            break
        strength = float(f"{(low + high) / 2:.3g}")
        found = accuracy(strength)
        if abs(found - goal) < abs(best.accuracy - goal):
            best = Strength(strength, goal, found, True)
        if found > goal:
            low = strength
        else:
            high = strength
    return best


def right(model: Model, task: Task, samples: tuple[Sample, ...]) -> float:
    """Share of right answers of an unprompted model on these samples."""
    return float(ask(model, LogProbReader(), task, samples).correct.mean())


def middle(model: Model, subject: str) -> float:
    """The accuracy halfway between chance and no shift, on the training split of a subject."""
    task = tasks.load(subject)
    constant = max(Counter(sample.answer for sample in task.train).values()) / len(task.train)
    return (constant + right(model, task, task.train)) / 2


def find(model: Model, subject: str, shift: str, goal: float) -> Strength:
    """The strength of a shift that brings a subject to `goal`, on its training split."""
    task = tasks.load(subject)

    def accuracy(strength: float) -> float:
        return right(model, task, tasks.samples(subject, shift, "train", strength))

    return bisect(accuracy, goal, STRONGEST[shift])


def main() -> None:
    """Print a row for each shift."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shifts", nargs="+", default=list(STRONGEST), choices=list(STRONGEST))
    shifts = parser.parse_args().shifts
    model = load_model(SOURCE, batch=64)
    middles = {subject: middle(model, subject) for subject in SUBJECTS}
    print("#", *SUBJECTS)
    for shift in shifts:
        found = {subject: find(model, subject, shift, middles[subject]) for subject in SUBJECTS}
        row = ", ".join(f"{one.strength:g}" for one in found.values())
        print(f'"{shift}": ({row}),', flush=True)
        for subject, one in found.items():
            note = "" if one.reached else "; the strongest leaves it above the middle"
            print(f"#   {subject}: {one.accuracy:.3f}, middle {one.middle:.3f}{note}", flush=True)


if __name__ == "__main__":
    main()
