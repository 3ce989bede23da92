"""`bbtvp registry`: prompts that others find, with what holds on which model."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bbtvp.cli.options import (
    choice_option,
    give,
    json_flag,
    say,
)
from bbtvp.core import clock

if TYPE_CHECKING:
    from bbtvp.registry import PromptRegistry, RegistryEntry

STATUS_WORDS = ("verified", "ends", "undecided", "stale", "failed", "ended", "retired", "unproven")

url_argument = click.argument("url")
entry_argument = click.argument("entry")
trusted_option = click.option(
    "--signed-by",
    multiple=True,
    metavar="PUBLIC",
    help="Believe only bundles and receipts that this key signed: 44 characters, or a .pub file; "
    "repeat for more than one. Their files are read, and not the index.",
)


@click.group()
def registry() -> None:
    """Keep prompts, and what proofs and checks found about them, where others can read it.

    URL is a folder, an object-store prefix such as s3://bucket/prompts (with fsspec's plug-in for
    it), or, to read only, the address at which a web server shows such a folder. ENTRY is the first
    digits of a bundle's or a prompt's digest. See docs/registry.md.
    """


@registry.command()
@url_argument
@click.option(
    "--signed-by",
    multiple=True,
    metavar="PUBLIC",
    help="Take only bundles and receipts that this key signed: 44 characters, or a .pub file; "
    "repeat for more than one.",
)
@json_flag
def init(*, url: str, signed_by: tuple[str, ...], as_json: bool) -> None:
    """Make a registry at URL; the files of one that is there already stay.

    Given again, --signed-by replaces the keys whose bundles and receipts are taken from then on.
    """
    from bbtvp.registry import PromptRegistry

    found = PromptRegistry.create(url, signed_by=signed_by)
    entries = len(found.entries())
    if as_json:
        give({"url": found.url, "entries": entries, "signed_by": list(found.demanded)})
        return
    click.echo(f"a registry of {entries} prompts: {found.url}")
    for key in found.demanded:
        click.echo(f"takes what {key} signed")


@registry.command()
@url_argument
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--signed-by",
    multiple=True,
    metavar="PUBLIC",
    help="Add only what this key signed, beside the keys that the registry demands.",
)
@json_flag
def add(*, url: str, files: tuple[Path, ...], signed_by: tuple[str, ...], as_json: bool) -> None:
    """Add bundles, run folders with their proofs, or receipts (FILES) to the registry at URL."""
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url, signed_by=signed_by)
    added: dict[str, RegistryEntry] = {}
    for file in files:
        receipt = file.suffix == ".json" and file.is_file()
        found = opened.add_receipt(file) if receipt else [opened.add(file)]
        added |= {entry.digest: entry for entry in found}
    show_entries(opened, list(added.values()), as_json)


@registry.command("list")
@url_argument
@trusted_option
@json_flag
def list_entries(*, url: str, signed_by: tuple[str, ...], as_json: bool) -> None:
    """List the prompts of the registry at URL."""
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url, signed_by=signed_by)
    show_entries(opened, opened.entries(), as_json)


@registry.command()
@url_argument
@click.option("--task", help="A part of the name of the task.")
@click.option("--model", help="A part of the name of a model that was asked.")
@click.option("--status", type=click.Choice(STATUS_WORDS), help="How the prompt stands.")
@trusted_option
@json_flag
def search(
    *,
    url: str,
    task: str | None,
    model: str | None,
    status: str | None,
    signed_by: tuple[str, ...],
    as_json: bool,
) -> None:
    """Find prompts in the registry at URL by task, model and status."""
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url, signed_by=signed_by)
    show_entries(opened, opened.search(task=task, model=model, status=status), as_json)


@registry.command()
@url_argument
@entry_argument
@trusted_option
@json_flag
def show(*, url: str, entry: str, signed_by: tuple[str, ...], as_json: bool) -> None:
    """Show one ENTRY of the registry at URL: every model, its last proof and its last check.

    The bundle is read, its digest compared, and its signature checked.
    """
    from bbtvp.registry import PromptRegistry

    opened = PromptRegistry.open(url, signed_by=signed_by)
    found = opened.entry(entry)
    with opened.bundle_file(found):
        pass
    if as_json:
        give({"url": opened.url, **found.as_json(clock.today())})
        return
    click.echo(_details(found, clock.today()))
    show_faults(opened)


@registry.command()
@url_argument
@entry_argument
@trusted_option
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The .vprompt file to write.",
)
@json_flag
def pull(*, url: str, entry: str, signed_by: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Bring the bundle of ENTRY here from the registry at URL.

    Nothing is written before its digest is right and it loads.
    """
    from bbtvp.bundles.incoming import check_name, keep
    from bbtvp.registry import PromptRegistry

    check_name(out)
    opened = PromptRegistry.open(url, signed_by=signed_by)
    found = opened.entry(entry)
    if found.retired:
        say(f"{found.short} is retired since {found.retired.since}: {found.retired.reason}")
    with opened.bundle_file(found) as file:
        kept = keep(file.read_bytes(), out, f"{found.short} of {url}", signed_by=signed_by)
    if as_json:
        give({"out": str(out), "bundle": kept.digest, "prompt": kept.prompt.digest})
        return
    say(f"{out}: {kept.prompt!r}, bundle {kept.digest}")


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
    show_entries(opened, [found], as_json)


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
@trusted_option
@json_flag
def page(*, url: str, output: Path, lang: str, signed_by: tuple[str, ...], as_json: bool) -> None:
    """Write the registry at URL as one HTML page: prompt, model, version, date and verdict."""
    from bbtvp.core.files import atomic_write
    from bbtvp.registry import PromptRegistry
    from bbtvp.report.html.registry import registry_page

    made = registry_page(PromptRegistry.open(url, signed_by=signed_by), lang).encode()
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
    show_faults(opened)


def show_entries(opened: PromptRegistry, entries: list[RegistryEntry], as_json: bool) -> None:
    """A table of entries, or their document, and what is wrong with the registry."""
    from bbtvp.core.table import text_table

    day = clock.today()
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
    rows = [["entry", "task", "status", "signed by", "models"]]
    rows += [
        [
            entry.short,
            entry.facts.task or "-",
            entry.status(day),
            _signer(entry),
            ", ".join(f"{one.model} {one}" for one in entry.standings(day)) or "-",
        ]
        for entry in entries
    ]
    click.echo(text_table(rows) if entries else "no prompts")
    show_faults(opened)


def _signer(entry: RegistryEntry) -> str:
    """The first characters of the key that signed a bundle; "unchecked" without the extra."""
    facts = entry.facts
    if facts.signed_by:
        return f"{facts.signed_by[:12]}…"
    return "unchecked" if facts.signed else "-"


def show_faults(opened: PromptRegistry) -> None:
    """Say what is wrong with the registry's files."""
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
    lines.append(f"signed by: {facts.signed_by or ('unchecked' if facts.signed else 'nobody')}")
    if facts.contains_data:
        lines.append("it shows images of its task")
    if entry.retired:
        lines.append(f"retired since {entry.retired.since}: {entry.retired.reason}")
    rows = [
        ["model", "version", "date", "before", "prompted", "gain", "images", "signed by", "status"]
    ]
    for one in entry.standings(day):
        row = one.row
        figures = ["-"] * 7
        if row is not None:
            figures = [
                row.version or "-",
                str(row.date or "-"),
                share(row.zero_shot),
                share(row.prompted),
                f"{points(row.gain)} {interval(row.ci)}",
                str(row.images),
                f"{row.signed_by[:12]}…" if row.signed_by else "-",
            ]
        rows.append([one.model, *figures, str(one)])
    lines.append(text_table(rows) if len(rows) > 1 else "no model was asked yet")
    lines += [f"check of {c.date}, {c.model}: {c.found}: {c.reason}" for c in entry.checks]
    return "\n".join(lines)
