"""`bbtvp optimize`."""

from __future__ import annotations

import shlex
import sys
import time
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
    say,
    seed_option,
    usd_option,
)


@click.command()
@click.option(
    "--task",
    required=True,
    help="zoo/NAME, a folder with one sub-folder per class, a .csv / .jsonl file, or DATA SET:FOLDER (docs/data.md).",
)
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    help="The source model: zoo/NAME, hf/ORG/NAME, hf/./FOLDER, openai/NAME, …; repeat it to search on several.",
)
@click.option(
    "--combine",
    type=click.Choice(["mean", "worst"]),
    default="mean",
    show_default=True,
    help="The loss of several sources: their mean, or that of the worst.",
)
@click.option("--surrogate", help="A local CLIP for FCA and TSE: zoo/clip, hf/ORG/NAME.")
@click.option(
    "--fca",
    default=0.0,
    show_default=True,
    help="Weight of feature consistency alignment, in spreads of the task loss.",
)
@click.option(
    "--tse",
    default=0.0,
    show_default=True,
    help="Weight of task semantics enrichment, in spreads of the task loss.",
)
@click.option(
    "--warm", is_flag=True, help="Start where the surrogate would, if 32 image queries agree."
)
@click.option(
    "--prime",
    default=0,
    show_default=True,
    help="Training images that teach the surrogate, a query each.",
)
@click.option(
    "--prompt",
    default="default",
    show_default=True,
    help="Preset: default, tone, frame, tvp, annotate.",
)
@click.option(
    "--canvas",
    type=click.IntRange(8, 2048),
    help="Side of the canvas in pixels [default: from model and images].",
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="auto, cma, gp, spsa-gc, random, ng:NGOpt, … (bbtvp.optim).",
)
@click.option(
    "--queries",
    default=1000,
    show_default=True,
    help="Cap on image queries: search, validation, retries, failures.",
)
@usd_option
@prices_option
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Cap on time, from now on."
)
@click.option(
    "--images",
    default=8,
    show_default=True,
    type=click.IntRange(1),
    help="Images per candidate and generation.",
)
@click.option(
    "--repeats",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Answers asked for per image, for a model that does not always answer the same.",
)
@click.option(
    "--patience",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="End a stage after so many generations without a lower mean loss; 0 never does.",
)
@click.option(
    "--channel",
    is_flag=True,
    help="Search through random resizing, cropping and JPEG on the way to the model.",
)
@click.option("--question", help="Question, for a folder or file: 'which {kind} is this?'.")
@reader_option
@seed_option
@model_option_flag
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder [default: runs/TASK-MODEL-SEED]."
)
@click.option("--dry-run", is_flag=True, help="Print the plan; ask nothing.")
@json_flag
def optimize(
    task: str,
    models: tuple[str, ...],
    combine: Literal["mean", "worst"],
    surrogate: str | None,
    fca: float,
    tse: float,
    warm: bool,
    prime: int,
    prompt: str,
    canvas: int | None,
    method: str,
    queries: int,
    usd: float | None,
    minutes: float | None,
    images: int,
    repeats: int,
    patience: int,
    channel: bool,
    question: str | None,
    reader: str,
    seed: int,
    options: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Search a visual prompt for MODEL on TASK, within a cap of image queries."""
    from bbtvp.cli.plan import show_plan
    from bbtvp.core.files import atomic_write_json
    from bbtvp.jobs.result import result
    from bbtvp.models import load_model
    from bbtvp.prompt.channel import Channel
    from bbtvp.report.progress import Progress
    from bbtvp.runs.folder import BUNDLE, RESULT
    from bbtvp.search import Allocation
    from bbtvp.search import optimize as search
    from bbtvp.search.optimize import set_up
    from bbtvp.search.surrogacy import Surrogacy
    from bbtvp.surrogate import load_surrogate
    from bbtvp.tasks.registry import load_task

    began = time.monotonic()
    loaded = load_task(task, **({"question": question} if question else {}))
    sources = [load_model(model, **model_options(options)) for model in models]
    names = "+".join(source.spec for source in sources)
    helper = load_surrogate(surrogate) if surrogate else None
    how = Allocation(images, patience, repeats)
    if dry_run:
        found = set_up(
            loaded,
            sources,
            budget=queries,
            prompt=prompt,
            canvas=canvas,
            method=method,
            reader=reader,
            allocation=how,
            surrogacy=Surrogacy(helper, fca, tse, warm=warm, prime=prime),
            seed=seed,
        )
        show_plan(loaded, sources, found, as_json)
        return
    folder = out or Path("runs") / "-".join([loaded.name, names, str(seed)]).replace("/", "_")
    run = search(
        loaded,
        sources,
        budget=queries,
        usd=usd,
        seconds=60 * minutes if minutes else None,
        prompt=prompt,
        canvas=canvas,
        method=method,
        surrogate=helper,
        fca=fca,
        tse=tse,
        warm=warm,
        prime=prime,
        combine=combine,
        reader=reader,
        allocation=how,
        channel=Channel() if channel else None,
        seed=seed,
        out=folder,
        watch=Progress(say, sys.stderr),
    )
    seconds = time.monotonic() - began
    document = result(
        run, None, task=loaded.name, seed=seed, prompt=str(folder / BUNDLE), seconds=seconds
    )
    atomic_write_json(folder / RESULT, document)
    (give(document) if as_json else click.echo(str(folder / BUNDLE)))
    if not run.improved:
        say(
            "no gain on validation: this prompt is not worth deploying; try another preset, or more queries"
        )
    again = [
        f"--task {shlex.quote(task)}",
        *(f"--model {shlex.quote(model)}" for model in models),
        *(f"-M {pair}" for pair in options),
    ]
    say(f"next, the proof: bbtvp verify {folder / BUNDLE} {' '.join(again)}")
