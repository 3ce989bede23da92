"""What a rival is: a name, what it needs of a model, and how it is made ready for a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, final

import numpy as np

from bbtvp.core.rng import stream
from bbtvp.models import MeteredModel, Model, Outcome, QueryFailed
from bbtvp.rivals.procedure import Asked, Procedure
from bbtvp.search import Reader
from bbtvp.search.ask import PromptLike
from bbtvp.tasks import Task


@final
class TuningCost(NamedTuple):
    """What it cost to make a rival ready: image queries, and US dollars.

    usd: None where the model's price is not known.
    """

    queries: int = 0
    usd: float | None = 0.0

    @classmethod
    def of(cls, model: Model, outcomes: Iterable[Outcome]) -> TuningCost:
        """The cost of these image queries to the model."""
        found = list(outcomes)
        return cls(len(found), usd_of(model, found))

    def plus(self, other: TuningCost) -> TuningCost:
        """Both together; the dollars of both, where both are known."""
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return TuningCost(self.queries + other.queries, usd)


def bare(model: Model) -> Model:
    """The model behind the journal of a comparison, for what has a journal of its own."""
    return model.model if isinstance(model, MeteredModel) else model


def usd_of(model: Model, outcomes: Iterable[Outcome]) -> float | None:
    """What image queries cost at the model's price, also those that were paid for before.

    None if the price of one of them is not known.
    """
    costs = [
        outcome.usage.usd if isinstance(outcome, QueryFailed) else model.cost_of(outcome.usage)
        for outcome in outcomes
    ]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


@final
@dataclass(frozen=True)
class Tuning:
    """What a rival is made ready with: training and validation images, never test images.

    queries: the most image queries that a searched rival may send. usd: the most that it may cost.
    folder: where searches keep their runs; None keeps them in memory. known: what was made ready
    and another rival builds on, by name.
    """

    task: Task
    model: Model
    reader: Reader
    queries: int
    seed: int = 0
    folder: Path | None = None
    usd: float | None = None
    known: dict[str, Tuned] = field(default_factory=dict, compare=False)

    @property
    def asked(self) -> Asked:
        """The model, the task and the reader."""
        return Asked(self.model, self.task, self.reader)


@final
class Tuned(NamedTuple):
    """A rival that is ready. note: what was chosen, or what a reader must know; it may be empty."""

    procedure: Procedure
    cost: TuningCost = TuningCost()
    note: str = ""


@dataclass(frozen=True)
class Rival(ABC):
    """Something that a user would do instead of a visual prompt.

    A subclass is a frozen dataclass whose fields are its constants.
    """

    name: ClassVar[str]
    """Its name in tables and on the command line."""
    about: ClassVar[str]
    """What it does, in a line."""
    source: ClassVar[str] = "-"
    """The publication that it follows."""
    seeded: ClassVar[bool] = False
    """Whether something is drawn when it is made ready."""

    def obstacle(self, model: Model, task: Task) -> str:
        """Why the model cannot do it on this task; "" if it can."""
        return ""

    def most_queries(self, tuning: Tuning) -> int:
        """The most image queries that `prepare` sends."""
        return 0

    @property
    def queries_per_image(self) -> int:
        """Image queries for each image once it is ready."""
        return 1

    @property
    def images_in_request(self) -> int:
        """Images that a request holds, where the model takes so many."""
        return 1

    def over(self, prompt: PromptLike) -> Procedure | None:
        """The same on a prompt's images and words. None where that is no arm of its own."""
        return None

    @abstractmethod
    def prepare(self, tuning: Tuning) -> Tuned:
        """Make it ready for a task. Raises as `bbtvp.search.ask` does."""


def best_on_validation(
    tuning: Tuning, tried: Mapping[str, Procedure], images: int
) -> tuple[str, list[Outcome]]:
    """The procedure with the highest score on validation, of equals the first; and what was asked.

    images: at most so many validation images for each.
    """
    pool = tuning.task.validation
    order = stream(tuning.seed, "rivals", "validation").permutation(len(pool))
    held = [pool[i] for i in order[:images]]
    found = {name: one.ask(tuning.asked, held) for name, one in tried.items()}
    scores = {name: float(np.nan_to_num(one.answers.correct).sum()) for name, one in found.items()}
    best = max(scores, key=lambda name: scores[name])
    return best, [outcome for one in found.values() for outcome in one.outcomes]
