"""The proofs that a run folder keeps of its prompt, and what their journals hold of each test
image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BbtvpError, DataError, JournalError
from bbtvp.core.origin import Origin
from bbtvp.models import Reply
from bbtvp.prompt import Prompt
from bbtvp.runs.recording import Recording, key_of
from bbtvp.runs.records import FILE as JOURNAL
from bbtvp.runs.records import stored_reader
from bbtvp.search import Reader, Reading
from bbtvp.search.readers import reader_named
from bbtvp.search.recipe import Loads
from bbtvp.tasks import Sample, Task


@final
@dataclass(frozen=True)
class KeptProof:
    """One proof: its folder, what `verify` wrote down of it, and its journal."""

    folder: Path
    document: Mapping[str, Any]
    recording: Recording

    @property
    def task(self) -> str:
        """Digest of the task that it was made on."""
        return str(self.recording.config["task"])

    def load_task(self, loader: Loads) -> Task:
        """That task, for its images. DataError where it is not here, or another one now."""
        name = self.document["task"]
        origin = self.document["origin"]
        if not origin:
            raise DataError(f"the task {name} was made in Python")
        try:
            task = loader.task(Origin(origin["spec"], origin["options"]))
        except (BbtvpError, OSError) as error:
            raise DataError(str(error)) from error
        if task.digest != self.task:
            raise DataError(f"the images or answers of {origin['spec']} are others now")
        return task

    @property
    def rows(self) -> dict[str, Mapping[str, Any]]:
        """By model."""
        return {row["model"]: row for row in self.document["models"]}


def proofs_in(folder: Path, prompt: Prompt, own: str) -> list[KeptProof]:
    """Those of this prompt in a run folder, finished ones, that on the task `own` (a digest) first.

    Raises JournalError if one is damaged.
    """
    found = []
    for place in sorted((folder / "verify").glob(f"{prompt.digest[:12]}-*")):
        document = read_json(place / "proof.json")
        if document and (place / JOURNAL).exists():
            found.append(KeptProof(place, document, Recording.read(place)))
    return sorted(found, key=lambda proof: proof.task != own)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty without the file. JournalError if it is damaged."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise JournalError(f"{path} is damaged ({error}); restore it, or delete it") from error
    return document if isinstance(document, dict) else {}


@final
class Answers:
    """What one model answered in a proof, from the journal: it keeps answers by the digest of what
    was asked.

    So the same image is rendered again, for a request of the same digest. identity: of the model,
    as journals know it.
    """

    def __init__(self, proof: KeptProof, task: Task, prompt: Prompt, identity: str) -> None:
        self._task = task
        self._prompt = prompt
        self._identity = identity
        self._answers = proof.recording.answers
        self._readers = list(_readers(proof.recording.config))

    def zero_shot(self, sample: Sample) -> Reading | None:
        """The answer to the image as it is; None where the journal has none."""
        return self._reading(sample.pixels(), self._task.ask(sample), sample)

    def prompted(self, sample: Sample) -> Reading | None:
        """The answer to the image with the prompt."""
        pixels = self._prompt.render(sample.pixels())
        question = self._prompt.ask(self._task.ask(sample))
        return self._reading(pixels, question, sample)

    def _reading(self, pixels: Pixels, question: str, sample: Sample) -> Reading | None:
        for reader in self._readers:
            if reader.name != "text" and self._task.sample_labels(sample) is None:
                continue
            request = reader.request(pixels, question, self._task, sample)
            answer = self._answers.get(key_of(request, self._identity))
            reply = None if answer is None else answer.outcome()
            if isinstance(reply, Reply):
                return reader.read(reply, self._task, sample)
        return None


def identity_of(record: Mapping[str, Any], spec: str) -> str:
    """Of a model that was searched, as recorded; of another, its spec, which for most models is
    all.
    """
    models: Sequence[Mapping[str, Any]] = record["models"]
    return next((str(model["identity"]) for model in models if model["spec"] == spec), spec)


def _readers(config: Mapping[str, Any]) -> Iterator[Reader]:
    """Those that the proof may have taken: which one, its requests tell."""
    kept = stored_reader(config)
    names = ("logprob", "label", "text") if kept.name == "auto" else (kept.name,)
    return (reader_named(name, kept.normalise) for name in names)
