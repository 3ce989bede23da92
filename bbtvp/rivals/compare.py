"""All rivals about the same held-out images, beside zero-shot and the prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import ModelError, UnreadReplies, UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.core.origin import is_among
from bbtvp.models import AnyModel, MeteredModel, Model, as_models
from bbtvp.prompt import Prompt, PromptSpace
from bbtvp.rivals.procedure import Asked, OneQuery, Procedure, ProcedureAnswers
from bbtvp.rivals.registry import ALL, rivals_named
from bbtvp.rivals.rival import Rival, Tuned, Tuning, TuningCost
from bbtvp.rivals.table import (
    PROMPT,
    ZERO_SHOT,
    RivalRow,
    RivalTable,
    UseCost,
    beaten,
    ranked,
    recommended,
)
from bbtvp.runs.proofs import FOLDER as PROOFS
from bbtvp.runs.proofs import RIVALS_DOCUMENT
from bbtvp.search import choose_reader
from bbtvp.search.events import silent
from bbtvp.stats import PairedGain, paired_gain
from bbtvp.tasks import Task
from bbtvp.verify.inputs import AnyPrompt, AnyTask, open_prompt
from bbtvp.verify.session import CheckSession

TUNING = 1000
"""Image queries that a searched rival may send by default, as many as a search of a prompt."""


@final
@dataclass(frozen=True)
class RivalAsked:
    """One arm was asked about the test images of a model."""

    name: str
    model: str
    score: float


@final
class RivalPlan(NamedTuple):
    """The most image queries: to make the rivals ready, and to ask about the test images."""

    tuning: int
    asking: int
    arms: tuple[str, ...]

    @property
    def queries(self) -> int:
        """Both together."""
        return self.tuning + self.asking


@final
class _ReadyArm(NamedTuple):
    """An arm that is ready."""

    name: str
    about: str
    procedure: Procedure
    cost: TuningCost
    note: str
    rival: Rival | None = None


@final
class _ArmAnswers(NamedTuple):
    """What an arm answered on one model. scores: (test images,), NaN without an answer."""

    scores: Vector
    answers: ProcedureAnswers


def plan_rivals(
    task: Task,
    models: Sequence[Model],
    *,
    prompt: Prompt | None = None,
    rivals: Iterable[str] = (ALL,),
    reader: str = "auto",
    tuning: int = TUNING,
) -> RivalPlan:
    """The plan of a comparison, which asks nothing. UsageError for an unknown rival."""
    chosen = rivals_named(rivals)
    given = Tuning(task, models[0], choose_reader(reader, models[0], task), tuning)
    arms = {ZERO_SHOT: 1}
    ours = None if prompt is None or prompt.is_identity else prompt
    if ours is not None:
        arms[PROMPT] = 1
    for rival in chosen:
        arms[rival.name] = rival.queries_per_image
        if ours is not None and rival.over(ours) is not None:
            arms[_over(rival)] = rival.queries_per_image
    endpoints = [model for model in models if model.is_endpoint]
    wanted = _images_wanted(chosen)
    tried = sum(held > model.capabilities.images for model in endpoints for held in wanted)
    return RivalPlan(
        tried + sum(rival.most_queries(given) for rival in chosen),
        sum(arms.values()) * len(task.test) * len(models),
        tuple(arms),
    )


def _images_wanted(rivals: Iterable[Rival]) -> list[int]:
    """Images in a request that the rivals are best asked with, more than one; the most first."""
    found = {rival.images_in_request for rival in rivals}
    return sorted(found - {1}, reverse=True)


def _try_images(model: MeteredModel, wanted: Sequence[int]) -> None:
    """Find out how many images a request may hold, where no table says so of an endpoint."""
    for held in wanted if model.model.is_endpoint else ():
        try:
            model.need_images(held)
        except UsageError:
            continue
        return


def _over(rival: Rival) -> str:
    """The name of a rival's arm over the prompt."""
    return f"{PROMPT}+{rival.name}"


def compare_rivals(
    task: AnyTask,
    models: AnyModel | Sequence[AnyModel],
    *,
    prompt: AnyPrompt | None = None,
    rivals: Iterable[str] = (ALL,),
    source: str | Sequence[str] | None = None,
    reader: str = "auto",
    normalise: str = "mean",
    tuning: int = TUNING,
    facts: Mapping[str, Any] | None = None,
    usd: float | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    watch: Callable[[Any], None] = silent,
) -> RivalTable:
    """Ask rivals about the test split of `task`, beside zero-shot and a prompt, and name one.

    prompt: the prompt that is proved, if there is one. rivals: names in `RIVALS`, or "all". Rivals
    are made ready on the first of `models` that is a `source`, else on the first. The other models
    are asked with what was found there. tuning: the most image queries that a searched rival may
    send. facts: what the prompt's bundle says of its search. The other arguments are those of
    `bbtvp.verify`; with the `out` of a proof, its answers are not asked for again.

    A rival that is named and that the model cannot do is a UsageError before it is asked; of "all"
    it is left out, with the reason. Raises ModelError if the model answers nothing, and
    BudgetReached at the cap.
    """
    named = list(rivals)
    chosen = rivals_named(named)
    given = as_models(models)
    if not given:
        raise UsageError("name at least one model to ask")
    opened = open_prompt(PromptSpace.identity() if prompt is None else prompt)
    facts = opened.facts if facts is None else facts
    session = CheckSession(
        PROOFS,
        opened.prompt,
        opened.task(task),
        reader=reader,
        normalise=normalise,
        usd=usd,
        seed=seed,
        out=out,
        watch=watch,
    )
    with session:
        comparison = _RivalComparison(session, given, source or facts.get("source_models"))
        if not session.prompt.is_identity:
            comparison.add_prompt(facts)
        comparison.prepare(chosen, strict=ALL not in named, queries=tuning)
        table = comparison.table()
    if session.folder is not None:
        atomic_write_json(session.folder / RIVALS_DOCUMENT, table.as_json())
    return table


@final
class _RivalComparison:
    """Makes the arms ready on the source model, and asks all models in each."""

    def __init__(
        self,
        session: CheckSession,
        models: Sequence[Model | str],
        source: str | Sequence[str] | None,
    ) -> None:
        sources = {source} if isinstance(source, str) else set(source or ())
        specs = [model if isinstance(model, str) else model.spec for model in models]
        first = next((i for i, spec in enumerate(specs) if is_among(spec, sources)), 0)
        self._session = session
        self._task = session.task
        self._source = session.model(models[first])
        self._others = [model for i, model in enumerate(models) if i != first]
        self._left_out: dict[str, str] = {}
        self._searched: list[TuningCost] = []
        self._held: list[int] = []
        self._arms = [
            _ReadyArm(
                ZERO_SHOT, "the image and the question as they are", OneQuery(), TuningCost(), ""
            )
        ]

    def add_prompt(self, facts: Mapping[str, Any]) -> None:
        """The prompt that is proved. Its tuning is that of its search, if its bundle says so."""
        queries = sum((facts.get("queries") or {}).values())
        arm = OneQuery(self._session.prompt)
        cost = TuningCost(queries, facts.get("usd"))
        note = "" if queries else "its bundle does not say what its search cost"
        self._arms.append(_ReadyArm(PROMPT, "the prompt that is proved", arm, cost, note))

    def prepare(self, rivals: Sequence[Rival], *, strict: bool, queries: int) -> None:
        """Make the rivals ready. strict: one that cannot be asked is a UsageError."""
        self._held = _images_wanted(rivals)
        _try_images(self._source, self._held)
        for rival in rivals:
            obstacle = rival.obstacle(self._source, self._task)
            if obstacle and strict:
                raise UsageError(f"{rival.name} cannot be asked: {self._source.spec} {obstacle}")
            if obstacle:
                self._left_out[rival.name] = obstacle
        budget = self._source.budget
        folder = self._session.folder
        tuning = Tuning(
            self._task,
            self._source,
            self._session.reader(self._source),
            queries,
            seed=self._session.seed,
            folder=None if folder is None else folder / "rivals",
            usd=None if budget.usd_cap is None else budget.usd_left,
        )
        for rival in rivals:
            if rival.name in self._left_out:
                continue
            try:
                self._add(rival, rival.prepare(tuning))
            except (UsageError, ModelError, UnreadReplies) as error:
                if strict:
                    raise
                self._left_out[rival.name] = str(error)
        self._searched = [tuned.cost for tuned in tuning.known.values()]

    def _add(self, rival: Rival, tuned: Tuned) -> None:
        """An arm, and the same arm over the prompt where that makes one."""
        self._arms.append(
            _ReadyArm(rival.name, rival.about, tuned.procedure, tuned.cost, tuned.note, rival)
        )
        ours = next((arm for arm in self._arms if arm.name == PROMPT), None)
        both = None if ours is None else rival.over(self._session.prompt)
        if ours is not None and both is not None:
            about = f"{rival.about}, of the prompted images"
            cost = ours.cost.plus(tuned.cost)
            self._arms.append(_ReadyArm(_over(rival), about, both, cost, tuned.note, rival))

    def table(self) -> RivalTable:
        """Ask all models in all arms."""
        images = len(self._task.test)
        found = self._ask(self._source)
        zero_shot = found[ZERO_SHOT].scores
        rows = [
            self._row(arm, found[arm.name], zero_shot) for arm in self._arms if arm.name in found
        ]
        carried = self._carried()
        rows = [replace(row, transfer=carried[row.name]) for row in rows]
        scores = {name: one.scores for name, one in found.items()}
        rows = ranked(beaten(rows, scores))
        choice, advice = recommended(rows, images)
        cost = self._session.cost
        return RivalTable(
            self._task.name,
            self._source.spec,
            images,
            tuple(rows),
            choice,
            advice,
            self._left_out,
            queries=cost.queries + sum(search.queries for search in self._searched),
            failed=cost.failed,
            refused=cost.refused,
            usd=cost.usd + sum(search.usd or 0.0 for search in self._searched),
        )

    def _ask(self, model: MeteredModel) -> dict[str, _ArmAnswers]:
        """The answers of a model by arm; an arm that it cannot do is left out."""
        asked = Asked(model, self._task, self._session.reader(model))
        found: dict[str, _ArmAnswers] = {}
        for arm in self._arms:
            if arm.rival and arm.rival.obstacle(model, self._task):
                continue
            try:
                answers = arm.procedure.ask(asked, self._task.test)
            except (ModelError, UsageError) as error:
                if arm.rival is None:
                    raise
                if model is self._source:
                    self._left_out[arm.name] = str(error)
                continue
            scores = answers.answers.correct
            found[arm.name] = _ArmAnswers(scores, answers)
            if np.isfinite(scores).any():
                score = float(np.nanmean(scores))
                self._session.watch(RivalAsked(arm.name, model.spec, score))
        if not np.isfinite(found[ZERO_SHOT].scores).any():
            raise ModelError(f"{model.spec} answered no test image; nothing can be said about it")
        return found

    def _carried(self) -> dict[str, dict[str, PairedGain]]:
        """The gain of each arm on the other models, by arm and model."""
        gains: dict[str, dict[str, PairedGain]] = {arm.name: {} for arm in self._arms}
        for given in self._others:
            model = self._session.model(given)
            _try_images(model, self._held)
            found = self._ask(model)
            before = found[ZERO_SHOT].scores
            for name, one in found.items():
                if np.isfinite(before + one.scores).any():
                    gains[name][model.spec] = self._gain(before, one.scores)
        return gains

    def _gain(self, before: Vector, after: Vector) -> PairedGain:
        return paired_gain(before, after, seed=self._session.seed)

    def _row(self, arm: _ReadyArm, found: _ArmAnswers, zero_shot: Vector) -> RivalRow:
        answers = found.answers
        notes = [arm.note] if arm.note else []
        if answers.fell_back:
            notes.append(f"{answers.fell_back} images fell back to the plain question")
        return RivalRow(
            arm.name,
            arm.about,
            self._gain(zero_shot, found.scores),
            answers.answers.failed,
            answers.answers.unparsed + answers.answers.cut,
            arm.cost,
            UseCost.of(self._source, answers.outcomes, len(self._task.test)),
            note="; ".join(notes),
        )
