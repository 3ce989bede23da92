"""What a job would ask and cost at most, before anything is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, final

from bbtvp.core.origin import Origin
from bbtvp.endpoint.prices import Estimate
from bbtvp.endpoint.remote import bounds
from bbtvp.jobs.job import SearchJob
from bbtvp.models import Model
from bbtvp.search.exemplars import largest_context
from bbtvp.search.plan import describe_plan
from bbtvp.search.preflight import costs
from bbtvp.search.recipe import Loader
from bbtvp.search.setup import Setup
from bbtvp.tasks import Task
from bbtvp.verify import Rule, plan_proof


@final
class JobPlan(NamedTuple):
    """A job's plan in words, and its upper bounds.

    search, verify: image queries. usd: US dollars, None if a price is unknown. seconds: at the
    rate limits of the endpoints, None without one.
    """

    job: SearchJob
    plan: str
    search: int
    verify: int
    usd: float | None
    seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "name": self.job.name,
            "plan": self.plan,
            "search": self.search,
            "verify": self.verify,
            "usd_bound": self.usd,
            "seconds_bound": self.seconds,
        }


def plan(job: SearchJob, loader: Loader) -> JobPlan:
    """Load what a job needs and plan it; asks nothing. Raises what is wrong with the job."""
    task, models, setup = job.recipe.set_up(loader)
    searched = costs(task, models, setup)
    targets = [loader.model(job.origin(spec)) for spec in job.proved_on]
    queries = _proof_queries(job, loader, task, targets, setup)
    shown = largest_context(setup.space, setup.recipes)
    proved = bounds(targets, queries, [setup.space.canvas], map(task.ask, task.train), shown)
    estimates = [*searched.values(), *proved.values()]
    seconds = [one.seconds for one in estimates if one.seconds is not None]
    return JobPlan(
        job,
        describe_plan(setup.plan),
        setup.plan.queries,
        sum(queries),
        _dollars(job, estimates),
        math.fsum(seconds) if seconds else None,
    )


def _proof_queries(
    job: SearchJob, loader: Loader, task: Task, targets: Sequence[Model], setup: Setup
) -> list[int]:
    """Image queries of the proofs on all tasks of the job, for each target."""
    if not targets:
        return []
    tasks = [task, *(loader.task(Origin(spec)) for spec in job.also)]
    prompt = setup.space.prompt(setup.space.neutral())  # the arms depend on its layers alone
    plans = [
        plan_proof(prompt, one, targets, reader=job.search.reader, calibration=0, rule=Rule())
        for one in tasks
    ]
    by_target = zip(*(one.shares for one in plans), strict=True)
    return [sum(share.queries for share in shares) for shares in by_target]


def _dollars(job: SearchJob, estimates: Sequence[Estimate]) -> float | None:
    """The upper bound of all estimates, at most the job's cap; None if a price is unknown."""
    if any(one.usd_bound is None for one in estimates):
        return None
    usd = math.fsum(one.usd_bound or 0 for one in estimates)
    return usd if job.search.usd is None else min(usd, job.search.usd)
