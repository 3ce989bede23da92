"""`bbtvp bundle`: what is in a bundle file."""

from __future__ import annotations

from pathlib import Path

import click

from bbtvp.cli.options import give, json_flag, signed_by_option


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
        click.echo(f"{name}: {value}")
