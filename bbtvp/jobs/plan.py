"""What jobs would ask and cost at most, before anything is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, final

from bbtvp.core.origin import Origin
from bbtvp.endpoint.prices import Estimate
from bbtvp.endpoint.remote import Endpoint
from bbtvp.jobs.job import Job
from bbtvp.query import Model
from bbtvp.study.optimize import Setup, describe_plan
from bbtvp.study.recipe import Loader
from bbtvp.task import Task

ARMS = 3
"""Arms of a proof, without a sentence: five with one."""


@final
class Planned(NamedTuple):
    """A job's plan in words, its image queries at most, dollars at most (None if a price is unknown) and seconds.

    seconds: at the endpoints' rate limits, None without one.
    """

    job: Job
    plan: str
    search: int
    verify: int
    usd: float | None
    seconds: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.job.name, "plan": self.plan, "search": self.search, "verify": self.verify,
            "usd_bound": self.usd, "seconds_bound": self.seconds,
        }  # fmt: skip


def costs(task: Task, models: Sequence[Model], setup: Setup) -> dict[str, Estimate]:
    """What the search uses at most on each of its sources that is an endpoint, by spec."""
    share = -(-setup.plan.queries // len(models))  # images are dealt to the sources in turn
    return {model.spec: _estimate(model, share, task, setup) for model in models if isinstance(model, Endpoint)}


def plan(job: Job, loader: Loader) -> Planned:
    """Load what a job needs and plan it, asking nothing. Raises what is wrong with it."""
    recipe = job.recipe
    task, models, setup = recipe.set_up(loader)
    found = costs(task, models, setup)
    proved = [loader.model(job.origin(spec)) for spec in job.proved_on]
    arms = ARMS + 2 * ("guidance" in setup.space.slices)
    others = [loader.task(Origin(spec)) for spec in job.also] if proved else []
    shown = arms * sum(len(one.test) for one in (task, *others))
    proofs = [_estimate(model, shown, task, setup) for model in proved if isinstance(model, Endpoint)]
    bounds = [*found.values(), *proofs]
    usd = None if any(b.usd_bound is None for b in bounds) else math.fsum(b.usd_bound or 0 for b in bounds)
    seconds = [b.seconds for b in bounds if b.seconds is not None]
    return Planned(
        job, describe_plan(setup.plan), setup.plan.queries, shown * len(proved),
        usd if job.usd is None or usd is None else min(usd, job.usd), math.fsum(seconds) if seconds else None,
    )  # fmt: skip


def _estimate(model: Endpoint, queries: int, task: Task, setup: Setup) -> Estimate:
    longest = max((len(task.ask(sample)) for sample in task.train), default=0)
    return model.estimate(queries, setup.space.canvas, longest)
