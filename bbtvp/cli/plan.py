"""`bbtvp optimize --dry-run`: what a run would ask, and what that costs at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from bbtvp.cli.options import give, say
from bbtvp.jobs.plan import costs
from bbtvp.query import Model
from bbtvp.study.optimize import Setup, describe_plan
from bbtvp.task import Task


def show_plan(task: Task, models: Sequence[Model], setup: Setup, as_json: bool) -> None:
    """Print the plan, and for each endpoint its tokens, its cost and the time at its rate limit; ask nothing."""
    found = costs(task, models, setup)
    names = "+".join(model.spec for model in models)
    say(
        f"{task.name} on {names}, canvas {setup.space.canvas} px, {setup.space.dim} variables; "
        f"answers read as {setup.reader.name}" + (" until a probe finds more" if found else "")
    )
    planned = describe_plan(setup.plan)
    if as_json:
        document: dict[str, Any] = {"queries": setup.plan.queries, "plan": planned}
        give(document | {"costs": {spec: cost._asdict() for spec, cost in found.items()}} if found else document)
        return
    click.echo(planned)
    for spec, cost in found.items():
        click.echo(f"{spec}: {cost}")
