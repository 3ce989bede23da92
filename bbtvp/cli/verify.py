"""`bbtvp verify`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from bbtvp.prompt import Prompt
    from bbtvp.query import Model
    from bbtvp.task import Task
    from bbtvp.verify import Plan

points = click.FloatRange(0, 100, max_open=True)


@click.command()
@click.argument("prompt", type=click.Path(path_type=Path))
@click.option("--task", required=True, help="As for optimize; its test split is used.")
@click.option("--model", "models", required=True, multiple=True, help="A model to verify on; repeat for more.")
@click.option("--source", help="The model that the search queried [default: as the bundle says].")
@click.option("--question", help="Question, for a folder or file [default: the one the prompt was searched with].")
@click.option(
    "--min-gain", default=2.0, show_default=True, type=points, help="Points that the source must gain for a go."
)
@click.option(
    "--max-harm", default=2.0, show_default=True, type=points, help="Points that another model may lose for a go."
)
@click.option("--sequential", is_flag=True, help="Look after every tenth of the test images; stop where it is settled.")
@click.option(
    "--calibration",
    default=64,
    show_default=True,
    type=click.IntRange(0),
    help="Unprompted images, no test images, on which an output calibration is fitted to compare with; 0: none.",
)
@usd_option
@prices_option
@reader_option
@seed_option
@model_option_flag
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder: makes the verification resumable, keeps its picture."
)
@click.option("--details", is_flag=True, help="Per class, what is taken for what, and further figures, too.")
@click.option("--dry-run", is_flag=True, help="Print what would be asked and what it can show; ask nothing.")
@json_flag
def verify(
    prompt: Path, task: str, models: tuple[str, ...], source: str | None, question: str | None, min_gain: float,
    max_harm: float, sequential: bool, calibration: int, usd: float | None, reader: str, seed: int,
    options: tuple[str, ...], out: Path | None, details: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Prove PROMPT on held-out images, on each model, and say go or no-go.

    Zero-shot, the empty-frame control, the prompt and, where there is one, its sentence alone are asked about the same
    test images. The exit code is the verdict: 0 go, 4 no-go, 5 undecided.
    """
    from bbtvp.prompt import Prompt
    from bbtvp.query import load_model
    from bbtvp.report.gallery import save_gallery
    from bbtvp.report.progress import Progress
    from bbtvp.report.result import result
    from bbtvp.report.terminal import proof_details, proof_table, verdict_lines
    from bbtvp.task.registry import load_task
    from bbtvp.verify import Rule, plan
    from bbtvp.verify import verify as prove

    began = time.monotonic()
    loaded, facts = Prompt.load(prompt), bundle_meta(prompt)
    if question is None and Path(task).exists():
        question = facts.get("question")
    subject = load_task(task, **({"question": question} if question else {}))
    say(f"question: {subject.question}")
    asked = [load_model(spec, **model_options(options)) for spec in models]
    rule = Rule(min_gain / 100, max_harm / 100)
    if dry_run:
        planned = plan(loaded, subject, asked, reader=reader, calibration=calibration, rule=rule)
        show_plan(loaded, subject, asked, planned, as_json)
        return
    proof = prove(
        loaded, subject, asked, source=source or facts.get("source_model"), reader=reader, rule=rule,
        calibration=calibration, sequential=sequential, facts=facts, usd=usd, seed=seed, out=out,
        watch=Progress(say, sys.stderr),
    )  # fmt: skip
    if out is not None:
        save_gallery(proof, out / "gallery.png")
    seconds = time.monotonic() - began
    document = result(None, proof, task=subject.name, seed=seed, prompt=str(prompt), seconds=seconds)
    if as_json:
        give(document)
    else:
        click.echo(f"\n{verdict_lines(proof)}\n\n{proof_table(proof)}")
        click.echo(f"\n{proof_details(proof)}" if details else "per class, controls, noise and the rule: --details")
    if proof.saved:
        say(f"looking early spared {proof.saved} test images, in every arm")
    sys.exit(proof.verdict.exit_code)


def show_plan(prompt: Prompt, task: Task, models: Sequence[Model], planned: Plan, as_json: bool) -> None:
    """Print the arms, the image queries, what an endpoint costs at most, and what the test images can show."""
    from bbtvp.endpoint.remote import Endpoint
    from bbtvp.report.progress import describe_power

    sides = [max(sample.pixels().shape[:2]) for sample in task.test]  # zero-shot sends the image as it is
    longest = max(len(prompt.ask(task.ask(sample))) for sample in task.test)
    shares = dict(zip((model.spec for model in models), planned.shares, strict=True))
    costs = {
        model.spec: model.estimate(shares[model.spec].queries, max(*sides, prompt.space.canvas), longest)
        for model in models
        if isinstance(model, Endpoint)
    }
    if as_json:
        give(planned.as_json() | ({"costs": {spec: cost._asdict() for spec, cost in costs.items()}} if costs else {}))
        return
    for share in planned.shares:
        arms = ", ".join(arm.replace("_", " ") for arm in share.arms)
        click.echo(f"{share.model}: {arms} on {planned.images} test images; at most {share.queries:,} image queries")
    click.echo(f"together: at most {planned.queries:,} image queries")
    for spec, cost in costs.items():
        click.echo(f"{spec}: {cost}")
    click.echo(describe_power(planned))


def bundle_meta(path: Path) -> Mapping[str, Any]:
    """What a bundle says of its origin."""
    from bbtvp.prompt import bundle

    return bundle.read(path).meta
