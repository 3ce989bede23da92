"""Gradients of the surrogate's terms with respect to z, at no query.

One forward pass through CLIP, one backward pass for each term down to the rendered pixels, then
`pullback` from the pixels to z. `Guide` keeps what does not change between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.rng import stream
from bbtvp.prompt import Prepared, PreparedImages, PromptSpace
from bbtvp.prompt.layer import Levels
from bbtvp.surrogate.features import Features, Surrogate, token_distance, token_norm
from bbtvp.surrogate.pullback import STEP, pullback
from bbtvp.surrogate.terms import TERMS, Head, semantics
from bbtvp.tasks import Sample

if TYPE_CHECKING:
    import torch

Augment: TypeAlias = Callable[[Pixels, np.random.Generator], Pixels]
"""A channel between the prompt and the model: (H, W, 3) uint8 to pixels of the same shape, with
private randomness.
"""


@final
class Guide:
    """Gradients with respect to z of task loss, −TSE and FCA over a set of samples.

    `guide(z)` is a (k, d) matrix.

    head: a `ZeroShot` or `Student`, or a bare Surrogate, which knows no task loss. terms: the rows,
    in their order; all that the head has by default. Every row is the gradient of a loss: a step
    along −row improves its term. normalise: unit rows (a zero row stays zero), else gradients of
    the mean over the samples. kinds: the layers whose variables count (d is then
    `space.dim_of(kinds)`, in the order of `space.embed`); all by default. step: see `pullback`.
    Deterministic; costs no query. FCA compares with the image as z = 0 renders it, as the objective
    does.

    UsageError for a term or layer that is not there, and without samples.
    """

    def __init__(
        self,
        head: Head | Surrogate,
        space: PromptSpace,
        samples: Sequence[Sample],
        *,
        terms: Sequence[str] | None = None,
        normalise: bool = True,
        kinds: Collection[str] | None = None,
        step: float = STEP,
    ) -> None:
        self.surrogate = head.surrogate if isinstance(head, Head) else head
        self.head = head if isinstance(head, Head) else None
        known = TERMS if self.head else TERMS[1:]
        self.terms = tuple(known if terms is None else terms)
        for term in self.terms:
            if term not in known:
                raise unknown("surrogate term", term, known)
        if not samples:
            raise UsageError("a guide needs samples; give some of the training split")
        self.space = space
        self.samples = tuple(samples)
        self.normalise = normalise
        self.step = step
        self.kinds = None if kinds is None else tuple(kinds)
        self.dim = space.dim if self.kinds is None else space.dim_of(self.kinds)
        self._prepared = PreparedImages(space.prepare)
        self._clean: dict[str, torch.Tensor] = {}

    def __call__(self, z: Vector, samples: Sequence[Sample] | None = None) -> Matrix:
        """(k, d): a row for each term, at the whole search vector z (space.dim,).

        samples: those of the guide by default.
        """
        chosen = self._chosen(samples)
        rows = self._pulled(z, self.rendered(z, chosen), chosen, np.eye(len(self.terms)))
        return unit_rows(rows) if self.normalise else rows

    def over(self, base: Vector) -> Callable[[Vector], Matrix]:
        """The same over the variables of `kinds` alone, (dim,): an optimiser's guide.

        The other variables stay at `base`.
        """
        kinds = tuple(self.space.slices) if self.kinds is None else self.kinds
        return lambda active: self(self.space.embed(active, kinds, base))

    def gradient(
        self,
        z: Vector,
        weights: Mapping[str, float],
        samples: Sequence[Sample] | None = None,
        *,
        channel: tuple[Augment | None, int] = (None, 0),
    ) -> Vector:
        """(d,) gradient of the mean of the weighted sum of the terms.

        It takes one backward pass through the surrogate, and is never scaled to length 1.

        channel: what the rendered pixels go through first, and its seed; its own derivative is
        taken to be 1.
        """
        chosen = self._chosen(samples)
        images = through(self.rendered(z, chosen), *channel)
        return np.asarray(self._pulled(z, images, chosen, self._weights(weights)[None])[0])

    def per_sample(self, z: Vector, term: str, samples: Sequence[Sample] | None = None) -> Matrix:
        """(n, d): the gradient of each sample's own `term`, not scaled.

        It takes one backward pass for all samples.
        """
        chosen = self._chosen(samples)
        mix = self._weights({term: 1.0})[None]
        return np.asarray(self._pulled(z, self.rendered(z, chosen), chosen, mix, per_image=True)[0])

    def values(self, z: Vector, samples: Sequence[Sample] | None = None) -> Matrix:
        """(k, n): the terms of each sample, no gradients."""
        chosen = self._chosen(samples)
        return self.values_of(self.rendered(z, chosen), chosen)

    def values_of(self, images: Sequence[Pixels], samples: Sequence[Sample]) -> Matrix:
        """(k, n): the terms of images that are rendered already.

        They may have gone through a channel.
        """
        if len(images) != len(samples):
            raise UsageError(f"{len(images)} images for {len(samples)} samples; give one for each")
        import torch

        with torch.no_grad():
            found = self._terms(self.surrogate.features(images), samples, self._unit(samples))
            return np.asarray(found.double().cpu())

    def _weights(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        for term in weights:
            if term not in self.terms:
                raise unknown("surrogate term", term, self.terms)
        return np.array([weights.get(term, 0.0) for term in self.terms])

    def _chosen(self, samples: Sequence[Sample] | None) -> Sequence[Sample]:
        chosen = self.samples if samples is None else samples
        if not chosen:
            raise UsageError("a gradient over no samples; give at least one")
        return chosen

    def prepared(self, sample: Sample) -> Prepared:
        """The sample's image, decoded and fitted once."""
        return self._prepared.get(sample.id, sample.pixels)

    def rendered(self, z: Vector, samples: Sequence[Sample]) -> list[Pixels]:
        """The samples' images as the whole search vector z renders them."""
        render = self.space.renderer(z)
        return [render(self.prepared(sample)) for sample in samples]

    def _pulled(
        self,
        z: Vector,
        images: Sequence[Pixels],
        samples: Sequence[Sample],
        mixes: Matrix,
        *,
        per_image: bool = False,
    ) -> Matrix:
        """(r, d) gradients by z of the means of mixed losses, for mixes (r, k).

        per_image: (r, n, d), those of each image.
        """
        unit = self._unit(samples)
        parts = []
        for part in _batches(images, self.surrogate.batch):
            chosen = [samples[i] for i in part]
            cotangents = self._backward([images[i] for i in part], chosen, mixes, unit)
            rows = pullback(
                self.space,
                z,
                [self.prepared(sample) for sample in chosen],
                cotangents,
                kinds=self.kinds,
                step=self.step,
                per_image=per_image,
            )
            parts.append((part, rows))
        if not per_image:
            return np.asarray(np.sum([rows for _, rows in parts], axis=0) / len(images))
        order = np.argsort([i for part, _ in parts for i in part])
        return np.concatenate([rows for _, rows in parts], axis=1)[:, order]

    def _backward(
        self, images: Sequence[Pixels], samples: Sequence[Sample], mixes: Matrix, unit: float
    ) -> Levels:
        """(r, n, H, W, 3): gradients of each image's mixed losses by its own pixels.

        mixes: (r, k).
        """
        import torch

        levels, features = self.surrogate.watched(images)
        terms = self._terms(features, samples, unit)
        mixed = torch.as_tensor(mixes, dtype=terms.dtype, device=terms.device) @ terms
        # each image sees its own pixels only, so the gradient of the sum holds that of every image
        found = [
            torch.autograd.grad(row.sum(), levels, retain_graph=index + 1 < len(mixed))[0]
            for index, row in enumerate(mixed)
        ]
        return np.asarray(torch.stack(found).cpu())

    def _terms(self, features: Features, samples: Sequence[Sample], unit: float) -> torch.Tensor:
        """(k, n) in the order of `terms`."""
        import torch

        found: list[torch.Tensor] = []
        for term in self.terms:
            if term == "task" and self.head is not None:
                found.append(self.head.losses(features, samples))
            elif term == "tse":
                found.append(semantics(self.surrogate, features, samples))
            else:
                clean = torch.stack([self._clean[sample.id] for sample in samples])
                found.append(token_distance(self.surrogate.compared(features), clean, unit))
        return torch.stack(found)

    def _unit(self, samples: Sequence[Sample]) -> float:
        """FCA's unit over these samples; the unprompted features are looked up, or made now."""
        import torch

        if "fca" not in self.terms:
            return 1.0
        fresh = list(
            {sample.id: sample for sample in samples if sample.id not in self._clean}.values()
        )
        if fresh:
            plain = self.surrogate.features(self.rendered(self.space.neutral(), fresh))
            compared = self.surrogate.compared(plain)
            self._clean |= dict(zip((sample.id for sample in fresh), compared, strict=True))
        return token_norm(torch.stack([self._clean[sample.id] for sample in samples]))


def _batches(images: Sequence[Pixels], size: int) -> Iterator[list[int]]:
    """The places of the images in parts of at most `size`, each of images of one shape."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        alike.setdefault(image.shape, []).append(place)
    for places in alike.values():
        for start in range(0, len(places), size):
            yield places[start : start + size]


def through(images: Sequence[Pixels], augment: Augment | None, seed: int) -> list[Pixels]:
    """The images after the channel; equal seeds give equal images.

    UsageError if the channel changes a shape or the type.
    """
    if augment is None:
        return list(images)
    rng = stream(seed, "surrogate", "augment")
    changed = [augment(image, rng) for image in images]
    for image, other in zip(images, changed, strict=True):
        if other.shape != image.shape or other.dtype != np.uint8:
            raise UsageError(
                f"the channel made {other.dtype} {other.shape} of uint8 {image.shape}; "
                "keep the shape"
            )
    return changed


def unit_rows(rows: Matrix) -> Matrix:
    """Each row over its length; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))


def gradients_at(guide: Guide, zs: Matrix, term: str = "task", *, by: str = "sample") -> Matrix:
    """(m, d) surrogate gradients at the rows of zs (r, space.dim), for a subspace search.

    The rows have length 1, and none is zero.

    by: "sample" (m ≤ r · samples), "answer" (their mean for each true answer), or "all" (m ≤ r).
    """
    if by not in ("sample", "answer", "all"):
        raise unknown("grouping", by, ("sample", "answer", "all"))
    rows: list[Matrix] = []
    for z in zs:
        each = guide.per_sample(z, term)
        if by == "answer":
            answers = np.array([sample.answer for sample in guide.samples])
            each = np.stack(
                [each[answers == answer].mean(axis=0) for answer in sorted(set(answers.tolist()))]
            )
        rows.append(each if by != "all" else each.mean(axis=0, keepdims=True))
    found = unit_rows(np.concatenate(rows)) if rows else np.zeros((0, guide.dim))
    return found[np.any(found != 0, axis=1)]
