"""What the models answered in a proof, image by image, as its journal holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BbtvpError, DataError
from bbtvp.core.origin import Origin
from bbtvp.models import Reply
from bbtvp.prompt import Prompt
from bbtvp.runs.proofs import KeptProof
from bbtvp.runs.recording import key_of
from bbtvp.runs.records import stored_reader
from bbtvp.search import Reader, Reading
from bbtvp.search.readers import reader_named
from bbtvp.search.recipe import Loads
from bbtvp.tasks import Sample, Task


def task_of(proof: KeptProof, loader: Loads) -> Task:
    """The task of a proof, for its images.

    Raises DataError where the task is not here, or has changed since.
    """
    origin = proof.document["origin"]
    if not origin:
        raise DataError(f"the task {proof.document['task']} was made in Python")
    try:
        task = loader.task(Origin(origin["spec"], origin["options"]))
    except (BbtvpError, OSError) as error:
        raise DataError(str(error)) from error
    if task.digest != proof.task:
        raise DataError(f"the images or answers of {origin['spec']} have changed since")
    return task


@final
class ProofAnswers:
    """What one model answered in a proof.

    The journal keeps answers by the digest of what was asked. So the same image is rendered again,
    which gives a request of the same digest. identity: of the model, as journals know it.
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


def _readers(config: Mapping[str, Any]) -> Iterator[Reader]:
    """Those that the proof may have taken: which one, its requests tell."""
    kept = stored_reader(config)
    names = ("logprob", "label", "text") if kept.name == "auto" else (kept.name,)
    return (reader_named(name, kept.normalise) for name in names)
