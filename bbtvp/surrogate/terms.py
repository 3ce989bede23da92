"""The surrogate's three terms, per image and differentiable in the features.

All are losses: lower is better.

    task  cross-entropy of the true answer over the labels, by a head on the features
    tse   −cos( image embedding, text embedding )        (TVP's L_TSE over CLIP's logit scale)
    fca   mean over image tokens of || f(prompted) − f(unprompted) ||₂,
          over the mean norm of the unprompted tokens

So a weighted sum with weights ≥ 0 is J of `bbtvp.search`, with the head in the place of the model
that is queried.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.surrogate.features import TEMPLATE, Features, Surrogate, wording
from bbtvp.tasks import Sample, Task

if TYPE_CHECKING:
    import torch

TERMS = ("task", "tse", "fca")
MAX_LABELS = 400
"""A zero-shot head embeds every label: beyond a few hundred they are no classes but free text."""


def semantics(surrogate: Surrogate, features: Features, samples: Sequence[Sample]) -> torch.Tensor:
    """(n,) −TSE: the negative cosine to each sample's own text (`features.wording`)."""
    return -(features.pooled * surrogate.embedded([wording(sample) for sample in samples])).sum(-1)


class Head(ABC):
    """Answers a task's question from CLIP features, locally: no image query."""

    surrogate: Surrogate

    @abstractmethod
    def labels(self, sample: Sample) -> tuple[str, ...]:
        """The answers that this sample's logits stand for."""

    @abstractmethod
    def logits(self, features: Features, samples: Sequence[Sample]) -> torch.Tensor:
        """(n, k) logits; −inf where a sample has fewer than k labels.

        Differentiable in the features.
        """

    @final
    def losses(self, features: Features, samples: Sequence[Sample]) -> torch.Tensor:
        """(n,) cross-entropy of the true answers in nats.

        UsageError for an answer that is no label.
        """
        import torch

        true = []
        for sample in samples:
            labels = self.labels(sample)
            if sample.answer not in labels:
                raise UsageError(
                    f"sample {sample.id!r}: the answer {sample.answer!r} is none of the "
                    "surrogate's labels"
                )
            true.append(labels.index(sample.answer))
        logits = self.logits(features, samples)
        return torch.nn.functional.cross_entropy(
            logits, torch.tensor(true, device=logits.device), reduction="none"
        )

    @final
    def loss(self, images: Sequence[Pixels], samples: Sequence[Sample]) -> NDArray[np.float64]:
        """(n,) cross-entropy in nats of rendered images; no gradients."""
        import torch

        self._check(images, samples)
        with torch.no_grad():
            return np.asarray(self.losses(self.surrogate.features(images), samples).double().cpu())

    @final
    def logprobs(self, images: Sequence[Pixels], samples: Sequence[Sample]) -> NDArray[np.float64]:
        """(n, k) log-probabilities of the labels; −inf where a sample has fewer than k."""
        import torch

        self._check(images, samples)
        with torch.no_grad():
            logits = self.logits(self.surrogate.features(images), samples)
            return np.asarray(logits.double().log_softmax(-1).cpu())

    @final
    def predict(self, images: Sequence[Pixels], samples: Sequence[Sample]) -> list[str]:
        """The likeliest label of each image."""
        best = self.logprobs(images, samples).argmax(axis=1).tolist()
        return [self.labels(sample)[index] for sample, index in zip(samples, best, strict=True)]

    @staticmethod
    def _check(images: Sequence[Pixels], samples: Sequence[Sample]) -> None:
        if len(images) != len(samples):
            raise UsageError(f"{len(images)} images for {len(samples)} samples; give one for each")


def label_text(sample: Sample, label: str) -> str:
    """TVP's template around the label, whatever the sample asks."""
    return TEMPLATE.format(answer=label)


@final
class ZeroShot(Head):
    """CLIP's zero-shot classifier over a task's labels.

    Its logits are logit scale · cos(image, text of the label).

    wording: the text of a label for a sample; TVP's template by default. Labels that are no nouns
    ("yes") mean little to CLIP: give words of your own, or prime a `Student`. UsageError for a task
    with free answers or over 400 labels.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        task: Task,
        *,
        wording: Callable[[Sample, str], str] = label_text,
    ) -> None:
        self.surrogate = surrogate
        self._task = task
        self._wording = wording
        for sample in task.train:
            self.labels(sample)

    def labels(self, sample: Sample) -> tuple[str, ...]:
        labels = self._task.sample_labels(sample)
        if labels is None:
            raise UsageError(
                f"task {self._task.name} has free answers, which CLIP cannot rank; "
                "use TSE and FCA alone"
            )
        if len(labels) > MAX_LABELS:
            raise UsageError(
                f"task {self._task.name} has {len(labels)} labels; CLIP ranks up to {MAX_LABELS}"
            )
        return labels

    def logits(self, features: Features, samples: Sequence[Sample]) -> torch.Tensor:
        import torch

        texts = [
            [self._wording(sample, label) for label in self.labels(sample)] for sample in samples
        ]
        most = max(map(len, texts))
        known = sorted({text for row in texts for text in row})
        place = {text: i for i, text in enumerate(known)}
        cosines = features.pooled @ self.surrogate.embedded(known).T
        rows = torch.tensor(
            [[place[text] for text in row] + [0] * (most - len(row)) for row in texts]
        )
        missing = torch.tensor([[False] * len(row) + [True] * (most - len(row)) for row in texts])
        logits = self.surrogate.logit_scale * cosines.gather(1, rows.to(cosines.device))
        return logits.masked_fill(missing.to(cosines.device), -torch.inf)
