"""`bbtvp bundle` keygen, sign and pull: bundles that travel."""

from __future__ import annotations

from pathlib import Path

import click

from bbtvp.cli.options import say


@click.command()
@click.argument("key", type=click.Path(path_type=Path))
def keygen(*, key: Path) -> None:
    """Make a key pair: KEY, which stays with you, and KEY.pub, which others get.

    The public key is printed too: its 44 characters are all that others need.
    """
    from bbtvp.core.signing import generate_key

    public = generate_key(key)
    say(f"{key} is the private key: keep it, and show it to nobody")
    click.echo(public)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path),
    help="The private key, as bbtvp bundle keygen writes it.",
)
def sign(*, file: Path, key: Path) -> None:
    """Sign the bundle FILE, in place of an earlier signature."""
    from bbtvp.bundles.signing import sign_bundle

    signature = sign_bundle(file, key)
    say(f"{file} is signed; who gets it gives the public key to --signed-by:")
    click.echo(signature.public_key)


@click.command()
@click.argument("url")
@click.option(
    "--sha256",
    required=True,
    metavar="DIGEST",
    help="The SHA-256 of the file, 64 hex digits, from its author.",
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Where the file goes."
)
def pull(*, url: str, sha256: str, out: Path) -> None:
    """Bring the bundle at URL here, if its SHA-256 is DIGEST.

    Nothing is read as a bundle before the digest is right, and nothing is written before the bundle
    is.
    """
    from bbtvp.bundles.fetch import fetch
    from bbtvp.bundles.incoming import check_name, keep

    check_name(out)
    prompt = keep(fetch(url, sha256), out, url)
    say(f"{out}: {prompt!r}")
