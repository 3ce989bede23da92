"""Ask a model about the same images without and with the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.models import Model
from bbtvp.search import Answers, ask
from bbtvp.search.ask import BATCH
from bbtvp.stats import PairedGain, paired_gain
from bbtvp.tasks import Sample, Task
from bbtvp.verify.session import CheckSession


@final
class PairedAnswers(NamedTuple):
    """Answers about the same n images, without and with the prompt."""

    before: Answers
    after: Answers

    @property
    def change(self) -> Vector:
        """(n,) 1 mended, 0 the same, −1 broken; NaN where one of the two queries failed."""
        return self.after.correct - self.before.correct

    @property
    def answered(self) -> NDArray[np.intp]:
        """Places of the images that were answered without and with the prompt."""
        return np.flatnonzero(np.isfinite(self.change))

    @property
    def failed(self) -> int:
        """Queries without an answer."""
        return self.before.failed + self.after.failed

    def labels(self) -> tuple[list[str | None], list[str | None]]:
        """The answers before and after to the images in `answered`; None is a reply of no label."""
        kept = self.answered
        before = self.before.labels
        after = self.after.labels
        return [before[i] for i in kept], [after[i] for i in kept]

    def gain(self, seed: int) -> PairedGain | None:
        """The change of accuracy; None if no image was answered both times."""
        if not len(self.answered):
            return None
        return paired_gain(self.before.correct, self.after.correct, seed=seed)


def ask_both(
    session: CheckSession,
    model: Model,
    task: Task,
    samples: Sequence[Sample],
    pairs: Iterable[tuple[Pixels, Pixels]],
    *,
    replicate: int = 0,
) -> PairedAnswers:
    """Ask what the samples ask about the images in `pairs`, without and with the prompt.

    pairs: for each sample the image that is sent without the prompt, and the one that is sent with
    it. They may be made on demand: `BATCH` are kept in memory at a time. replicate: the number of
    the draw, as in `Request`. Raises as `ask` does.
    """
    reader = session.reader(model, task)
    images = iter(pairs)
    before: list[Answers] = []
    after: list[Answers] = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        sent = list(islice(images, len(batch)))
        bare = [pair[0] for pair in sent]
        prompted = [pair[1] for pair in sent]
        before.append(ask(model, reader, task, batch, images=bare, replicate=replicate))
        after.append(
            ask(model, reader, task, batch, session.prompt, images=prompted, replicate=replicate)
        )
    return PairedAnswers(Answers.joined(before), Answers.joined(after))


def prompted_pairs(
    session: CheckSession, images: Iterable[Pixels]
) -> Iterable[tuple[Pixels, Pixels]]:
    """Each image as it is, and with the prompt on it."""
    return ((pixels, session.prompt.render(pixels)) for pixels in images)
