"""What jobs would ask and cost at most, before anything is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, final

from bbtvp.core.origin import Origin
from bbtvp.endpoint.prices import Estimate
from bbtvp.endpoint.remote import bounds
from bbtvp.jobs.job import SearchJob
from bbtvp.models import Model
from bbtvp.search.optimize import Setup, describe_plan
from bbtvp.search.recipe import Loader
from bbtvp.tasks import Task
from bbtvp.verify import Rule, plan_proof


@final
class Planned(NamedTuple):
    """A job's plan in words, its image queries at most, dollars at most (None if a price is
    unknown) and seconds.

    seconds: at the endpoints' rate limits, None without one.
    """

    job: SearchJob
    plan: str
    search: int
    verify: int
    usd: float | None
    seconds: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.job.name,
            "plan": self.plan,
            "search": self.search,
            "verify": self.verify,
            "usd_bound": self.usd,
            "seconds_bound": self.seconds,
        }


def costs(task: Task, models: Sequence[Model], setup: Setup) -> dict[str, Estimate]:
    """What the search uses at most on each of its sources that is an endpoint, by spec."""
    return bounds(models, setup.plan.queries, [setup.space.canvas], map(task.ask, task.train))


def plan(job: SearchJob, loader: Loader) -> Planned:
    """Load what a job needs and plan it, asking nothing. Raises what is wrong with it."""
    recipe = job.recipe
    task, models, setup = recipe.set_up(loader)
    found = costs(task, models, setup)
    proved = [loader.model(job.origin(spec)) for spec in job.proved_on]
    tasks = [task, *(loader.task(Origin(spec)) for spec in job.also)] if proved else []
    some = setup.space.prompt(setup.space.neutral())  # which arms there are, its layers decide
    proofs = [
        plan_proof(some, one, proved, reader=job.reader, calibration=0, rule=Rule())
        for one in tasks
    ]
    shown = [
        sum(share.queries for share in shares)
        for shares in zip(*(one.shares for one in proofs), strict=True)
    ]
    paid = bounds(proved, shown, [setup.space.canvas], map(task.ask, task.train))
    parts = [*found.values(), *paid.values()]
    usd = (
        None
        if any(part.usd_bound is None for part in parts)
        else math.fsum(part.usd_bound or 0 for part in parts)
    )
    seconds = [part.seconds for part in parts if part.seconds is not None]
    return Planned(
        job,
        describe_plan(setup.plan),
        setup.plan.queries,
        sum(shown),
        usd if job.usd is None or usd is None else min(usd, job.usd),
        math.fsum(seconds) if seconds else None,
    )
