"""The loop: ask, render, query, tell; journalled, resumable, within its budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import digest
from bbtvp.core.errors import BudgetReached, JournalError, ModelError
from bbtvp.core.rng import derived_seed, stream
from bbtvp.objective import MISSING, Evaluation, Objective, Reading, read_all
from bbtvp.optim import Optimiser, optimiser
from bbtvp.prompt import Prompt, PromptSpace
from bbtvp.query import Meter
from bbtvp.study.journal import Journal
from bbtvp.study.plan import Plan, Stage
from bbtvp.task import Sample

Watch = Callable[[str, Mapping[str, Any]], None]
"""Called with an event name and its facts, as the run goes: for progress bars and logs."""

LEAST_HELD = 4
"""Fewest validation images that say anything at all."""


def silent(event: str, facts: Mapping[str, Any]) -> None:
    """A watch that looks away."""


@final
@dataclass(frozen=True)
class Arm:
    """One choice on validation: losses per image (NaN where the query failed) and accuracy."""

    name: str
    loss: float
    accuracy: float
    gain: float = 0.0
    """Mean paired fall of the loss against the unprompted image, in the reader's unit."""
    stderr: float = 0.0
    """Standard error of `gain`."""
    kept: bool = True


@final
@dataclass(frozen=True)
class Search:
    """What a search found: the prompt, the arms it was chosen from, whether it beat the unprompted image there."""

    prompt: Prompt
    improved: bool
    arms: tuple[Arm, ...]
    queries: dict[str, int] = field(default_factory=dict)
    failed: int = 0


@final
class Searcher:
    """One run of the main job over an objective whose model is a meter."""

    def __init__(
        self,
        objective: Objective,
        plan: Plan,
        journal: Journal,
        *,
        method: str,
        seed: int,
        watch: Watch,
        **options: Any,
    ):
        if not isinstance(objective.model, Meter):
            raise TypeError("the objective of a search asks through a Meter")
        self.objective, self.plan, self.journal = objective, plan, journal
        self.meter: Meter = objective.model
        self.seed, self.watch = seed, watch
        self.task = objective.task
        self._engines = engines(objective.space, plan, method, seed, **options)

    def run(self) -> Search:
        """Search stage after stage; a stage's winner is kept only if it pays on validation.

        Raises BudgetReached if failures and retries used the budget up before validation could choose.
        """
        space = self.objective.space
        base, accuracy = self._validate("unprompted", None)
        best, incumbent, arms = space.neutral(), base, [Arm("unprompted", float(np.nanmean(base)), accuracy)]
        self.watch("validated", asdict(arms[0]))
        for index, stage in enumerate(self.plan.stages):
            if self._frame_is_empty(stage, best):
                self.watch("skipped", {"stage": stage.name, "why": "the image fills the canvas and leaves no frame"})
                continue
            try:
                found = self._search(stage, best, reserve=self.plan.validation * (len(self.plan.stages) - index))
                losses, accuracy = self._validate(stage.name, found)
            except BudgetReached:
                if len(arms) == 1:
                    raise
                self.watch("skipped", {"stage": stage.name, "why": "retries used its part of the budget up"})
                continue
            gain, stderr = paired(base, losses)
            step, noise = paired(incumbent, losses)
            kept = bool(step > noise)
            arms.append(Arm(stage.name, float(np.nanmean(losses)), accuracy, gain, stderr, kept))
            self.watch("validated", asdict(arms[-1]))
            if kept or len(arms) == 2:
                best = found
            if kept:
                incumbent = losses
        improved = any(arm.kept for arm in arms[1:])
        return Search(space.prompt(best), improved, tuple(arms), dict(self.meter.spent), self.meter.failed)

    # -- one stage ---------------------------------------------------------------------------------
    def _search(self, stage: Stage, base: Vector, *, reserve: int) -> Vector:
        """The stage's best z; `reserve` image queries are left for validation, whatever retries cost.

        Raises BudgetReached if that leaves no room for one generation.
        """
        space, engine = self.objective.space, self._engines[stage.name]
        self.meter.phase, self.meter.reserve = "search", reserve
        # An engine may insist on a popsize of its own.
        generations = stage.popsize * stage.generations // engine.popsize
        for index in range(generations):
            active = engine.ask()
            z = np.stack([space.embed(row, stage.kinds, base) for row in active])
            try:
                evaluations = self._generation(f"{stage.name}/{index}", z, self._minibatch(stage, index))
            except BudgetReached:
                if index == 0:
                    raise
                break
            engine.tell(active, finite(evaluations))
            self._report(stage.name, index + 1, generations, evaluations)
        return space.embed(engine.recommend(), stage.kinds, base)

    def _generation(self, name: str, z: Matrix, samples: Sequence[Sample]) -> list[Evaluation]:
        """Evaluations of one generation, from the journal or from the model."""
        mark = _mark(z)
        done = self._journalled(name, mark)
        if done is not None:
            return [Evaluation(**_from_json(row)) for row in done["evaluations"]]
        evaluations = self.objective.evaluate(z, samples)
        rows = [_to_json(asdict(evaluation)) for evaluation in evaluations]
        self.journal.write_step(name, z=mark, samples=[sample.id for sample in samples], evaluations=rows)
        return evaluations

    def _journalled(self, name: str, mark: str | None) -> dict[str, Any] | None:
        done = self.journal.step(name)
        if done is not None and done["z"] != mark:
            raise JournalError(f"step {name} was journalled for other candidates; use the versions that the run names")
        return done

    def _minibatch(self, stage: Stage, index: int) -> list[Sample]:
        """The images of one generation: the training split in a random order, dealt out, again and again."""
        train, size = self.task.train, stage.images
        first = index * size
        order: list[int] = []
        while len(order) < first + size:
            rng = stream(self.seed, "minibatch", stage.name, len(order) // len(train))
            order.extend(rng.permutation(len(train)).tolist())
        return [train[i] for i in order[first : first + size]]

    def _report(self, stage: str, generation: int, generations: int, evaluations: Sequence[Evaluation]) -> None:
        losses = finite(evaluations)
        facts = {
            "stage": stage, "generation": generation, "generations": generations,
            "best": float(losses.min()), "mean": float(losses.mean()),
            "fca": float(np.nanmean([e.fca for e in evaluations])),
            "tse": float(np.nanmean([e.tse for e in evaluations])),
            "queries": self.meter.total, "failed": self.meter.failed,
        }  # fmt: skip
        self.watch("generation", facts)

    # -- validation --------------------------------------------------------------------------------
    @property
    def _held(self) -> list[Sample]:
        order = stream(self.seed, "validation").permutation(len(self.task.validation))
        return [self.task.validation[i] for i in order[: self.plan.validation]]

    def _validate(self, name: str, z: Vector | None) -> tuple[Vector, float]:
        """Loss per validation image (NaN = failed) and accuracy; without z, of the image as it is.

        From the journal, once decided: asking again what failed could change a choice that was made.
        """
        step, mark = f"validation/{name}", None if z is None else _mark(z)
        done = self._journalled(step, mark) or self._validated(step, mark, self._ask_held(z))
        return np.array(done["losses"], np.float64), float(np.nanmean(np.array(done["correct"], np.float64)))

    def _ask_held(self, z: Vector | None) -> list[Reading]:
        """Readings of the validation images; missing for those that retries left no budget for."""
        self.meter.phase, self.meter.reserve = "validation", 0
        held = self._held
        asked = held[: int(max(LEAST_HELD, min(self.meter.left, len(held))))]
        render = None if z is None else self.objective.space.renderer(z)
        images = [s.pixels() if render is None else render(self.objective.prepared(s)) for s in asked]
        readings = read_all(self.objective.reader, self.meter, self.task, asked, images)
        return readings + [Reading(MISSING, None, MISSING)] * (len(held) - len(asked))

    def _validated(self, step: str, mark: str | None, readings: Sequence[Reading]) -> dict[str, Any]:
        rows = [_to_json(reading._asdict()) for reading in readings]
        if all(row["loss"] is None for row in rows):
            raise ModelError(f"no validation query to {self.meter.spec} was answered; check it with bbtvp models")
        return self.journal.write_step(
            step, z=mark, samples=[sample.id for sample in self._held],
            losses=[row["loss"] for row in rows], correct=[row["correct"] for row in rows],
        )  # fmt: skip

    def _frame_is_empty(self, stage: Stage, z: Vector) -> bool:
        if stage.kinds != ("frame",):
            return False
        frame = self.objective.space.prompt(z).frame
        return frame is not None and not frame[..., 3].any()


def engines(space: PromptSpace, plan: Plan, method: str, seed: int, **options: Any) -> dict[str, Optimiser]:
    """An optimiser for each stage, made before the first query: a wrong method or option costs nothing.

    Raises UsageError for a method that is unknown, or that cannot search so many variables.
    """
    return {
        stage.name: optimiser(
            method, space.dim_of(stage.kinds), derived_seed(seed, "optimiser", stage.name),
            popsize=stage.popsize, budget=stage.popsize * stage.generations, **options,
        )
        for stage in plan.stages
    }  # fmt: skip


def paired(before: Vector, after: Vector) -> tuple[float, float]:
    """Mean fall of the loss from `before` to `after`, over images answered in both, and its standard error."""
    fall = (before - after)[np.isfinite(before) & np.isfinite(after)]
    if len(fall) < 2:
        return 0.0, float("inf")
    return float(fall.mean()), float(fall.std(ddof=1) / np.sqrt(len(fall)))


def finite(evaluations: Sequence[Evaluation]) -> Vector:
    """Losses for the optimiser: a candidate without a single answer ranks last in its generation.

    The query was missing data, but an optimiser needs some rank; last keeps the search away without inventing a value.
    """
    losses = np.array([evaluation.loss for evaluation in evaluations])
    known = losses[np.isfinite(losses)]
    if not len(known):
        raise ModelError("a whole generation went unanswered; the run is kept, start it again when the model answers")
    return np.where(np.isfinite(losses), losses, known.max())


def _mark(z: Vector | Matrix) -> str:
    return digest(np.ascontiguousarray(z, "<f8").tobytes())


def _to_json(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}


def _from_json(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float("nan") if value is None else value for key, value in row.items()}
