"""What a job would ask and cost at most, before anything is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, final

from bbtvp.core.origin import Origin
from bbtvp.endpoint.prices import Estimate
from bbtvp.endpoint.remote import bounds
from bbtvp.jobs.job import SearchJob
from bbtvp.models import Model
from bbtvp.search.canvas import sides_sent
from bbtvp.search.exemplars import largest_context
from bbtvp.search.plan import describe_plan
from bbtvp.search.preflight import costs, longest_texts
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
    tasks = [task, *(loader.task(Origin(spec)) for spec in job.also)] if targets else []
    queries = _proof_queries(job, tasks, targets, setup)
    proved = _proof_costs(tasks, targets, setup, queries)
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
    job: SearchJob, tasks: Sequence[Task], targets: Sequence[Model], setup: Setup
) -> list[int]:
    """Image queries of the proofs on all tasks, for each target."""
    prompt = setup.space.prompt(setup.space.neutral())  # the arms depend on its layers alone
    plans = [
        plan_proof(prompt, one, targets, reader=job.search.reader, calibration=0, rule=Rule())
        for one in tasks
    ]
    by_target = zip(*(one.shares for one in plans), strict=True)
    return [sum(share.queries for share in shares) for shares in by_target]


def _proof_costs(
    tasks: Sequence[Task], targets: Sequence[Model], setup: Setup, queries: Sequence[int]
) -> dict[str, Estimate]:
    """Upper bounds of what the proofs cost on each target that is an endpoint, by spec."""
    # The unprompted images are sent as they are, and may be larger than the canvas.
    sides = chain.from_iterable(sides_sent(one, setup.space.canvas, "test") for one in tasks)
    texts = (text for one in tasks for text in longest_texts(setup, one, one.test))
    return bounds(targets, queries, sides, texts, largest_context(setup.space, setup.recipes))


def _dollars(job: SearchJob, estimates: Sequence[Estimate]) -> float | None:
    """The upper bound of all estimates, at most the job's cap; None if a price is unknown."""
    if any(one.usd_bound is None for one in estimates):
        return None
    usd = math.fsum(one.usd_bound or 0 for one in estimates)
    return usd if job.search.usd is None else min(usd, job.search.usd)
