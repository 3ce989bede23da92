"""Make a run again from its folder: with its models, or with its journal in their place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from bbtvp.core.errors import DataError, JournalError, UsageError
from bbtvp.core.origin import Origin
from bbtvp.endpoint.prices import Estimate
from bbtvp.endpoint.remote import bounds
from bbtvp.jobs.differences import (
    AnswerDifferences,
    Pairs,
    StepDifference,
    answers,
    differing,
    environments,
    first_step,
)
from bbtvp.jobs.progress import plan_of
from bbtvp.models import Model
from bbtvp.prompt import Prompt
from bbtvp.runs.folder import BUNDLE
from bbtvp.runs.record import environment, read_record
from bbtvp.runs.recording import NotRecorded, Recording
from bbtvp.runs.tally import UNPROMPTED
from bbtvp.search.canvas import sides_sent
from bbtvp.search.events import Watch, silent
from bbtvp.search.readers import reader_named
from bbtvp.search.recipe import Loader, Loads, Recipe
from bbtvp.surrogate import Surrogate
from bbtvp.tasks import Task

SCHEMA = "bbtvp.reproduction/1"


@final
@dataclass(frozen=True)
class ReproductionPlan:
    """What is known before a run is made again. Differences are pairs: in the run, here.

    prompt: the digest of the run's prompt. queries: image queries at most; 0 for a replay. costs:
    upper bounds by endpoint. doubts: why an exact reproduction may not be possible.
    """

    folder: Path
    replay: bool
    recipe: Recipe
    record: Mapping[str, Any]
    recording: Recording
    prompt: str
    queries: int
    costs: Mapping[str, Estimate]
    task: Pairs
    environment: Pairs
    revisions: Pairs
    doubts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "run": str(self.folder),
            "replay": self.replay,
            "prompt": self.prompt,
            "planned": {
                "queries": self.queries,
                "costs": {spec: cost._asdict() for spec, cost in self.costs.items()},
            },
            "differences": {
                "task": self.task,
                "environment": self.environment,
                "revisions": self.revisions,
            },
            "doubts": list(self.doubts),
        }


@final
@dataclass(frozen=True)
class Reproduction:
    """A run that was made again, compared with the first.

    again: digest of the prompt found now, None if none was found; then `lacking` says why. config,
    step, answers: how the two journals differ. queries, usd: spent now. stored: answers from the
    response store, for which no model was asked.
    """

    plan: ReproductionPlan
    out: Path | None
    again: str | None
    lacking: str | None
    config: Pairs
    step: StepDifference | None
    answers: AnswerDifferences
    queries: int
    usd: float
    stored: int

    @property
    def identical(self) -> bool:
        """Whether the prompt is the same to the bit."""
        return self.again == self.plan.prompt

    def as_json(self) -> dict[str, Any]:
        """A `bbtvp.reproduction/1` document."""
        document = self.plan.as_json()
        document["differences"] |= {
            "config": self.config,
            "step": None if self.step is None else self.step._asdict(),
            "answers": self.answers._asdict(),
        }
        return document | {
            "identical": self.identical,
            "again": self.again,
            "lacking": self.lacking,
            "out": None if self.out is None else str(self.out),
            "queries": self.queries,
            "usd": round(self.usd, 6),
            "stored": self.stored,
        }


def plan_reproduction(folder: Path, loader: Loader, *, replay: bool = False) -> ReproductionPlan:
    """Read a finished run and load what it needs to be made again; asks nothing.

    A replay loads no model. Raises JournalError for a run that is not finished, or that was given
    objects which only its program can make; and what loading raises.
    """
    record = read_record(folder)
    recipe = Recipe.of_run(folder)
    if not (folder / BUNDLE).exists():
        raise JournalError(
            f"{folder} is not finished, it holds no {BUNDLE}; "
            "continue it by the command that began it"
        )
    recording = Recording.read(folder)
    task = loader.task(recipe.task)
    models = [] if replay else [loader.model(origin) for origin in recipe.models]
    plan = plan_of(recording.config)
    queries = plan.queries if plan else recipe.config.queries
    if replay:
        queries = 0
    then = {model["spec"]: model["revision"] for model in record["models"]}
    now = {model.spec: model.capabilities.revision for model in models}
    sides = sides_sent(task, recording.config["prompt"]["canvas"], "train", "validation")
    return ReproductionPlan(
        folder=folder,
        replay=replay,
        recipe=recipe,
        record=record,
        recording=recording,
        prompt=Prompt.load(folder / BUNDLE).digest,
        queries=queries,
        costs=bounds(models, queries, sides, map(task.ask, task.train)),
        task=_task_differences(task, record, recording),
        environment=environments(record["environments"][-1], environment()),
        revisions={} if replay else differing(then, now),
        doubts=tuple(_doubts(recipe, record, models)),
    )


def _task_differences(task: Task, record: Mapping[str, Any], recording: Recording) -> Pairs:
    """How the task differs: by its digest, or by the images that were validated.

    The digest does not cover the pixels of image files; the requests in the journal do.
    """
    if task.digest != record["task"]["digest"]:
        return {"digest": (record["task"]["digest"], task.digest)}
    step = recording.steps.get(f"validation/{UNPROMPTED}", {"samples": (), "losses": ()})
    answered = {
        name for name, loss in zip(step["samples"], step["losses"], strict=True) if loss is not None
    }
    samples = [sample for sample in task.validation if sample.id in answered]
    reader = reader_named(*recording.reader)
    requests = [
        reader.request(sample.pixels(), task.ask(sample), task, sample) for sample in samples
    ]
    identities = [model["identity"] for model in record["models"]]
    known = sum(
        any(recording.knows(request, identity) for identity in identities) for request in requests
    )
    return {} if known == len(samples) else {"validation images": (len(samples), known)}


def _doubts(recipe: Recipe, record: Mapping[str, Any], models: Sequence[Model]) -> Iterator[str]:
    seconds = recipe.config.seconds
    usd = recipe.config.usd
    versions = len(record["environments"])
    if seconds is not None:
        yield (
            f"the run had a cap of {seconds:g} seconds: if the clock ended it, "
            "no other run ends at the same place"
        )
    if usd is not None and not models:
        yield (
            f"the run had a cap of ${usd:g}, which a replay does not apply: "
            "if money ended the run, the journal ends there too"
        )
    if versions > 1:
        yield f"{versions} sets of versions worked on the run, one after another"
    for model in models:
        if model.is_endpoint or not model.capabilities.deterministic:
            yield f"{model.spec} need not answer the same twice"


def reproduce(
    found: ReproductionPlan, loader: Loader, *, out: Path | None = None, watch: Watch = silent
) -> Reproduction:
    """Make the run again as planned, and compare.

    out: the new run folder, in which a reproduction that was killed goes on; None keeps nothing.
    Raises DataError if the task has changed, before anything is asked; UsageError if `out` holds a
    finished run; and what `optimize` raises.
    """
    if found.task:
        raise DataError(
            "the task is not the one of the run: nothing was asked; "
            f"restore what {found.recipe.task.spec} was then"
        )
    if out is not None and (out.resolve() == found.folder.resolve() or (out / BUNDLE).exists()):
        raise UsageError(f"{out} holds a finished run; name another folder (--out)")
    with ExitStack() as stack:
        place = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bbtvp-")))
        recipe, load = _replayed(found, loader) if found.replay else (found.recipe, loader)
        again = None
        lacking = None
        try:
            again = recipe.search(out=place, loader=load, watch=watch).prompt.digest
        except NotRecorded as error:
            lacking = str(error)
        return _compared(found, place, again, lacking, kept=out)


def _compared(
    found: ReproductionPlan,
    place: Path,
    again: str | None,
    lacking: str | None,
    *,
    kept: Path | None,
) -> Reproduction:
    new = Recording.read(place)
    asked = 0
    usd = 0.0
    stored = 0
    if not found.replay:
        queries = [one.query for recorded in new.queries.values() for one in recorded]
        asked = sum(query.usage.attempts for query in queries)
        usd = sum(query.usage.usd for query in queries)
        stored = sum(query.failure is None and not query.usage.attempts for query in queries)
        asked += sum(probe["queries"] for probe in new.probes.values())
        usd += sum(probe["usd"] for probe in new.probes.values())
    return Reproduction(
        found,
        kept,
        again,
        lacking,
        differing(found.recording.config, new.config),
        first_step(found.recording, new),
        answers(found.recording, new),
        asked,
        usd,
        stored,
    )


def _replayed(found: ReproductionPlan, loader: Loader) -> tuple[Recipe, Loads]:
    """The recipe with what the models had decided, and a loader that gives the journal as model."""
    settled = {
        "prompt": found.recording.config["prompt"],
        "reader": found.recording.reader.name,
        "canvas": None,
    }
    config = found.recipe.config.changed({**settled, "usd": None, "minutes": None})
    models = {
        origin: found.recording.model(model["spec"], model["identity"])
        for origin, model in zip(
            map(_key, found.recipe.models), found.record["models"], strict=True
        )
    }
    return replace(found.recipe, config=config), _ReplayLoader(loader, models)


def _key(origin: Origin) -> str:
    return f"{origin.spec} {sorted(origin.options.items())}"


@final
class _ReplayLoader(Loads):
    """Loads tasks and surrogates, and gives the journal in place of each model."""

    def __init__(self, loader: Loader, models: Mapping[str, Model]) -> None:
        self._loader = loader
        self._models = models

    def task(self, origin: Origin) -> Task:
        return self._loader.task(origin)

    def model(self, origin: Origin) -> Model:
        return self._models[_key(origin)]

    def surrogate(self, origin: Origin) -> Surrogate:
        return self._loader.surrogate(origin)
