"""A run folder: where its parts lie, and how each is read back.

run.json         the record: what the run was called with
journal.jsonl    the journal: what was asked, answered and decided
prompt.vprompt   the prompt, once the search has ended
result.json      what the last command on the folder found
verify/          proofs of the prompt, each in a folder with a journal of its own
robustness/ …    the other checks, likewise
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.core.errors import JournalError
from bbtvp.core.lock import OWNER, Owner, owner_of
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import read as read_bundle
from bbtvp.runs.documents import read_document
from bbtvp.runs.proofs import FOLDER as PROOFS
from bbtvp.runs.proofs import KeptProof, check_document, check_folders, kept_proofs
from bbtvp.runs.record import FILE as RECORD
from bbtvp.runs.record import read_record
from bbtvp.runs.recording import Recording
from bbtvp.runs.records import FILE as JOURNAL
from bbtvp.runs.tally import Tally

BUNDLE = "prompt.vprompt"
RESULT = "result.json"
CHECKS = ("robustness", "effects", "saliency")
"""The checks other than the proof: the folder of each, and the name of its document."""


def bundle_path(path: Path | str) -> Path:
    """The bundle at a path: its own, or that of the run folder there."""
    found = Path(path).expanduser()
    return found / BUNDLE if (found / BUNDLE).is_file() else found


def check_folder(path: Path) -> None:
    """Raise JournalError if a folder holds files and no part of a run: it is not for a run."""
    if not path.is_dir():
        return
    own = {RECORD, JOURNAL, BUNDLE, RESULT, PROOFS, *CHECKS}
    there = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    others = sorted(name for name in there - {OWNER} if not name.endswith((".lock", ".held")))
    if others and not own & there:
        raise JournalError(
            f"{path} is no run folder: it holds {others[0]!r}"
            + (f" and {len(others) - 1} more" if len(others) > 1 else "")
            + "; name another folder (--out)"
        )


class Cost(NamedTuple):
    """What one part of a run has spent: image queries, the failed among them, and US dollars."""

    queries: int
    failed: int
    usd: float


@final
class RunFolder:
    """One run folder. Nothing is asked, locked or written, and no model is loaded.

    Each part is read when it is first asked for, and then kept. Reading a part raises JournalError
    if it is damaged or of a newer version, and BundleError for a damaged prompt.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / JOURNAL
        self.bundle = path / BUNDLE
        self.result_file = path / RESULT

    def load(self) -> RunFolder:
        """Read all parts now, so that what is damaged shows at once; gives the folder itself."""
        _ = (self.record, self.recording, self.tally, self.meta, self.proofs, self.checks)
        _ = (self.costs, self.result)
        return self

    # -- what is there -----------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.resolve().name

    @property
    def begun(self) -> bool:
        """Whether a run was begun in the folder."""
        return self.has_record or self.journal.exists()

    @property
    def has_record(self) -> bool:
        """Whether the folder holds the record of a run."""
        return (self.path / RECORD).exists()

    @property
    def finished(self) -> bool:
        """Whether the search has ended with a prompt."""
        return self.bundle.exists()

    @property
    def owner(self) -> Owner | None:
        """The process that works on the search now, None if none does."""
        return owner_of(self.path)

    @property
    def begun_checks(self) -> list[Path]:
        """The folder of each proof and check that was begun."""
        return [path.parent for path in sorted(self.path.glob(f"*/*/{JOURNAL}"))]

    # -- the search --------------------------------------------------------------------------------
    @cached_property
    def record(self) -> Mapping[str, Any]:
        """What the run was called with."""
        return read_record(self.path)

    @cached_property
    def recording(self) -> Recording:
        """All that the journal holds."""
        return Recording.read(self.path)

    @cached_property
    def tally(self) -> Tally:
        """The sums over the journal."""
        return _tally(self.journal)

    @cached_property
    def prompt(self) -> Prompt | None:
        """The prompt; None if the search is not finished."""
        return Prompt.load(self.bundle) if self.finished else None

    @cached_property
    def meta(self) -> Mapping[str, Any]:
        """What the bundle says of its origin; empty if the search is not finished."""
        return read_bundle(self.bundle).meta if self.prompt else {}

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """The document of the last command that ended; empty if none did."""
        return read_document(self.result_file) or {}

    @property
    def seconds(self) -> float | None:
        """Seconds that the last process worked; None where it left no result."""
        seconds: float | None = self.result.get("seconds")
        return seconds

    def identity_of(self, spec: str) -> str:
        """The identity of the model of this spec, under which journals keep its answers.

        It is recorded for a model that was searched; of any other, the spec stands for it.
        """
        models = self.record["models"]
        return next((str(one["identity"]) for one in models if one["spec"] == spec), spec)

    # -- the proof and the other checks ------------------------------------------------------------
    @cached_property
    def proofs(self) -> tuple[KeptProof, ...]:
        """The finished proofs of the prompt, those on the task of the search first."""
        if self.prompt is None:
            return ()
        return kept_proofs(self.path, self.prompt.digest, self.record["task"]["digest"])

    @property
    def proof(self) -> KeptProof | None:
        """The first of the proofs."""
        return self.proofs[0] if self.proofs else None

    @cached_property
    def checks(self) -> Mapping[str, Mapping[Path, Mapping[str, Any]]]:
        """The documents of the finished checks of the prompt: by kind, then by folder."""
        found: dict[str, dict[Path, Mapping[str, Any]]] = {kind: {} for kind in CHECKS}
        if self.prompt is None:
            return found
        for kind, documents in found.items():
            for place in check_folders(self.path, kind, self.prompt.digest):
                document = read_document(place / check_document(kind))
                if document:
                    documents[place] = document
        return found

    @cached_property
    def costs(self) -> Mapping[str, Cost]:
        """What was spent: by "search", and by the folder of each proof and check."""
        found = {"search": _cost(self.tally)}
        for kind in (PROOFS, *CHECKS):
            for journal in sorted((self.path / kind).glob(f"*/{JOURNAL}")):
                found[f"{kind}/{journal.parent.name}"] = cost_in(journal.parent)
        return found


def cost_in(folder: Path) -> Cost:
    """What the journal in a folder says was spent; nothing without a journal.

    Raises JournalError if it is damaged.
    """
    return _cost(_tally(folder / JOURNAL))


def _tally(journal: Path) -> Tally:
    tally = Tally(journal)
    tally.update()
    return tally


def _cost(tally: Tally) -> Cost:
    return Cost(tally.total, tally.failed, tally.usd)
