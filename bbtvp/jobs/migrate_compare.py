"""The new model without a prompt beside the old model with one, for `bbtvp.jobs.migrate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Vector
from bbtvp.core.origin import is_among, without_paths
from bbtvp.jobs.migration import ModelsCompared
from bbtvp.models import Model
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import EvidenceEntry
from bbtvp.search import ask
from bbtvp.stats.power import Z
from bbtvp.verify.planning import SequentialDesign, looking_order
from bbtvp.verify.session import CheckSession
from bbtvp.verify.verdict import ChangedAnswers

_TWO_SIDED = 1.959963984540054


@final
class AskedModel(NamedTuple):
    """A model that is asked, and the session that it is asked in."""

    session: CheckSession
    model: Model


@final
class _Looked(NamedTuple):
    """The answers so far, and whether they settle the comparison."""

    before: Vector
    after: Vector
    z: float
    bound: float
    limit: float

    @property
    def known(self) -> NDArray[np.bool_]:
        return np.isfinite(self.before) & np.isfinite(self.after)

    @property
    def shown(self) -> bool:
        return self.z >= self.bound


def ask_both(
    prompt: Prompt, old: AskedModel, new: AskedModel, max_harm: float, seed: int
) -> ModelsCompared:
    """Ask the old model with the prompt and the new one without it about the same test images.

    They are asked in the order of the proofs, whose answers are in the sessions, until the score
    test shows that the new one loses less than `max_harm`, or that it loses more. Raises as
    `bbtvp.search.ask` does.
    """
    looked = _asked(prompt, old, new, max_harm, seed)
    known = looked.known
    changed = ChangedAnswers.of(looked.before[known], looked.after[known])
    if not known.any():
        said = "no image was answered by both models"
        return ModelsCompared(None, None, 0, None, False, True, said)
    means = (float(looked.before[known].mean()), float(looked.after[known].mean()))
    ends = changed.interval(looked.limit)
    names = (without_paths(old.model.spec), without_paths(new.model.spec))
    said = _said(names, means, changed.n, ends, shown=looked.shown, max_harm=max_harm)
    return ModelsCompared(*means, changed.n, ends, looked.shown, True, said)


def _asked(prompt: Prompt, old: AskedModel, new: AskedModel, max_harm: float, seed: int) -> _Looked:
    task = old.session.task
    first = old.session.model(old.model)
    second = new.session.model(new.model)
    readers = (old.session.reader(first), new.session.reader(second))
    design = SequentialDesign.of(len(task.test), 1)
    samples = [task.test[i] for i in looking_order(len(task.test), seed)]
    before: list[Vector] = []
    after: list[Vector] = []
    looked = _Looked(np.empty(0), np.empty(0), 0.0, Z, Z)
    for k, batch in enumerate(design.batches(samples)):
        before.append(ask(first, readers[0], task, batch, prompt).correct)
        after.append(ask(second, readers[1], task, batch).correct)
        pair = (np.concatenate(before), np.concatenate(after))
        looked = _Looked(*pair, 0.0, float(design.z[k]), float(design.limit_z[k]))
        known = looked.known
        z = ChangedAnswers.of(pair[0][known], pair[1][known]).at(-max_harm)
        looked = looked._replace(z=z)
        if abs(z) >= looked.bound:
            break
    return looked


def beside_the_bundle(
    known: EvidenceEntry | None, new: AskedModel, max_harm: float, why: str
) -> ModelsCompared:
    """The new model without the prompt beside what the bundle says of the old one with it.

    known: that; None where it says nothing. why: the old model cannot be asked, in words. The two
    figures rest on different images, so their variances add up.
    """
    task = new.session.task
    if known is None or known.prompted is None or not known.images:
        said = f"{why}, and the bundle holds no proof of it on {task.name}"
        return ModelsCompared(None, None, 0, None, False, False, said)
    model = new.session.model(new.model)
    scores = ask(model, new.session.reader(model), task, task.test).correct
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return ModelsCompared(None, None, 0, None, False, False, f"{why}; no image was answered")
    means = (float(known.prompted), float(scores.mean()))
    images = (int(known.images), len(scores))
    spread = math.sqrt(math.fsum(map(_variance, means, images)))
    change = means[1] - means[0]
    ends = (change - _TWO_SIDED * spread, change + _TWO_SIDED * spread)
    shown = change + max_harm >= Z * spread
    names = (without_paths(known.model), without_paths(new.model.spec))
    said = _said(names, means, len(scores), ends, shown=shown, max_harm=max_harm)
    return ModelsCompared(
        *means, len(scores), ends, shown, False, f"{why}; beside the bundle's proof of it: {said}"
    )


def evidence_of(entries: Sequence[EvidenceEntry], spec: str, task: str) -> EvidenceEntry | None:
    """The latest proof of a model on this task, or on one that is not named."""
    fitting = [one for one in entries if is_among(spec, [one.model]) and one.task in (None, task)]
    return max(fitting, key=lambda one: one.date or "", default=None)


def _variance(share: float, images: int) -> float:
    """Of a mean of scores between 0 and 1, at most; half an image is added on both sides."""
    held = (share * images + 0.5) / (images + 1)
    return held * (1 - held) / images


def _said(
    names: tuple[str, str],
    means: tuple[float, float],
    images: int,
    ends: tuple[float, float],
    *,
    shown: bool,
    max_harm: float,
) -> str:
    first, second = (100 * mean for mean in means)
    low, high = (100 * end for end in ends)
    judged = "is shown" if shown else "is not shown"
    return (
        f"{names[1]} without a prompt, {second:.1f} % right, {judged} to lose less than "
        f"{100 * max_harm:g} points against {names[0]} with the prompt, {first:.1f} %: "
        f"{second - first:+.1f} points [{low:+.1f}, {high:+.1f}] on {images} images"
    )
