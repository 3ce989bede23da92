"""Peers' searches: an optimiser on a prompt space, all of the budget on training images, its own
last word deployed.

No validation and no choice of a winner: none of the peers has one, and it would take queries from
them. Their update rules and schedules are those of `bbtvp.optim`; what is ours is the prompt's map
to uint8 pixels (in gamut, since only that can be sent), the minibatch that a budget of thousands
affords (the published 128 images × 10 evaluations are 1,280 image queries for one step), and step
sizes tuned on tasks outside the suite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from bbtvp.bench.method import MethodInput, MethodOutcome
from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import digest
from bbtvp.core.errors import BudgetReached, JournalError, ModelError, UsageError
from bbtvp.core.rng import derived_seed, stream
from bbtvp.models import Budget, MeteredModel, Model
from bbtvp.optim import optimiser
from bbtvp.prompt import PromptSpace
from bbtvp.search import Journal, LogProbReader, Reader, ask, choose_reader
from bbtvp.search.setup import choose_canvas
from bbtvp.tasks import Sample, Task

SEARCH = ("space", "optimiser", "images", "popsize", "sigma", "loss", "fixed")
"""Constants of the search; all others go to the optimiser."""

FOCAL_GAMMA = 2.0
"""BAR's focal loss, −(1 − p)² log p (Lin et al., ICCV 2017)."""


def search(
    job: MethodInput,
    constants: Mapping[str, Any],
    spaces: Mapping[str, Callable[[int], PromptSpace]],
) -> MethodOutcome:
    """Run one peer.

    constants: space (a key of `spaces`, which make one for a canvas), optimiser (its name in
    bbtvp.optim), images (per candidate), popsize (None: the optimiser's own), sigma, loss ("ce" or
    "focal"), fixed (the same images in every step, as BBT does, or shuffled epochs); the rest are
    the optimiser's options.

    UsageError if the budget does not reach one step.
    """
    task = job.task
    model = job.model
    space = spaces[constants["space"]](choose_canvas(task, [model]))
    reader = choose_reader("auto", model, task)
    if isinstance(reader, LogProbReader):
        reader = LogProbReader(
            q=0
        )  # the peers' loss is the cross-entropy, which `shaped` reads in nats
    images = min(int(constants["images"]), len(task.train))
    options = {key: value for key, value in constants.items() if key not in SEARCH}
    engine = optimiser(
        constants["optimiser"],
        space.dim,
        derived_seed(job.seed, "bench", "optimiser"),
        popsize=constants["popsize"],
        sigma=constants["sigma"],
        budget=max(1, job.budget // images),
        **options,
    )
    if job.budget < engine.popsize * images:
        raise UsageError(
            f"{job.budget} image queries do not reach one step; give at least {engine.popsize * images}"
        )
    config = {
        "bench": 1,
        "task": task.digest,
        "model": model.spec,
        "prompt": space.config(),
        "constants": dict(constants),
        "budget": job.budget,
        "seed": job.seed,
        "reader": reader.settings,
    }
    done = planned = 0
    with Journal(config, job.folder) as journal:
        budget = Budget(job.budget, journal.spent, journal.failed)
        metered = MeteredModel(model, journal, budget=budget)
        while (planned := planned + len(z := engine.ask()) * images) <= job.budget:
            samples = minibatch(task.train, images, 0 if constants["fixed"] else done, job.seed)
            try:
                losses = _losses(
                    journal, done, z, partial(_ask, z, samples, space, reader, metered, task)
                )
            except BudgetReached:  # retries used a part of it up
                break
            engine.tell(z, finite([shaped(np.array(row), constants["loss"]) for row in losses]))
            done += 1
            job.watch(
                "generation", {"stage": "peer", "generation": done, "queries": metered.budget.total}
            )
        queries = dict(metered.budget.spent)
        failed = metered.budget.failed
    facts = {"steps": done, "candidates": engine.popsize, "images": images, "variables": space.dim}
    return MethodOutcome(
        space.prompt(engine.recommend()), queries=queries, failed=failed, facts=facts
    )


def _ask(
    z: Matrix,
    samples: Sequence[Sample],
    space: PromptSpace,
    reader: Reader,
    model: Model,
    task: Task,
) -> list[list[float]]:
    """(candidates, images) task losses in the reader's unit, NaN where the query failed."""
    renderers = [space.renderer(row) for row in z]
    shown = [render(sample.pixels()) for render in renderers for sample in samples]
    losses = ask(model, reader, task, [*samples] * len(z), images=shown).losses
    return losses.reshape(len(z), len(samples)).tolist()


def _losses(
    journal: Journal, step: int, z: Matrix, ask: Callable[[], list[list[float]]]
) -> list[list[float]]:
    """From the journal, once written: asking again what failed could change a step that was made."""
    name = f"peer/{step}"
    mark = digest(np.ascontiguousarray(z, "<f8").tobytes())
    known = journal.step(name)
    if known is None:
        rows = [[None if np.isnan(value) else value for value in row] for row in ask()]
        known = journal.write_step(name, z=mark, losses=rows)
    if known["z"] != mark:
        raise JournalError(
            f"step {name} was journalled for other candidates; use the versions that the run names"
        )
    return [[float("nan") if value is None else value for value in row] for row in known["losses"]]


def minibatch(train: Sequence[Sample], size: int, step: int, seed: int) -> list[Sample]:
    """The images of one step: the training split in a random order, dealt out, again and again."""
    first = step * size
    order: list[int] = []
    while len(order) < first + size:
        order += (
            stream(seed, "bench", "minibatch", len(order) // len(train))
            .permutation(len(train))
            .tolist()
        )
    return [train[i] for i in order[first : first + size]]


def shaped(losses: Vector, kind: str) -> float:
    """Mean over the answered images of the loss (nats) itself, "ce", or of the focal loss that it
    stands for.
    """
    known = losses[np.isfinite(losses)]
    if kind not in ("ce", "focal"):
        raise UsageError(f"loss is {kind!r}; take ce or focal")
    if not len(known):
        return float("nan")
    return float(np.mean(known * (1 - np.exp(-known)) ** FOCAL_GAMMA if kind == "focal" else known))


def finite(losses: Sequence[float]) -> Vector:
    """A candidate without a single answer ranks last in its batch. ModelError if no candidate has
    one.
    """
    values = np.array(losses, np.float64)
    known = values[np.isfinite(values)]
    if not len(known):
        raise ModelError(
            "a whole step went unanswered; the run is kept, start it again when the model answers"
        )
    return np.where(np.isfinite(values), values, known.max())
