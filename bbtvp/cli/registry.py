"""`bbtvp registry`: prompts that others find, with what holds on which model."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

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
from bbtvp.cli.options import (
    choice_option,
    give,
    json_flag,
    model_options,
    number_option,
    out_option,
    say,
)

if TYPE_CHECKING:
    from bbtvp.registry import PromptRegistry, RegistryEntry

_CHECK_CODES = {"holds": 0, "baseline": 0, "stale": 4, "open": 5}
STATUS_WORDS = ("verified", "ends", "undecided", "stale", "failed", "ended", "retired", "unproven")

url_argument = click.argument("url")
entry_argument = click.argument("entry")


@click.group()
def registry() -> None:
    """Keep prompts, and what proofs and checks found about them, where others can read it.

    URL is a folder, an object-store prefix such as s3://bucket/prompts (with fsspec's plug-in for
    it), or, to read only, the address at which a web server shows such a folder. ENTRY is the first
    digits of a bundle's or a prompt's digest. See docs/registry.md.
    """


@registry.command()
@url_argument
@json_flag
def init(*, url: str, as_json: bool) -> None:
    """Make a registry at URL; one that is there already stays as it is."""
    from bbtvp.registry import PromptRegistry

    found = PromptRegistry.create(url)
    if as_json:
        give({"url": found.url, "entries": len(found.entries())})
        return
    click.echo(f"a registry of {len(found.entries())} prompts: {found.url}")


@registry.command()
@url_argument
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@json_flag
def add(*, url: str, files: tuple[Path, ...], as_json: bool) -> None:
    """Add bundles, run folders with their proofs, or receipts (FILES) to the registry at URL."""
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url)
    added = [opened.add(file) for file in files]
    _show(opened, added, as_json)


@registry.command("list")
@url_argument
@json_flag
def list_entries(*, url: str, as_json: bool) -> None:
    """List the prompts of the registry at URL."""
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url)
    _show(opened, opened.entries(), as_json)


@registry.command()
@url_argument
@click.option("--task", help="A part of the name of the task.")
@click.option("--model", help="A part of the name of a model that was asked.")
@click.option("--status", type=click.Choice(STATUS_WORDS), help="How the prompt stands.")
@json_flag
def search(
    *, url: str, task: str | None, model: str | None, status: str | None, as_json: bool
) -> None:
    """Find prompts in the registry at URL by task, model and status."""
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url)
    _show(opened, opened.search(task=task, model=model, status=status), as_json)


@registry.command()
@url_argument
@entry_argument
@json_flag
def show(*, url: str, entry: str, as_json: bool) -> None:
    """Show one ENTRY of the registry at URL: every model, its last proof and its last check.

    The bundle is read, and its digest compared.
    """
    from bbtvp.registry import PromptRegistry
    from bbtvp.registry.records import today

    opened = PromptRegistry.open(url)
    found = opened.entry(entry)
    with opened.bundle_file(found):
        pass
    if as_json:
        give({"url": opened.url, **found.as_json(today())})
        return
    click.echo(_details(found, today()))
    _tell(opened)


@registry.command()
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
@asking_options
@out_option("Run folder: makes the verification resumable.")
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
    as_json: bool,
) -> None:
    """Prove ENTRY on held-out images, and add what was found to the registry at URL.

    The exit code is the verdict: 0 go, 4 no-go, 5 undecided.
    """
    from bbtvp.registry import PromptRegistry
    from bbtvp.report.progress import Progress
    from bbtvp.report.terminal import proof_table, verdict_lines
    from bbtvp.verify import verify as prove

    opened = PromptRegistry.open(url)
    found = opened.entry(entry)
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
    added = opened.add_proof(found, proof)
    if not as_json:
        click.echo(f"{verdict_lines(proof)}\n{proof_table(proof)}")
    _show(opened, [added], as_json)
    sys.exit(proof.verdict.exit_code)


@registry.command()
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

    opened = PromptRegistry.open(url)
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


@registry.command()
@url_argument
@entry_argument
@click.option("--reason", required=True, help="Why the prompt is no longer to be used.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The first day [default: today].")
@json_flag
def retire(*, url: str, entry: str, reason: str, since: datetime | None, as_json: bool) -> None:
    """Take ENTRY back: its file stays, and says why and since when."""
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url)
    found = opened.retire(entry, reason, since.date() if since else None)
    twins = [
        one.short
        for one in opened.entries()
        if one.facts.prompt == found.facts.prompt and not one.retired
    ]
    if twins:
        say(f"the same prompt is also in {', '.join(twins)}, which stay in use")
    _show(opened, [found], as_json)


@registry.command()
@url_argument
@click.option("--model", required=True, help="The new model, as --model of verify.")
@click.option("--task", help="A part of the name of the task [default: prompts of all tasks].")
@json_flag
def suggest(*, url: str, model: str, task: str | None, as_json: bool) -> None:
    """Name the prompts that a new model is likely to gain from, by proofs on other models.

    It is a forecast; no model is asked.
    """
    from bbtvp.core.table import text_table
    from bbtvp.registry import PromptRegistry
    from bbtvp.registry.suggest import suggest as suggested
    from bbtvp.report.figures import interval, points

    opened = PromptRegistry.open(url)
    found = suggested(opened.entries(), model, task)
    if as_json:
        give({"url": opened.url, "model": model, "suggestions": [one.as_json() for one in found]})
        return
    if not found:
        click.echo("no evidence: no proof of a prompt in use" + (f" on {task}" if task else ""))
        return
    rows = [["entry", "task", "expected gain", "95 %", "worth it", "proofs", "same family"]]
    rows += [
        [
            one.entry.short,
            one.task or "-",
            points(one.gain),
            interval(one.interval),
            f"{one.sureness} ({one.chance:.0%})",
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
    _tell(opened)


@registry.command()
@url_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("registry.html"),
    show_default=True,
    help="The file to write.",
)
@choice_option("--lang", choices=["en", "ja"], help="Language of the page.")
@json_flag
def page(*, url: str, output: Path, lang: str, as_json: bool) -> None:
    """Write the registry at URL as one HTML page: prompt, model, version, date and verdict."""
    from bbtvp.core.files import atomic_write
    from bbtvp.registry import PromptRegistry
    from bbtvp.report.html.registry import registry_page

    made = registry_page(PromptRegistry.open(url), lang).encode()
    atomic_write(output, made)
    if as_json:
        give({"file": str(output), "bytes": len(made), "language": lang})
        return
    click.echo(output)


@registry.command()
@url_argument
@json_flag
def index(*, url: str, as_json: bool) -> None:
    """Make index.json again from the files at URL, and say what is damaged."""
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url)
    made = opened.rebuild()
    if as_json:
        give({"url": opened.url, "files": len(made.summaries), "damaged": made.damaged})
        return
    click.echo(f"{len(made.summaries)} files, {len(made.damaged)} damaged")
    _tell(opened)


def _show(opened: PromptRegistry, entries: list[RegistryEntry], as_json: bool) -> None:
    """A table of entries, or their document, and what is wrong with the registry."""
    from bbtvp.core.table import text_table
    from bbtvp.registry.records import today

    day = today()
    if as_json:
        give(
            {
                "url": opened.url,
                "entries": [entry.as_json(day) for entry in entries],
                "notes": list(opened.index.notes),
                "damaged": opened.index.damaged,
            }
        )
        return
    rows = [["entry", "task", "status", "models"]]
    rows += [
        [
            entry.short,
            entry.facts.task or "-",
            entry.status(day),
            ", ".join(f"{one.model} {one}" for one in entry.standings(day)) or "-",
        ]
        for entry in entries
    ]
    click.echo(text_table(rows) if entries else "no prompts")
    _tell(opened)


def _tell(opened: PromptRegistry) -> None:
    for note in opened.index.notes:
        say(f"note: {note}")
    for path, reason in opened.index.damaged.items():
        say(f"damaged: {path}: {reason}")


def _details(entry: RegistryEntry, day: date) -> str:
    """An entry in lines: its facts, then a table of its models."""
    from bbtvp.core.table import text_table
    from bbtvp.report.figures import interval, points, share

    facts = entry.facts
    lines = [
        f"bundle: {entry.digest}",
        f"prompt: {facts.prompt}",
        f"task: {facts.task or 'not said'}",
        f"searched on: {', '.join(facts.sources) or 'not said'}",
    ]
    if facts.contains_data:
        lines.append("it shows images of its task")
    if entry.retired:
        lines.append(f"retired since {entry.retired.since}: {entry.retired.reason}")
    rows = [["model", "version", "date", "before", "prompted", "gain", "images", "status"]]
    for one in entry.standings(day):
        row = one.row
        figures = ["-"] * 6
        if row is not None:
            figures = [
                row.version or "-",
                str(row.date or "-"),
                share(row.zero_shot),
                share(row.prompted),
                f"{points(row.gain)} {interval(row.ci)}",
                str(row.images),
            ]
        rows.append([one.model, *figures, str(one)])
    lines.append(text_table(rows) if len(rows) > 1 else "no model was asked yet")
    lines += [f"check of {c.date}, {c.model}: {c.found}: {c.reason}" for c in entry.checks]
    return "\n".join(lines)
