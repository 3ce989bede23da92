"""Where the image queries of a generation go: which candidate sees which images, and what it is
told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.search.evaluation import additive
from bbtvp.search.objective import Objective, Send, Table
from bbtvp.tasks import Sample


@final
@dataclass(frozen=True)
class Allocation:
    """How a generation of candidates is queried. All candidates see the same images in the same
    order.

    images: of each generation. race: rounds of successive halving (Karnin et al., ICML 2013): all
    candidates see a share of the images, then half of them twice as many, and so on; 1 is no race.
    Candidates that left are compared on the images they saw (`additive`). paired: tell differences
    to the unprompted answers, which are asked once per training image; it changes nothing within a
    generation, but makes generations comparable. control: take the surrogate's loss, known on all
    images, as a control variate (needs a surrogate). patience: end a stage after this many
    generations in a row without a lower mean loss; 0 never does. repeats: answers per image and
    candidate, for models that do not always answer the same.
    """

    images: int = 8
    race: int = 1
    paired: bool = False
    control: bool = False
    patience: int = 0
    repeats: int = 1

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("race", 1), ("patience", 0), ("repeats", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; give at least {least}")
        if self.images < 2 ** (self.race - 1):
            raise UsageError(
                f"a race of {self.race} rounds needs at least {2 ** (self.race - 1)} images"
            )

    def rounds(self, candidates: int) -> list[tuple[int, int]]:
        """(candidates that run, images seen by its end) of each round."""
        last = self.race - 1
        return [
            (math.ceil(candidates / 2**k), math.ceil(self.images / 2 ** (last - k)))
            for k in range(self.race)
        ]

    def cost(self, candidates: int) -> int:
        """Image queries of a generation of so many candidates, without those for unprompted images."""
        total = 0
        seen = 0
        for running, images in self.rounds(candidates):
            total += running * (images - seen)
            seen = images
        return total * self.repeats

    def allowance(self, candidates: int) -> int:
        """The most that a generation can cost: with `paired`, its images unprompted too."""
        return self.cost(candidates) + self.paired * self.images * self.repeats


def race(
    objective: Objective,
    z: Matrix,
    samples: Sequence[Sample],
    allocation: Allocation,
    sends: Sequence[Send] = (),
) -> Table:
    """What each candidate got on each image; NaN where it did not run, or the query failed.

    Raises BudgetReached before the first query of a round that would pass the cap.
    """
    table = Table.empty(len(z), len(samples))
    order = np.arange(len(z))
    seen = 0
    for running, images in allocation.rounds(len(z)):
        upto = min(images, len(samples))
        if seen:
            # A candidate without any answer so far runs last.
            order = np.argsort(additive(table.losses[:, :seen]), kind="stable")
        alive = np.sort(order[:running])
        found = objective.look(z[alive], samples[seen:upto], first=seen, sends=sends[seen:upto])
        table.losses[alive, seen:upto] = found.losses
        table.correct[alive, seen:upto] = found.correct
        table.asked[alive, seen:upto] = found.asked
        seen = upto
    return table


def told(
    table: Table,
    baseline: Vector | None = None,
    control: tuple[Matrix, Vector] | None = None,
    *,
    means: Callable[[Matrix], Vector] = additive,
) -> Vector | None:
    """(k,) task losses to tell an optimiser, None for the plain estimate.

    baseline: (n,) losses of the unprompted images, to take differences to. control: the surrogate's
    losses on the minibatch (k, n), and on the whole training split (k,). means: how a table becomes
    one loss per candidate.
    """
    from bbtvp.surrogate import control_variate

    if baseline is None and control is None:
        return None
    losses = table.losses
    level = np.zeros(table.losses.shape[1])
    if baseline is not None and np.isfinite(baseline).any():
        level = np.where(np.isfinite(baseline), baseline, np.nanmean(baseline))
    if control is not None:
        surrogate, whole = control
        losses = losses - control_variate(losses - level, surrogate, whole).b * (
            surrogate - whole[:, None]
        )
    result: Vector = means(losses) - means(level[None])[0]
    return result
