"""`bbtvp verify`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
)  # fmt: skip


@click.command()
@click.argument("prompt", type=click.Path(path_type=Path))
@click.option("--task", required=True, help="As for optimize; its test split is used.")
@click.option("--model", "models", required=True, multiple=True, help="A model to verify on; repeat for more.")
@click.option("--source", help="The model that the search queried [default: as the bundle says].")
@click.option("--question", help="Question, for a folder or file [default: the one the prompt was searched with].")
@usd_option
@prices_option
@reader_option
@seed_option
@model_option_flag
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder: makes the verification resumable, keeps its picture."
)
@json_flag
def verify(
    prompt: Path, task: str, models: tuple[str, ...], source: str | None, question: str | None, usd: float | None,
    reader: str, seed: int, options: tuple[str, ...], out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Prove PROMPT on held-out images: zero-shot, empty-frame control and prompt, with intervals, on each model."""
    from bbtvp.prompt import Prompt
    from bbtvp.query import load_model
    from bbtvp.report.gallery import save_gallery
    from bbtvp.report.progress import Progress
    from bbtvp.report.result import result
    from bbtvp.report.terminal import proof_table
    from bbtvp.task.registry import load_task
    from bbtvp.verify import verify as prove

    began = time.monotonic()
    loaded, facts = Prompt.load(prompt), bundle_meta(prompt)
    if question is None and Path(task).exists():
        question = facts.get("question")
    subject = load_task(task, **({"question": question} if question else {}))
    say(f"question: {subject.question}")
    asked = [load_model(spec, **model_options(options)) for spec in models]
    source = source or facts.get("source_model")
    proof = prove(
        loaded,
        subject,
        asked,
        source=source,
        reader=reader,
        usd=usd,
        seed=seed,
        out=out,
        watch=Progress(say, sys.stderr),
    )
    if out is not None:
        save_gallery(proof, out / "gallery.png")
    seconds = time.monotonic() - began
    document = result(None, proof, task=subject.name, seed=seed, prompt=str(prompt), seconds=seconds)
    (give(document) if as_json else click.echo("\n" + proof_table(proof)))


def bundle_meta(path: Path) -> Mapping[str, Any]:
    """What a bundle says of its origin."""
    from bbtvp.prompt import bundle

    return bundle.read(path).meta
