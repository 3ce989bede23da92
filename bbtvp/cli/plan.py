"""`--dry-run`: what a command would ask, and what that costs at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import give, say

if TYPE_CHECKING:
    from bbtvp.endpoint.prices import Estimate
    from bbtvp.models import Model
    from bbtvp.search import SearchConfig
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


def show_plan(task: Task, models: Sequence[Model], config: SearchConfig, as_json: bool) -> None:
    """Print all that is known of a search before anything is asked.

    Raises DataError, once it is printed, if there are images that cannot be read.
    """
    from bbtvp.report.preflight import preflight_text
    from bbtvp.search.preflight import look_ahead
    from bbtvp.search.setup import set_up

    setup = set_up(task, models, config)
    found = look_ahead(task, models, config, setup)
    names = "+".join(model.spec for model in models)
    say(
        f"{task.name} on {names}, {setup.space.canvas_text}, {setup.space.dim} variables; "
        f"answers read as {setup.reader.name}"
        + (" until a probe finds more" if found.costs else "")
    )
    if as_json:
        give(found.as_json())
    else:
        click.echo(preflight_text(found))
    found.inspection.check()
