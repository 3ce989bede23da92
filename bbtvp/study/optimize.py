"""`optimize`: the main job in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.errors import BudgetReached, UsageError
from bbtvp.objective import Objective, Reader, check_terms, choose_reader
from bbtvp.prompt import Prompt, PromptSpace, preset
from bbtvp.query import Meter, Model, load_model
from bbtvp.study.journal import Journal
from bbtvp.study.plan import Plan, make_plan
from bbtvp.study.search import Arm, Search, Searcher, Watch, engines, silent
from bbtvp.surrogate import Surrogate, load_surrogate
from bbtvp.task import Task
from bbtvp.task.registry import task as load_task

BUNDLE = "prompt.vprompt"
LARGEST_CANVAS = 768
"""Side in pixels that passes the resizing rules of every vendor known to us without a second resize."""


@final
@dataclass(frozen=True)
class Run:
    """What `optimize` gives back.

    `improved`: the prompt beat the unprompted image on validation (not yet a proof: that is `bbtvp.verify`).
    `queries`: image queries by phase, retries and failures counted.
    """

    prompt: Prompt
    improved: bool
    arms: tuple[Arm, ...]
    queries: Mapping[str, int]
    failed: int
    task: Task
    model: Model
    folder: Path | None

    def save(self, path: Path | str) -> None:
        """Write the prompt as a bundle (see `Prompt.save`)."""
        self.prompt.save(path, bundle_facts(self))


def optimize(
    task: Task | str,
    model: Model | str,
    *,
    budget: int = 1000,
    prompt: PromptSpace | str = "default",
    canvas: int | None = None,
    method: str = "cma",
    surrogate: Surrogate | str | None = None,
    fca: float = 0.0,
    tse: float = 0.0,
    reader: str = "auto",
    normalise: str = "mean",
    images: int = 8,
    popsize: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    watch: Watch = silent,
    **options: Any,
) -> Run:
    """Search a visual prompt for `model` on `task` with at most `budget` image queries (search, validation, retries).

    prompt: a preset's name or a PromptSpace; canvas: its side in pixels (default: see `choose_canvas`).
    method: an optimiser's name, with its own `options`. fca, tse: weights of the surrogate's terms, in the task
    loss's unit (nats) per unit. reader: "auto", "logprob" or "text". images: images per candidate and generation.
    out: a run folder; the same call continues a run that was killed. watch: told of every event.

    Raises UsageError for a bad argument, JournalError if `out` holds another run, BudgetReached (exit code 3) if
    failures used the budget up before a prompt could be chosen.
    """
    task = load_task(task) if isinstance(task, str) else task
    model = load_model(model) if isinstance(model, str) else model
    surrogate = load_surrogate(surrogate) if isinstance(surrogate, str) else surrogate
    space, chosen, plan = set_up(
        task, model, budget=budget, prompt=prompt, canvas=canvas, method=method, reader=reader, normalise=normalise,
        images=images, popsize=popsize, **options,
    )  # fmt: skip
    check_terms(surrogate, fca, tse)
    config = {
        "bbtvp": version("bbtvp"), "task": task.digest, "model": model.spec, "prompt": space.config(), "budget": budget,
        "method": method, "options": options, "reader": repr(chosen), "plan": repr(plan), "seed": seed,
        "surrogate": surrogate.spec if surrogate else None, "fca": fca, "tse": tse,
    }  # fmt: skip
    folder = Path(out) if out is not None else None
    with Journal(config, folder) as journal:
        meter = Meter(model, journal, cap=budget, spent=journal.spent, failed=journal.failed)
        objective = Objective(task, space, meter, chosen, surrogate=surrogate, fca=fca, tse=tse)
        watch("planned", {"plan": plan, "space": space, "reader": chosen.name, "resumed": meter.total})
        found = _run(Searcher(objective, plan, journal, method=method, seed=seed, watch=watch, **options), budget)
    run = Run(found.prompt, found.improved, found.arms, found.queries, found.failed, task, model, folder)
    if folder is not None:
        run.save(folder / BUNDLE)
    return run


class Setup(NamedTuple):
    """What is fixed before the first query."""

    space: PromptSpace
    reader: Reader
    plan: Plan


def set_up(
    task: Task,
    model: Model,
    *,
    budget: int,
    prompt: PromptSpace | str = "default",
    canvas: int | None = None,
    method: str = "cma",
    reader: str = "auto",
    normalise: str = "mean",
    images: int = 8,
    popsize: int | None = None,
    **options: Any,
) -> Setup:
    """Check the arguments of `optimize` and settle the plan; asks nothing. UsageError for what cannot be run."""
    space = prompt if isinstance(prompt, PromptSpace) else preset(prompt, canvas or choose_canvas(task, model))
    chosen = choose_reader(reader, model, task, normalise=normalise)
    plan = make_plan(
        space, budget, training=len(task.train), validation=len(task.validation), images=images, popsize=popsize
    )
    engines(space, plan, method, 0, **options)
    return Setup(space, chosen, plan)


def _run(searcher: Searcher, budget: int) -> Search:
    try:
        return searcher.run()
    except BudgetReached as error:
        raise BudgetReached(f"{error}; no prompt could be chosen, give more than {budget} image queries") from error


def choose_canvas(task: Task, model: Model) -> int:
    """Side of the canvas in pixels, so that nothing the model could see is lost before it looks.

    The larger of what the model's processor makes (224 if unknown) and the median training image's longer side, at
    most 768.
    """
    sides = [max(sample.pixels().shape[:2]) for sample in task.train[:16]]
    if not sides:
        raise UsageError(f"task {task.name} has no training images")
    return min(LARGEST_CANVAS, max(model.capabilities.image_side or 224, int(np.median(sides))))


def bundle_facts(run: Run) -> dict[str, Any]:
    """What a bundle says of its origin: names and figures, never images."""
    return {
        "task": run.task.name,
        "question": run.task.question,
        "source_model": run.model.spec,
        "queries": dict(run.queries),
        "validation": [{"arm": arm.name, "accuracy": arm.accuracy, "loss": arm.loss} for arm in run.arms],
        "bbtvp": version("bbtvp"),
    }


def describe_plan(plan: Plan) -> str:
    """The plan in one line."""
    sizes = [f"{s.name}: {s.generations} × {s.popsize} candidates × {s.images} images" for s in plan.stages]
    stages = "; then ".join(sizes)
    return f"{stages}; {plan.validation} validation images per arm; at most {plan.queries} image queries"
