"""A registry of prompts: a folder or a prefix that any static web server can show."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, final

from bbtvp.core.errors import DataError, UsageError
from bbtvp.core.origin import is_among, without_paths
from bbtvp.prompt.bundle import SUFFIX
from bbtvp.registry.entries import RegistryEntry, entries_of, entry_named
from bbtvp.registry.index import (
    BUNDLE_LIMIT,
    RegistryIndex,
    bundle_facts,
    checked,
    listed,
    summary_of,
)
from bbtvp.registry.places import Location, open_place
from bbtvp.registry.receipts import receipt_record
from bbtvp.registry.records import (
    BUNDLES,
    CHECKS,
    EVIDENCE,
    FOLDERS,
    INDEX,
    MARKER,
    MOST_TEXT,
    RECEIPTS,
    RECORD_LIMIT,
    RETIRED,
    SCHEMA,
    BaselineFacts,
    BundleFacts,
    EvidenceRecord,
    EvidenceRow,
    RegistryRecord,
    Retirement,
    document,
    name_of,
    packed,
    packed_json,
    parsed,
    today,
)
from bbtvp.runs.folder import BUNDLE, RunFolder
from bbtvp.runs.proofs import FOLDER as PROOFS
from bbtvp.runs.proofs import KeptProof, check_document
from bbtvp.verify.receipt import read_receipt
from bbtvp.verify.recount import recount

_ROUNDS = 5
"""How often the index is written again because another writer came in between."""


@final
class PromptRegistry:
    """Prompts, what proofs and checks found about them, and which were taken back.

    >>> registry = PromptRegistry.create("memory://prompts-of-a-doctest")
    >>> registry.entries()
    []

    Files are written once and never changed; the index is made from them. So several writers may
    work at once, and one that is killed leaves at most a file that the next one mends.
    """

    def __init__(self, place: Location) -> None:
        self._place = place
        self._index: RegistryIndex | None = None

    @classmethod
    def create(cls, url: str | Path) -> PromptRegistry:
        """Make a registry at a URL or in a folder; one that is there already is left as it is.

        UsageError where nothing can be written, or in a folder that holds something else.
        """
        place = open_place(url)
        if _is_registry(place):
            return cls.open(url)
        if not place.lists:
            place.write(MARKER, b"")  # raises: it can only be read
        if others := [name for name in place.names("") if not name.startswith(".")]:
            raise UsageError(
                f"{place.url} holds {others[0]!r} and is no registry; name an empty folder"
            )
        place.write(MARKER, packed_json({"schema": SCHEMA}))
        registry = cls(place)
        registry.rebuild()
        return registry

    @classmethod
    def open(cls, url: str | Path) -> PromptRegistry:
        """Open the registry at a URL or in a folder.

        UsageError where there is none, or one of a newer version.
        """
        place = open_place(url)
        if not _is_registry(place):
            raise UsageError(
                f"{place.url} is no registry; make one with: bbtvp registry init {place.url}"
            )
        return cls(place)

    @property
    def url(self) -> str:
        """Where it lies, as it was given."""
        return self._place.url

    @property
    def index(self) -> RegistryIndex:
        """The index, read once and brought up to date with the files."""
        if self._index is None:
            self._index = RegistryIndex.read(self._place)
        return self._index

    def entries(self) -> list[RegistryEntry]:
        """All entries, by digest."""
        return entries_of(self.index)

    def search(
        self,
        *,
        task: str | None = None,
        model: str | None = None,
        status: str | None = None,
        day: date | None = None,
    ) -> list[RegistryEntry]:
        """The entries of a task, with evidence on a model, that stand so.

        task, model: whole names, or a part of them. With a model, the status is how the prompt
        stands with a model of that name.
        """
        when = day or today()
        return [one for one in self.entries() if _fits(one, task, model, status, when)]

    def entry(self, name: str) -> RegistryEntry:
        """The entry of a digest's first digits. UsageError for none, or several."""
        return entry_named(self.entries(), name)

    def asked(self, model: str) -> list[RegistryEntry]:
        """The entries in use of which a model of this very name was asked, paths left out.

        UsageError if there are none.
        """
        found = [
            one
            for one in self.entries()
            if not one.retired
            and is_among(model, {*one.models, *(known.model for known in one.baselines)})
        ]
        if not found:
            raise UsageError(
                f"no prompt in use has a proof on {model}; name one: bbtvp registry list {self.url}"
            )
        return found

    def baselines(self) -> dict[str, BaselineFacts]:
        """Path → facts of every baseline of a drift check."""
        found = self.index.summaries.items()
        return {path: one for path, one in found if isinstance(one, BaselineFacts)}

    def add(self, bundle: Path) -> RegistryEntry:
        """Add a bundle, or the bundle of a run folder with the proofs that the folder keeps.

        Raises BundleError for what is no bundle.
        """
        run = bundle if (bundle / BUNDLE).is_file() else None
        file = bundle / BUNDLE if run else bundle
        data = _bundle_bytes(file)
        digest, facts = bundle_facts(data)
        path = f"{BUNDLES}/{digest}{SUFFIX}"
        there = self.index.summaries.get(path)
        # A signature is no part of the digest: a bundle that was signed later has the same name.
        later = isinstance(there, BundleFacts) and facts.signed and not there.signed
        self._put(path, data, again=later)
        if run is not None:
            for proof in RunFolder(run).proofs:
                if record := _evidence(facts.prompt, proof):
                    self._put_record(EVIDENCE, record)
        self._publish()
        return self.entry(digest)

    def add_receipt(self, path: Path) -> list[RegistryEntry]:
        """Add a receipt; the entries whose prompt it is of.

        What can be computed again is. Raises DataError for what is no receipt, BundleError for a
        wrong signature, and UsageError for a receipt of a prompt that is not in the registry.
        """
        receipt = read_receipt(path)
        recount(receipt)
        entries = [one for one in self.entries() if one.facts.prompt == receipt.prompt]
        if not entries:
            raise UsageError(
                f"{path} is of the prompt {receipt.prompt[:12]}, which is not here; add its bundle "
                f"first: bbtvp registry add {self.url} BUNDLE"
            )
        data = packed_json(receipt.model_dump(by_alias=True, mode="json"))
        place = f"{RECEIPTS}/{receipt.digest}.json"
        receipt_record(place, data)
        self._put(place, data)
        self._publish()
        return [self.entry(one.digest) for one in entries]

    def retire(self, name: str, reason: str, since: date | None = None) -> RegistryEntry:
        """Take a prompt back: the file stays, and says why and since when.

        since: the first day of that, by default today. UsageError without a reason.
        """
        entry = self.entry(name)
        if not 0 < len(reason.strip()) <= MOST_TEXT:
            raise UsageError(
                f"say why the prompt is retired, in up to {MOST_TEXT:,} characters (--reason TEXT)"
            )
        self._put_record(
            RETIRED, Retirement(bundle=entry.digest, reason=reason.strip(), since=since or today())
        )
        self._publish()
        return self.entry(entry.digest)

    def rebuild(self) -> RegistryIndex:
        """Read every file again, remove what killed writers left, and write the index.

        Files that are damaged stay where they are; the index names them, and adding the same
        content again mends them.
        """
        with self._place.alone():
            for folder in ("", *FOLDERS):
                self._place.sweep(folder)
            self._index = RegistryIndex.read(self._place, anew=True)
            self._place.write(INDEX, self._index.packed())
        return self._index

    @contextmanager
    def bundle_file(self, entry: RegistryEntry) -> Iterator[Path]:
        """The entry's bundle as a file, which is gone afterwards.

        DataError if it is not the one that its name says.
        """
        path = f"{BUNDLES}/{entry.digest}{SUFFIX}"
        data = self._place.read(path, BUNDLE_LIMIT)
        if data is None or bundle_facts(data)[0] != entry.digest:
            raise DataError(
                f"{self.url}/{path} is missing or damaged; its owner adds the bundle again: "
                "bbtvp registry add"
            )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{entry.short}{SUFFIX}"
            file.write_bytes(data)
            yield file

    def record(self, path: str) -> bytes:
        """The bytes of one record. DataError if it is missing or damaged."""
        data = self._place.read(path, RECORD_LIMIT)
        if data is None:
            raise DataError(f"{self.url}/{path} is missing; run: bbtvp registry index {self.url}")
        try:
            return checked(path, data)
        except DataError as error:
            raise DataError(f"{self.url}/{path}: {error}; its owner has to add it again") from error

    def keep(self, folder: str, record: RegistryRecord) -> str:
        """Write a record and the index; the path of the record."""
        path = self._put_record(folder, record)
        self._publish()
        return path

    def _put_record(self, folder: str, record: RegistryRecord) -> str:
        data = packed(record)
        day = getattr(record, "date", None) if folder == CHECKS else None
        path = name_of(folder, data, day)
        self._put(path, data)
        return path

    def _put(self, path: str, data: bytes, *, again: bool = False) -> None:
        """Write a file unless it is there and whole, or in any case (again)."""
        if not again and path in self.index.summaries and path not in self.index.damaged:
            return
        self._place.write(path, data)
        summaries = {**self.index.summaries, path: summary_of(self._place, path)}
        self._index = RegistryIndex(summaries, self.index.notes)

    def _publish(self) -> None:
        """Write the index, again if another writer came in between.

        What is left undone if this is interrupted, the next reader or writer notices.
        """
        with self._place.alone():
            mine = self.index.summaries
            for _ in range(_ROUNDS):
                fresh = RegistryIndex.read(self._place)
                there = set(listed(self._place))
                known = {path: mine[path] for path in mine.keys() & there}
                self._index = RegistryIndex({**fresh.summaries, **known})
                self._place.write(INDEX, self._index.packed())
                if set(listed(self._place)) == there:
                    return


def _is_registry(place: Location) -> bool:
    data = place.read(MARKER, RECORD_LIMIT)
    if data is None:
        return False
    try:
        schema = document(data).get("schema")
    except DataError as error:
        raise UsageError(f"{place.url}/{MARKER}: {error}; no registry is here") from error
    if schema != SCHEMA:
        raise UsageError(
            f"{place.url} is a registry of the schema {schema!r}, not {SCHEMA}; "
            "install a newer bbtvp: pip install -U bbtvp"
        )
    return True


def _bundle_bytes(file: Path) -> bytes:
    """The bytes of a bundle file; a bundle that is a folder is packed first."""
    if not file.is_dir():
        try:
            return file.read_bytes()
        except FileNotFoundError as error:
            raise UsageError(f"{file}: no such bundle; check the path") from error
    from bbtvp.prompt import bundle

    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / f"bundle{SUFFIX}"
        bundle.write(one, bundle.read(file))
        return one.read_bytes()


def _evidence(prompt: str, proof: KeptProof) -> EvidenceRecord | None:
    """The rows of a proof that a run folder keeps; None if it asked no model."""
    file = proof.folder / check_document(PROOFS)
    day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date()
    rows = [evidence_row(prompt, proof.document, row, day) for row in proof.document["models"]]
    return EvidenceRecord(rows=tuple(parsed(EvidenceRow, row) for row in rows)) if rows else None


def evidence_row(prompt: str, proof: Any, row: Any, day: date) -> dict[str, Any]:
    """A proof's row as a row of evidence. proof: its document. row: one of its models."""
    return {
        "prompt": prompt,
        "model": without_paths(row["model"]),
        "version": row.get("version"),
        "date": day,
        "task": proof["task"],
        "images": row["n"],
        "zero_shot": row["zero_shot"],
        "empty_frame": row.get("empty_frame"),
        "prompted": row["prompted"],
        "gain": row["gain"],
        "ci": row["gain_ci95"],
        "p": row.get("mcnemar_p", row.get("sign_flip_p")),
        "verdict": proof["verdict"]["word"],
        "role": row.get("role"),
    }


def _fits(
    entry: RegistryEntry, task: str | None, model: str | None, status: str | None, day: date
) -> bool:
    if task is not None and not _named(task, entry.facts.task):
        return False
    if model is None:
        return status is None or entry.status(day) == status
    standings = [one for one in entry.standings(day) if _named(model, one.model)]
    return any(status in (None, one.status) for one in standings)


def _named(part: str, whole: str) -> bool:
    return part.lower() in whole.lower()
