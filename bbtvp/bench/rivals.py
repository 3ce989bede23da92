"""The rivals of `bbtvp.rivals` as methods, asked on the source and on the other models."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from bbtvp.bench.method import Method, MethodInput, MethodOutcome
from bbtvp.core.errors import UsageError
from bbtvp.models import MeteredModel, Model
from bbtvp.rivals import RIVALS, Rival, Tuning
from bbtvp.rivals.procedure import Asked
from bbtvp.rivals.table import UseCost
from bbtvp.search import Journal, choose_reader

SEARCHED = ("words", "mpo")
"""Rivals that take all of a budget; what the others need does not depend on it."""


def rival_methods() -> tuple[Method, ...]:
    """A method for each rival, with its fields as constants."""
    return tuple(_method(rival) for rival in RIVALS.values())


def _method(rival: Rival) -> Method:
    def run(job: MethodInput, constants: Mapping[str, Any]) -> MethodOutcome:
        return _asked(replace(rival, **constants), job)

    return Method(
        rival.name,
        "rival",
        rival.about,
        rival.source,
        run,
        asdict(rival),
        "as written in bbtvp.rivals",
        budgeted=rival.name in SEARCHED,
        seeded=rival.seeded,
    )


def _asked(rival: Rival, job: MethodInput) -> MethodOutcome:
    """Make the rival ready on the source, and ask all models about the test images."""
    obstacle = rival.obstacle(job.model, job.task)
    if obstacle:
        raise UsageError(f"{rival.name} cannot be asked: {job.model.spec} {obstacle}")
    with Journal(_config(rival, job), job.folder / "asked") as journal:

        def asked(model: Model) -> Asked:
            metered = MeteredModel(model, journal)
            return Asked(metered, job.task, choose_reader("auto", model, job.task))

        source = asked(job.model)
        tuning = Tuning(job.task, source.model, source.reader, 0, job.seed, job.folder)
        spare = job.budget - rival.most_queries(tuning)
        tuned = rival.prepare(replace(tuning, queries=max(0, spare)))
        found = tuned.procedure.ask(source, job.task.test)
        answers = {job.model.spec: found.answers.correct}
        for model in job.targets():
            if model.spec in answers or rival.obstacle(model, job.task):
                continue
            with suppress(UsageError):  # what the source takes and this model does not
                other = tuned.procedure.ask(asked(model), job.task.test)
                answers[model.spec] = other.answers.correct
    return MethodOutcome(
        answers=answers,
        queries={"tuning": tuned.cost.queries},
        failed=found.answers.failed,
        facts={"chosen": tuned.note, "fell back": found.fell_back},
        use=UseCost.of(job.model, found.outcomes, len(job.task.test)),
    )


def _config(rival: Rival, job: MethodInput) -> dict[str, Any]:
    return {
        "bench": 1,
        "rival": rival.name,
        "constants": asdict(rival),
        "task": job.task.digest,
        "model": job.model.spec,
        "budget": job.budget,
        "seed": job.seed,
    }
