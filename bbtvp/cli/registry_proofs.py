"""`bbtvp registry verify`, `check` and `suggest`: what a registry's prompts do on a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Unpack

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
from bbtvp.cli.options import give, json_flag, model_options, number_option, out_option, say
from bbtvp.cli.receipt import ReceiptOptions, receipt_arguments, receipt_options
from bbtvp.cli.registry import (
    entry_argument,
    show_entries,
    show_faults,
    trusted_option,
    url_argument,
)

_CHECK_CODES = {"holds": 0, "baseline": 0, "stale": 4, "open": 5}


@click.command()
@url_argument
@entry_argument
@tested_task_option
@tested_models_option("A model to verify on; repeat for more.")
@question_option
@labels_option
@scoring_options
@click.option(
    "--sequential",
    is_flag=True,
    help="Look after every tenth of the test images; stop as soon as the verdict is clear.",
)
@receipt_options
@asking_options
@out_option("Run folder: makes the verification resumable.")
@trusted_option
@json_flag
def verify(
    *,
    url: str,
    entry: str,
    task: str,
    models: tuple[str, ...],
    question: str | None,
    labels: str | None,
    metric: str | None,
    max_tokens: int | None,
    sequential: bool,
    usd: float | None,
    reader: str,
    seed: int,
    options: tuple[str, ...],
    out: Path | None,
    signed_by: tuple[str, ...],
    as_json: bool,
    **receipt: Unpack[ReceiptOptions],
) -> None:
    """Prove ENTRY on held-out images, and add the receipt to the registry at URL.

    The receipt is written here too, by default as ENTRY.receipt.json; it tells the names of the
    task and of the models, unless --allow says otherwise. The exit code is the verdict: 0 go, 4
    no-go, 5 undecided.
    """
    from bbtvp.registry import PromptRegistry
    from bbtvp.report.progress import Progress
    from bbtvp.report.terminal import proof_table, verdict_lines
    from bbtvp.verify import verify as prove

    opened = PromptRegistry.open(url, signed_by=signed_by)
    found = opened.entry(entry)
    receipt["receipt"] = receipt["receipt"] or Path(f"{found.short}.receipt.json")
    if receipt["allow"] is None:
        receipt["allow"] = "name,models"
    kept = receipt_arguments(receipt)
    opened.need_key(receipt["key"])
    with opened.bundle_file(found) as file:
        inputs = CheckInputs.load(
            file,
            task,
            models,
            question=question,
            labels=labels,
            metric=metric,
            max_tokens=max_tokens,
            options=options,
        )
        if kept and not inputs.prompt.is_identity:
            kept.check(inputs.task)
        proof = prove(
            inputs.prompt,
            inputs.task,
            inputs.models,
            source=inputs.facts.get("source_models"),
            reader=reader,
            sequential=sequential,
            facts=inputs.facts,
            usd=usd,
            seed=seed,
            out=out,
            watch=Progress(say, sys.stderr),
        )
        if kept and proof.rows:
            kept.write(proof, inputs.task, file)
            opened.add_receipt(kept.path)
    added = opened.entry(found.digest)
    if not as_json:
        click.echo(f"{verdict_lines(proof)}\n{proof_table(proof)}")
    show_entries(opened, [added], as_json)
    sys.exit(proof.verdict.exit_code)


@click.command()
@url_argument
@click.argument("entry", required=False)
@click.option("--model", required=True, help="The model to check.")
@click.option("--probe", required=True, help="The task whose test images are the probe.")
@number_option(
    "--queries",
    default=200,
    type=click.IntRange(30),
    help="The most image queries of a check, retries included.",
)
@number_option(
    "--drop",
    default=10.0,
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    help="Points of the score whose fall is to be found or excluded.",
)
@click.option("--rebase", is_flag=True, help="Make a new baseline; for after a new verification.")
@question_option
@labels_option
@asking_options
@out_option("Run folder: makes a check of today resumable.")
@trusted_option
@json_flag
def check(
    *,
    url: str,
    entry: str | None,
    model: str,
    probe: str,
    queries: int,
    drop: float,
    rebase: bool,
    question: str | None,
    labels: str | None,
    usd: float | None,
    reader: str,
    seed: int,
    options: tuple[str, ...],
    out: Path | None,
    signed_by: tuple[str, ...],
    as_json: bool,
) -> None:
    """Ask the model about a small probe again, and say whether ENTRY still holds on it.

    Without ENTRY, every prompt in use with a proof or a baseline of this model is checked. The
    first check of a prompt, a model and a probe makes its baseline. Exit codes: 0 holds or a new
    baseline, 4 stale, 5 open.
    """
    from bbtvp.registry import PromptRegistry
    from bbtvp.registry.check import DriftOptions, fresh_model
    from bbtvp.registry.check import check as checked

    opened = PromptRegistry.open(url, signed_by=signed_by)
    settings = DriftOptions(queries, drop / 100, reader, usd, out, rebase)
    given = model_options(options)
    results = []
    for one in [opened.entry(entry)] if entry else opened.asked(model):
        with opened.bundle_file(one) as file:
            inputs = CheckInputs.load(
                file,
                probe,
                (),
                question=question,
                labels=labels,
                metric=None,
                max_tokens=None,
                options=(),
            )
        results.append(checked(opened, one, fresh_model(model, given), inputs.task, settings))
        if not as_json:
            click.echo(f"{one.short} on {model}: {results[-1]}")
    if as_json:
        give({"url": opened.url, "checks": [result.as_json() for result in results]})
    sys.exit(max((_CHECK_CODES[result.found] for result in results), default=0))


@click.command()
@url_argument
@click.option("--model", required=True, help="The new model, as --model of verify.")
@click.option("--task", help="A part of the name of the task [default: prompts of all tasks].")
@trusted_option
@json_flag
def suggest(
    *, url: str, model: str, task: str | None, signed_by: tuple[str, ...], as_json: bool
) -> None:
    """Name the prompts that a new model is likely to gain from, by proofs on other models.

    It is a forecast; no model is asked.
    """
    from bbtvp.core.table import text_table
    from bbtvp.registry import PromptRegistry
    from bbtvp.registry.suggest import suggest as suggested
    from bbtvp.report.figures import interval, points

    opened = PromptRegistry.open(url, signed_by=signed_by)
    found = suggested(opened.entries(), model, task)
    if as_json:
        give({"url": opened.url, "model": model, "suggestions": [one.as_json() for one in found]})
        return
    if not found:
        click.echo("no evidence: no prompt in use has a proof" + (f" on {task}" if task else ""))
        return
    rows = [["entry", "task", "expected gain", "95 %", "worth it", "proofs", "same family"]]
    rows += [
        [
            one.entry.short,
            one.task or "-",
            points(one.gain),
            interval(one.interval),
            f"{one.sureness} ({min(max(one.chance, 0.01), 0.99):.0%})",
            str(one.proofs),
            str(one.related),
        ]
        for one in found[:10]
    ]
    click.echo(text_table(rows))
    best = found[0]
    click.echo(
        f"prove it: bbtvp registry verify {url} {best.entry.short} --task {best.task or 'TASK'} "
        f"--model {model}"
    )
    show_faults(opened)
