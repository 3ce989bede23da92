"""The choice of the winner, on images that the search did not use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BudgetReached, ModelError
from bbtvp.core.rng import stream
from bbtvp.models import Budget
from bbtvp.runs.journal import Journal
from bbtvp.runs.records import PREVIEW
from bbtvp.search.ask import FAILED
from bbtvp.search.objective import Objective
from bbtvp.search.plan import Plan
from bbtvp.search.preview import PREVIEWED, Preview, seen
from bbtvp.search.readers import Reading
from bbtvp.search.steps import journalled, mark_of, to_json
from bbtvp.stats import is_right_or_wrong

LEAST = 4
"""Fewest validation images that say anything at all."""


@final
@dataclass(frozen=True)
class Arm:
    """One choice on validation, with its mean loss and its accuracy there.

    gain: mean paired fall of the loss against the unprompted image, in the reader's unit, with its
    standard error. kept: whether it beats what was kept before by more than the noise. answered: on
    how many validation images of the `planned` ones the gain rests; both are 0 where that is not
    known. cut: the cap that was met meanwhile, in words; "" if none was. graded: `accuracy` is the
    mean of scores between 0 and 1.
    """

    name: str
    loss: float
    accuracy: float
    gain: float = 0.0
    stderr: float = 0.0
    kept: bool = True
    answered: int = 0
    planned: int = 0
    cut: str = ""
    graded: bool = False


@final
class ArmLosses(NamedTuple):
    """What was answered about one choice on the validation images.

    losses: (n,) NaN where a query failed or was not asked. accuracy: of those that were answered.
    attempts: for each answer of the run until then. cut, graded: as for an `Arm`.
    """

    losses: Vector
    accuracy: float
    attempts: float
    cut: str
    graded: bool = False


@final
class Validation:
    """Losses of a prompt on the validation images; asked once, then from the journal.

    Asking again what failed could change a choice that was made.
    """

    def __init__(
        self, objective: Objective, plan: Plan, *, journal: Journal, budget: Budget, seed: int
    ) -> None:
        self.objective = objective
        self.plan = plan
        self.journal = journal
        self.budget = budget
        order = stream(seed, "validation").permutation(len(objective.task.validation))
        self.held = [objective.task.validation[i] for i in order[: plan.validation]]
        self._first: tuple[Reading, ...] = ()

    def preview(self) -> Preview | None:
        """The first replies to the images as they are, at most `PREVIEWED`; None without budget.

        They are asked once, then shown from the journal. `losses` does not ask them again.
        """
        done = self.journal.step(PREVIEW)
        if done is not None:
            return Preview.of(done)
        self._begin()
        samples = self.held[: self.budget.affordable(PREVIEWED)]
        if not samples:
            return None
        found = self.objective.ask(self.objective.queries(samples))
        self._first = found.readings
        preview = Preview(seen(found, self.objective.reader, self.objective.task, samples))
        self.journal.write_step(PREVIEW, **preview.as_json())
        return preview

    def losses(self, name: str, z: Vector | None) -> ArmLosses:
        """The losses of a prompt; without z, of the images as they are.

        A cap that is met leaves the images that were not answered without a loss. Raises ModelError
        if nothing was answered, BudgetReached if that is because of a cap.
        """
        step = f"validation/{name}"
        mark = None if z is None else mark_of(z)
        done = journalled(self.journal, step, mark) or self._journal(step, mark, *self._ask(z))
        scores = np.array(done["correct"], np.float64)
        return ArmLosses(
            np.array(done["losses"], np.float64),
            float(np.nanmean(scores)),
            done.get("attempts", 1.0),
            done.get("cut", ""),
            not is_right_or_wrong(scores[np.isfinite(scores)]),
        )

    def look(self, name: str, z: Matrix, count: int) -> Matrix:
        """(k, n) losses of k prompts on the first `count` images; asked once, then journalled.

        NaN where a query failed or was not asked, because of a cap that was met.
        """
        mark = mark_of(z)
        done = journalled(self.journal, name, mark)
        if done is None:
            self._begin()
            samples = self.held[:count]
            try:
                losses = self.objective.score(z, samples).losses
            except BudgetReached:
                losses = self.objective.score(z, samples, known=True).losses
            rows = [
                [each if np.isfinite(each) else None for each in row] for row in losses.tolist()
            ]
            ids = [sample.id for sample in samples]
            done = self.journal.write_step(
                name, z=mark, samples=ids, losses=rows, **attempts_note(self.budget)
            )
        return np.array(done["losses"], np.float64).reshape(len(z), -1)

    def _ask(self, z: Vector | None) -> tuple[list[Reading], BudgetReached | None]:
        """Readings of the validation images, and the cap that left some of them without one."""
        self._begin()
        objective = self.objective
        first = self._first if z is None else ()
        asked = objective.queries(self.held, z)[len(first) :]
        # What a killed run had answered already costs nothing: a run that goes on then asks about
        # the same images as one that was never killed.
        costs = objective.costs(asked)
        count = self._affordable(costs)
        reached = None
        try:
            if count < len(asked):
                self.budget.check(sum(costs), sum(costs) * self.budget.max_cost)
        except BudgetReached as error:
            reached = error
        try:
            readings = objective.read(asked[:count])
        except BudgetReached as error:
            reached = error
            readings = objective.known(asked)
        missing = [FAILED] * (len(asked) - len(readings))
        return [*first, *readings, *missing], reached

    def _begin(self) -> None:
        self.budget.phase = "validation"
        self.budget.held_back = 0

    def _affordable(self, costs: Sequence[int]) -> int:
        """How many images, from the first on, the caps allow at these costs in image queries."""
        totals = np.cumsum(costs)
        return int(np.searchsorted(totals, self.budget.affordable(sum(costs)), side="right"))

    def _journal(
        self,
        step: str,
        mark: str | None,
        readings: Sequence[Reading],
        reached: BudgetReached | None,
    ) -> dict[str, Any]:
        rows = [to_json(reading._asdict()) for reading in readings]
        if all(row["loss"] is None for row in rows):
            if reached is not None:
                raise reached
            specs = ", ".join(model.spec for model in self.objective.models)
            raise ModelError(
                f"no validation query to {specs} was answered; check it with bbtvp models"
            )
        return self.journal.write_step(
            step,
            z=mark,
            samples=[sample.id for sample in self.held],
            losses=[row["loss"] for row in rows],
            correct=[row["correct"] for row in rows],
            **attempts_note(self.budget),
            **({"cut": str(reached)} if reached else {}),
        )


def attempts_note(budget: Budget) -> dict[str, float]:
    """What a step of the journal keeps of the attempts for each answer so far; nothing if it is 1.

    A run that goes on reads it there, so that it keeps as much for retries as it did before.
    """
    attempts = round(budget.attempts_per_answer, 6)
    return {"attempts": attempts} if attempts > 1 else {}


def beats(before: Vector, after: Vector) -> bool:
    """Whether the loss falls from `before` to `after` by more than a standard error."""
    fall, noise = paired(before, after)
    return fall > noise


def paired(before: Vector, after: Vector) -> tuple[float, float]:
    """Mean fall of the loss from `before` to `after`, and its standard error.

    Both are taken over the images that were answered in both; (0, inf) for fewer than two.
    """
    fall = (before - after)[np.isfinite(before) & np.isfinite(after)]
    if len(fall) < 2:
        return 0.0, float("inf")
    return float(fall.mean()), float(fall.std(ddof=1) / np.sqrt(len(fall)))
