"""`bbtvp effects`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from bbtvp.cli.checks import CheckInputs, CheckProgress, check_options, prompt_argument
from bbtvp.cli.options import give


@click.command()
@prompt_argument
@click.option("--task", required=True, help="The task that PROMPT was searched for.")
@click.option("--model", required=True, help="The model to ask.")
@click.option(
    "--other", "others", multiple=True, help="A task that it was not searched for; repeat for more."
)
@click.option(
    "--saliency",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Images to map: where the model looks.",
)
@click.option(
    "--map",
    "method",
    type=click.Choice(["occlusion", "rise"]),
    default="occlusion",
    show_default=True,
    help="How maps are made.",
)
@check_options
def effects(
    *,
    prompt: Path,
    task: str,
    model: str,
    others: tuple[str, ...],
    saliency: int,
    method: Literal["occlusion", "rise"],
    question: str | None,
    limit: int,
    usd: float | None,
    reader: str,
    seed: int,
    options: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    as_json: bool,
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

    inputs = CheckInputs.load(prompt, task, [model], question=question, options=options)
    loaded = inputs.prompt
    own = inputs.task
    (asked,) = inputs.models
    rest = [load_task(other) for other in others]
    map_method = MapMethod(method)
    if dry_run:
        queries = planned(own, rest, limit, deterministic=asked.capabilities.deterministic)
        if saliency:
            queries += planned_maps(loaded, held_out(own, saliency), map_method)
        inputs.announce(queries, as_json)
        return
    watch = CheckProgress()
    found = check_effects(
        loaded,
        own,
        asked,
        rest,
        limit=limit,
        reader=reader,
        usd=usd,
        seed=seed,
        out=out,
        watch=watch,
    )
    document = found.as_json()
    tables = [effects_table(found)]
    if saliency:
        maps = check_saliency(
            loaded,
            own,
            asked,
            limit=saliency,
            method=map_method,
            reader=reader,
            usd=None if usd is None else usd - found.usd,
            seed=seed,
            out=out,
            watch=watch,
        )
        document["saliency"] = maps.as_json()
        tables.append(saliency_table(maps))
    if as_json:
        give(document)
    else:
        click.echo("\n" + "\n\n".join(tables))
