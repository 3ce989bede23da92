"""The arms: what a model is shown and asked about one and the same test image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from bbtvp.core.arrays import Pixels
from bbtvp.prompt import Guidance, Prompt
from bbtvp.tasks import Sample, Task

ARMS = ("zero_shot", "empty_frame", "prompted")
GUIDED = ("sentence_only", "image_only")
"""The two halves of a prompt with Guidance: its sentence with the raw image, its image with the
plain question.
"""

AGAIN = "again"
"""Zero-shot asked a second time, of a model that may answer otherwise: what changes then is noise.
"""


@final
class Sent(NamedTuple):
    """The images and questions of an arm, and the number of the draw: replicates are asked anew."""

    images: list[Pixels]
    questions: list[str]
    replicate: int = 0


def arms(prompt: Prompt) -> tuple[str, ...]:
    """Those an image must be answered in to count."""
    return (*ARMS, *GUIDED) if Guidance.kind in prompt.space.slices else ARMS


def sent(prompt: Prompt, task: Task, samples: Sequence[Sample], *, twice: bool) -> dict[str, Sent]:
    """What each arm sends for these samples; twice: zero-shot again too."""
    control = prompt.space.empty_frame(prompt.z)
    raw = [sample.pixels() for sample in samples]
    plain = [task.ask(sample) for sample in samples]
    prompted = [prompt.render(pixels) for pixels in raw]
    found = {
        "zero_shot": Sent(raw, plain),
        "empty_frame": Sent([control.render(pixels) for pixels in raw], plain),
        "prompted": Sent(prompted, [prompt.ask(question) for question in plain]),
    }
    if arms(prompt) != ARMS:
        # the raw image, so that it differs from zero-shot in the sentence alone
        sentence = prompt.space.arms(prompt.z)["sentence_only"]
        found["sentence_only"] = Sent(raw, [sentence.ask(question) for question in plain])
        found["image_only"] = Sent(prompted, plain)
    if twice:
        found[AGAIN] = Sent(raw, plain, replicate=1)
    return found
