"""The replies in the journals of a run folder, each with how it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BbtvpError, DataError
from bbtvp.core.origin import Origin
from bbtvp.models import Outcome, QueryFailed
from bbtvp.prompt import Prompt
from bbtvp.runs.folder import RunFolder
from bbtvp.runs.proofs import KeptProof
from bbtvp.runs.recording import Recording, key_of
from bbtvp.runs.records import stored_reader
from bbtvp.runs.tally import UNPROMPTED
from bbtvp.search import Reader, Reading
from bbtvp.search.ask import Beside, reading_of, requests_for
from bbtvp.search.preview import Preview, SeenReply
from bbtvp.search.readers import reader_named
from bbtvp.search.recipe import Loads
from bbtvp.tasks import Sample, Task
from bbtvp.verify.arms import arm_queries

VALIDATION = "validation"
PROOF = "proof"


@final
@dataclass(frozen=True)
class RunReply:
    """One reply of a run.

    part: "validation" or "proof". arm: "unprompted" or "prompted" on validation, in a proof an arm
    of it (`bbtvp.verify.arms`). model: the spec of the model that replied.
    """

    part: str
    arm: str
    model: str
    reply: SeenReply

    def as_json(self) -> dict[str, Any]:
        """The reply, with where it belongs, in one JSON object."""
        return {"part": self.part, "arm": self.arm, "model": self.model, **self.reply.as_json()}


_NOTHING = Beside()


@final
class RecordedReplies:
    """What one model replied, as a journal holds it.

    The journal keeps replies by the digest of what was asked. So the same image is rendered again,
    which gives a request of the same digest. identity: of the model, as journals know it.
    """

    def __init__(self, recording: Recording, task: Task, identity: str) -> None:
        self._queries = recording.queries
        self._task = task
        self._identity = identity
        self._readers = list(_readers(recording.config))

    def reading(self, sample: Sample, prompt: Prompt | None = None) -> Reading | None:
        """The answer to an image, with a prompt or without; None where the journal has none."""
        found = self._found(*_asked(self._task, sample, prompt), sample)
        if found is None or isinstance(found[0], QueryFailed):
            return None
        return reading_of(*found, self._task, sample)

    def seen(
        self, pixels: Pixels, question: str, sample: Sample, beside: Beside = _NOTHING
    ) -> SeenReply | None:
        """The reply to these pixels as it is shown; None where they were not asked about.

        beside: what went with them.
        """
        found = self._found(pixels, question, beside, sample)
        if found is None:
            return None
        outcome, reader = found
        reading = reading_of(outcome, reader, self._task, sample)
        return SeenReply.of(outcome, reading, reader, self._task, sample)

    def _found(
        self, pixels: Pixels, question: str, beside: Beside, sample: Sample
    ) -> tuple[Outcome, Reader] | None:
        for reader in self._readers:
            if reader.name != "text" and self._task.sample_labels(sample) is None:
                continue
            (request,) = requests_for(
                reader,
                self._task,
                [sample],
                images=[pixels],
                questions=[question],
                beside=[beside],
            )
            asked = self._queries.get(key_of(request, self._identity))
            if asked:
                return asked[-1].query.outcome(), reader
        return None


def replies_of(run: RunFolder, loader: Loads) -> Iterator[RunReply]:
    """The replies of a run to validation images and in its proofs, in the order of the images.

    Nothing is asked; the task is loaded for its images. Raises DataError where the task of the
    search is not here, or has changed since.
    """
    task = _own_task(run, loader)
    yield from _validation_replies(run, task)
    for proof in run.proofs:
        yield from _proof_replies(run, proof, task_of(proof, loader))


def first_replies(run: RunFolder) -> list[RunReply]:
    """The replies that the search showed before it went on; none in an older journal.

    They are read from the journal alone, so neither the task nor its images must be here.
    """
    kept = run.recording.preview
    if not kept:
        return []
    models = run.record["models"]
    return [
        RunReply(VALIDATION, UNPROMPTED, str(models[place % len(models)]["spec"]), reply)
        for place, reply in enumerate(Preview.of(kept).replies)
    ]


def task_of(proof: KeptProof, loader: Loads) -> Task:
    """The task of a proof, for its images.

    Raises DataError where the task is not here, or has changed since.
    """
    origin = proof.document["origin"]
    if not origin:
        raise DataError(f"the task {proof.document['task']} was made in Python")
    return _loaded(Origin(origin["spec"], origin["options"]), proof.task, loader)


def _own_task(run: RunFolder, loader: Loads) -> Task:
    described: Mapping[str, Any] = run.record["task"]
    if not described["spec"]:
        raise DataError(f"the task {described['name']} was made in Python")
    origin = Origin(described["spec"], described["options"])
    return _loaded(origin, str(described["digest"]), loader)


def _loaded(origin: Origin, digest: str, loader: Loads) -> Task:
    try:
        task = loader.task(origin)
    except (BbtvpError, OSError) as error:
        raise DataError(str(error)) from error
    if task.digest != digest:
        raise DataError(f"the images, answers or metric of {origin.spec} have changed since")
    return task


def _validation_replies(run: RunFolder, task: Task) -> Iterator[RunReply]:
    step = run.recording.steps.get(f"{VALIDATION}/{UNPROMPTED}")
    if step is not None:
        names = list(step["samples"])
    else:  # a search that ended after its first replies
        names = [each.reply.sample for each in first_replies(run)]
    by_id = {sample.id: sample for sample in task.validation}
    samples = [by_id[name] for name in names]
    specs = [str(model["spec"]) for model in run.record["models"]]
    models = [RecordedReplies(run.recording, task, run.identity_of(spec)) for spec in specs]
    arms: dict[str, Prompt | None] = {UNPROMPTED: None}
    if run.prompt is not None:
        arms["prompted"] = run.prompt
    for arm, prompt in arms.items():
        for place, sample in enumerate(samples):
            number = place % len(models)  # each image is asked of one source, in turn
            pixels, question, beside = _asked(task, sample, prompt)
            shown = models[number].seen(pixels, question, sample, beside)
            if shown is not None:
                yield RunReply(VALIDATION, arm, specs[number], shown)


def _asked(task: Task, sample: Sample, prompt: Prompt | None) -> tuple[Pixels, str, Beside]:
    if prompt is None:
        return sample.pixels(), task.ask(sample), Beside()
    return prompt.render(sample.pixels()), prompt.ask(task.ask(sample)), Beside.of(prompt)


def _proof_replies(run: RunFolder, proof: KeptProof, task: Task) -> Iterator[RunReply]:
    if run.prompt is None:
        return
    replies = {
        spec: RecordedReplies(proof.recording, task, run.identity_of(spec)) for spec in proof.rows
    }
    for sample in task.test:
        for arm, sent in arm_queries(run.prompt, task, [sample], twice=False).items():
            for spec, known in replies.items():
                shown = known.seen(sent.images[0], sent.questions[0], sample, sent.beside)
                if shown is not None:
                    yield RunReply(PROOF, arm, spec, shown)


def _readers(config: Mapping[str, Any]) -> Iterator[Reader]:
    """Those that the run may have taken: which one, its requests tell."""
    kept = stored_reader(config)
    names = ("logprob", "label", "text") if kept.name == "auto" else (kept.name,)
    return (reader_named(name, kept.normalise) for name in names)
