"""What `--start` gains over a search from neutral: `python -m tests.benchmarks.refine --tasks 13`.

A prompt is searched on one miniature with 1,000 image queries. On another one it is refined with
150 and with 300 image queries (warm), and beside that a search from neutral has as many (cold). All
are asked about the task's test images. Gains are paired by task, pair of models and seed, with 95 %
bootstrap intervals over these. The share, the step and the sizes of the plan were set on
`suite/wide-dev`; figures are of `suite/wide`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

from bbtvp.models import Model, load_model
from bbtvp.prompt import Prompt, PromptSpace
from bbtvp.search import ask, choose_reader, optimize
from bbtvp.stats import bootstrap_mean
from bbtvp.tasks import Task
from bbtvp.tasks.registry import load_task
from bbtvp.zoo.catalogue import members
from bbtvp.zoo.suites import SUITES

BUDGETS = (150, 300)


@cache
def model(spec: str) -> Model:
    return load_model(spec)


@cache
def task(spec: str) -> Task:
    return load_task(spec)


def score(spec: str, name: str, prompt: Prompt) -> float:
    """The accuracy on the test images."""
    reader = choose_reader("auto", model(name), task(spec))
    return float(np.nanmean(ask(model(name), reader, task(spec), task(spec).test, prompt).correct))


def cells(suite: str, count: int, seeds: int) -> Iterator[tuple[str, str, str, int]]:
    """Task, source, target and seed; sources and targets go round."""
    tasks = SUITES[suite]
    zoo = [f"zoo/{name}" for name in members()]
    places = np.linspace(0, len(tasks) - 1, count).round().astype(int)
    for seed in range(seeds):
        for number, place in enumerate(places):
            first = (number + 2 * seed) % len(zoo)
            second = (first + 1 + (number + seed) % (len(zoo) - 1)) % len(zoo)
            yield tasks[place], zoo[first], zoo[second], seed


def shown(name: str, gains: list[float]) -> str:
    found = bootstrap_mean(np.array(gains))
    return (
        f"  {name:<24} {100 * found.mean:+6.2f} [{100 * found.lo:+.2f}, {100 * found.hi:+.2f}], "
        f"worst {100 * min(gains):+.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="suite/wide")
    parser.add_argument("--tasks", type=int, default=13)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    rows: dict[int, list[tuple[float, float, float, float]]] = {one: [] for one in BUDGETS}
    outcomes: dict[int, Counter[str]] = {one: Counter() for one in BUDGETS}
    with tempfile.TemporaryDirectory() as root:
        for spec, source, target, seed in cells(given.suite, given.tasks, given.seeds):
            start = Path(root) / "start.vprompt"
            run = optimize(task(spec), model(source), queries=1000, seed=seed, keep_best=True)
            run.save(start)
            zero = score(spec, target, PromptSpace.identity())
            before = score(spec, target, run.prompt)
            for queries in BUDGETS:
                search = partial(
                    optimize, task(spec), model(target), queries=queries, seed=seed + 100
                )
                warm = search(start=str(start))
                cold = search()
                outcomes[queries][warm.started.outcome if warm.started else ""] += 1
                pair = (score(spec, target, warm.prompt), score(spec, target, cold.prompt))
                rows[queries].append((zero, before, *pair))
                print(
                    f"{spec} {source} -> {target} seed {seed}, {queries}: zero-shot {zero:.3f}, "
                    f"start {before:.3f}, warm {pair[0]:.3f}, cold {pair[1]:.3f}",
                    flush=True,
                )
    for queries, found in rows.items():
        print(f"{queries} image queries, {len(found)} cells, points: {dict(outcomes[queries])}")
        print(shown("warm over cold", [warm - cold for _, _, warm, cold in found]))
        print(shown("warm over the start", [warm - before for _, before, warm, _ in found]))
        print(shown("warm over zero-shot", [warm - zero for zero, _, warm, _ in found]))
        print(shown("cold over zero-shot", [cold - zero for zero, _, _, cold in found]))


if __name__ == "__main__":
    main()
