"""A registry of prompts: a folder or a prefix that any static web server can show."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import final

from bbtvp.core import clock
from bbtvp.core.errors import BundleError, DataError, UsageError
from bbtvp.core.origin import is_among
from bbtvp.prompt.bundle import SUFFIX
from bbtvp.registry.entries import RegistryEntry, entries_of, entry_named
from bbtvp.registry.index import (
    BUNDLE_LIMIT,
    RegistryIndex,
    checked,
    listed,
    read_bundle,
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
    BaselineFacts,
    BundleFacts,
    RegistryRecord,
    Retirement,
    name_of,
    packed,
    packed_json,
)
from bbtvp.registry.run_evidence import run_evidence
from bbtvp.registry.trust import (
    believed,
    need_own_key,
    need_signer,
    read_marker,
    trusted_keys,
    write_marker,
)
from bbtvp.runs.folder import BUNDLE, RunFolder
from bbtvp.verify.receipt import SIGNED_AS, read_receipt
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

    def __init__(
        self, place: Location, demanded: Sequence[str] = (), trusted: Sequence[str] = ()
    ) -> None:
        self._place = place
        self._index: RegistryIndex | None = None
        self._trusted = tuple(trusted)
        self.demanded = tuple(demanded)
        """Public keys, one of which must have signed what is added; empty for any or none."""

    @classmethod
    def create(cls, url: str | Path, *, signed_by: Sequence[str] = ()) -> PromptRegistry:
        """Make a registry at a URL or in a folder; the files of one that is there already stay.

        signed_by: public keys, or files that hold one, of which one must have signed each bundle
        and each receipt that is added from now on. None given: as before, or none.

        UsageError where nothing can be written, or in a folder that holds something else.
        """
        keys = trusted_keys(signed_by)
        place = open_place(url)
        if read_marker(place) is not None:
            if keys:
                write_marker(place, keys)
            return cls.open(url)
        if not place.lists:
            place.write(MARKER, b"")  # raises: it can only be read
        if others := [name for name in place.names("") if not name.startswith(".")]:
            raise UsageError(
                f"{place.url} holds {others[0]!r} and is no registry; name an empty folder"
            )
        write_marker(place, keys)
        registry = cls(place, keys)
        registry.rebuild()
        return registry

    @classmethod
    def open(cls, url: str | Path, *, signed_by: Sequence[str] = ()) -> PromptRegistry:
        """Open the registry at a URL or in a folder.

        signed_by: public keys, or files that hold one: nothing that no such key signed is believed
        or added. UsageError where there is no registry, or one of a newer version.
        """
        keys = trusted_keys(signed_by)
        place = open_place(url)
        marker = read_marker(place)
        if marker is None:
            advice = f"make one with: bbtvp registry init {place.url}"
            if not place.lists:
                advice = "check the address, which is that of the folder with registry.json"
            raise UsageError(f"{place.url} is no registry; {advice}")
        return cls(place, marker.signed_by, keys)

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
        """All entries, by digest; of those that a reader's keys vouch for, if keys were given."""
        if not self._trusted:
            return entries_of(self.index.summaries)
        return entries_of(believed(self._place, self.index, self._trusted))

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
        when = day or clock.today()
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

        Raises BundleError for what is no bundle, or is not signed as it must be, and UsageError for
        proofs where signed ones are demanded.
        """
        run = bundle if (bundle / BUNDLE).is_file() else None
        file = bundle / BUNDLE if run else bundle
        data = _bundle_bytes(file)
        with _file_named(bundle):
            found = read_bundle(data)
            need_signer(found.digest, found.signature, self.demanded, self._trusted, kind="bundle")
        proofs = [] if run is None else list(RunFolder(run).proofs)
        if proofs and (self.demanded or self._trusted):
            raise UsageError(
                f"the proofs of {run} are not signed; add {file}, and a receipt that "
                "bbtvp verify --receipt FILE --sign KEY wrote"
            )
        path = f"{BUNDLES}/{found.digest}{SUFFIX}"
        self._put(path, data, again=self._is_signed_later(path, found.facts))
        for proof in proofs:
            if record := run_evidence(found.facts.prompt, proof):
                self._put_record(EVIDENCE, record)
        self._publish()
        return self.entry(found.digest)

    def add_receipt(self, path: Path) -> list[RegistryEntry]:
        """Add a receipt; the entries whose prompt it is of.

        What can be computed again is. Raises DataError for what is no receipt, BundleError for a
        wrong signature or none where one is demanded, and UsageError for a receipt of a prompt that
        is not in the registry.
        """
        receipt = read_receipt(path)
        signature = receipt.signature_of()
        with _file_named(path):
            need_signer(receipt.digest, signature, self.demanded, self._trusted, kind=SIGNED_AS)
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

    def need_key(self, private: Path | None) -> None:
        """Raise UsageError if no receipt that this key file signs will be taken; None: unsigned."""
        for keys in (self.demanded, self._trusted):
            need_own_key(self.url, keys, private)

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
            RETIRED,
            Retirement(bundle=entry.digest, reason=reason.strip(), since=since or clock.today()),
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

        DataError if it is not the one that its name says, BundleError if no key signed it that the
        registry was opened with.
        """
        path = f"{BUNDLES}/{entry.digest}{SUFFIX}"
        data = self._place.read(path, BUNDLE_LIMIT)
        found = None if data is None else read_bundle(data)
        if data is None or found is None or found.digest != entry.digest:
            raise DataError(
                f"{self.url}/{path} is missing or damaged; its owner adds the bundle again: "
                "bbtvp registry add"
            )
        need_signer(found.digest, found.signature, self._trusted, kind="bundle")
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

    def _is_signed_later(self, path: str, facts: BundleFacts) -> bool:
        """Whether a bundle takes the place of the same one without a signature, or a wanted one.

        A signature is no part of the digest, so both have one name.
        """
        there = self.index.summaries.get(path)
        if not isinstance(there, BundleFacts) or not facts.signed:
            return False
        return not there.signed or (bool(self.demanded) and there.signed_by not in self.demanded)

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


@contextmanager
def _file_named(file: Path) -> Iterator[None]:
    """Say in an error about what is in a file which file it is."""
    try:
        yield
    except (BundleError, DataError) as error:
        raise type(error)(f"{file}: {error}") from error


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
