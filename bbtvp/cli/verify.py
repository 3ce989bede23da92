"""`bbtvp verify`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bbtvp.cli.checks import (
    CheckInputs,
    asking_options,
    labels_option,
    prompt_argument,
    question_option,
    tested_models_option,
    tested_task_option,
)
from bbtvp.cli.options import give, json_flag, number_option, out_option, say

if TYPE_CHECKING:
    from bbtvp.verify import Proof, ProofPlan

points = click.FloatRange(0, 100, max_open=True)


@click.command()
@prompt_argument
@tested_task_option
@tested_models_option("A model to verify on; repeat for more.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    help="A model that the search queried [default: as the bundle says]; repeat.",
)
@question_option
@labels_option
@number_option(
    "--min-gain",
    default=2.0,
    type=points,
    help="Points that the source must gain for a go.",
)
@number_option(
    "--max-harm",
    default=2.0,
    type=points,
    help="Points that another model may lose for a go.",
)
@click.option(
    "--sequential",
    is_flag=True,
    help="Look after every tenth of the test images; stop as soon as the verdict is clear.",
)
@number_option(
    "--calibration",
    default=64,
    type=click.IntRange(0),
    help="Unprompted images, no test images, to fit an output calibration on; 0: none.",
)
@asking_options
@out_option("Run folder: makes the verification resumable, keeps its picture.")
@click.option(
    "--details", is_flag=True, help="Print controls, noise, classes and further figures too."
)
@click.option(
    "--dry-run", is_flag=True, help="Print what would be asked and what it can show; ask nothing."
)
@json_flag
def verify(
    *,
    prompt: Path,
    task: str,
    models: tuple[str, ...],
    sources: tuple[str, ...],
    question: str | None,
    labels: str | None,
    min_gain: float,
    max_harm: float,
    sequential: bool,
    calibration: int,
    usd: float | None,
    reader: str,
    seed: int,
    options: tuple[str, ...],
    out: Path | None,
    details: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Prove PROMPT on held-out images, on each model, and say go or no-go.

    Zero-shot, the empty-frame control, the prompt and, where there is one, its sentence alone are
    asked about the same test images. The exit code is the verdict: 0 go, 4 no-go, 5 undecided.
    """
    from bbtvp.jobs.result import result
    from bbtvp.report.gallery import save_gallery
    from bbtvp.report.progress import Progress
    from bbtvp.verify import Rule, needless_proof, plan_proof
    from bbtvp.verify import verify as prove

    began = time.monotonic()
    inputs = CheckInputs.load(
        prompt, task, models, question=question, labels=labels, options=options
    )
    rule = Rule(min_gain / 100, max_harm / 100)
    needless = inputs.prompt.is_identity
    if dry_run:
        planned = plan_proof(
            inputs.prompt,
            inputs.task,
            () if needless else inputs.models,
            reader=reader,
            calibration=calibration,
            rule=rule,
        )
        _show_plan(inputs, planned, as_json)
        return
    proof = (
        needless_proof(inputs.task.name, rule)
        if needless
        else prove(
            inputs.prompt,
            inputs.task,
            inputs.models,
            source=sources or inputs.facts.get("source_models"),
            reader=reader,
            rule=rule,
            calibration=calibration,
            sequential=sequential,
            facts=inputs.facts,
            usd=usd,
            seed=seed,
            out=out,
            watch=Progress(say, sys.stderr),
        )
    )
    if out is not None and not needless:
        save_gallery(proof, out / "gallery.png")
    if as_json:
        seconds = time.monotonic() - began
        give(
            result(
                None,
                proof,
                task=inputs.task.name,
                seed=seed,
                prompt=str(prompt),
                seconds=seconds,
            )
        )
    else:
        _show_proof(proof, details)
    if proof.saved:
        say(f"looking early saved {proof.saved} test images, in every arm")
    sys.exit(proof.verdict.exit_code)


def _show_proof(proof: Proof, details: bool) -> None:
    from bbtvp.report.terminal import proof_details, proof_table, verdict_lines

    if not proof.rows:
        click.echo(verdict_lines(proof))
        return
    click.echo(f"\n{verdict_lines(proof)}\n\n{proof_table(proof)}")
    if details:
        click.echo(f"\n{proof_details(proof)}")
    else:
        click.echo("per class, controls, noise and the rule: --details")


def _show_plan(inputs: CheckInputs, planned: ProofPlan, as_json: bool) -> None:
    """Print the arms, the image queries, the costs, and what the test images can show."""
    from bbtvp.cli.plan import tell
    from bbtvp.report.progress import describe_power
    from bbtvp.verify import needless_proof

    if inputs.prompt.is_identity:
        tell(planned.as_json(), [str(needless_proof(inputs.task.name).verdict)], {}, as_json)
        return
    lines = []
    for share in planned.shares:
        arms = ", ".join(share.arms).replace("_", " ")
        lines.append(
            f"{share.model}: {arms} on {planned.images} test images; "
            f"at most {share.queries:,} image queries"
        )
    lines.append(f"together: at most {planned.queries:,} image queries")
    costs = inputs.costs([share.queries for share in planned.shares])
    tell(planned.as_json(), lines, costs, as_json)
    if not as_json:
        click.echo(describe_power(planned))
