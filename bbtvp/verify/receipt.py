"""A receipt: what a proof found, without what it was made on.

A customer proves a prompt on data and a model that stay private, and hands back one JSON file of
figures, counts and digests. It holds no image, question, label, sample id, path or address; the
task's name, question and labels, and the names of private models, only where they are allowed. The
data are committed to (`bbtvp.verify.commitment`). What a receipt claims can be checked in part
without the data (`bbtvp.verify.recount`); docs/service.md says what is proven and what is claimed.

    salt = keep_salt(Path("receipt.json.salt"))
    receipt = Receipt.of(proof, task, bundle=digest_of(path), salt=salt)
    receipt.signed(key).write(Path("receipt.json"))
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Literal, final

from pydantic import Field, ValidationError

from bbtvp.core import clock
from bbtvp.core.bounds import check_bounds
from bbtvp.core.digest import digest_json
from bbtvp.core.errors import DataError, UsageError, unknown
from bbtvp.core.files import atomic_write_json
from bbtvp.core.signing import Signature, sign
from bbtvp.tasks import Task
from bbtvp.verify.commitment import ShownNames, task_commitment
from bbtvp.verify.proof import Proof
from bbtvp.verify.receipt_parts import (
    Digest,
    Name,
    ReceiptModel,
    ReceiptPart,
    ReceiptQueries,
    ReceiptSettings,
    ReceiptSignature,
    ReceiptTask,
    ReceiptVerdict,
)
from bbtvp.verify.verdict import LEAST

SCHEMA = "bbtvp.receipt/1"
SIGNED_AS = "receipt"
ALLOWED = ("name", "question", "labels", "models")
"""What a receipt says only if it is asked to."""

_NEWER = re.compile(r"bbtvp\.receipt/[0-9]{1,6}")
_LIMIT = 1 << 20
_MOST_VALUES = 40_000
"""More than a hundred models with a hundred versions each, and all that may be said besides."""
_DEEPEST = 10
_MOST_MEMBERS = 100
_AGAIN = "ask its author for it again"
_MOST_MODELS = 100


@final
class Receipt(ReceiptPart):
    """A receipt. Its digest covers every field but itself and the signature."""

    schema_: Literal["bbtvp.receipt/1"] = Field(default="bbtvp.receipt/1", alias="schema")
    bbtvp: Name = Field(description="the version that made it")
    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")] = Field(description="a day, UTC")
    prompt: Digest = Field(description="of all that decides pixels and words")
    bundle: Digest | None = Field(description="of the bundle; null if there was no file")
    task: ReceiptTask
    settings: ReceiptSettings
    verdict: ReceiptVerdict
    models: Annotated[
        tuple[ReceiptModel, ...], Field(fail_fast=True, min_length=1, max_length=_MOST_MODELS)
    ]
    queries: ReceiptQueries
    digest: Digest = Field(default="", description="SHA-256 of the canonical JSON of the rest")
    signature: ReceiptSignature | None = None

    @classmethod
    def of(
        cls,
        proof: Proof,
        task: Task,
        *,
        bundle: str | None = None,
        salt: bytes,
        allow: Collection[str] = (),
    ) -> Receipt:
        """The receipt of a proof on a task.

        bundle: digest of the bundle. salt: 32 bytes that stay with the owner of the task. allow:
        of `ALLOWED`. UsageError for an unknown word in it, for a proof without models or settings,
        and for too few images.
        """
        check_receipt(task, allow)
        if proof.settings is None or not proof.rows:
            raise UsageError("a receipt needs a proof that asked a model; verify the prompt first")
        names = ShownNames(salt, shown="models" in allow)
        by_model = {evidence.model: evidence for evidence in proof.evidence}
        rule = proof.verdict.rule
        try:
            content = cls(
                bbtvp=installed_version("bbtvp"),
                date=clock.today().isoformat(),
                prompt=proof.prompt,
                bundle=bundle,
                task=_told(task, salt, allow),
                settings=ReceiptSettings(
                    min_gain=rule.min_gain,
                    max_harm=rule.max_harm,
                    level=rule.level,
                    **proof.settings._asdict(),
                ),
                verdict=ReceiptVerdict(
                    word=proof.verdict.word,
                    reasons=tuple(reason.code for reason in proof.verdict.reasons),
                    more_images=proof.verdict.more_images,
                    notes=tuple(note.code for note in proof.notes),
                ),
                models=tuple(
                    ReceiptModel.of(row, by_model[row.model], names) for row in proof.rows
                ),
                queries=ReceiptQueries(
                    sent=proof.queries, failed=proof.failed, refused=proof.refused
                ),
            )
        except ValidationError as error:
            raise UsageError(
                f"this proof does not fit a receipt ({_first(error)}); allow less, or verify fewer "
                "models at once"
            ) from error
        return content.model_copy(update={"digest": content.computed_digest()})

    def computed_digest(self) -> str:
        """SHA-256 of all fields but the digest and the signature."""
        return digest_json(self.model_dump(by_alias=True, exclude={"digest", "signature"}))

    def signed(self, key: Path) -> Receipt:
        """Signed with a private key (`bbtvp.core.signing`); raises as `sign` does."""
        signature = sign(self.digest, key, kind=SIGNED_AS)
        return self.model_copy(update={"signature": ReceiptSignature(**signature.as_json())})

    def signature_of(self) -> Signature | None:
        """The signature, unchecked; None if there is none. BundleError for what is no signature."""
        return None if self.signature is None else Signature(**self.signature.model_dump())

    def write(self, path: Path) -> None:
        """Write it as JSON. OSError if the disk refuses."""
        atomic_write_json(path, self.model_dump(by_alias=True, mode="json"))


def _told(task: Task, salt: bytes, allow: Collection[str]) -> ReceiptTask:
    return ReceiptTask(
        commitment=task_commitment(task, salt),
        images=len(task.test),
        metric=task.metric if isinstance(task.metric, str) else "own",
        max_tokens=task.max_tokens,
        name=task.name if "name" in allow else None,
        question=task.question if "question" in allow else None,
        labels=task.labels if "labels" in allow else None,
    )


def check_receipt(task: Task, allow: Collection[str]) -> None:
    """Raise UsageError where no receipt of a proof on this task could be made, before it is paid.

    With fewer than `LEAST` test images there is no verdict, and the figures come near to single
    answers.
    """
    for word in allow:
        if word not in ALLOWED:
            raise unknown("word of --allow", word, ALLOWED)
    if len(task.test) < LEAST:
        raise UsageError(
            f"a receipt of {len(task.test)} test images would say nearly what each answer was; "
            f"give at least {LEAST}"
        )


def read_receipt(path: Path) -> Receipt:
    """Read a receipt of anybody's, and check its form and its digest, not what it claims.

    Raises DataError, in one line, for a file that is missing, too large, or no receipt of this
    version, and for one that was altered.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if len(data) > _LIMIT:
        raise DataError(f"{path} has over {_LIMIT:,} bytes: no receipt is so large")
    return parsed_receipt(data, str(path))


def parsed_receipt(data: bytes, where: str) -> Receipt:
    """The receipt in these bytes; where: for errors. Raises as `read_receipt` does."""
    try:
        check_bounds(json.loads(data), values=_MOST_VALUES, levels=_DEEPEST, members=_MOST_MEMBERS)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no {SCHEMA} receipt ({error}); {_AGAIN}") from error
    try:
        receipt = Receipt.model_validate_json(data)
        computed = receipt.computed_digest()
    except ValidationError as error:
        raise DataError(f"{where}: {_problem(error)}") from error
    if computed != receipt.digest:
        raise DataError(
            f"{where}: the digest is not that of the content: the receipt was altered; "
            "ask its author for it again"
        )
    return receipt


def _problem(error: ValidationError) -> str:
    """What is wrong with a file, in one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    given = first.get("input")
    if first["loc"] == ("schema",) and isinstance(given, str) and _NEWER.fullmatch(given):
        return f"a {given}: a newer bbtvp wrote it, upgrade"
    return f"no {SCHEMA} receipt ({_first(error)}); {_AGAIN}"


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, without anything that a terminal would obey."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    said = f"{place}: {first['msg']}" if place else str(first["msg"])
    return "".join(char if char.isprintable() else " " for char in said)[:200]
