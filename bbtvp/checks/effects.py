"""What else does the prompt do to a model? Other tasks, images of no task, nothing at all; which
answers it broke.

The prompt is put on images that it was not searched for, and the same model is asked with and
without it:

- its own task and `others`: accuracy, errors of counts, the share of "yes", how often each label is given;
- `foreign` images: those of the other tasks, asked the prompt's own question; and blank ones (black, grey, white,
  noise). There is no right answer: what counts is whether the labels given shift;
- stability: a second answer to each image, from a model that does not always answer the same.

>>> found = effects(prompt, "zoo/shapes-dark", "zoo/llava", ["zoo/counting", "zoo/hallucination"], limit=100)
>>> print(found.tasks[1].change, len(found.broken))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.core.files import atomic_write_json
from bbtvp.core.rng import stream
from bbtvp.models import MeteredModel, Model
from bbtvp.prompt import Prompt
from bbtvp.search import choose_reader
from bbtvp.search.loop import Watch, silent
from bbtvp.stats import holm, paired_gain
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.metrics import mean_absolute_error, number
from bbtvp.tasks.registry import load_task
from bbtvp.verify.asking import BATCH, Arm, Desk, ask, check_folder, held_out

SCHEMA = "bbtvp.effects/1"
BLANKS: Mapping[str, int | None] = {"black": 0, "grey": 128, "white": 255, "noise": None}
"""Level of each blank image; None: every pixel drawn evenly from 0 to 255."""
NOISES = 16
"""Images of noise."""
NO_LABEL = "(no label)"
"""Stands among the labels for replies that named none."""
_SHUFFLES = 10_000


@final
@dataclass(frozen=True)
class Shift:
    """How the labels that are given moved, over `n` images answered with and without the prompt.

    before, after: share of each label given. distance: total variation, half the sum of |after −
    before|, 0 to 1. label: the one that moved most. p: permutation test of 'the prompt moves no
    label', in which an image's two answers are exchanged at random (10,000 draws); None where fewer
    than two images count.
    """

    n: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    distance: float
    label: str
    change: float
    p: float | None


@final
@dataclass(frozen=True)
class Effect:
    """The prompt on one task; `role` is "own" for the task it was searched for, else "other".

    Shares are of the `n` images answered with and without it. holm_p: McNemar's exact p, adjusted
    over all tasks. yes_*: share of "yes", None unless the labels are yes and no. error_*: mean
    absolute error, None unless the answers are numbers. unparsed: answered, without naming one
    label. refused: among the failed, in this process.
    """

    task: str
    role: str
    n: int
    before: float
    after: float
    change: float
    change_ci95: tuple[float, float]
    mcnemar_p: float
    holm_p: float
    shift: Shift | None
    yes_before: float | None
    yes_after: float | None
    yes_change_ci95: tuple[float, float] | None
    error_before: float | None
    error_after: float | None
    unparsed_before: int
    unparsed_after: int
    refused_before: int
    refused_after: int
    failed: int


@final
@dataclass(frozen=True)
class Stray:
    """The prompt's own question on images of another kind: of another task, or blank ("blank
    black"). No truth.
    """

    images: str
    shift: Shift | None
    unparsed_before: int
    unparsed_after: int
    refused_before: int
    refused_after: int
    failed: int


@final
@dataclass(frozen=True)
class Stability:
    """Share of the `n` images of the own task to which a second answer was the same as the first.

    exact: the model always answers the same, so nothing was asked and there are no figures.
    """

    exact: bool
    n: int = 0
    before: float | None = None
    after: float | None = None
    change_ci95: tuple[float, float] | None = None


@final
@dataclass(frozen=True)
class Turned:
    """An image whose answer turned: right before and wrong after (broken), or the reverse (mended)."""

    task: str
    id: str
    question: str
    truth: str
    before: str | None
    after: str | None


@final
@dataclass(frozen=True)
class Effects:
    """All of it, for one model. `queries`, `failed`, `refused` (of the failed) and `usd`: all runs
    of the journal.
    """

    task: str
    prompt: str
    model: str
    tasks: tuple[Effect, ...]
    strays: tuple[Stray, ...]
    stability: Stability
    broken: tuple[Turned, ...]
    mended: tuple[Turned, ...]
    unanswered: tuple[str, ...]
    queries: int
    failed: int
    refused: int
    usd: float

    def as_json(self) -> dict[str, Any]:
        """The `bbtvp.effects/1` document."""
        return {"schema": SCHEMA, **asdict(self)}


def planned(task: Task, others: Sequence[Task], limit: int | None, *, deterministic: bool) -> int:
    """The most image queries that `effects` sends, without retries."""
    own = len(held_out(task, limit))
    tasks = own + sum(len(held_out(other, limit)) for other in others)
    foreign = sum(len(held_out(other, limit)) for other in others)
    blank = sum(len(images) for images, _ in _blanks(held_out(task, limit), task, 0).values())
    return 2 * (tasks + foreign + blank + (0 if deterministic else own))


def effects(
    prompt: Prompt,
    task: Task | str,
    model: Model | str,
    others: Sequence[Task | str] = (),
    *,
    limit: int | None = 100,
    reader: str = "auto",
    normalise: str = "mean",
    usd: float | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    watch: Watch = silent,
) -> Effects:
    """Ask `model` with and without the prompt where it was not searched; `task` is the one where it
    was.

    limit: so many test images of each task, the first ones, None for all. out: a run folder whose
    `effects/` part makes the call resumable. The event "straying" tells the most image queries
    before the first. ModelError if the model answers nothing of the own task, BudgetReached at the
    cap of `usd` dollars.
    """
    own, *rest = (
        load_task(given) if isinstance(given, str) else given for given in (task, *others)
    )
    samples = held_out(own, limit)
    config = {
        "check": "effects",
        "task": own.digest,
        "prompt": prompt.digest,
        "reader": reader,
        "normalise": normalise,
    }
    folder = check_folder(out, "effects", prompt, own)
    found: list[Effect] = []
    turned: list[tuple[bool, Turned]] = []
    unanswered = []
    with Desk(config, folder, usd=usd, watch=watch) as desk:
        metered = desk.metered(model, "effects")
        asking = _Asking(prompt, metered, reader, normalise, seed)
        deterministic = metered.capabilities.deterministic
        most = planned(own, rest, limit, deterministic=deterministic)
        watch("straying", {"queries": most, "tasks": 1 + len(rest), "resumed": desk.before})
        for other in (own, *rest):
            role = "own" if other is own else "other"
            effect, changed = _effect(asking, other, held_out(other, limit), role)
            turned += changed
            if effect is None:
                unanswered.append(other.name)
            else:
                found.append(effect)
                watch("strayed", asdict(effect))
        if own.name in unanswered:
            raise ModelError(
                f"{metered.spec} answered no test image of {own.name} with and without the prompt"
            )
        strays = tuple(
            _stray(asking, own, *kind) for kind in _kinds(own, samples, rest, limit, seed)
        )
        stability = Stability(exact=True) if deterministic else _stability(asking, own, samples)
        spent = desk.spent
    adjusted = holm([effect.mcnemar_p for effect in found]).tolist()
    tasks = tuple(replace(effect, holm_p=p) for effect, p in zip(found, adjusted, strict=True))
    broken, mended = (tuple(one for good, one in turned if good is kind) for kind in (False, True))
    result = Effects(
        own.name,
        prompt.digest,
        metered.spec,
        tasks,
        strays,
        stability,
        broken,
        mended,
        tuple(unanswered),
        *spent,
    )
    if folder is not None:
        atomic_write_json(folder / "effects.json", result.as_json())
    return result


class _Asking(NamedTuple):
    prompt: Prompt
    metered: MeteredModel
    reader: str
    normalise: str
    seed: int

    def arms(
        self,
        task: Task,
        samples: Sequence[Sample],
        images: Sequence[Pixels] | None = None,
        *,
        replicate: int = 0,
    ) -> tuple[Arm, Arm]:
        """Without and with the prompt: about the samples' own images, or about others in their
        place.
        """
        reader = choose_reader(self.reader, self.metered, task, normalise=self.normalise)
        parts: list[tuple[Arm, Arm]] = []
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            bare = (
                images[start : start + BATCH]
                if images is not None
                else [sample.pixels() for sample in batch]
            )
            sent = [self.prompt.render(pixels) for pixels in bare]
            parts.append(
                (
                    ask(reader, self.metered, task, batch, bare, replicate=replicate),
                    ask(reader, self.metered, task, batch, sent, self.prompt, replicate=replicate),
                )
            )
        before, after = (
            Arm([r for part in arms for r in part.readings], sum(part.refused for part in arms))
            for arms in zip(*parts, strict=True)
        )
        return before, after


def _effect(
    asking: _Asking, task: Task, samples: Sequence[Sample], role: str
) -> tuple[Effect | None, list[tuple[bool, Turned]]]:
    before, after = asking.arms(task, samples)
    both = np.isfinite(before.correct + after.correct)
    if not both.any():
        return None, []
    gain = paired_gain(before.correct, after.correct, seed=asking.seed)
    kept = [i for i, there in enumerate(both) if there]
    given = [[arm.answers[i] for i in kept] for arm in (before, after)]
    truths = [samples[i].answer for i in kept]
    labelled = task.labels is not None
    yes = _yes(task, given, asking.seed)
    errors = _errors(task, given, truths)
    turned = [
        (
            bool(after.correct[i] > before.correct[i]),
            Turned(
                task.name,
                samples[i].id,
                task.ask(samples[i]),
                samples[i].answer,
                before.answers[i],
                after.answers[i],
            ),
        )
        for i in kept
        if before.correct[i] != after.correct[i]
    ]
    effect = Effect(
        task.name,
        role,
        gain.n,
        gain.before,
        gain.after,
        gain.gain,
        gain.ci,
        gain.mcnemar_p,
        gain.mcnemar_p,
        label_shift(*given, seed=asking.seed) if labelled else None,
        *yes,
        *errors,
        before.unparsed,
        after.unparsed,
        before.refused,
        after.refused,
        before.failed + after.failed,
    )
    return effect, turned


def label_shift(
    before: Sequence[str | None], after: Sequence[str | None], *, seed: int = 0
) -> Shift | None:
    """The shift between two answers to each image, aligned; None stands for a reply that named no
    label.

    None without images.
    """
    if not before:
        return None
    first, second = ([label or NO_LABEL for label in given] for given in (before, after))
    labels = sorted({*first, *second})
    n = len(first)
    rows = np.zeros((n, len(labels)))
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        rows[i, labels.index(other)] += 1
        rows[i, labels.index(one)] -= 1
    moved = rows.sum(axis=0) / n
    distance = float(np.abs(moved).sum() / 2)
    most = int(np.abs(moved).argmax())
    return Shift(
        n,
        _shares(first),
        _shares(second),
        distance,
        labels[most],
        float(moved[most]),
        _permuted(rows[np.any(rows, axis=1)], distance * n, seed) if n > 1 else None,
    )


def _permuted(rows: np.ndarray, distance: float, seed: int) -> float:
    """The share of random exchanges that move the labels as far, the observed one among them."""
    if not len(rows):
        return 1.0
    signs = stream(seed, "verify", "label-shift").choice(
        np.array([-1.0, 1.0]), (_SHUFFLES, len(rows))
    )
    far = np.abs(signs @ rows).sum(axis=1) / 2 >= distance - 1e-9
    return float((1 + far.sum()) / (1 + _SHUFFLES))


def _shares(given: Sequence[str]) -> dict[str, float]:
    return {label: count / len(given) for label, count in sorted(Counter(given).items())}


def _yes(
    task: Task, given: Sequence[Sequence[str | None]], seed: int
) -> tuple[float | None, float | None, tuple[float, float] | None]:
    if task.labels is None or {label.casefold() for label in task.labels} != {"yes", "no"}:
        return None, None, None
    said = [
        [float(answer is not None and answer.casefold() == "yes") for answer in answers]
        for answers in given
    ]
    gain = paired_gain(*said, seed=seed)
    return gain.before, gain.after, gain.ci


def _errors(
    task: Task, given: Sequence[Sequence[str | None]], truths: Sequence[str]
) -> tuple[float | None, float | None]:
    if task.labels is None or any(number(label) is None for label in task.labels):
        return None, None
    found = [
        mean_absolute_error([answer or NO_LABEL for answer in answers], truths) for answers in given
    ]
    before, after = (score.value if score.n else None for score in found)
    return before, after


# -- images of no task -----------------------------------------------------------------------------
def _kinds(
    own: Task, samples: Sequence[Sample], others: Iterable[Task], limit: int | None, seed: int
) -> list[tuple[str, Sequence[Sample], Sequence[Pixels]]]:
    """What the images are, whose question goes with each, and the images."""
    kinds = []
    for other in others:
        images = [sample.pixels() for sample in held_out(other, limit)]
        kinds.append((other.name, [samples[i % len(samples)] for i in range(len(images))], images))
    return [
        *kinds,
        *(
            (f"blank {name}", asked, images)
            for name, (images, asked) in _blanks(samples, own, seed).items()
        ),
    ]


def _blanks(
    samples: Sequence[Sample], own: Task, seed: int
) -> dict[str, tuple[list[Pixels], list[Sample]]]:
    """Blank images of the first sample's size: one for each different question, and `NOISES` of
    noise.
    """
    shape = samples[0].pixels().shape
    different = list({own.ask(sample): sample for sample in reversed(samples)}.values())
    found = {}
    for name, level in BLANKS.items():
        if level is None:
            rng = stream(seed, "verify", "blank-noise")
            images = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(NOISES)]
            found[name] = images, [different[i % len(different)] for i in range(NOISES)]
        else:
            found[name] = [np.full(shape, level, np.uint8)] * len(different), different
    return found


def _stray(
    asking: _Asking, own: Task, images: str, samples: Sequence[Sample], pixels: Sequence[Pixels]
) -> Stray:
    before, after = asking.arms(own, samples, pixels)
    both = np.flatnonzero(np.isfinite(before.correct + after.correct))
    given = [[arm.answers[i] for i in both] for arm in (before, after)]
    shift = label_shift(*given, seed=asking.seed) if own.labels is not None else None
    return Stray(
        images,
        shift,
        before.unparsed,
        after.unparsed,
        before.refused,
        after.refused,
        before.failed + after.failed,
    )


def _stability(asking: _Asking, own: Task, samples: Sequence[Sample]) -> Stability:
    first = asking.arms(own, samples)
    second = asking.arms(own, samples, replicate=1)
    same = []
    for one, other in zip(first, second, strict=True):
        equal = [float(a == b) for a, b in zip(one.answers, other.answers, strict=True)]
        same.append(np.where(np.isfinite(one.correct + other.correct), equal, np.nan))
    if np.isnan(same[0] + same[1]).all():
        return Stability(exact=False)
    gain = paired_gain(*same, seed=asking.seed)
    return Stability(
        exact=False, n=gain.n, before=gain.before, after=gain.after, change_ci95=gain.ci
    )
