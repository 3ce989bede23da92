"""`bbtvp receipt`: receipts of proofs; and the options of `bbtvp verify` that write one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, final

import click

from bbtvp.cli.options import asked, give, json_flag, say, together
from bbtvp.core.errors import UsageError

if TYPE_CHECKING:
    from bbtvp.tasks import Task
    from bbtvp.verify import Proof
    from bbtvp.verify.receipt import Receipt

SALT = ".salt"
"""What follows the name of a receipt in that of its salt, unless --salt-file names another."""

receipt_options = together(
    click.option(
        "--receipt",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write what was found without the data: figures, counts and digests as JSON.",
    ),
    click.option(
        "--allow",
        metavar="WORDS",
        help="What the receipt may tell besides: name, question, labels, models; with commas.",
    ),
    click.option(
        "--sign",
        "key",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Sign the receipt with this private key (bbtvp bundle keygen).",
    ),
    click.option(
        "--salt-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The salt of the receipt, which stays with you; made if it is not there "
        "[default: the receipt's name with .salt].",
    ),
    click.option(
        "--into-bundle",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write a copy of the bundle with what the receipt says as evidence.",
    ),
)


@final
class ReceiptArguments(NamedTuple):
    """Where a receipt is written, and what it may tell. key: to sign with, if it is signed."""

    path: Path
    allow: tuple[str, ...]
    key: Path | None
    salt_file: Path
    into_bundle: Path | None

    def check(self, task: Task) -> None:
        """Raise UsageError where no receipt can be written, before a query is sent."""
        from bbtvp.core.digest import digest
        from bbtvp.core.signing import sign
        from bbtvp.verify.commitment import read_salt
        from bbtvp.verify.receipt import SIGNED_AS, check_receipt

        check_receipt(task, self.allow)
        if self.key is not None:
            sign(digest(), self.key, kind=SIGNED_AS)
        if self.salt_file.exists():
            read_salt(self.salt_file)

    def write(self, proof: Proof, task: Task, prompt: Path) -> None:
        """Write it, and say where its salt is and what it tells."""
        from bbtvp.prompt.bundle import digest_of
        from bbtvp.runs.folder import BUNDLE
        from bbtvp.verify.commitment import keep_salt
        from bbtvp.verify.receipt import Receipt

        file = prompt / BUNDLE if (prompt / BUNDLE).is_file() else prompt
        salt = keep_salt(self.salt_file)
        receipt = Receipt.of(proof, task, bundle=digest_of(file), salt=salt, allow=self.allow)
        if self.key is not None:
            receipt = receipt.signed(self.key)
        receipt.write(self.path)
        names = ", ".join(model.model for model in receipt.models)
        told = f"; of the task its {', '.join(self.allow)}" if self.allow else ""
        if self.into_bundle is not None:
            _add_evidence(file, receipt, self.into_bundle)
        say(f"receipt: {self.path}; it names {names}{told}")
        say(f"salt: {self.salt_file}; keep it to yourself: it shows later which data it was")


class ReceiptOptions(TypedDict):
    """What `receipt_options` gives a command."""

    receipt: Path | None
    allow: str | None
    key: Path | None
    salt_file: Path | None
    into_bundle: Path | None


def receipt_arguments(given: ReceiptOptions) -> ReceiptArguments | None:
    """The arguments of a receipt; None without one. UsageError for options that need one."""
    path = given["receipt"]
    if path is None:
        if any(given.values()):
            raise UsageError("--allow, --sign, --salt-file and --into-bundle need --receipt FILE")
        return None
    words = tuple(word.strip() for word in (given["allow"] or "").split(",") if word.strip())
    salt_file = given["salt_file"] or path.with_name(path.name + SALT)
    return ReceiptArguments(path, words, given["key"], salt_file, given["into_bundle"])


def _add_evidence(file: Path, receipt: Receipt, out: Path) -> None:
    """Write a copy of a bundle that has the receipt's rows as evidence."""
    from bbtvp.prompt.bundle import EvidenceEntry, read, write

    entries = [
        EvidenceEntry(
            model=row.model,
            version=row.version,
            date=receipt.date,
            task=receipt.task.name,
            images=row.n,
            zero_shot=row.zero_shot,
            empty_frame=row.empty_frame,
            prompted=row.prompted,
            gain=row.gain,
            ci=list(row.gain_ci95),
            p=row.p,
            verdict=receipt.verdict.word,
            receipt=receipt.digest,
        )
        for row in receipt.models
    ]
    held = read(file)
    write(out, held.with_evidence(entries))
    lost = "; its signature is gone, sign it again" if held.signature else ""
    say(f"bundle with the evidence: {out}{lost}")


@click.group()
def receipt() -> None:
    """Look into receipts: what proofs on private data found (docs/service.md)."""


_file_argument = click.argument("file", type=click.Path(path_type=Path))


@receipt.command()
@_file_argument
@json_flag
def show(*, file: Path, as_json: bool) -> None:
    """Print what the receipt FILE claims; nothing of it is checked but its form."""
    from bbtvp.report.receipt import receipt_text
    from bbtvp.verify.receipt import read_receipt

    found = read_receipt(file)
    if as_json:
        give(found.model_dump(by_alias=True, mode="json"))
    else:
        click.echo(receipt_text(found))


@receipt.command()
@_file_argument
@click.option(
    "--signed-by",
    "trusted",
    multiple=True,
    metavar="KEY",
    help="A public key, or its file, one of which must have signed it; repeat for more.",
)
@click.option("--task", help="The data that it is said to be of; with --salt-file.")
@click.option(
    "--salt-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The salt that its owner kept; with --task.",
)
@click.option("--question", help="The question of a task that is a folder or a file.")
@click.option("--labels", help="The labels of that task, with commas.")
@click.option("--metric", help="The metric of that task.")
@click.option(
    "--bundle", type=click.Path(path_type=Path), help="The bundle that it is said to be of."
)
@json_flag
def check(
    *,
    file: Path,
    trusted: tuple[str, ...],
    task: str | None,
    salt_file: Path | None,
    question: str | None,
    labels: str | None,
    metric: str | None,
    bundle: Path | None,
    as_json: bool,
) -> None:
    """Compute again what of the receipt FILE can be, and compare it with what is given.

    Without --signed-by a receipt may be invented as a whole, with figures that fit together.
    """
    from bbtvp.verify.receipt import read_receipt
    from bbtvp.verify.recount import recount

    if (task is None) != (salt_file is None):
        raise UsageError("--task and --salt-file go together: both, or neither")
    found = read_receipt(file)
    counted = recount(found)
    signer = _signer(found, trusted)
    if bundle is not None:
        _check_bundle(found, bundle)
    if task is not None and salt_file is not None:
        _check_task(found, task, salt_file, bundle, asked(question, labels, metric))
    document: dict[str, Any] = {
        "receipt": found.digest,
        "verdict": found.verdict.word,
        "computed_again": list(counted.equal),
        "claimed": list(counted.claimed),
        "signed_by": signer,
        "signer_trusted": bool(trusted),
        "bundle_checked": bundle is not None,
        "task_checked": task is not None,
    }
    if as_json:
        give(document)
        return
    click.echo(f"verdict: {found.verdict.word}")
    click.echo(f"computed again and equal: {', '.join(counted.equal)}")
    click.echo(f"as claimed: {', '.join(counted.claimed)}")
    click.echo(_signature_line(signer, trusted=bool(trusted)))
    if bundle is not None:
        click.echo("bundle: it is of this one")
    if task is not None:
        click.echo("task: it is of these data")


@receipt.command()
def schema() -> None:
    """Print the JSON Schema of a receipt."""
    from bbtvp.verify.receipt import Receipt

    give(Receipt.model_json_schema(by_alias=True))


def _signer(found: Receipt, trusted: tuple[str, ...]) -> str | None:
    """Who signed it; None where nobody did and nobody had to."""
    from bbtvp.core.signing import check_signature
    from bbtvp.verify.receipt import SIGNED_AS

    signature = found.signature_of()
    if signature is None and not trusted:
        return None
    return check_signature(found.digest, signature, trusted, kind=SIGNED_AS)


def _signature_line(signer: str | None, *, trusted: bool) -> str:
    if signer is None:
        return "signature: none; it may be invented as a whole"
    if trusted:
        return f"signature: by {signer}, which is trusted"
    return f"signature: by {signer}; whose key is it? (--signed-by)"


def _check_bundle(found: Receipt, path: Path) -> None:
    from bbtvp.core.errors import DataError
    from bbtvp.prompt import Prompt
    from bbtvp.prompt.bundle import digest_of

    if Prompt.load(path).digest != found.prompt:
        raise DataError(f"the receipt is of another prompt than that of {path}")
    if found.bundle is not None and digest_of(path) != found.bundle:
        raise DataError(
            f"the receipt is of the prompt in {path}, but of another bundle with it: what the "
            "bundle says besides has changed"
        )


def _check_task(
    found: Receipt, task: str, salt_file: Path, bundle: Path | None, options: dict[str, Any]
) -> None:
    from bbtvp.core.errors import DataError
    from bbtvp.prompt import PromptSpace
    from bbtvp.verify.commitment import read_salt, task_commitment
    from bbtvp.verify.inputs import open_prompt

    opened = open_prompt(PromptSpace.identity() if bundle is None else bundle)
    data = opened.task(task, **options)
    if task_commitment(data, read_salt(salt_file)) != found.task.commitment:
        raise DataError(
            "the receipt is of other data, another question or labels, or another salt; "
            "give --bundle too if the question came from it"
        )
