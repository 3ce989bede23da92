"""`optimize`: the main job in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.errors import BudgetReached, UsageError
from bbtvp.models import Budget, MeteredModel, Model, Probe, load_model, probe_model
from bbtvp.optim import Factory, method_name
from bbtvp.prompt import Prompt, PromptSpace, preset
from bbtvp.prompt.channel import Channel
from bbtvp.runs.folder import BUNDLE
from bbtvp.runs.journal import Journal
from bbtvp.runs.record import write_record
from bbtvp.search.allocation import Allocation
from bbtvp.search.engines import AUTO, Engines, popsize_for
from bbtvp.search.loop import Arm, Search, Searcher, Watch, silent
from bbtvp.search.objective import Combine, Objective
from bbtvp.search.plan import CHECK, Plan, make_plan
from bbtvp.search.readers import Reader, choose_reader
from bbtvp.search.surrogacy import Surrogacy, free_samples
from bbtvp.surrogate import Surrogate, load_surrogate
from bbtvp.tasks import Task
from bbtvp.tasks.registry import load_task

LARGEST_CANVAS = 768
"""Side in pixels that passes the resizing rules of every vendor known to us without a second
resize.
"""


@final
@dataclass(frozen=True)
class Run:
    """What `optimize` gives back.

    `improved`: the prompt beat the unprompted image on validation (not yet a proof: that is
    `bbtvp.verify`). `queries`: image queries by phase, retries and failures counted. `refused`: of
    the failed, those that the model would not answer. `usd`: what they cost, as far as prices are
    known.
    """

    prompt: Prompt
    improved: bool
    arms: tuple[Arm, ...]
    queries: Mapping[str, int]
    failed: int
    task: Task
    models: tuple[Model, ...]
    folder: Path | None
    refused: int = 0
    usd: float = 0.0

    @property
    def model(self) -> Model:
        """The source model; the first of several."""
        return self.models[0]

    def save(self, path: Path | str) -> None:
        """Write the prompt as a bundle (see `Prompt.save`)."""
        self.prompt.save(path, bundle_facts(self))


def optimize(
    task: Task | str,
    model: Model | str | Sequence[Model | str],
    *,
    budget: int = 1000,
    usd: float | None = None,
    seconds: float | None = None,
    prompt: PromptSpace | str = "default",
    canvas: int | None = None,
    method: str | Factory = AUTO,
    surrogate: Surrogate | str | None = None,
    fca: float = 0.0,
    tse: float = 0.0,
    matched: bool = True,
    warm: bool = False,
    prime: int = 0,
    combine: Combine = "mean",
    channel: Channel | None = None,
    reader: str = "auto",
    normalise: str = "mean",
    images: int = 8,
    allocation: Allocation | None = None,
    popsize: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    watch: Watch = silent,
    **options: Any,
) -> Run:
    """Search a visual prompt for `model` on `task` with at most `budget` image queries (search,
    validation, retries).

    model: the source, or several, over whose answers the loss is taken: their mean, or
    (combine="worst") that of the source where it is highest; n images cost n image queries however
    many sources there are. usd, seconds: caps on money (for models that cost some; their price must
    be known) and on time, from this call on. prompt: a preset's name or a PromptSpace; canvas: its
    side in pixels (default: see `choose_canvas`). method: an optimiser's name, or a factory of
    your own (a `Start` → an `Optimiser`), with its own `options`; "auto" takes gp for up to 32
    variables, else CMA-ES. surrogate: a local CLIP for what costs no queries: fca, tse, matched,
    warm, prime; see `Surrogacy`. channel: what may
    happen to pixels on the way, drawn anew for every image of the search. reader: "auto",
    "logprob", "label" or "text". images: images per candidate and generation; allocation: all of
    how a generation is queried. out: a run folder; the same call continues a run that was killed.
    watch: told of every event.

    Raises UsageError for a bad argument, JournalError if `out` holds another run, BudgetReached
    (exit code 3) if failures used the budget up before a prompt could be chosen.
    """
    called = {**locals(), "method": method_name(method)}
    task = load_task(task) if isinstance(task, str) else task
    models = _loaded(model)
    surrogate = load_surrogate(surrogate) if isinstance(surrogate, str) else surrogate
    surrogacy = Surrogacy(surrogate, fca, tse, matched=matched, warm=warm, prime=prime)
    probes = _probes(models, budget, usd, seconds)
    setup = set_up(
        task,
        models,
        budget=budget,
        prompt=prompt,
        canvas=canvas,
        method=method,
        reader=reader,
        normalise=normalise,
        images=images,
        allocation=allocation,
        popsize=popsize,
        surrogacy=surrogacy,
        seed=seed,
        **options,
    )
    folder = Path(out) if out is not None else None
    with Journal(_config(task, models, setup, surrogacy, called), folder) as journal:
        if folder is not None:
            write_record(folder, task, models, surrogate, called)
        spending = _spending(journal, probes, budget, usd, seconds)
        objective = _objective(
            task,
            [MeteredModel(m, journal, budget=spending) for m in models],
            setup,
            surrogacy,
            combine,
            seed,
        )
        watch("planned", _planned(setup, models, spending, probes))
        searcher = Searcher(
            objective,
            setup.plan,
            journal,
            spending,
            setup.engines,
            surrogacy=surrogacy,
            channel=channel,
            seed=seed,
            watch=watch,
        )
        found = _run(searcher, budget)
    return _ended(found, task, models, folder, spending)


def _ended(
    found: Search, task: Task, models: Sequence[Model], folder: Path | None, spending: Budget
) -> Run:
    """The run, with its prompt saved in its folder."""
    run = Run(
        found.prompt,
        found.improved,
        found.arms,
        found.queries,
        found.failed,
        task,
        tuple(models),
        folder,
        spending.refused,
        spending.usd,
    )
    if folder is not None:
        run.save(folder / BUNDLE)
    return run


def _probes(
    models: Sequence[Model], budget: int, usd: float | None, seconds: float | None
) -> dict[str, Probe]:
    """What each endpoint was found to do, by spec. Each probe keeps to the caps on its own."""
    found: dict[str, Probe] = {}
    for model in models:
        probe = probe_model(model, Budget(budget, usd_cap=usd, seconds=seconds))
        if probe is not None:
            found[model.spec] = probe
    return found


def _planned(
    setup: Setup, models: Sequence[Model], spending: Budget, probes: Mapping[str, Probe]
) -> Mapping[str, Any]:
    """What is told before the first query of the search."""
    return {
        "plan": setup.plan,
        "space": setup.space,
        "reader": describe_reader(setup.reader, models),
        "resumed": spending.total,
        "probes": {spec: probe.findings for spec, probe in probes.items()},
    }


def _spending(
    journal: Journal,
    probes: Mapping[str, Probe],
    budget: int,
    usd: float | None,
    seconds: float | None,
) -> Budget:
    """The caps, with what was spent before, probes included."""
    for spec, probe in probes.items():
        journal.write_probe(spec, probe)
    return Budget(
        budget,
        journal.spent,
        journal.failed,
        refused=journal.refused,
        usd_cap=usd,
        usd=journal.usd,
        seconds=seconds,
    )


def _config(
    task: Task,
    models: Sequence[Model],
    setup: Setup,
    surrogacy: Surrogacy,
    called: Mapping[str, Any],
) -> dict[str, Any]:
    """What makes this run another one than any other: a folder holds one, and goes on with no
    other.
    """
    return {
        "bbtvp": version("bbtvp"),
        "task": task.digest,
        "models": [model.identity for model in models],
        "prompt": setup.space.config(),
        "reader": repr(setup.reader),
        "plan": asdict(setup.plan),
        **{name: called[name] for name in ("combine", "budget", "method", "options", "seed")},
        "channel": repr(called["channel"]),
        **surrogacy.spec,
    }


def _loaded(given: Model | str | Sequence[Model | str]) -> list[Model]:
    several = [given] if isinstance(given, Model | str) else given
    return [load_model(model) if isinstance(model, str) else model for model in several]


def describe_reader(reader: Reader, models: Sequence[Model]) -> str:
    """The reader's name, and for endpoints where its log-probabilities come from."""
    hows = sorted({model.capabilities.how for model in models if model.capabilities.how})
    return (
        f"{reader.name} ({'; '.join(hows)})" if hows and reader.name == "logprob" else reader.name
    )


def _objective(
    task: Task,
    metered_models: Sequence[Model],
    setup: Setup,
    surrogacy: Surrogacy,
    combine: Combine,
    seed: int,
) -> Objective:
    free = free_samples(task, surrogacy.free, seed) if surrogacy.surrogate else ()
    return Objective(
        task,
        setup.space,
        metered_models,
        setup.reader,
        surrogate=surrogacy.surrogate,
        fca=surrogacy.fca,
        tse=surrogacy.tse,
        combine=combine,
        free=free,
        repeats=setup.plan.allocation.repeats,
    )


class Setup(NamedTuple):
    """What is fixed before the first query."""

    space: PromptSpace
    reader: Reader
    plan: Plan
    engines: Engines


def set_up(
    task: Task,
    models: Sequence[Model],
    *,
    budget: int,
    prompt: PromptSpace | str = "default",
    canvas: int | None = None,
    method: str | Factory = AUTO,
    reader: str = "auto",
    normalise: str = "mean",
    images: int = 8,
    allocation: Allocation | None = None,
    popsize: int | None = None,
    surrogacy: Surrogacy | None = None,
    seed: int = 0,
    **options: Any,
) -> Setup:
    """Check the arguments of `optimize` and settle the plan; asks nothing. UsageError for what
    cannot be run.
    """
    if not models:
        raise UsageError("name at least one source model")
    helped = surrogacy or Surrogacy()
    space = (
        prompt
        if isinstance(prompt, PromptSpace)
        else preset(prompt, canvas or choose_canvas(task, models))
    )
    chosen = choose_reader(reader, models, task, normalise=normalise)
    how = allocation or Allocation(images)
    plan = make_plan(
        space,
        budget,
        training=len(task.train),
        validation=len(task.validation),
        allocation=how,
        popsize=popsize or partial(popsize_for, method),
        prime=helped.prime,
        starts=len(space.starts()) + helped.warm,
    )
    engines = Engines(space, plan, method, seed, helped, **options)
    if helped.prime and not (helped.warm or engines.guided):
        raise UsageError(
            "a primed student has nothing to do: add --warm, or a method that follows its gradient"
        )
    return Setup(space, chosen, plan, engines)


def _run(searcher: Searcher, budget: int) -> Search:
    try:
        return searcher.run()
    except BudgetReached as error:
        raise BudgetReached(
            f"{error}; no prompt could be chosen, give more than {budget} image queries"
        ) from error


def choose_canvas(task: Task, models: Sequence[Model]) -> int:
    """Side of the canvas in pixels, so that nothing the model could see is lost before it looks.

    The larger of what the models' processors make (224 if unknown) and the median training image's
    longer side, at most 768, and no more than what endpoints take as it is.
    """
    sides = [max(sample.pixels().shape[:2]) for sample in task.train[:16]]
    if not sides:
        raise UsageError(f"task {task.name} has no training images")
    seen = max(model.capabilities.image_side or 224 for model in models)
    wanted = min(LARGEST_CANVAS, max(seen, int(np.median(sides))))
    return min(
        [
            wanted,
            *(model.fitting_canvas(wanted) for model in models),
        ]
    )


def bundle_facts(run: Run) -> dict[str, Any]:
    """What a bundle says of its origin: names and figures, never images."""
    return {
        "task": run.task.name,
        "question": run.task.question,
        "labels": run.task.labels and list(run.task.labels),
        "source_model": run.model.spec,
        "source_models": [model.spec for model in run.models],
        "queries": dict(run.queries),
        "validation": [
            {"arm": arm.name, "accuracy": arm.accuracy, "loss": arm.loss} for arm in run.arms
        ],
        "bbtvp": version("bbtvp"),
    }


def describe_plan(plan: Plan) -> str:
    """The plan in one line."""
    sizes = [
        f"{s.name}: {s.generations} × {s.popsize} candidates × {s.images} images"
        for s in plan.stages
    ]
    first = [f"{plan.prime} training images to prime the surrogate"] if plan.prime else []
    first += [f"{plan.starts} starting points × {CHECK} images"] if plan.starts > 1 else []
    stages = "; then ".join([*first, *sizes])
    return f"{stages}; {plan.validation} validation images per arm; at most {plan.queries} image queries"
