"""`bbtvp effects`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from bbtvp.cli.options import (
    give,
    json_flag,
    model_option_flag,
    model_options,
    prices_option,
    reader_option,
    seed_option,
    usd_option,
)  # fmt: skip
from bbtvp.cli.robustness import (
    Told,
    announce,
    dry_run_flag,
    limit_option,
    out_option,
    question_option,
    subject_of,
)  # fmt: skip


@click.command()
@click.argument("prompt", type=click.Path(path_type=Path))
@click.option("--task", required=True, help="The task that PROMPT was searched for.")
@click.option("--model", required=True, help="The model to ask.")
@click.option("--other", "others", multiple=True, help="A task that it was not searched for; repeat for more.")
@click.option(
    "--saliency", default=0, show_default=True, type=click.IntRange(0), help="Images to map: where the model looks."
)
@click.option(
    "--map",
    "method",
    type=click.Choice(["occlusion", "rise"]),
    default="occlusion",
    show_default=True,
    help="How maps are made.",
)
@question_option
@limit_option
@usd_option
@prices_option
@reader_option
@seed_option
@model_option_flag
@out_option
@dry_run_flag
@json_flag
def effects(
    prompt: Path, task: str, model: str, others: tuple[str, ...], saliency: int, method: Literal["occlusion", "rise"],
    question: str | None, limit: int, usd: float | None, reader: str, seed: int, options: tuple[str, ...],
    out: Path | None, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """What else PROMPT does to a model: other tasks, images of no task, blank ones; which answers it broke."""
    from bbtvp.query import load_model
    from bbtvp.report.checks import effects_table, saliency_table
    from bbtvp.task.registry import load_task
    from bbtvp.verify.asking import held_out
    from bbtvp.verify.effects import effects as check
    from bbtvp.verify.effects import planned
    from bbtvp.verify.saliency import Way, planned_maps
    from bbtvp.verify.saliency import saliency as maps

    loaded, subject = subject_of(prompt, task, question)
    asked = load_model(model, **model_options(options))
    rest = [load_task(other) for other in others]
    way = Way(method)
    if dry_run:
        most = planned(subject, rest, limit, deterministic=asked.capabilities.deterministic)
        looks = planned_maps(loaded, held_out(subject, saliency), way) if saliency else 0
        announce(most + looks, [asked], subject, loaded, as_json)
        return
    watch = Told()
    found = check(loaded, subject, asked, rest, limit=limit, reader=reader, usd=usd, seed=seed, out=out, watch=watch)
    looked = None
    if saliency:
        left = None if usd is None else usd - found.usd
        looked = maps(
            loaded, subject, asked, limit=saliency, way=way, reader=reader, usd=left, seed=seed, out=out, watch=watch
        )
    if as_json:
        give({**found.as_json(), **({"saliency": looked.as_json()} if looked else {})})
        return
    click.echo("\n" + effects_table(found) + (f"\n\n{saliency_table(looked)}" if looked else ""))
