"""The arms of a proof: the ways in which a model is asked about one test image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from bbtvp.core.arrays import Pixels
from bbtvp.prompt import Prompt
from bbtvp.search.ask import Beside
from bbtvp.tasks import Sample, Task

ARMS = ("zero_shot", "empty_frame", "prompted")
GUIDED = ("sentence_only", "image_only")
"""The two halves of a prompt with words: see `Layer.speaks`.

Its words go with the raw image, and its image with the plain question.
"""

AGAIN = "again"
"""Zero-shot for a second time, which measures how much a model's answers change by chance."""


@final
class ArmQueries(NamedTuple):
    """The images and questions of an arm, and the number of its draw (see `Request.replicate`).

    beside: what goes with each of them.
    """

    images: list[Pixels]
    questions: list[str]
    replicate: int = 0
    beside: Beside = Beside()


def arms_of(prompt: Prompt) -> tuple[str, ...]:
    """The arms in which an image must be answered to count.

    Words alone, with the image as it is, have no halves: they are the prompt.
    """
    speaks = any(layer.speaks for layer in prompt.space.layers)
    return (*ARMS, *GUIDED) if speaks and not prompt.keeps_image else ARMS


def distinct_arms(prompt: Prompt) -> tuple[str, ...]:
    """The arms that send something of their own; the others are answered by what these sent."""
    if prompt.is_identity:
        return ("zero_shot",)
    alone = prompt.keeps_image and not prompt.context()
    return ("zero_shot", "prompted") if alone else arms_of(prompt)


def arm_queries(
    prompt: Prompt, task: Task, samples: Sequence[Sample], *, twice: bool
) -> dict[str, ArmQueries]:
    """What is sent about these samples in each arm; twice: zero-shot for a second time too."""
    control = prompt.space.empty_frame(prompt.z)
    raw = [sample.pixels() for sample in samples]
    plain = [task.ask(sample) for sample in samples]
    prompted = [prompt.render(pixels) for pixels in raw]
    found = {
        "zero_shot": ArmQueries(raw, plain),
        "empty_frame": ArmQueries([control.render(pixels) for pixels in raw], plain),
        "prompted": ArmQueries(
            prompted, [prompt.ask(question) for question in plain], beside=Beside.of(prompt)
        ),
    }
    if arms_of(prompt) != ARMS:
        # The raw image, so that this arm differs from zero-shot in the sentence alone.
        halves = prompt.space.arms(prompt.z)
        sentence = halves["sentence_only"]
        found["sentence_only"] = ArmQueries(
            raw, [sentence.ask(question) for question in plain], beside=Beside.of(sentence)
        )
        found["image_only"] = ArmQueries(prompted, plain, beside=Beside.of(halves["image_only"]))
    if twice:
        found[AGAIN] = ArmQueries(raw, plain, replicate=1)
    return found
