"""How often `migrate` decides rightly on the zoo: `python -m tests.benchmarks.migrate --tasks 8`.

A prompt is searched on one miniature with 1,000 image queries, and moved to the five others with
the 500 test images of the task and 300 image queries for a refinement. Each decision is then held
against a full verification: all arms on `--held` images that neither the search nor `migrate` saw,
of which every score is taken, with two-sided 95 % intervals (paired score intervals). With g the
gain of the prompt on the new model, r that of the refined prompt where the refinement found one,
and d the new model without a prompt minus the old one with it, a decision is right where the full
verification does not contradict it:

    keep        g is not shown to lie below 2 points
    needs none  g is not shown to lie above 2 points, nor d below -2 points
    refined     r is not shown to lie below 2 points, nor g above
    drop        neither g nor r is shown to lie above 2 points, nor d above -2 points
    undecided   never

This was written before the first run. The columns of the table are what the means alone would say:
keep where g > 2 points, else needs none where d > -2, else refined where r > 2, else drop.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.table import text_table
from bbtvp.jobs.migrate import MigrateOptions, Migrator, PromptToMove
from bbtvp.jobs.migration import Migration
from bbtvp.models import Model, load_model
from bbtvp.prompt import Prompt, PromptSpace, bundle
from bbtvp.search import ask, choose_reader, optimize
from bbtvp.stats import score_interval
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.registry import load_task
from bbtvp.verify.verdict import ChangedAnswers
from bbtvp.zoo import tasks as zoo_tasks
from bbtvp.zoo.catalogue import members
from bbtvp.zoo.shifts.strengths import STRENGTH
from bbtvp.zoo.suites import SUITES

MARGIN = 0.02
TWO_SIDED = 1.959963984540054
WORDS = ("keep", "needs none", "refined", "drop", "undecided")
HELD = "held-out"


@dataclass(frozen=True)
class Shown:
    """A change on the held-out images: its mean and its two-sided interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, before: Vector, after: Vector) -> Shown:
        changed = ChangedAnswers.of(before, after)
        low, high = score_interval(changed.gained, changed.lost, changed.n, TWO_SIDED)
        return cls(changed.gain, low, high)

    def is_above(self, margin: float) -> bool:
        return self.low > margin

    def is_below(self, margin: float) -> bool:
        return self.high < margin


@cache
def model(spec: str) -> Model:
    return load_model(spec)


@cache
def task(spec: str) -> Task:
    return load_task(spec)


@cache
def held_out(spec: str, count: int) -> tuple[Sample, ...]:
    """New scenes of a task, of which no split holds one."""
    subject, shift = zoo_tasks.parts(spec.removeprefix("zoo/"))
    zoo_tasks.SIZES[HELD] = count
    zoo_tasks.DIGITS[HELD] = zoo_tasks.DIGITS["test"]
    try:
        strength = STRENGTH[subject].get(shift, 0.0)
        return zoo_tasks.samples(subject, shift, HELD, strength)
    finally:
        del zoo_tasks.SIZES[HELD], zoo_tasks.DIGITS[HELD]


class Truth:
    """Scores on the held-out images, each asked once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._known: dict[tuple[str, str, str], Vector] = {}

    def scores(self, spec: str, name: str, prompt: Prompt) -> Vector:
        key = (spec, name, prompt.digest)
        if key not in self._known:
            asked = model(name)
            reader = choose_reader("auto", asked, task(spec))
            found = ask(asked, reader, task(spec), held_out(spec, self.count), prompt)
            self._known[key] = found.correct
        return self._known[key]

    def judged(
        self, moved: PromptToMove, found: Migration
    ) -> tuple[str, bool, Mapping[str, Shown]]:
        """What the means say, whether the decision is right, and the figures."""
        spec = moved.task.name
        plain = PromptSpace.identity()
        zero = self.scores(spec, found.new, plain)
        g = Shown.of(zero, self.scores(spec, found.new, moved.prompt))
        d = Shown.of(self.scores(spec, found.old, moved.prompt), zero)
        figures = {"g": g, "d": d}
        refined = found.refinement and found.refinement.bundle
        if refined:
            prompt = Prompt.load(refined)
            figures["r"] = Shown.of(zero, self.scores(spec, found.new, prompt))
        return means(figures), is_right(found.decision, figures), figures


def means(figures: Mapping[str, Shown]) -> str:
    if figures["g"].mean > MARGIN:
        return "keep"
    if figures["d"].mean > -MARGIN:
        return "needs none"
    return "refined" if "r" in figures and figures["r"].mean > MARGIN else "drop"


def is_right(decision: str, figures: Mapping[str, Shown]) -> bool:
    g, d, r = figures["g"], figures["d"], figures.get("r")
    above = g.is_above(MARGIN)
    if decision == "keep":
        return not g.is_below(MARGIN)
    if decision == "needs none":
        return not above and not d.is_below(-MARGIN)
    if decision == "refined":
        return r is not None and not r.is_below(MARGIN) and not above
    if decision == "drop":
        better = r is not None and r.is_above(MARGIN)
        return not above and not better and not d.is_above(-MARGIN)
    return False


def searched(spec: str, source: str, seed: int, folder: Path) -> PromptToMove | None:
    """The prompt that a search deploys; None where it deploys images as they are."""
    run = optimize(task(spec), model(source), queries=1000, seed=seed)
    if run.prompt.is_identity:
        return None
    path = folder / f"{spec}-{source}-{seed}".replace("/", "_")
    path = path.with_suffix(".vprompt")
    run.save(path)
    found = bundle.read(path)
    return PromptToMove(path.stem, path, run.prompt, found.digest, task(spec), found.meta)


def cells(given: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Tasks of `suite/wide` at equal distances, each with so many sources, which go round."""
    wide = SUITES["suite/wide"][given.first_task :]
    zoo = [f"zoo/{name}" for name in members()]
    places = np.linspace(0, len(wide) - 1 - given.first_task, given.tasks).round().astype(int)
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for number, place in enumerate(places):
            for turn in range(given.sources):
                yield wide[place], zoo[(number + turn * 2 + seed) % len(zoo)], seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--first-task", type=int, default=0, help="leave so many out at both ends")
    parser.add_argument("--sources", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--held", type=int, default=1500)
    given = parser.parse_args()
    truth = Truth(given.held)
    table: Counter[tuple[str, str]] = Counter()
    right: Counter[str] = Counter()
    queries: Counter[str] = Counter()
    seeds: dict[int, list[bool]] = {}
    identities = 0
    with tempfile.TemporaryDirectory() as root:
        for spec, source, seed in cells(given):
            moved = searched(spec, source, seed, Path(root))
            if moved is None:
                identities += 1
                continue
            options = MigrateOptions(source, Path(root) / "out", seed=seed, old_model=model(source))
            migrator = Migrator(options)
            for name in members():
                if f"zoo/{name}" == source:
                    continue
                found = migrator.move(moved, model(f"zoo/{name}"))
                said, fine, figures = truth.judged(moved, found)
                table[found.decision, said] += 1
                right[found.decision] += fine
                queries[found.decision] += found.queries
                seeds.setdefault(seed, []).append(fine)
                shown = "  ".join(
                    f"{key} {100 * one.mean:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
                    for key, one in figures.items()
                )
                row = found.row
                if row is not None:
                    low, high = row.gain_ci95
                    tested = f"{100 * row.gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
                    shown = f"on {row.n} test images {tested}; held out {shown}"
                mark = "ok   " if fine else "WRONG"
                print(
                    f"{mark} {spec} {source} -> zoo/{name} seed {seed}: {found.decision}, "
                    f"{found.queries} image queries; {shown}",
                    flush=True,
                )
    report(table, right, queries, seeds, identities)


def report(
    table: Mapping[tuple[str, str], int],
    right: Mapping[str, int],
    queries: Mapping[str, int],
    seeds: Mapping[int, list[bool]],
    identities: int,
) -> None:
    """The confusion table, and the share of right decisions, by seed too."""
    rows: list[tuple[str, ...]] = [("decided", *WORDS[:4], "right", "image queries each")]
    for word in WORDS:
        counts = [table.get((word, said), 0) for said in WORDS[:4]]
        total = sum(counts)
        if total:
            each = f"{queries[word] / total:,.0f}"
            rows.append((word, *map(str, counts), f"{right[word]} of {total}", each))
    print("\ncolumns: what the means on the held-out images say")
    print(text_table(rows))
    decisions = sum(table.values())
    spent = sum(queries.values())
    print(
        f"\n{sum(right.values())} of {decisions} decisions right, "
        f"{100 * sum(right.values()) / max(1, decisions):.1f} %; "
        f"{spent:,} image queries, {spent / max(1, decisions):,.0f} each; "
        f"{identities} searches deployed images as they are"
    )
    for seed, found in sorted(seeds.items()):
        print(f"  seed {seed}: {sum(found)} of {len(found)}")


if __name__ == "__main__":
    main()
