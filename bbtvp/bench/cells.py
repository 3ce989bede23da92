"""The grid of cells, their names on disk, and how a cell keeps its scores."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.digest import digest_json
from bbtvp.core.errors import UsageError
from bbtvp.stats import is_right_or_wrong

CELL_SCHEMA = "bbtvp.bench.cell/1"
SLUG = 100
"""Characters of a name on disk, before its digest."""

PackedScores: TypeAlias = str | list[float | None]
"""The scores of the test images in one arm; see `pack_scores`."""


@final
@dataclass(frozen=True)
class BenchCell:
    """One search: `method` on `task`, asking `source`, with a cap of `budget` image queries.

    budget and seed are 0 for a method that searches nothing by queries (a control, a white-box
    reference).
    """

    method: str
    task: str
    source: str
    budget: int
    seed: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def name(self) -> str:
        """The cell in words."""
        spent = f", {self.budget} image queries, seed {self.seed}" if self.budget else ""
        return f"{self.method} on {self.task}, source {self.source}{spent}"


@final
@dataclass(frozen=True)
class MethodAxis:
    """A method as the grid needs it: whether a budget and a seed change its outcome."""

    name: str
    budgeted: bool = True
    seeded: bool = True


@final
@dataclass(frozen=True)
class BenchGrid:
    """All cells of a benchmark: methods × tasks × sources × budgets × seeds.

    targets: models that each prompt is tried on, beside its source. UsageError for an empty axis, a
    budget below 1, or a name that stands twice.
    """

    methods: tuple[MethodAxis, ...]
    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    budgets: tuple[int, ...] = (1000,)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        axes: dict[str, Sequence[object]] = {
            "method": [method.name for method in self.methods],
            "task": self.tasks,
            "source model": self.sources,
            "budget": self.budgets,
            "seed": self.seeds,
        }
        for name, values in axes.items():
            if not values:
                raise UsageError(f"a benchmark needs at least one {name}")
            twice = [value for value in values if list(values).count(value) > 1]
            if twice:
                raise UsageError(f"the {name} {twice[0]} is named twice")
        if min(self.budgets) < 1:
            raise UsageError(
                f"a budget of {min(self.budgets)} image queries finds nothing; try --budgets 1000"
            )

    def cells(self) -> Iterator[BenchCell]:
        """All cells, the methods fastest and the seeds slowest.

        So a benchmark that is stopped early has something on every task and every source.
        """
        for seed, budget, task, source, method in itertools.product(
            self.seeds, self.budgets, self.tasks, self.sources, self.methods
        ):
            if not method.budgeted and budget != self.budgets[0]:
                continue
            if not method.seeded and seed != self.seeds[0]:
                continue
            yield BenchCell(
                method.name,
                task,
                source,
                budget if method.budgeted else 0,
                seed if method.seeded else 0,
            )

    def asked(self, source: str) -> list[str]:
        """The models that a prompt searched on `source` is tried on: the source first."""
        return [source, *(target for target in self.targets if target != source)]


def slug(*parts: object) -> str:
    """A name that every file system takes. Unequal parts may have equal slugs."""
    words = [re.sub(r"[^\w.+@-]+", "_", str(part)).strip("_") for part in parts]
    return "--".join(words)[:SLUG]


def cell_id(cell: BenchCell, constants: Any) -> str:
    """A name for a cell that depends on all that decides its search, constants included."""
    mark = digest_json([cell.as_json(), constants])[:12]
    named = slug(cell.method, cell.task, cell.source, cell.budget, f"s{cell.seed}")
    return f"{named}--{mark}"


def pack_scores(scores: Vector) -> PackedScores:
    """(n,) scores, NaN where a query failed, as a cell keeps them.

    Right and wrong answers are one character per image, "1", "0", or "-" for a failed one; graded
    scores a list, with None for a failed one.
    """
    if not is_right_or_wrong(scores[~np.isnan(scores)]):
        return [None if np.isnan(value) else float(value) for value in scores]
    return "".join("-" if np.isnan(value) else "1" if value else "0" for value in scores)


def unpack_scores(packed: PackedScores) -> Vector:
    """The reverse of `pack_scores`."""
    if not isinstance(packed, str):
        return np.array([np.nan if value is None else value for value in packed], np.float64)
    codes = np.frombuffer(packed.encode(), np.uint8)
    return np.where(codes == ord("1"), 1.0, np.where(codes == ord("0"), 0.0, np.nan))
