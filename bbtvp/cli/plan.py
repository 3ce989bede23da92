"""`--dry-run`: what a command would ask, and what that costs at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import give, say

if TYPE_CHECKING:
    from bbtvp.endpoint.prices import Estimate
    from bbtvp.models import Model
    from bbtvp.search.setup import Setup
    from bbtvp.tasks import Task


def tell(
    document: Mapping[str, Any], lines: Iterable[str], costs: Mapping[str, Estimate], as_json: bool
) -> None:
    """Print a plan, and what each endpoint costs at most: as one JSON document, or as lines."""
    if as_json:
        give(
            {
                **document,
                **(
                    {"costs": {spec: cost._asdict() for spec, cost in costs.items()}}
                    if costs
                    else {}
                ),
            }
        )
        return
    for line in (*lines, *(f"{spec}: {cost}" for spec, cost in costs.items())):
        click.echo(line)


def show_plan(task: Task, models: Sequence[Model], setup: Setup, as_json: bool) -> None:
    """Print the plan of a search, and what each endpoint costs at most.

    The cost is in tokens, in dollars and in the time at the endpoint's rate limit.
    """
    from bbtvp.jobs.plan import costs
    from bbtvp.search.plan import describe_plan

    found = costs(task, models, setup)
    names = "+".join(model.spec for model in models)
    say(
        f"{task.name} on {names}, canvas {setup.space.canvas} px, {setup.space.dim} variables; "
        f"answers read as {setup.reader.name}" + (" until a probe finds more" if found else "")
    )
    planned = describe_plan(setup.plan)
    tell({"queries": setup.plan.queries, "plan": planned}, [planned], found, as_json)
