"""Peers' searches: an optimiser on a prompt space, with its own recommendation deployed.

They have a loop of their own, and not `bbtvp.search.loop.Searcher`, because their accounting
differs: no peer validates, compares with the unprompted image or keeps the better of two prompts.
All of the budget goes to training images, in whole steps, and the loss is the peer's own (focal for
BAR).

Update rules and schedules are those of `bbtvp.optim`. Ours are the map of the prompt to uint8
pixels, the minibatch that a budget of thousands affords (the published 128 images × 10 evaluations
are 1,280 image queries for one step), and step sizes tuned on tasks outside the suite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from bbtvp.bench.method import MethodInput, MethodOutcome
from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.core.rng import derived_seed, stream
from bbtvp.models import Budget, MeteredModel
from bbtvp.optim import Optimiser, optimiser
from bbtvp.prompt import PromptSpace
from bbtvp.search import Journal, LogProbReader, Reader, ask, choose_reader
from bbtvp.search.canvas import choose_canvas
from bbtvp.search.steps import journalled, mark_of
from bbtvp.tasks import Sample

SEARCH = ("space", "optimiser", "images", "popsize", "sigma", "loss", "fixed")
"""Constants of the search; all others go to the optimiser."""

FOCAL_GAMMA = 2.0
"""Exponent of BAR's focal loss, −(1 − p)² log p (Lin et al., ICCV 2017)."""


def search(
    job: MethodInput,
    constants: Mapping[str, Any],
    spaces: Mapping[str, Callable[[int], PromptSpace]],
) -> MethodOutcome:
    """Run one peer.

    constants: space (a key of `spaces`, which make one for a canvas), optimiser (its name in
    bbtvp.optim), images (per candidate), popsize (None: the optimiser's own), sigma, loss ("ce" or
    "focal"), fixed (the same images in every step, as BBT does, instead of shuffled epochs). All
    other constants are options of the optimiser.

    UsageError if the budget does not reach one step.
    """
    found = _PeerSearch(
        job,
        constants,
        space=spaces[constants["space"]](choose_canvas(job.task, [job.model])),
        images=min(int(constants["images"]), len(job.task.train)),
        reader=_reader(job),
    )
    return found.run()


def _reader(job: MethodInput) -> Reader:
    reader = choose_reader("auto", job.model, job.task)
    # With q = 0 the loss is the cross-entropy in nats, which `shaped` expects.
    return LogProbReader(q=0) if isinstance(reader, LogProbReader) else reader


@final
@dataclass(frozen=True)
class _PeerSearch:
    """One search of a peer: ask, query, tell, until the budget affords no further step."""

    job: MethodInput
    constants: Mapping[str, Any]
    space: PromptSpace
    images: int
    reader: Reader

    def run(self) -> MethodOutcome:
        engine = self._optimiser()
        least = engine.popsize * self.images
        if self.job.budget < least:
            raise UsageError(
                f"{self.job.budget} image queries do not reach one step; give at least {least}"
            )
        with Journal(self._config(), self.job.folder) as journal:
            budget = Budget(self.job.budget, journal.spent, journal.failed)
            steps = self._steps(engine, journal, budget)
        facts = {
            "steps": steps,
            "candidates": engine.popsize,
            "images": self.images,
            "variables": self.space.dim,
        }
        prompt = self.space.prompt(engine.recommend())
        return MethodOutcome(prompt, queries=dict(budget.spent), failed=budget.failed, facts=facts)

    def _steps(self, engine: Optimiser, journal: Journal, budget: Budget) -> int:
        """Take all steps that the budget affords; how many."""
        metered = MeteredModel(self.job.model, journal, budget=budget)
        kind = self.constants["loss"]
        planned = 0
        done = 0
        while True:
            z = engine.ask()
            planned += len(z) * self.images
            if planned > self.job.budget:
                return done
            try:
                losses = self._losses(z, done, journal, metered)
            except BudgetReached:  # retries took a part of the budget
                return done
            engine.tell(z, finite([shaped(row, kind) for row in losses]))
            done += 1

    def _losses(self, z: Matrix, step: int, journal: Journal, metered: MeteredModel) -> Matrix:
        """(candidates, images) losses in the reader's unit, NaN where the query failed.

        From the journal if the step was written: to ask again what failed could change a step that
        was taken.
        """
        name = f"peer/{step}"
        mark = mark_of(z)
        known = journalled(journal, name, mark)
        if known is None:
            rows = self._asked(z, step, metered).tolist()
            losses = [[None if np.isnan(value) else value for value in row] for row in rows]
            known = journal.write_step(name, z=mark, losses=losses)
        return np.array(known["losses"], np.float64)  # null becomes NaN

    def _asked(self, z: Matrix, step: int, metered: MeteredModel) -> Matrix:
        task = self.job.task
        fixed = self.constants["fixed"]
        samples = minibatch(task.train, self.images, 0 if fixed else step, self.job.seed)
        renderers = [self.space.renderer(row) for row in z]
        shown = [render(sample.pixels()) for render in renderers for sample in samples]
        asked = ask(metered, self.reader, task, [*samples] * len(z), images=shown)
        return asked.losses.reshape(len(z), len(samples))

    def _optimiser(self) -> Optimiser:
        given = self.constants
        options = {key: value for key, value in given.items() if key not in SEARCH}
        return optimiser(
            given["optimiser"],
            self.space.dim,
            derived_seed(self.job.seed, "bench", "optimiser"),
            popsize=given["popsize"],
            sigma=given["sigma"],
            budget=max(1, self.job.budget // self.images),
            **options,
        )

    def _config(self) -> dict[str, Any]:
        return {
            "bench": 1,
            "task": self.job.task.digest,
            "model": self.job.model.spec,
            "prompt": self.space.config(),
            "constants": dict(self.constants),
            "budget": self.job.budget,
            "seed": self.job.seed,
            "reader": self.reader.settings,
        }


def minibatch(train: Sequence[Sample], size: int, step: int, seed: int) -> list[Sample]:
    """The images of one step: the training split is shuffled again for each epoch."""
    first = step * size
    order: list[int] = []
    while len(order) < first + size:
        epoch = len(order) // len(train)
        order += stream(seed, "bench", "minibatch", epoch).permutation(len(train)).tolist()
    return [train[i] for i in order[first : first + size]]


def shaped(losses: Vector, kind: str) -> float:
    """The mean of the answered images' losses: cross-entropy ("ce") or focal ("focal").

    losses: (images,) cross-entropies in nats, NaN where the query failed; the result is NaN if all
    failed.
    """
    known = losses[np.isfinite(losses)]
    if kind not in ("ce", "focal"):
        raise UsageError(f"loss is {kind!r}; take ce or focal")
    if not len(known):
        return float("nan")
    if kind == "ce":
        return float(np.mean(known))
    return float(np.mean(known * (1 - np.exp(-known)) ** FOCAL_GAMMA))


def finite(losses: Sequence[float]) -> Vector:
    """The losses, with the largest in place of NaN: a candidate without an answer ranks last.

    ModelError if all are NaN.
    """
    values = np.array(losses, np.float64)
    known = values[np.isfinite(values)]
    if not len(known):
        raise ModelError(
            "a whole step went unanswered; the run is kept, start it again when the model answers"
        )
    return np.where(np.isfinite(values), values, known.max())
