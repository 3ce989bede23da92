"""Warm start: the z that the surrogate itself likes best, at no query."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import derived_seed, stream
from bbtvp.optim import CmaEs, Start
from bbtvp.prompt import PromptSpace
from bbtvp.surrogate.features import Surrogate
from bbtvp.surrogate.gradient import Augment, Guide, through
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample

CMA_LIMIT = 200
"""Up to so many variables CMA-ES searches; above, gradient steps."""
WEIGHTS: Mapping[str, float] = MappingProxyType({"task": 1.0, "fca": 0.5})
BARE: Mapping[str, float] = MappingProxyType({"tse": 10.0, "fca": 0.5})
"""For a bare surrogate, which knows no task loss: a cosine is about a tenth of a nat's size."""


PRIOR = 0.05
"""Nats per mean square of z."""


@final
class Warm(NamedTuple):
    """Where a warm start ended.

    z: (space.dim,). before, after: the loss that was minimised, over all samples, without a
    channel.
    """

    z: Vector
    before: float
    after: float


def warm_start(
    head: Head | Surrogate,
    space: PromptSpace,
    samples: Sequence[Sample],
    seed: int,
    *,
    weights: Mapping[str, float] | None = None,
    kinds: Collection[str] | None = None,
    base: Vector | None = None,
    prior: float = PRIOR,
    steps: int = 40,
    images: int = 32,
    sigma: float = 0.5,
    rate: float = 0.1,
    augment: Augment | None = None,
) -> Warm:
    """Minimise the surrogate's weighted loss over z.

    By CMA-ES for up to 200 variables, by normalised gradient steps above.

    weights: of "task", "tse", "fca", each ≥ 0; by default task 1, FCA 0.5 nats per unit (a bare
    surrogate: TSE 10). kinds: the layers that may move, all by default; base: where the rest stays
    and the search begins (z = 0). prior: weight of the mean of z² over the moving variables, z
    being about N(0, 1): without it the surrogate is followed to points where its scores mean
    nothing. steps: generations or gradient steps, each on `images` samples, the same for a
    whole generation. sigma: CMA-ES's first deviation. rate: of TVP's update z ← z − lr · g / ‖g‖₂
    (arXiv 2404.11207), per variable: lr = rate · √d, falling by a cosine. augment: a channel that
    the rendered pixels go through before the surrogate sees them. If the result is no better for
    the surrogate than `base`, it is `base`. Deterministic in the seed; no query.

    It says nothing about the queried model: keep it only if a paired check on that model agrees.
    UsageError for weights or counts that make no sense, and for layers without variables.
    """
    chosen = dict(weights if weights is not None else (WEIGHTS if isinstance(head, Head) else BARE))
    if not chosen or min(*chosen.values(), prior) < 0:
        raise UsageError(
            f"weights {chosen} and prior {prior}; give at least one term, and none below 0"
        )
    if steps < 1 or images < 1 or not sigma > 0 or not rate > 0:
        raise UsageError(
            f"{steps} steps on {images} images, sigma {sigma}, rate {rate}; all must be above 0"
        )
    guide = Guide(head, space, samples, terms=tuple(chosen), kinds=kinds)
    layers = tuple(space.slices) if kinds is None else tuple(kinds)
    if guide.dim == 0:
        raise UsageError(f"no variables to warm: the layers {', '.join(layers)} have none")
    start = space.neutral() if base is None else base
    run = _WarmSearch(guide, chosen, layers, start, prior, images, augment, seed)
    first = active_part(space, layers, start)
    active = (
        _by_cma(run, first, steps, sigma)
        if guide.dim <= CMA_LIMIT
        else _by_gradient(run, first, steps, rate)
    )
    before = run.loss(first)
    after = run.loss(active)
    return (
        Warm(run.whole(active), before, after)
        if after < before
        else Warm(run.whole(first), before, before)
    )


def active_part(space: PromptSpace, kinds: Collection[str], z: Vector) -> Vector:
    """The variables of these layers in z, in the order of `space.embed`: its inverse."""
    return np.concatenate(
        [np.zeros(0), *(z[where] for kind, where in space.slices.items() if kind in kinds)]
    )


@final
@dataclass(frozen=True)
class _WarmSearch:
    """What one warm start does not change."""

    guide: Guide
    weights: Mapping[str, float]
    kinds: Collection[str]
    base: Vector
    prior: float
    images: int
    augment: Augment | None
    seed: int

    def whole(self, active: Vector) -> Vector:
        return self.guide.space.embed(active, self.kinds, self.base)

    def batch(self, step: int) -> list[Sample]:
        """The samples of one step: drawn without replacement, anew for each step."""
        drawn = stream(self.seed, "surrogate", "batch", step).permutation(len(self.guide.samples))
        return [self.guide.samples[i] for i in drawn[: self.images].tolist()]

    def losses(self, asked: Matrix, samples: Sequence[Sample], channel_seed: int) -> Vector:
        """One loss per row of `asked`; the channel draws the same for every row."""
        rendered: list[Pixels] = []
        for row in asked:
            rendered += through(
                self.guide.rendered(self.whole(row), samples), self.augment, channel_seed
            )
        terms = self.guide.values_of(rendered, [*samples] * len(asked))
        mixed = np.array([self.weights[term] for term in self.guide.terms]) @ terms
        return np.asarray(
            mixed.reshape(len(asked), -1).mean(axis=1) + self.prior * (asked**2).mean(axis=1)
        )

    def loss(self, active: Vector) -> float:
        mix = np.array([self.weights[term] for term in self.guide.terms])
        own = float((mix @ self.guide.values(self.whole(active))).mean())
        return own + self.prior * float((active**2).mean())


def _by_cma(run: _WarmSearch, first: Vector, steps: int, sigma: float) -> Vector:
    search = CmaEs(
        Start(len(first), derived_seed(run.seed, "surrogate", "warm"), sigma=sigma, x0=first)
    )
    for step in range(steps):
        asked = search.ask()
        search.tell(
            asked, run.losses(asked, run.batch(step), derived_seed(run.seed, "channel", step))
        )
    return search.recommend()


def _by_gradient(run: _WarmSearch, first: Vector, steps: int, rate: float) -> Vector:
    active = first
    for step in range(steps):
        channel_seed = derived_seed(run.seed, "channel", step)
        slope = run.guide.gradient(
            run.whole(active), run.weights, run.batch(step), channel=(run.augment, channel_seed)
        )
        slope = slope + 2 * run.prior * active / len(active)
        fade = 0.5 * (1 + np.cos(np.pi * step / steps))
        active = active - rate * np.sqrt(len(active)) * fade * slope / (
            np.linalg.norm(slope) + 1e-12
        )
    return active
