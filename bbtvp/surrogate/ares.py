"""An AReS-style student, as a baseline.

It asks the target once for each training image and never again.

Stage 1 is `priming.prime`. Stage 2 here: visual reprogramming of the local student, white box, on
the true answers of the training split; inference is local, the endpoint is abandoned. After arXiv
2604.01474: a frame through a sigmoid around the shrunken image, Adam with lr .01,
200 epochs, the rate cut in steps.

Not known, and chosen here: the cuts (a tenth at 50 % and again at 72 % of the epochs, usual in the
code of visual reprogramming), the batch of 64, and the image's share of the canvas (TVP's 164/224).

Differences: a linear head on CLIP features (theirs: on an ImageNet ViT-B/16), whose outputs are the
task's labels already, so that no label mapping (BLM+) is needed; the frame is rounded to 8 bits in
every forward pass, and the gradient passes straight through the rounding; nothing is chosen on test
data (their head and epoch are).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.prompt import Frame, Placement, PromptSpace
from bbtvp.surrogate.features import Surrogate
from bbtvp.surrogate.gradient import Guide
from bbtvp.surrogate.priming import Inputs, Student, prime
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample, Task

INSIDE = 164 / 224
RATE = 0.01
EPOCHS = 200
BATCH = 64
_MILESTONES = (0.5, 0.72)


@final
class AresStudent(NamedTuple):
    """student: the primed head. space and z: the frame that stage 2 trained."""

    student: Student
    space: PromptSpace
    z: Vector

    def predict(self, samples: Sequence[Sample], *, framed: bool = True) -> list[str]:
        """Local answers about samples; no query.

        framed: with the trained frame, or on the images as they are.
        """
        if not framed:
            return self.student.predict([sample.pixels() for sample in samples], samples)
        render = self.space.renderer(self.z)
        return self.student.predict([render(sample.pixels()) for sample in samples], samples)


def ares_student(
    surrogate: Surrogate,
    task: Task,
    samples: Sequence[Sample],
    logprobs: Matrix,
    *,
    canvas: int = 224,
    inputs: Inputs = "mean",
    epochs: int = EPOCHS,
    rate: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
) -> AresStudent:
    """Both stages, on training samples.

    logprobs: (n, k) replies of the target to the unprompted images, as for `prime`.

    canvas: side of the framed image in pixels. Deterministic in the seed.
    """
    pixels = [sample.pixels() for sample in samples]
    student = prime(surrogate, task, pixels, samples, logprobs, inputs=inputs, seed=seed).whole()
    space = PromptSpace((Placement(INSIDE), Frame("pixels", amplitude=1.0)), canvas)
    return AresStudent(
        student,
        space,
        train_frame(student, space, samples, epochs=epochs, rate=rate, batch=batch, seed=seed),
    )


def train_frame(
    head: Head,
    space: PromptSpace,
    samples: Sequence[Sample],
    *,
    epochs: int = EPOCHS,
    rate: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
) -> Vector:
    """(space.dim,) z that Adam finds for the head's cross-entropy of the true answers.

    Epochs are shuffled.

    With a frame of amplitude 1 z is AReS's variable itself, since their pixel is sigmoid(W). rate:
    Adam's, cut to a tenth at 50 % and again at 72 % of the epochs. UsageError for numbers below 1.
    """
    if epochs < 1 or batch < 1 or rate <= 0:
        raise UsageError(f"{epochs} epochs, batches of {batch}, rate {rate}; all must be above 0")
    guide = Guide(head, space, samples, terms=("task",))
    z, mean, square = (np.zeros(space.dim) for _ in range(3))
    steps = 0
    for epoch in range(epochs):
        order = stream(seed, "surrogate", "ares", epoch).permutation(len(samples))
        now = rate * 0.1 ** sum(epoch >= share * epochs for share in _MILESTONES)
        for start in range(0, len(order), batch):
            rows = [samples[i] for i in order[start : start + batch]]
            slope = guide.gradient(z, {"task": 1.0}, rows)
            steps += 1
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope * slope - square)
            z = z - now * (mean / (1 - 0.9**steps)) / (np.sqrt(square / (1 - 0.999**steps)) + 1e-8)
    return z
