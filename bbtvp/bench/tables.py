"""From the rows of a benchmark to its figures: means with intervals, transfer, harm, queries.

A figure of a method at a budget is the mean over (task, source) of the mean over seeds: each task
and each source counts the same. Its interval is a percentile bootstrap that resamples tasks and
sources, crossed (the pigeonhole bootstrap, Owen, Ann. Appl. Stat. 2007), and the seeds within each
(task, source). Test images are not resampled: their noise is part of what differs from seed to seed
and cell to cell. Two methods are compared on the cells that both have, by the same bootstrap of the
differences.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.stats import holm, sign_flip_p

RESAMPLES = 2000
ALPHA = 0.05

BenchRow = Mapping[str, Any]
CellPlace = tuple[str, str, int]
"""Task, source, seed."""


@final
class Interval(NamedTuple):
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@final
class Summary(NamedTuple):
    """A method at a budget. Shares and gains are 0..1; None where the method gives no such thing.

    queries: mean image queries that a search spent. transfer: mean gain over the models that were
    not asked; ratio: its mean over that of the gain on the source. over_empty: gain over the empty
    frame, on the source.
    """

    method: str
    budget: int
    queries: float
    cells: int
    zero_shot: float
    prompted: float
    gain: Interval
    over_empty: Interval | None
    transfer: Interval | None
    transfer_over_empty: Interval | None
    ratio: Interval | None
    per_image: float | None = None
    usd_per_1000: float | None = None


CellValue = Callable[[Sequence[BenchRow]], float | None]
"""A figure of one cell, from its rows (one for each target)."""


def own(key: str) -> CellValue:
    """The figure `key` on the source."""

    def value(rows: Sequence[BenchRow]) -> float | None:
        found = [row.get(key) for row in rows if row["target"] == row["source"]]
        return None if not found or found[0] is None else float(found[0])

    return value


def carried(key: str) -> CellValue:
    """The mean of `key` over the models that were not asked."""

    def value(rows: Sequence[BenchRow]) -> float | None:
        found = [
            row[key] for row in rows if row["target"] != row["source"] and row[key] is not None
        ]
        return float(np.mean(found)) if found else None

    return value


def groups(rows: Iterable[BenchRow]) -> dict[tuple[str, int], list[BenchRow]]:
    """Rows by (method, budget), in the order of their first appearance."""
    found: dict[tuple[str, int], list[BenchRow]] = defaultdict(list)
    for row in rows:
        found[row["method"], row["budget"]].append(row)
    return dict(found)


def figures(rows: Iterable[BenchRow], value: CellValue) -> dict[CellPlace, float]:
    """One figure for each cell that has it."""
    cells: dict[CellPlace, list[BenchRow]] = defaultdict(list)
    for row in rows:
        cells[row["task"], row["source"], row["seed"]].append(row)
    found = {place: value(of_cell) for place, of_cell in cells.items()}
    return {place: figure for place, figure in found.items() if figure is not None}


@final
class Cube:
    """Figures laid out by task, source and seed."""

    def __init__(self, found: Mapping[CellPlace, float]) -> None:
        tasks = sorted({task for task, _, _ in found})
        sources = sorted({source for _, source, _ in found})
        seeds: dict[tuple[int, int], list[float]] = defaultdict(list)
        for (task, source, _), figure in sorted(found.items()):
            seeds[tasks.index(task), sources.index(source)].append(figure)
        self.count = np.zeros((len(tasks), len(sources)), np.intp)
        self.values = np.zeros((*self.count.shape, max(map(len, seeds.values()))))
        for place, drawn in seeds.items():
            self.count[place] = len(drawn)
            self.values[place][: len(drawn)] = drawn

    @property
    def mean(self) -> float:
        """Mean over (task, source) of the mean over seeds."""
        there = self.count > 0
        return float((self.values.sum(axis=2)[there] / self.count[there]).mean())

    def resampled(self, seed: int = 0, resamples: int = RESAMPLES) -> Vector:
        """(resamples,) means of resampled cubes.

        Cubes of equal layout get equal draws, so that their means can be divided.
        """
        rng = stream(seed, "bench", "bootstrap")
        tasks, sources = self.count.shape
        drawn = (
            rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=resamples)[:, :, None]
            * rng.multinomial(sources, np.full(sources, 1 / sources), size=resamples)[:, None, :]
        )  # (resamples, tasks, sources): how often each pair is there
        weight = drawn * (self.count > 0)
        seeds = self.values.shape[2]
        which = (
            rng.random((resamples, tasks, sources, seeds)) * self.count[None, :, :, None]
        ).astype(np.intp)
        picked = np.take_along_axis(np.broadcast_to(self.values, which.shape), which, axis=3)
        present = np.arange(seeds) < self.count[:, :, None]
        means = (picked * present).sum(axis=3) / np.maximum(self.count, 1)
        total = weight.sum(axis=(1, 2))
        found: Vector = (means * weight).sum(axis=(1, 2))[total > 0] / total[total > 0]
        return found

    def interval(self) -> Interval:
        """The mean with its interval."""
        return Interval(self.mean, *_ends(self.resampled()))


def _ends(draws: Vector) -> tuple[float, float]:
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def interval(found: Mapping[CellPlace, float]) -> Interval | None:
    """None without figures."""
    return Cube(found).interval() if found else None


def ratio(above: Mapping[CellPlace, float], below: Mapping[CellPlace, float]) -> Interval | None:
    """Mean of `above` over mean of `below` on the cells of both; None if `below` is not above 0."""
    common = above.keys() & below.keys()
    if not common:
        return None
    one, other = (Cube({place: found[place] for place in common}) for found in (above, below))
    if other.mean <= 0:
        return None
    upper = one.resampled()
    lower = other.resampled()
    kept = lower > 0
    return Interval(one.mean / other.mean, *_ends(upper[kept] / lower[kept]))


def _mean(found: Mapping[CellPlace, float]) -> float | None:
    return Cube(found).mean if found else None


def summaries(rows: Iterable[BenchRow]) -> list[Summary]:
    """One for each method and budget."""
    found = []
    for (method, budget), part in groups(rows).items():
        gains = figures(part, own("gain"))
        carry = figures(part, carried("gain"))
        gain = interval(gains)
        if gain is None:
            continue
        found.append(
            Summary(
                method,
                budget,
                Cube(figures(part, own("queries"))).mean,
                len(gains),
                Cube(figures(part, own("zero_shot"))).mean,
                Cube(figures(part, own("prompted"))).mean,
                gain,
                interval(figures(part, own("over_empty_frame"))),
                interval(carry),
                interval(figures(part, carried("over_empty_frame"))),
                ratio(carry, gains),
                _mean(figures(part, own("queries_per_image"))),
                _mean(figures(part, own("usd_per_1000"))),
            )
        )
    return found


def paired(one: Iterable[BenchRow], other: Iterable[BenchRow], value: CellValue) -> Interval | None:
    """Mean of `one` − `other` on the cells of both; None if there are none.

    A method without budget and seed has one cell for each (task, source); it meets every seed of
    the other.
    """
    first = list(one)
    second = list(other)
    a = figures(first, value)
    b = figures(second, value)
    if first and first[0]["budget"] == 0:
        a = _spread(a, b)
    if second and second[0]["budget"] == 0:
        b = _spread(b, a)
    return interval({place: a[place] - b[place] for place in a.keys() & b.keys()})


def _spread(
    alone: Mapping[CellPlace, float], other: Mapping[CellPlace, float]
) -> dict[CellPlace, float]:
    known = {(task, source): figure for (task, source, _), figure in alone.items()}
    return {place: known[place[:2]] for place in other if place[:2] in known}


# -- harm ------------------------------------------------------------------------------------------
@final
class Harm(NamedTuple):
    """How often a method at a budget is below or above zero-shot.

    A place is a (source, target, task) with its seeds pooled, tested at 5 % with Holm's correction.
    below, above: places significantly below or above the target's zero-shot. worst: the places
    below, most negative first, as (source, target, task, mean gain, adjusted p).
    """

    places: int
    below: int
    above: int
    worst: tuple[tuple[str, str, str, float, float], ...]


AnswerPair = tuple[Vector, Vector]
"""(n,) zero-shot and prompted scores of one seed: 1, 0, between if graded, or NaN."""


def harm(places: Mapping[tuple[str, str, str], Sequence[AnswerPair]]) -> Harm:
    """Test every place against its zero-shot.

    The pairs of a place are its seeds, on the same images.
    """
    if not places:
        return Harm(0, 0, 0, ())
    changes = [_changes(pairs) for pairs in places.values()]
    summed = [np.nan_to_num(each).sum(axis=0) for each in changes]
    adjusted = holm([_p_of(each) for each in summed])
    means = [float(np.nansum(each) / max(np.isfinite(each).sum(), 1)) for each in changes]
    rows = [
        (*name, mean, float(p))
        for name, mean, p in zip(places, means, adjusted, strict=True)
        if p < ALPHA
    ]
    worst = sorted((row for row in rows if row[3] < 0), key=lambda row: row[3])
    return Harm(len(places), len(worst), len(rows) - len(worst), tuple(worst))


def _changes(pairs: Sequence[AnswerPair]) -> Matrix:
    """(seeds, n) −1, 0 or 1, between for graded scores; NaN where either answer is missing."""
    return np.stack([after - before for before, after in pairs])


def _p_of(summed: Vector) -> float:
    """The p of 'no change' of these changes (n,), each summed over seeds."""
    if not (summed == np.rint(summed)).all():
        return sign_flip_p(summed)
    return sign_flip(summed.astype(np.intp))


def sign_flip(changes: NDArray[np.intp]) -> float:
    """Exact two-sided p of 'no change', by flipping the sign of each image's change.

    changes: (n,) whole numbers, each summed over seeds. With one seed the changes are −1, 0 and 1,
    and this is McNemar's exact test. With more, the images are the units: the seeds share their
    zero-shot answers and are not independent.
    """
    from scipy.stats import binom  # type: ignore[import-untyped]

    chances = np.ones(1)
    reach = 0  # `chances` are those of the sums −reach … reach
    for size in np.unique(np.abs(changes[changes != 0])).tolist():
        n = int((np.abs(changes) == size).sum())
        flips = np.zeros(2 * n * size + 1)
        flips[:: 2 * size] = binom.pmf(np.arange(n + 1), n, 0.5)
        chances = np.convolve(chances, flips)
        reach = reach + n * size
    sums = np.arange(-reach, reach + 1)
    return float(min(1.0, chances[np.abs(sums) >= abs(int(changes.sum()))].sum()))


# -- curves and matrices ---------------------------------------------------------------------------
def curve(found: Iterable[Summary], method: str) -> list[Summary]:
    """A method's summaries by rising budget; each budget has searches of its own."""
    return sorted((s for s in found if s.method == method), key=lambda summary: summary.budget)


def reach(points: Sequence[tuple[float, float]], goal: float) -> float | None:
    """Image queries at which a curve of (queries, gain) first reaches `goal`.

    Linear in log queries between the points. The first point's queries if it reaches the goal
    already (then they are an upper bound); None if no point reaches it.
    """
    before: tuple[float, float] | None = None
    for queries, gain in sorted(points):
        if gain >= goal:
            if before is None:
                return queries
            share = (goal - before[1]) / (gain - before[1])
            return math.exp(math.log(before[0]) + share * (math.log(queries) - math.log(before[0])))
        before = (queries, gain)
    return None


def matrix(rows: Iterable[BenchRow], key: str = "gain") -> dict[tuple[str, str], float]:
    """Mean over tasks and seeds by (source, target)."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["source"], row["target"]][row["task"]].append(row[key])
    return {
        pair: float(np.mean([np.mean(v) for v in tasks.values()])) for pair, tasks in found.items()
    }


def by_task(rows: Iterable[BenchRow], value: CellValue) -> dict[str, float]:
    """Mean over sources and seeds by task."""
    found: dict[str, dict[CellPlace, float]] = defaultdict(dict)
    for place, figure in figures(rows, value).items():
        found[place[0]][place] = figure
    return {task: Cube(part).mean for task, part in found.items()}
