"""The loop: ask, render, query, tell; journalled, resumable, within its budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BudgetReached, ModelError, UnreadReplies
from bbtvp.core.rng import derived_seed, stream
from bbtvp.models import Budget
from bbtvp.prompt import Prompt
from bbtvp.runs.journal import Journal
from bbtvp.search.config import SearchConfig
from bbtvp.search.evaluation import Evaluation, Scale
from bbtvp.search.events import (
    ArmValidated,
    GenerationDone,
    RepliesSeen,
    StageSkipped,
    StageStopped,
    StageUnvalidated,
    StartChosen,
    Watch,
)
from bbtvp.search.objective import Objective, Send
from bbtvp.search.plan import CHECK, Stage, with_retries
from bbtvp.search.resumed import ResumedOptimiser
from bbtvp.search.setup import Setup
from bbtvp.search.steps import from_json, journalled, mark_of, to_json
from bbtvp.search.surrogacy import head_of
from bbtvp.search.validation import (
    LEAST,
    Arm,
    ArmLosses,
    Validation,
    attempts_note,
    paired,
)
from bbtvp.surrogate import Surrogate, warm_start
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample

ENOUGH = 0.5
"""Share of the answers of the first generation from which it counts, if a cap ends it."""


@final
@dataclass(frozen=True)
class Search:
    """What a search found: the best prompt, and the arms on validation that it was chosen from.

    improved: whether it beat the unprompted image there; False too where a cap left no answer.
    """

    prompt: Prompt
    improved: bool
    arms: tuple[Arm, ...]
    queries: dict[str, int] = field(default_factory=dict)
    failed: int = 0


@final
class Searcher:
    """One run of the main job over an objective whose models share one budget."""

    def __init__(
        self,
        objective: Objective,
        setup: Setup,
        config: SearchConfig,
        *,
        journal: Journal,
        budget: Budget,
        surrogate: Surrogate | None = None,
        watch: Watch,
    ) -> None:
        self.objective = objective
        self.plan = setup.plan
        self.config = config
        self.journal = journal
        self.budget = budget
        self.task = objective.task
        self.surrogate = surrogate
        self.watch = watch
        self._engines = setup.engines
        self._validation = Validation(
            objective, self.plan, journal=journal, budget=budget, seed=config.seed
        )
        self._head: Head | None = None
        self._scale: Scale | None = None if config.matched else Scale()
        self._attempts = 1.0

    def run(self) -> Search:
        """Search stage after stage; a stage's winner is kept only if it pays on validation.

        A cap that is met while validation is asked leaves the choice to what was answered; without
        any answer the winner is not improved. Raises BudgetReached if a cap was met before anything
        was searched.
        """
        space = self.objective.space
        self._preview()
        base = self._validation.losses("unprompted", None)
        self._attempts = base.attempts
        best = space.neutral()
        incumbent = base
        arms = [self._unprompted(base)]
        self.watch(ArmValidated(arms[0]))
        searched = False
        for index, stage in enumerate(self.plan.stages):
            if self.objective.space.hidden(stage.kinds, best):
                self.watch(StageSkipped(stage.name, "the image fills the canvas and hides it"))
                continue
            try:
                reserve = self.plan.held * (len(self.plan.stages) - index)
                found = self._search(stage, best, reserve=reserve, urgent=not searched)
            except BudgetReached as reached:
                if not searched:
                    raise
                self.watch(StageSkipped(stage.name, str(reached)))
                continue
            losses = self._validated(stage, found)
            if losses is None:
                best = best if searched else found
                searched = True
                continue
            arms.append(self._arm(stage, base, incumbent, losses))
            self.watch(ArmValidated(arms[-1]))
            if arms[-1].kept or not searched:
                best = found
            if arms[-1].kept:
                incumbent = losses
            searched = True
        improved = any(arm.kept for arm in arms[1:])
        return Search(
            space.prompt(best), improved, tuple(arms), dict(self.budget.spent), self.budget.failed
        )

    def _unprompted(self, losses: ArmLosses) -> Arm:
        return Arm(
            "unprompted",
            float(np.nanmean(losses.losses)),
            losses.accuracy,
            answered=int(np.isfinite(losses.losses).sum()),
            planned=len(losses.losses),
            cut=losses.cut,
        )

    def _validated(self, stage: Stage, found: Vector) -> ArmLosses | None:
        """What validation answered about a winner; None if a cap was met before any answer."""
        try:
            return self._validation.losses(stage.name, found)
        except BudgetReached as reached:
            self.watch(StageUnvalidated(stage.name, str(reached)))
            return None

    def _arm(self, stage: Stage, base: ArmLosses, incumbent: ArmLosses, found: ArmLosses) -> Arm:
        """The arm of a winner. Fewer than `LEAST` images, for want of budget, keep nothing."""
        gain, stderr = paired(base.losses, found.losses)
        step, noise = paired(incumbent.losses, found.losses)
        answered = int(np.isfinite(base.losses - found.losses).sum())
        return Arm(
            stage.name,
            float(np.nanmean(found.losses)),
            found.accuracy,
            gain,
            stderr,
            kept=bool(step > noise) and (answered >= LEAST or not found.cut),
            answered=answered,
            planned=len(found.losses),
            cut=found.cut or base.cut,
        )

    def _preview(self) -> None:
        """Show how the first replies are read. Raises UnreadReplies if too many give no answer."""
        preview = self._validation.preview()
        if preview is None:
            return
        self.watch(RepliesSeen(preview))
        if preview.unread > self.config.unread:
            shapes = "; ".join(f"{count} × {shape!r}" for shape, count in preview.shapes)
            raise UnreadReplies(
                f"{preview.summary}. Without an answer: {shapes}. "
                "To search all the same: -S unread=1"
            )

    # -- one stage ---------------------------------------------------------------------------------
    def _search(self, stage: Stage, base: Vector, *, reserve: int, urgent: bool) -> Vector:
        """(dim,) the optimiser's recommendation.

        `reserve` queries are left for validation, with the retries that they will need at the rate
        that was seen. urgent: nothing was searched before, so the first generation comes before
        them.

        Raises BudgetReached if there is no room for one generation.
        """
        space = self.objective.space
        self.budget.phase = "search"
        self._hold_back(reserve, first=self.plan.extra + stage.cost if urgent else 0)
        start = self._start(stage, base)
        engine = ResumedOptimiser(
            self._engines.begin(
                stage,
                base,
                start,
                head=self._ready_head() if self.config.guided else None,
                samples=self._free(),
            ),
            self.journal,
            stage.name,
        )
        left = stage.queries
        index = 0
        lowest = np.inf
        stale = 0
        while True:
            active = engine.ask()
            # Set aside, however much of it the journal answers.
            left -= len(active) * stage.images * self.plan.repeats
            if left < 0:
                break
            z = np.stack([space.embed(row, stage.kinds, base) for row in active])
            if index:
                self._hold_back(reserve)
            try:
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
            if stale == self.plan.patience > 0:
                why = f"no lower mean loss in {stale} generations"
                self.watch(StageStopped(stage.name, why))
                break
        return space.embed(engine.recommend(), stage.kinds, base)

    def _hold_back(self, reserve: int, *, first: int = 0) -> None:
        """Keep so many queries for validation, but for the `first` ones that the caps allow."""
        self.budget.held_back = 0
        if not first:
            self.budget.held_back = with_retries(reserve, self._attempts)
            return
        self.budget.held_back = max(0, self.budget.affordable(reserve + first) - first)

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
        self._attempts = done.get("attempts", 1.0)
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
        train = self.task.train
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

    # -- the surrogate -----------------------------------------------------------------------------
    def _ready_head(self) -> Head:
        """The surrogate's own answer to the task; priming is paid for at the first call."""
        if self._head is None:
            if self.surrogate is None:
                raise TypeError("SearchConfig refuses what needs a surrogate where there is none")
            self.budget.phase = "search"  # priming is no validation
            self._head = head_of(
                self.surrogate,
                self.objective,
                self.config,
                kinds=self.plan.stages[0].kinds,
                journal=self.journal,
            )
        return self._head

    def _free(self) -> Sequence[Sample]:
        return self.objective.free or self.task.train

    def _start(self, stage: Stage, base: Vector) -> Vector:
        """Where the stage begins: `base`, or a starting point that is better.

        The starting points are those of the prompt space and the surrogate's. All are asked about
        on the same training images. The best of k others must beat `base` there by √(1 + 2 ln k)
        standard errors of the paired difference: by chance, the best of k equal points seems better
        by that much.
        """
        if self.plan.starts == 1 or stage is not self.plan.stages[0]:
            return base
        points = self.objective.space.starts()
        if self.config.warm:
            points.append(self._warm_point(stage, base))
        z = np.stack(points)
        name = f"{stage.name}/start"
        mark = mark_of(z)
        done = journalled(self.journal, name, mark) or self._compared(name, mark, z)
        self.watch(StartChosen(stage.name, done["chosen"], done["fall"]))
        chosen: Vector = z[done["chosen"]]
        return chosen

    def _warm_point(self, stage: Stage, base: Vector) -> Vector:
        """The z that the surrogate would choose, with only this stage's layers moved; no query."""
        return warm_start(
            self._ready_head(),
            self.objective.space,
            self._free(),
            derived_seed(self.config.seed, "warm"),
            kinds=stage.kinds,
            base=base,
            steps=25,
        ).z

    def _compared(self, name: str, mark: str, z: Matrix) -> dict[str, Any]:
        order = stream(self.config.seed, "check").permutation(len(self.task.train))[:CHECK]
        samples = [self.task.train[i] for i in order]
        losses = self.objective.score(z, samples).losses
        falls = [paired(losses[0], row) for row in losses]
        best = max(range(len(z)), key=lambda i: falls[i][0])
        fall, noise = falls[best]
        luck = np.sqrt(1 + 2 * np.log(len(z) - 1))
        return self.journal.write_step(
            name,
            z=mark,
            samples=[sample.id for sample in samples],
            chosen=best if fall > luck * noise else 0,
            **to_json({"fall": fall, "noise": noise}),
        )

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
