"""`bbtvp effects`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Unpack

import click

from bbtvp.cli.checks import (
    CheckArguments,
    CheckInputs,
    check_options,
    prompt_argument,
    session_options,
)
from bbtvp.cli.options import choice_option, give, number_option


@click.command()
@prompt_argument
@click.option("--task", required=True, help="The task that PROMPT was searched for.")
@click.option("--model", required=True, help="The model to ask.")
@click.option(
    "--other", "others", multiple=True, help="A task that it was not searched for; repeat for more."
)
@number_option(
    "--saliency",
    default=0,
    type=click.IntRange(0),
    help="Images to map: where the model looks.",
)
@choice_option("--map", "method", choices=["occlusion", "rise"], help="How maps are made.")
@check_options
def effects(
    *,
    prompt: Path,
    task: str,
    model: str,
    others: tuple[str, ...],
    saliency: int,
    method: Literal["occlusion", "rise"],
    **shared: Unpack[CheckArguments],
) -> None:
    """What else PROMPT does to a model.

    The model is asked about other tasks, images of no task, and blank images, with and without the
    prompt. The answers that the prompt broke are listed.
    """
    from bbtvp.checks.effects import effects as check_effects
    from bbtvp.checks.effects import planned
    from bbtvp.checks.saliency import MapMethod, planned_maps
    from bbtvp.checks.saliency import saliency as check_saliency
    from bbtvp.report.checks import effects_table, saliency_table
    from bbtvp.tasks.registry import load_task
    from bbtvp.verify.session import held_out

    inputs = CheckInputs.load(
        prompt,
        task,
        [model],
        question=shared["question"],
        labels=shared["labels"],
        metric=shared["metric"],
        max_tokens=shared["max_tokens"],
        options=shared["options"],
    )
    limit = shared["limit"]
    as_json = shared["as_json"]
    loaded = inputs.prompt
    own = inputs.task
    (asked,) = inputs.models
    rest = [load_task(other) for other in others]
    map_method = MapMethod(method)
    if shared["dry_run"]:
        queries = planned(own, rest, limit, deterministic=asked.capabilities.deterministic)
        if saliency:
            queries += planned_maps(loaded, held_out(own, saliency), map_method)
        inputs.announce(queries, as_json)
        return
    asking = session_options(shared)
    found = check_effects(loaded, own, asked, rest, limit=limit, **asking)
    document = found.as_json()
    tables = [effects_table(found)]
    if saliency:
        if shared["usd"] is not None:
            asking["usd"] = shared["usd"] - found.cost.usd
        maps = check_saliency(loaded, own, asked, limit=saliency, method=map_method, **asking)
        document["saliency"] = maps.as_json()
        tables.append(saliency_table(maps))
    if as_json:
        give(document)
    else:
        click.echo("\n" + "\n\n".join(tables))
