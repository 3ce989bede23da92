"""What a run folder holds, read for a report: nothing is asked, held or written, and no model is
loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bbtvp.jobs.proofs import KeptProof, proofs_in, read_json
from bbtvp.jobs.result import RESULT
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import read
from bbtvp.runs.record import read_record
from bbtvp.runs.recording import Recording
from bbtvp.runs.records import FILE as JOURNAL
from bbtvp.runs.tally import Tally
from bbtvp.search.optimize import BUNDLE

CHECKS = ("robustness", "effects", "saliency")


@final
@dataclass(frozen=True)
class RunFolder:
    """One run. prompt: None if the search is not finished; meta: what its bundle says of its
    origin.

    proofs: of the prompt, that on the task of the search first. checks: kind → the documents of its
    checks, by folder. seconds: of the last process that worked on the search, None where it left no
    result.
    """

    path: Path
    record: Mapping[str, Any]
    recording: Recording
    tally: Tally
    prompt: Prompt | None
    meta: Mapping[str, Any]
    proofs: tuple[KeptProof, ...]
    checks: Mapping[str, Mapping[Path, Mapping[str, Any]]]
    seconds: float | None

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Raises JournalError for a folder that is no run, or damaged, and BundleError for a
        damaged prompt.
        """
        record = read_record(path)
        recording = Recording.read(path)
        tally = Tally(path / JOURNAL)
        tally.update()
        bundle = path / BUNDLE
        prompt = Prompt.load(bundle) if bundle.exists() else None
        digest = prompt.digest[:12] if prompt else "none"
        return cls(
            path,
            record,
            recording,
            tally,
            prompt,
            read(bundle).meta if prompt else {},
            tuple(proofs_in(path, prompt, record["task"]["digest"])) if prompt else (),
            {kind: _documents(path / kind, digest) for kind in CHECKS},
            read_json(path / RESULT).get("seconds"),
        )

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def spent(self) -> dict[str, tuple[int, int, float]]:
        """Image queries, failed ones among them, and dollars: of the search, and of each check by
        its folder.
        """
        found = {"search": (self.tally.total, self.tally.failed, self.tally.usd)}
        for kind in ("verify", *CHECKS):
            for journal in sorted((self.path / kind).glob(f"*/{JOURNAL}")):
                tally = Tally(journal)
                tally.update()
                found[f"{kind}/{journal.parent.name}"] = (tally.total, tally.failed, tally.usd)
        return found


def _documents(folder: Path, digest: str) -> dict[Path, Mapping[str, Any]]:
    found = {
        place: read_json(place / f"{folder.name}.json")
        for place in sorted(folder.glob(f"{digest}-*"))
    }
    return {place: document for place, document in found.items() if document}
