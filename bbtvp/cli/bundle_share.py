"""`bbtvp bundle` keygen, sign, diff, patch, pull and push: bundles that travel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import give, json_flag, say, signed_by_option
from bbtvp.core.errors import UsageError

if TYPE_CHECKING:
    from bbtvp.bundles.patch import Patched


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
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The new .vprompt file."
)
def strip(*, file: Path, out: Path) -> None:
    """Copy the bundle FILE without what it says of its task, its models and their figures.

    What is drawn and worded stays, so a prompt that was refined on private data can be sent back.
    """
    from bbtvp.bundles.strip import strip as write_stripped

    say(f"{out}: bundle {write_stripped(file, out)}; it tells of no task and no model")


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The patch, a .vpatch file."
)
@click.option(
    "--with-data",
    is_flag=True,
    help="Let training images of the task into the patch, if only NEW shows them.",
)
@click.option(
    "--with-frame",
    is_flag=True,
    help="Let the picture of the frame into the patch too, where patching says that it must be.",
)
@json_flag
def diff(
    *, old: Path, new: Path, out: Path, with_data: bool, with_frame: bool, as_json: bool
) -> None:
    """Write what makes the bundle NEW of the bundle OLD, and nothing else of it."""
    from bbtvp.bundles.patch import diff as write_patch

    made = write_patch(old, new, out, with_data=with_data, with_frame=with_frame)
    if as_json:
        give(_document(made))
        return
    say(f"{out}: {made.size:,} bytes; it makes bundle {made.digest}")
    if made.contains_data:
        say("the patch holds training images of its task: keep it where the task may be")


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("difference", metavar="PATCH", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The new .vprompt file."
)
@json_flag
def patch(*, old: Path, difference: Path, out: Path, as_json: bool) -> None:
    """Make the new bundle, byte for byte, of the bundle OLD and a PATCH from bbtvp bundle diff."""
    from bbtvp.bundles.patch import patch as apply_patch

    made = apply_patch(old, difference, out)
    if as_json:
        give(_document(made))
        return
    say(f"{out}: {made.size:,} bytes, bundle {made.digest}")


def _document(made: Patched) -> dict[str, Any]:
    return {
        "out": str(made.path),
        "bytes": made.size,
        "bundle": made.digest,
        "contains_data": made.contains_data,
    }


@click.command()
@click.argument("url")
@click.option(
    "--sha256",
    metavar="DIGEST",
    help="The SHA-256 of the file, 64 hex digits, from its author; may be left out of hf:// alone.",
)
@signed_by_option
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Where the file goes."
)
@json_flag
def pull(
    *, url: str, sha256: str | None, signed_by: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Bring the bundle at URL here, if its SHA-256 is DIGEST.

    URL is an https address, or hf://ORGANISATION/NAME[@REVISION] on the Hugging Face Hub. Nothing
    is read as a bundle before the digest is right, and nothing is written before the bundle is.
    """
    from bbtvp.bundles.incoming import check_name, keep

    check_name(out)
    found = keep(_fetched(url, sha256), out, url, signed_by=signed_by)
    if as_json:
        give({"out": str(out), "bundle": found.digest, "prompt": found.prompt.digest})
        return
    say(f"{out}: {found.prompt!r}, bundle {found.digest}")


def _fetched(url: str, sha256: str | None) -> bytes:
    from bbtvp.bundles.fetch import check_sha256, fetch

    if not url.startswith("hf://"):
        if sha256 is None:
            raise UsageError("give the file's SHA-256, from its author, with --sha256")
        return fetch(url, sha256)
    from bbtvp.bundles.hub import HubAddress, HubBundle

    address = HubAddress.parse(url)
    data = HubBundle.from_pretrained(address.repo, revision=address.revision).path.read_bytes()
    if sha256 is not None:
        check_sha256(data, sha256, url)
    return data


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("url")
@click.option("--private", is_flag=True, help="If the repository is made, only its owner sees it.")
@click.option(
    "--with-data",
    is_flag=True,
    help="Upload a bundle that holds training images: everyone who reads there sees them.",
)
@click.option(
    "--with-leaks",
    is_flag=True,
    help="Upload a bundle in which bbtvp bundle check finds a path, a name, a key or the like.",
)
def push(*, file: Path, url: str, private: bool, with_data: bool, with_leaks: bool) -> None:
    """Upload the bundle FILE with its card to the Hugging Face Hub.

    URL is hf://ORGANISATION/NAME[@BRANCH]; the repository is made if it is not there. The token is
    the one of HF_TOKEN or of hf auth login.
    """
    from bbtvp.bundles.hub import HubAddress, HubBundle

    address = HubAddress.parse(url)
    url = HubBundle(file).push_to_hub(
        address.repo,
        with_data=with_data,
        with_leaks=with_leaks,
        branch=address.revision,
        private=private or None,
    )
    click.echo(url)
