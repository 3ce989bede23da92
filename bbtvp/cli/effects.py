"""`bbtvp effects`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from bbtvp.cli.checks import Subject, Told, check_options, prompt_argument
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
    """What else PROMPT does to a model: other tasks, images of no task, blank ones; which answers
    it broke.
    """
    from bbtvp.checks.effects import effects as check
    from bbtvp.checks.effects import planned
    from bbtvp.checks.saliency import Way, planned_maps
    from bbtvp.checks.saliency import saliency as maps
    from bbtvp.report.checks import effects_table, saliency_table
    from bbtvp.tasks.registry import load_task
    from bbtvp.verify.asking import held_out

    subject = Subject.load(prompt, task, [model], question=question, options=options)
    loaded = subject.prompt
    own = subject.task
    (asked,) = subject.models
    rest = [load_task(other) for other in others]
    way = Way(method)
    if dry_run:
        most = planned(own, rest, limit, deterministic=asked.capabilities.deterministic)
        looks = planned_maps(loaded, held_out(own, saliency), way) if saliency else 0
        subject.announce(most + looks, as_json)
        return
    watch = Told()
    found = check(
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
    looked = None
    if saliency:
        left = None if usd is None else usd - found.usd
        looked = maps(
            loaded,
            own,
            asked,
            limit=saliency,
            way=way,
            reader=reader,
            usd=left,
            seed=seed,
            out=out,
            watch=watch,
        )
    if as_json:
        give({**found.as_json(), **({"saliency": looked.as_json()} if looked else {})})
        return
    click.echo("\n" + effects_table(found) + (f"\n\n{saliency_table(looked)}" if looked else ""))
