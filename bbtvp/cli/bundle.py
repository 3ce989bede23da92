"""`bbtvp bundle`: what is in a bundle file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from bbtvp.cli.options import give, json_flag, say, signed_by_option


@click.group()
def bundle() -> None:
    """Look into a bundle, the .vprompt file of a prompt."""


@bundle.command()
@click.argument("file", type=click.Path(path_type=Path))
@signed_by_option
@json_flag
def show(*, file: Path, signed_by: tuple[str, ...], as_json: bool) -> None:
    """Say what is in the bundle FILE."""
    from bbtvp.prompt import Prompt
    from bbtvp.prompt.bundle import read

    prompt = Prompt.load(file, signed_by=signed_by)
    held = read(file)
    found = {
        "bundle": held.digest,
        "schema": held.schema,
        "prompt": prompt.digest,
        "canvas": prompt.space.canvas_text,
        "layers": [layer.kind for layer in prompt.space.layers],
        "variables": prompt.space.dim,
        "changes": prompt.space.describe(prompt.z),
        **({"signed by": held.signature.public_key} if held.signature and signed_by else {}),
        **held.meta,
    }
    if as_json:
        give(found)
        return
    for name, value in found.items():
        click.echo(f"{name}: {' '.join(_in_words(value).split())}")


def _in_words(value: object) -> str:
    """A value of a manifest for people."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(held)}" for name, held in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        between = "; " if any(isinstance(one, Mapping) for one in value) else ", "
        return between.join(map(_in_words, value))
    if value is None or isinstance(value, bool):
        return {None: "none", False: "no", True: "yes"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@bundle.command()
@click.argument("file", type=click.Path(path_type=Path))
def card(*, file: Path) -> None:
    """Print the card of the bundle FILE: a page of Markdown for people who decide about it."""
    from bbtvp.bundles.card import card as card_of

    click.echo(card_of(file), nl=False)


@bundle.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--task", help="The task of its search: no sample id and no image of it may be in.")
@signed_by_option
@json_flag
def check(*, file: Path, task: str | None, signed_by: tuple[str, ...], as_json: bool) -> None:
    """Say what the bundle FILE would give away: images, paths, hosts, names, keys, sample ids.

    Exit code 1 if there is anything. Images that the bundle declares are no leak.
    """
    from bbtvp.bundles.check import check_bundle
    from bbtvp.core.signing import check_signature
    from bbtvp.prompt.bundle import read
    from bbtvp.tasks.registry import load_task

    if signed_by:
        held = read(file)
        check_signature(held.digest, held.signature, signed_by, kind="bundle")
    leaks = check_bundle(file, None if task is None else load_task(task))
    if as_json:
        give({"leaks": [leak._asdict() for leak in leaks]})
    for leak in leaks:
        say(f"{leak}")
    if leaks:
        raise click.exceptions.Exit(1)
    say(f"{file}: nothing was found that should not be there")
    if task is None:
        say("give --task to compare it with the images and the ids of its task too")


@bundle.command()
def schema() -> None:
    """Print the JSON Schema of manifest.json, of which docs/bundle.md is the specification."""
    from bbtvp.prompt.bundle.schema import schema_text

    click.echo(schema_text(), nl=False)
