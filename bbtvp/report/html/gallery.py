"""Test images before and after the prompt, with the answers in the journal of the proof."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, final

from bbtvp.jobs.replies import RecordedReplies
from bbtvp.prompt import Prompt
from bbtvp.report.gallery import HALF
from bbtvp.report.html.pictures import image_uri
from bbtvp.runs.proofs import KeptProof
from bbtvp.search import Reading
from bbtvp.tasks import Sample, Task

SCANNED = 1000
"""Test images that are searched for changed answers. Each is rendered, in about a millisecond."""
EACH = 6
"""Images shown of each kind."""


@final
class ShownAnswer(NamedTuple):
    """An answer to one image, and whether it was right. answer: "" if the reply named none.

    score: 0 to 1; of a graded one, half counts as right.
    """

    answer: str
    right: bool
    score: float


@final
class ImagePair(NamedTuple):
    """An image without and with the prompt, as data URIs, with the two answers.

    None stands for an answer that failed.
    """

    id: str
    question: str
    truth: str
    before: str
    after: str
    said_before: ShownAnswer | None
    said_after: ShownAnswer | None


@final
class Gallery(NamedTuple):
    """The images that a page shows of one model.

    first: the first test images, whatever was answered. broken, mended: the first whose answer
    became wrong, and right; of graded answers, whose score fell, and rose, by half or more.
    """

    model: str
    first: tuple[ImagePair, ...]
    broken: tuple[ImagePair, ...]
    mended: tuple[ImagePair, ...]


def gallery_of(proof: KeptProof, task: Task, prompt: Prompt, model: str, identity: str) -> Gallery:
    """The gallery of one model. task: that of the proof; identity: the model's, as recorded.

    Examples that the prompt shows on the image are grey: they are training images.
    """
    replies = RecordedReplies(proof.recording, task, identity)
    samples = task.test[:SCANNED]
    read = [(replies.reading(sample), replies.reading(sample, prompt)) for sample in samples]

    def turned(way: int) -> Iterator[ImagePair]:
        for sample, (first, second) in zip(samples, read, strict=True):
            if first and second and (second.correct - first.correct) * way >= HALF:
                yield _pair(prompt, task, sample, first, second)

    return Gallery(
        model,
        tuple(
            _pair(prompt, task, sample, *both)
            for sample, both in zip(samples[:EACH], read, strict=False)
        ),
        tuple(islice(turned(-1), EACH)),
        tuple(islice(turned(1), EACH)),
    )


def _pair(
    prompt: Prompt, task: Task, sample: Sample, before: Reading | None, after: Reading | None
) -> ImagePair:
    pixels = sample.pixels()
    return ImagePair(
        sample.id,
        task.ask(sample),
        sample.answer,
        image_uri(pixels),
        image_uri(prompt.without_data().render(pixels)),
        _said(before),
        _said(after),
    )


def _said(reading: Reading | None) -> ShownAnswer | None:
    if reading is None:
        return None
    return ShownAnswer(reading.answer or "", bool(reading.correct >= HALF), reading.correct)
