"""One stage of a search: generations of candidates, from an optimiser to the model and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BudgetReached, ModelError
from bbtvp.core.rng import stream
from bbtvp.models import Budget
from bbtvp.optim import Optimiser
from bbtvp.runs.journal import Journal
from bbtvp.search.config import SearchConfig
from bbtvp.search.evaluation import Evaluation, Scale
from bbtvp.search.events import GenerationDone, StageStopped, Watch
from bbtvp.search.objective import Objective, Send
from bbtvp.search.plan import Stage
from bbtvp.search.reserve import Reserve
from bbtvp.search.resumed import ResumedOptimiser
from bbtvp.search.steps import from_json, journalled, mark_of, to_json
from bbtvp.search.validation import attempts_note
from bbtvp.search.variables import Places
from bbtvp.tasks import Sample

ENOUGH = 0.5
"""Share of the answers of the first generation from which it counts, if a cap ends it."""


@final
@dataclass(frozen=True)
class More:
    """Image queries that go to this stage if the stages after it have nothing to search.

    granted: whether that is so, given the recommendation.
    """

    queries: int
    kept: int
    granted: Callable[[Vector], bool]


@final
@dataclass(frozen=True)
class Allowance:
    """What a stage may spend.

    kept: image queries that it leaves for validation, with their retries, from the second
    generation on.
    """

    queries: int
    kept: int
    more: More | None = None

    def extended(self) -> Allowance:
        """With what was given back."""
        return self if self.more is None else Allowance(self.queries, self.more.kept)


@final
class StageSearch:
    """Asks an optimiser of each stage for candidates, and tells it their losses.

    The units of the surrogate's terms are settled by the first generation of all.
    """

    def __init__(
        self,
        objective: Objective,
        config: SearchConfig,
        *,
        journal: Journal,
        budget: Budget,
        reserve: Reserve,
        watch: Watch,
    ) -> None:
        self.objective = objective
        self.config = config
        self.journal = journal
        self.budget = budget
        self.reserve = reserve
        self.watch = watch
        self._scale: Scale | None = None if config.matched else Scale()

    def run(
        self,
        stage: Stage,
        optimiser: Optimiser,
        places: Places,
        base: Vector,
        *,
        allowance: Allowance,
    ) -> Vector:
        """(dim,) the optimiser's recommendation.

        places: where its variables lie in z; the rest stays as in `base`. Raises BudgetReached if
        there is no room for one generation.
        """
        engine = ResumedOptimiser(optimiser, self.journal, stage.name)
        left = allowance.queries
        index = 0
        lowest = np.inf
        stale = 0
        while True:
            active = engine.ask()
            cost = len(active) * stage.images * self.config.repeats
            if left < cost and allowance.more is not None:
                # A journal that holds the next generation has seen it granted.
                if self.journal.step(f"{stage.name}/{index}") or allowance.more.granted(
                    _whole(base, places, engine.recommend()[None])[0]
                ):
                    left += allowance.more.queries
                    allowance = allowance.extended()
                else:
                    allowance = replace(allowance, more=None)
            # Set aside, however much of it the journal answers.
            left -= cost
            if left < 0:
                break
            if index:
                self.reserve.hold_back(allowance.kept)
            try:
                z = _whole(base, places, active)
                evaluations = self._generation(stage, index, z, engine)
            except BudgetReached:
                if index == 0:
                    raise
                break
            losses = finite(evaluations)
            engine.tell(active, losses)
            index += 1
            self._report(stage, index, evaluations)
            stale += 1
            if losses.mean() < lowest:
                lowest = float(losses.mean())
                stale = 0
            if stale == self.config.patience > 0:
                why = f"no lower mean loss in {stale} generations"
                self.watch(StageStopped(stage.name, why))
                break
        found: Vector = _whole(base, places, engine.recommend()[None])[0]
        return found

    def _generation(
        self, stage: Stage, index: int, z: Matrix, engine: ResumedOptimiser
    ) -> list[Evaluation]:
        """Evaluations of one generation, from the journal or from the model."""
        name = f"{stage.name}/{index}"
        mark = mark_of(z)
        done = journalled(self.journal, name, mark)
        if done is None:
            samples = self._minibatch(stage, index)
            sends = self._sends(stage, index, len(samples))
            note = {"z": mark, **engine.note}
            done = self._queried(name, z, samples, sends, note, whole=index > 0)
        self.reserve.attempts = done.get("attempts", 1.0)
        if self._scale is None:
            self._scale = Scale(*done["scale"])
        return [Evaluation(**from_json(row)) for row in done["evaluations"]]

    def _queried(
        self,
        name: str,
        z: Matrix,
        samples: Sequence[Sample],
        sends: Sequence[Send],
        asked: Mapping[str, Any],
        *,
        whole: bool,
    ) -> dict[str, Any]:
        """Query one generation and journal what was asked and what became of it.

        whole: a cap that is met meanwhile ends it. Else half of the answers are enough, since there
        is nothing else to choose from.
        """
        objective = self.objective
        try:
            table = objective.score(z, samples, sends=sends)
        except BudgetReached:
            table = objective.score(z, samples, sends=sends, known=True)
            if whole or np.isfinite(table.losses).mean() < ENOUGH:
                raise
        evaluations = objective.summarise(z, samples, table, scale=Scale())
        scale = self._scale or Scale.matched(evaluations)
        weighted = [scale.apply(e, objective.fca_weight, objective.tse_weight) for e in evaluations]
        finite(weighted)  # raises for a generation without any answer, which is not journalled
        return self.journal.write_step(
            name,
            **asked,
            samples=[sample.id for sample in samples],
            scale=list(scale),
            seen=[len(samples)] * len(z),
            evaluations=[to_json(asdict(e)) for e in weighted],
            **attempts_note(self.budget),
        )

    def _minibatch(self, stage: Stage, index: int) -> list[Sample]:
        """The images of one generation.

        The training split is dealt out in a random order, then again in another one.
        """
        train = self.objective.task.train
        size = stage.images
        deal, first = divmod(index * size, len(train))
        order: list[int] = []
        while len(order) < first + size:
            order.extend(
                stream(self.config.seed, "minibatch", stage.name, deal)
                .permutation(len(train))
                .tolist()
            )
            deal += 1
        return [train[i] for i in order[first : first + size]]

    def _sends(self, stage: Stage, index: int, count: int) -> list[Send]:
        """What happens to each image of a generation on its way to the model.

        There is one draw per image, the same for every candidate.
        """
        channel = self.config.channel
        if channel is None:
            return []
        return [
            channel.draw(stream(self.config.seed, "channel", stage.name, index, i))
            for i in range(count)
        ]

    def _report(self, stage: Stage, generation: int, evaluations: Sequence[Evaluation]) -> None:
        losses = finite(evaluations)
        self.watch(
            GenerationDone(
                stage.name,
                generation,
                stage.generations,
                best=float(losses.min()),
                mean=float(losses.mean()),
                fca=float(np.nanmean([each.fca for each in evaluations])),
                tse=float(np.nanmean([each.tse for each in evaluations])),
                queries=self.budget.total,
                failed=self.budget.failed,
            )
        )


def _whole(base: Vector, places: Places, active: Matrix) -> Matrix:
    """(n, dim) `base` n times, with each row of `active` at these places."""
    z = np.tile(base, (len(active), 1))
    z[:, places] = active
    return z


def finite(evaluations: Sequence[Evaluation]) -> Vector:
    """Losses for the optimiser: a candidate without a single answer ranks last in its generation.

    The query was missing data, but an optimiser needs some rank; last keeps the search away without
    inventing a value.
    """
    losses = np.array([evaluation.loss for evaluation in evaluations])
    known = losses[np.isfinite(losses)]
    if not len(known):
        raise ModelError(
            "a whole generation went unanswered; "
            "the run is kept, start it again when the model answers"
        )
    return np.where(np.isfinite(losses), losses, known.max())
