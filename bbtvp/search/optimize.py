"""`optimize`: the main job in one call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from bbtvp.core.errors import BudgetReached
from bbtvp.core.origin import without_paths
from bbtvp.models import (
    AnyModel,
    Budget,
    MeteredModel,
    Model,
    Probe,
    as_model,
    as_models,
    probe_model,
)
from bbtvp.prompt import Prompt, PromptSpace
from bbtvp.prompt.wordings import PLACE
from bbtvp.runs.folder import BUNDLE, check_folder
from bbtvp.runs.journal import Journal
from bbtvp.runs.record import write_record
from bbtvp.search.config import Goal, SearchConfig
from bbtvp.search.events import SearchPlanned, SearchPrepared, Watch, silent
from bbtvp.search.loop import Search, Searcher
from bbtvp.search.objective import Objective
from bbtvp.search.preflight import look_ahead
from bbtvp.search.proposer import ProposerCost, cost_of, proposed
from bbtvp.search.readers import Reader
from bbtvp.search.refinement import StartedFrom, open_start
from bbtvp.search.setup import Setup, set_up
from bbtvp.search.summary import (
    ValidationGain,
    advice_without_gain,
    describe_cost,
    next_command,
    validation_gain,
)
from bbtvp.search.surrogacy import free_samples
from bbtvp.search.validation import Arm
from bbtvp.surrogate import Surrogate, load_surrogate
from bbtvp.tasks import Task
from bbtvp.tasks.inspection import inspect
from bbtvp.tasks.registry import as_task

_NAME = re.compile(r"[A-Za-z0-9_+-]{1,40}")


@final
@dataclass(frozen=True)
class Run:
    """What `optimize` gives back.

    `improved`: the prompt beat the unprompted image on validation (not yet a proof: that is
    `bbtvp.verify`). `prompt`: what is to be deployed. Of a search that did not improve it is the
    identity, which leaves every image as it is, unless `keep_best` was given. `best`: the best
    prompt that was found, whether or not it improved. `queries`: image queries by phase, retries
    and failures counted. `refused`: of the failed, those that the model would not answer. `usd`:
    what they cost, as far as prices are known. `gain`: of `best` on validation. `goal`: what the
    search was for. `proposals`: the calls of a proposer, which are no image queries; their dollars
    are in `usd` too. `started`: of a refinement, where its start lies, and what became of it.
    `reading`: the reader of answers, and its settings. `settings`: the options of the search that
    tell nothing of its files. `versions`: by model, what its endpoint reported. `print(run)` shows
    `summary()`.
    """

    prompt: Prompt
    improved: bool
    arms: tuple[Arm, ...]
    queries: Mapping[str, int]
    failed: int
    task: Task
    models: tuple[Model, ...]
    folder: Path | None
    best: Prompt
    refused: int = 0
    usd: float = 0.0
    gain: ValidationGain | None = None
    goal: Goal = "accuracy"
    proposals: ProposerCost | None = None
    started: StartedFrom | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, list[str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        names = "+".join(model.spec for model in self.models)
        kept = "improved" if self.improved else "not improved"
        return (
            f"Run({self.task.name} on {names}: {kept}, validation {self.gain}, "
            f"{sum(self.queries.values())} image queries)"
        )

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """A few lines: the gain on validation with its interval, the cost, and the next step."""
        cost = describe_cost(self.queries, failed=self.failed, refused=self.refused, usd=self.usd)
        lines = [f"validation: {self.gain}"] if self.gain else []
        asked = self.prompt.ask(PLACE)
        lines += [f"words: {asked}"] if asked != PLACE else []
        lines += [f"proposer: {self.proposals}"] if self.proposals else []
        lines += [f"refinement: {self.started}"] if self.started else []
        return "\n".join([*lines, f"spent: {cost}", *self._next()])

    def _next(self) -> list[str]:
        """What to do next."""
        advice = advice_without_gain(self.gain, self.folder)
        if self.prompt.is_identity:
            kept = "the bundle leaves images as they are, and nothing is to be proved"
            free = "" if self.folder is None else ", which asks nothing"
            best = f"the same command with --keep-best, in Python keep_best=True{free}"
            return [
                f"no gain on validation: {kept}; {advice}",
                f"the best prompt that was found: {best}",
            ]
        proof = f"next, the proof: {next_command(self.task, self.models, self.folder)}"
        if self.improved or self.started is not None:
            return [proof]
        kept = "this prompt is not worth deploying"
        return [f"no gain on validation: {kept}; {advice}", proof]

    @property
    def model(self) -> Model:
        """The source model; the first of several."""
        return self.models[0]

    def save(self, path: Path | str) -> None:
        """Write the prompt as a bundle (see `Prompt.save`).

        Of a refinement that keeps its start it is the bundle of the start, to the byte.
        """
        if self.started is not None and self.started.outcome == "start":
            self.started.copy(Path(path).expanduser())
            return
        self.prompt.save(path, bundle_facts(self))


def optimize(
    task: Task | str | Path,
    model: AnyModel | Sequence[AnyModel],
    *,
    config: SearchConfig | None = None,
    out: Path | str | None = None,
    watch: Watch = silent,
    **fields: Any,
) -> Run:
    """Search a visual prompt for `model` on `task`, within a cap on image queries.

    task: a `Task`, or what `load_task` takes. model: the source, or several, over whose answers the
    loss is taken; n images cost n image queries however many sources there are. A source is a
    `Model`, its spec, or a function (see `FunctionModel`). config, fields: the options, as a
    `SearchConfig`, or its fields by name, or both; `bbtvp optimize -S help` lists them. out: a run
    folder; the same call continues a run that was killed. watch: is called with every event.

    Raises UsageError for a bad argument, DataError that names all images which cannot be read,
    JournalError if `out` holds another run or something else than a run, BudgetReached (exit code
    3) if failures used the budget up before a prompt could be chosen.
    """
    config = (config or SearchConfig()).changed(fields) if fields else config or SearchConfig()
    task = as_task(task)
    models = [as_model(one) for one in as_models(model)]
    surrogate = config.surrogate
    if isinstance(surrogate, str):
        surrogate = load_surrogate(surrogate)
    folder = Path(out).expanduser() if out is not None else None
    if folder is not None:
        check_folder(folder)
    inspection = inspect(task)
    inspection.check()
    probes = _probes(models, config)
    setup = set_up(task, models, config)
    if watch is not silent:
        found_before = look_ahead(task, models, config, setup, inspection=inspection)
        watch(SearchPrepared(found_before))
    identity = _identity(task, models, config, setup=setup, surrogate=surrogate)
    with Journal(identity, folder) as journal:
        if folder is not None:
            write_record(folder, task, models, surrogate=surrogate, arguments=config.as_record())
        resumed = journal.spent.total()
        budget = _budget(journal, probes, config)
        metered = [MeteredModel(m, journal, budget=budget) for m in models]
        if config.proposer is not None:
            objective = _objective(setup.task, metered, config, setup=setup, surrogate=surrogate)
            setup = proposed(objective, setup, config, journal=journal, budget=budget, watch=watch)
        searcher = Searcher(
            _objective(
                setup.task,
                metered,
                config,
                setup=setup,
                surrogate=surrogate,
            ),
            setup,
            config,
            journal=journal,
            budget=budget,
            surrogate=surrogate,
            watch=watch,
        )
        watch(_planned(setup, models, resumed=resumed, probes=probes))
        found = _found(searcher, config)
        gain = validation_gain(journal, found.arms)
        proposals = cost_of(journal)
    started = None
    if config.start is not None and found.outcome is not None:
        started = StartedFrom.of(config.start, found.outcome)
    run = Run(
        found.prompt if found.kept or config.keep_best else PromptSpace.identity(),
        found.improved,
        found.arms,
        found.queries,
        found.failed,
        task,
        tuple(models),
        folder,
        found.prompt,
        budget.refused,
        budget.usd,
        gain,
        config.goal,
        proposals,
        started,
        reading=setup.reader.settings,
        settings=_public_settings(config),
        versions={one.spec: list(one.versions) for one in metered if one.versions},
    )
    if folder is not None:
        run.save(folder / BUNDLE)
    return run


def describe_reader(reader: Reader, models: Sequence[Model]) -> str:
    """The reader's name, and for endpoints where its log-probabilities come from."""
    sources = sorted({model.capabilities.how for model in models if model.capabilities.how})
    if not sources or reader.name != "logprob":
        return reader.name
    return f"{reader.name} ({'; '.join(sources)})"


def bundle_facts(run: Run) -> dict[str, Any]:
    """What a bundle says of its origin: names and figures, never images.

    `improved` is there, as False, where the prompt did not beat the unprompted image.
    """
    return {
        **({} if run.improved else {"improved": False}),
        **({} if run.goal == "accuracy" else {"goal": run.goal}),
        "task": run.task.name,
        "question": run.task.question,
        "labels": run.task.labels and list(run.task.labels),
        **scoring_facts(run.task),
        "source_model": without_paths(run.model.spec),
        "source_models": [without_paths(model.spec) for model in run.models],
        **({"source_versions": _told_versions(run)} if run.versions else {}),
        "reading": dict(run.reading),
        "settings": dict(run.settings),
        "queries": dict(run.queries),
        **({"usd": run.usd} if run.usd else {}),
        "validation": [
            {"arm": arm.name, "accuracy": arm.accuracy, "loss": arm.loss} for arm in run.arms
        ],
        "bbtvp": version("bbtvp"),
        **(run.started.facts if run.started else {}),
    }


def _told_versions(run: Run) -> dict[str, list[str]]:
    """The versions by the name that the bundle gives to a model; two folders may share one."""
    found: dict[str, list[str]] = {}
    for spec, versions in run.versions.items():
        found.setdefault(without_paths(spec), []).extend(versions)
    return found


def _public_settings(config: SearchConfig) -> dict[str, Any]:
    """The options that are numbers, switches or names: no path, no text of its author's."""
    return {
        name: value
        for name, value in config.identity().items()
        if value is None
        or isinstance(value, int | float)
        or (isinstance(value, str) and _NAME.fullmatch(value))
    }


def scoring_facts(task: Task) -> dict[str, Any]:
    """How replies are scored, where that is not what every loader takes, and the reply's limit."""
    found: dict[str, Any] = {}
    if str(task.scoring) not in ("accuracy", "exact"):
        found["metric"] = str(task.scoring)
    if task.max_tokens is not None:
        found["max_tokens"] = task.max_tokens
    return found


def _identity(
    task: Task,
    models: Sequence[Model],
    config: SearchConfig,
    *,
    setup: Setup,
    surrogate: Surrogate | None,
) -> dict[str, Any]:
    """What makes this run another one than any other: the first line of its journal.

    A run folder holds one run, and goes on with no other.
    """
    return {
        **config.identity(),
        "bbtvp": version("bbtvp"),
        "task": task.digest,
        "models": [model.identity for model in models],
        "prompt": setup.space.config(),
        "reader": setup.reader.settings,
        "plan": setup.plan.as_json(),
        "surrogate": surrogate.spec if surrogate else None,
        **({"start": setup.start.digest} if setup.start else {}),
    }


def _probes(models: Sequence[Model], config: SearchConfig) -> dict[str, Probe]:
    """What each endpoint was found to do, by spec. Each probe keeps to the caps on its own."""
    found: dict[str, Probe] = {}
    start = open_start(config)
    shown = config.exemplars if start is None else len(start.context())
    for model in models:
        caps = Budget(config.queries, usd_cap=config.usd, seconds=config.seconds)
        probe = probe_model(model, caps)
        several = model.probe_images(1 + shown, caps) if model.is_endpoint else None
        if probe is not None:
            found[model.spec] = probe if several is None else _joined(probe, several)
    return found


def _joined(probe: Probe, several: Probe) -> Probe:
    return Probe(
        several.capabilities,
        (*probe.findings, *several.findings),
        probe.queries + several.queries,
        probe.usd + several.usd,
    )


def _budget(journal: Journal, probes: Mapping[str, Probe], config: SearchConfig) -> Budget:
    """The caps, with what was spent before, probes included."""
    for spec, probe in probes.items():
        journal.write_probe(spec, probe)
    return journal.budget(config.queries, usd_cap=config.usd, seconds=config.seconds)


def _objective(
    task: Task,
    metered_models: Sequence[Model],
    config: SearchConfig,
    *,
    setup: Setup,
    surrogate: Surrogate | None,
) -> Objective:
    return Objective(
        task,
        setup.space,
        metered_models,
        setup.reader,
        surrogate=surrogate,
        fca=config.fca,
        tse=config.tse,
        combine=config.combine,
        free=free_samples(task, config.free, config.seed) if surrogate else (),
        repeats=config.repeats,
    )


def _planned(
    setup: Setup, models: Sequence[Model], *, resumed: int, probes: Mapping[str, Probe]
) -> SearchPlanned:
    return SearchPlanned(
        setup.plan,
        setup.space,
        describe_reader(setup.reader, models),
        resumed=resumed,
        probes={spec: probe.findings for spec, probe in probes.items()},
    )


def _found(searcher: Searcher, config: SearchConfig) -> Search:
    try:
        return searcher.run()
    except BudgetReached as error:
        more = {
            "image queries": f"{config.queries} image queries (--queries)",
            "US dollars": f"${config.usd or 0:g} (--usd)",
            "minutes": f"{config.minutes or 0:g} minutes (--minutes)",
        }
        said = f"{error}; no prompt could be chosen, give more than {more[error.cap]}"
        raise BudgetReached(said, error.cap) from error
