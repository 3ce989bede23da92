"""`bbtvp verify`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from bbtvp.cli.checks import (
    CheckInputs,
    asking_options,
    labels_option,
    question_option,
    scoring_options,
    tested_models_option,
    tested_task_option,
)
from bbtvp.cli.options import give, json_flag, number_option, out_option, say, signed_by_option
from bbtvp.cli.receipt import ReceiptOptions, receipt_arguments, receipt_options
from bbtvp.cli.rivals import RivalArguments, ask_rivals, rival_arguments, rival_options, rival_plan
from bbtvp.core.errors import UsageError

if TYPE_CHECKING:
    from bbtvp.rivals import RivalTable
    from bbtvp.verify import Proof, Rule

points = click.FloatRange(0, 100, max_open=True)


@click.command()
@click.argument("prompt", required=False, type=click.Path(path_type=Path))
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
@scoring_options
@click.option(
    "--min-gain",
    type=click.FloatRange(-100, 100, min_open=True, max_open=True),
    help="Points that the source must gain for a go [default: 2, or of a prompt that was searched "
    "with --goal cost -2: it may lose as much].",
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
@signed_by_option
@rival_options
@receipt_options
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
    prompt: Path | None,
    task: str,
    models: tuple[str, ...],
    sources: tuple[str, ...],
    question: str | None,
    labels: str | None,
    metric: str | None,
    max_tokens: int | None,
    min_gain: float | None,
    max_harm: float,
    sequential: bool,
    calibration: int,
    signed_by: tuple[str, ...],
    rivals: str | None,
    rival_queries: int,
    usd: float | None,
    reader: str,
    seed: int,
    options: tuple[str, ...],
    out: Path | None,
    details: bool,
    dry_run: bool,
    as_json: bool,
    **receipt: Unpack[ReceiptOptions],
) -> None:
    """Prove PROMPT on held-out images, on each model, and say go or no-go.

    Zero-shot, the empty-frame control, the prompt and, where there is one, its sentence alone are
    asked about the same test images. The exit code is the verdict: 0 go, 4 no-go, 5 undecided.
    With --rivals, what a user would do instead is asked too; see docs/rivals.md. With --receipt,
    what was found is written for others, without the data; see docs/service.md.
    """
    from bbtvp.report.gallery import save_gallery
    from bbtvp.report.progress import Progress
    from bbtvp.verify import Rule

    if prompt is None and rivals is None:
        raise UsageError("name the PROMPT to verify, or what to ask instead of one (--rivals all)")
    began = time.monotonic()
    kept = receipt_arguments(receipt)
    if kept and prompt is None:
        raise UsageError("a receipt is of a PROMPT; name the bundle to verify")
    beside = None if rivals is None else rival_arguments(rivals, reader, rival_queries)
    inputs = CheckInputs.load(
        prompt,
        task,
        models,
        question=question,
        labels=labels,
        metric=metric,
        max_tokens=max_tokens,
        options=options,
        signed_by=signed_by,
    )
    least = Rule.of(inputs.facts).min_gain if min_gain is None else min_gain / 100
    rule = Rule(least, max_harm / 100)
    if dry_run:
        _show_plan(inputs, rule, beside, reader=reader, calibration=calibration, as_json=as_json)
        return
    if kept:
        kept.check(inputs.task)
    with _proof_folder(out, beside) as folder:
        proof = _proved(
            inputs,
            source=sources or inputs.facts.get("source_models"),
            reader=reader,
            rule=rule,
            calibration=calibration,
            sequential=sequential,
            facts=inputs.facts,
            usd=usd,
            seed=seed,
            out=folder,
            watch=Progress(say, sys.stderr),
        )
        table = beside and ask_rivals(
            inputs, beside, sources=sources, usd=usd, seed=seed, out=folder
        )
    if kept and prompt is not None:
        kept.write(proof, inputs.task, prompt)
    if out is not None and proof.rows:
        save_gallery(proof, out / "gallery.png")
    if as_json:
        seconds = time.monotonic() - began
        give(_document(inputs, proof, table, prompt=prompt, seed=seed, seconds=seconds))
    else:
        _show_proof(proof, table, details, unproven=prompt is None)
    if proof.saved:
        say(f"looking early saved {proof.saved} test images, in every arm")
    sys.exit(0 if prompt is None else proof.verdict.exit_code)


def _proved(inputs: CheckInputs, *, rule: Rule, **options: Any) -> Proof:
    """The proof; of the identity, which needs none, its verdict alone."""
    from bbtvp.verify import needless_proof
    from bbtvp.verify import verify as prove

    if inputs.prompt.is_identity:
        return needless_proof(inputs.task.name, rule)
    return prove(inputs.prompt, inputs.task, inputs.models, rule=rule, **options)


@contextmanager
def _proof_folder(out: Path | None, beside: RivalArguments | None) -> Iterator[Path | None]:
    """Where the proof is kept: with rivals always somewhere.

    They find its answers there, and do not ask for them again.
    """
    if out is not None or beside is None:
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _document(
    inputs: CheckInputs,
    proof: Proof,
    table: RivalTable | None,
    *,
    prompt: Path | None,
    seed: int,
    seconds: float,
) -> dict[str, Any]:
    from bbtvp.jobs.result import result

    # Without a prompt there is no verdict on one.
    proved = None if prompt is None else proof
    found = result(
        None, proved, task=inputs.task.name, seed=seed, prompt=str(prompt or ""), seconds=seconds
    )
    return found if table is None else {**found, "rivals": table.as_json()}


def _show_proof(
    proof: Proof, table: RivalTable | None, details: bool, *, unproven: bool = False
) -> None:
    """Print the proof, unless there was no prompt to prove, and the rivals."""
    from bbtvp.report.rivals import rivals_text
    from bbtvp.report.terminal import proof_details, proof_table, verdict_lines

    blocks = [] if unproven else [verdict_lines(proof)]
    if proof.rows:
        more = "per class, controls, noise and the rule: --details"
        blocks.append(f"{proof_table(proof)}\n{'' if details else more}".rstrip())
    if proof.rows and details:
        blocks.append(proof_details(proof))
    if table is not None:
        blocks.append(rivals_text(table))
    click.echo(("\n" if proof.rows else "") + "\n\n".join(blocks))


def _show_plan(
    inputs: CheckInputs,
    rule: Rule,
    beside: RivalArguments | None,
    *,
    reader: str,
    calibration: int,
    as_json: bool,
) -> None:
    """Print the arms, the image queries, the costs, and what the test images can show."""
    from bbtvp.cli.plan import tell
    from bbtvp.report.progress import describe_power
    from bbtvp.verify import needless_proof, plan_proof

    needless = inputs.prompt.is_identity
    planned = plan_proof(
        inputs.prompt,
        inputs.task,
        () if needless else inputs.models,
        reader=reader,
        calibration=calibration,
        rule=rule,
    )
    document = planned.as_json()
    lines = []
    if needless and beside is None:
        lines.append(str(needless_proof(inputs.task.name).verdict))
    for share in planned.shares:
        arms = ", ".join(share.arms).replace("_", " ")
        lines.append(
            f"{share.model}: {arms} on {planned.images} test images; "
            f"at most {share.queries:,} image queries"
        )
    if not needless:
        lines.append(f"together: at most {planned.queries:,} image queries")
    costs = {} if needless else inputs.costs([share.queries for share in planned.shares])
    if beside is not None:
        document["rivals"] = rival_plan(inputs, beside)
        lines.append(
            "rivals: {}; at most {:,} more image queries, whose cost --usd caps and no figure here "
            "holds".format(", ".join(document["rivals"]["arms"]), document["rivals"]["queries"])
        )
    tell(document, lines, costs, as_json)
    if not as_json and not needless:
        click.echo(describe_power(planned))
