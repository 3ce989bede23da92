"""Test images before and after the prompt, with the answers that the journal of the proof holds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, final

from bbtvp.jobs.proofs import ProofAnswers
from bbtvp.prompt import Prompt
from bbtvp.report.html.pictures import image_uri
from bbtvp.runs.proofs import KeptProof
from bbtvp.search import Reading
from bbtvp.tasks import Sample, Task

SCANNED = 1000
"""Test images that are looked through for changed answers; each is rendered again, at about a
millisecond.
"""
EACH = 6
"""Images of each kind that are shown."""


@final
class Said(NamedTuple):
    """An answer to one image: what was said, "" for a reply that named no answer, and whether it
    was right.
    """

    answer: str
    right: bool


@final
class Pair(NamedTuple):
    """An image without and with the prompt, as data URIs. None for an answer that failed."""

    id: str
    question: str
    truth: str
    before: str
    after: str
    said_before: Said | None
    said_after: Said | None


@final
class Gallery(NamedTuple):
    """first: the first test images, whatever became of them. broken, mended: answers that turned,
    the first of them.
    """

    model: str
    first: tuple[Pair, ...]
    broken: tuple[Pair, ...]
    mended: tuple[Pair, ...]


def gallery_of(proof: KeptProof, task: Task, prompt: Prompt, model: str, identity: str) -> Gallery:
    """Of one model's answers, on the task of the proof."""
    answers = ProofAnswers(proof, task, prompt, identity)
    samples = task.test[:SCANNED]
    read = [(answers.zero_shot(sample), answers.prompted(sample)) for sample in samples]

    def turned(before: float, after: float) -> Iterator[Pair]:
        for sample, (first, second) in zip(samples, read, strict=True):
            if first and second and (first.correct, second.correct) == (before, after):
                yield _pair(prompt, task, sample, first, second)

    return Gallery(
        model,
        tuple(
            _pair(prompt, task, sample, *both)
            for sample, both in zip(samples[:EACH], read, strict=False)
        ),
        tuple(islice(turned(1, 0), EACH)),
        tuple(islice(turned(0, 1), EACH)),
    )


def _pair(
    prompt: Prompt, task: Task, sample: Sample, before: Reading | None, after: Reading | None
) -> Pair:
    pixels = sample.pixels()
    return Pair(
        sample.id,
        task.ask(sample),
        sample.answer,
        image_uri(pixels),
        image_uri(prompt.render(pixels)),
        _said(before),
        _said(after),
    )


def _said(reading: Reading | None) -> Said | None:
    return None if reading is None else Said(reading.answer or "", bool(reading.correct == 1))
