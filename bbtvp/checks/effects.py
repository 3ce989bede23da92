"""What else does the prompt do to a model? Its effects on images that it was not searched for.

The same model is asked with and without the prompt:

- about its own task and `others`: accuracy, errors of counts, the share of "yes", and how often
  each label is given;
- the prompt's own question about images of no task: those of the other tasks, and blank ones
  (black, grey, white, noise). There is no right answer; what counts is whether the labels shift;
- for a second answer to each image, if the model does not always answer the same.

The images whose answers the prompt broke or mended are listed.

>>> found = effects(prompt, "zoo/shapes-dark", "zoo/llava", ["zoo/counting"], limit=100)
>>> print(found.tasks[1].paired.gain, len(found.broken))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Unpack, final

import numpy as np

from bbtvp.checks.paired import PairedAnswers, ask_both, prompted_pairs
from bbtvp.checks.result import CheckResult
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.core.rng import stream
from bbtvp.models import AnyModel, Model
from bbtvp.search import Answers
from bbtvp.stats import PairedGain, holm, paired_gain
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.metrics import mean_absolute_error, number
from bbtvp.tasks.registry import as_task
from bbtvp.verify.inputs import AnyPrompt, AnyTask, open_prompt
from bbtvp.verify.session import CheckOptions, CheckSession, held_out

SCHEMA = "bbtvp.effects/1"
BLANKS: Mapping[str, int | None] = {"black": 0, "grey": 128, "white": 255, "noise": None}
"""Level of each blank image; None: every pixel is drawn evenly from 0 to 255."""

NOISES = 16
"""Images of noise."""

NO_LABEL = "(no label)"
"""Stands among the labels for replies that named none."""

_SHUFFLES = 10_000


@final
@dataclass(frozen=True)
class LabelShift:
    """How the labels that are given moved, over `n` images answered with and without the prompt.

    before, after: the share of each label given. distance: total variation, half the sum of |after
    − before|, 0 to 1. label, change: the label that moved most, and by how much. p: permutation
    test of 'the prompt moves no label', in which the two answers to an image are exchanged at
    random (10,000 draws); None where fewer than two images count.
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
class MissingReplies:
    """What gave no answer without and with the prompt.

    unparsed_*: replies that named no single label. refused_*: queries that the model would not
    answer, in this process. failed: queries without an answer, the refused ones among them.
    """

    unparsed_before: int
    unparsed_after: int
    refused_before: int
    refused_after: int
    failed: int

    @classmethod
    def of(cls, answers: PairedAnswers) -> MissingReplies:
        """Those among these answers."""
        before, after = answers
        return cls(before.unparsed, after.unparsed, before.refused, after.refused, answers.failed)


@final
@dataclass(frozen=True)
class TaskEffect:
    """What the prompt does on one task; role: "own" (it was searched for this task) or "other".

    paired: the change of accuracy on the images that were answered with and without the prompt.
    holm_p: McNemar's exact p, adjusted over all tasks. yes: the change of the share of "yes"; None
    unless the labels are yes and no. error_*: mean absolute error; None unless answers are numbers.
    """

    task: str
    role: str
    paired: PairedGain
    holm_p: float
    shift: LabelShift | None
    yes: PairedGain | None
    error_before: float | None
    error_after: float | None
    missing: MissingReplies

    def as_json(self) -> dict[str, Any]:
        """The task of a `bbtvp.effects/1` document."""
        return {
            "task": self.task,
            "role": self.role,
            **self.paired.as_json(gain="change"),
            "holm_p": self.holm_p,
            "shift": self.shift and asdict(self.shift),
            "yes_before": self.yes and self.yes.before,
            "yes_after": self.yes and self.yes.after,
            "yes_change_ci95": self.yes and self.yes.ci,
            "error_before": self.error_before,
            "error_after": self.error_after,
            **asdict(self.missing),
        }


@final
@dataclass(frozen=True)
class OffTaskEffect:
    """The prompt's own question on images of another task, or blank ones ("blank black")."""

    images: str
    shift: LabelShift | None
    missing: MissingReplies

    def as_json(self) -> dict[str, Any]:
        """The stray of a `bbtvp.effects/1` document."""
        shift = self.shift and asdict(self.shift)
        return {"images": self.images, "shift": shift, **asdict(self.missing)}


@final
@dataclass(frozen=True)
class Stability:
    """How often the second answer to an image of the own task equals the first.

    exact: the model always answers the same, so that nothing was asked. same: the share of equal
    answers without and with the prompt; None if it is exact, or nothing was answered twice.
    """

    exact: bool
    same: PairedGain | None = None

    def as_json(self) -> dict[str, Any]:
        """The stability of a `bbtvp.effects/1` document."""
        same = self.same
        return {
            "exact": self.exact,
            "n": same.n if same else 0,
            "before": same and same.before,
            "after": same and same.after,
            "change_ci95": same and same.ci,
        }


@final
@dataclass(frozen=True)
class ChangedAnswer:
    """An image whose answer became wrong (broken) or right (mended)."""

    task: str
    id: str
    question: str
    truth: str
    before: str | None
    after: str | None


@final
@dataclass(frozen=True, kw_only=True)
class Effects(CheckResult):
    """The result of `effects`, for one model.

    unanswered: tasks of which no image was answered with and without the prompt.
    """

    model: str
    tasks: tuple[TaskEffect, ...]
    strays: tuple[OffTaskEffect, ...]
    stability: Stability
    broken: tuple[ChangedAnswer, ...]
    mended: tuple[ChangedAnswer, ...]
    unanswered: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The `bbtvp.effects/1` document."""
        return self.document(
            SCHEMA,
            model=self.model,
            tasks=[effect.as_json() for effect in self.tasks],
            strays=[stray.as_json() for stray in self.strays],
            stability=self.stability.as_json(),
            broken=[asdict(one) for one in self.broken],
            mended=[asdict(one) for one in self.mended],
            unanswered=self.unanswered,
        )


def planned(task: Task, others: Sequence[Task], limit: int | None, *, deterministic: bool) -> int:
    """The most image queries that `effects` sends, without retries."""
    own = len(held_out(task, limit))
    foreign = sum(len(held_out(other, limit)) for other in others)
    blank = sum(len(kind.images) for kind in _blanks(held_out(task, limit), task, 0))
    tasks = own + foreign
    second = 0 if deterministic else own
    return 2 * (tasks + foreign + blank + second)


def effects(
    prompt: AnyPrompt,
    task: AnyTask,
    model: AnyModel,
    others: Sequence[AnyTask] = (),
    *,
    limit: int | None = 100,
    **options: Unpack[CheckOptions],
) -> Effects:
    """Ask `model` with and without the prompt where the prompt was not searched.

    task: the one that the prompt was searched for. limit: the first so many test images of each
    task, None for all. options: see `CheckOptions`. The event "straying" tells the most image
    queries before the first.

    Raises ModelError if the model answers nothing of the own task, and BudgetReached at the cap of
    `usd` dollars.
    """
    opened = open_prompt(prompt)
    prompt = opened.prompt
    own = opened.task(task)
    rest = [as_task(given) for given in others]
    samples = held_out(own, limit)
    found: list[TaskEffect] = []
    changed = _Changed([], [])
    unanswered = []
    with CheckSession("effects", prompt, own, **options) as session:
        asked = session.model(model)
        deterministic = asked.capabilities.deterministic
        most = planned(own, rest, limit, deterministic=deterministic)
        session.announce(most)
        for other in (own, *rest):
            tried = held_out(other, limit)
            answers = _ask(session, asked, other, tried)
            effect = _effect(answers, other, tried, session)
            changed.add(answers, other, tried)
            if effect is None:
                unanswered.append(other.name)
            else:
                found.append(effect)
                session.watch(effect)
        if own.name in unanswered:
            raise ModelError(
                f"{asked.spec} answered no test image of {own.name} with and without the prompt"
            )
        strays = tuple(
            _off_task(session, asked, kind)
            for kind in _kinds(own, samples, rest, limit, session.seed)
        )
        exact = Stability(exact=True)
        stability = exact if deterministic else _stability(session, asked, samples)
        cost = session.cost
    result = Effects(
        task=own.name,
        prompt=prompt.digest,
        model=asked.spec,
        tasks=_adjusted(found),
        strays=strays,
        stability=stability,
        broken=tuple(changed.broken),
        mended=tuple(changed.mended),
        unanswered=tuple(unanswered),
        cost=cost,
    )
    session.save(result.as_json())
    return result


def _ask(
    session: CheckSession, model: Model, task: Task, samples: Sequence[Sample], replicate: int = 0
) -> PairedAnswers:
    """The model about the samples' own images, without and with the prompt."""
    pairs = prompted_pairs(session, (sample.pixels() for sample in samples))
    return ask_both(session, model, task, samples, pairs, replicate=replicate)


def _effect(
    answers: PairedAnswers, task: Task, samples: Sequence[Sample], session: CheckSession
) -> TaskEffect | None:
    """None if no image was answered with and without the prompt."""
    paired = answers.gain(session.seed)
    if paired is None:
        return None
    before, after = answers.labels()
    truths = [samples[i].answer for i in answers.answered]
    shift = label_shift(before, after, seed=session.seed) if task.labels is not None else None
    return TaskEffect(
        task.name,
        "own" if task is session.task else "other",
        paired,
        holm_p=paired.p,
        shift=shift,
        yes=_yes(task, before, after, session.seed),
        error_before=_error(task, before, truths),
        error_after=_error(task, after, truths),
        missing=MissingReplies.of(answers),
    )


def _adjusted(found: Sequence[TaskEffect]) -> tuple[TaskEffect, ...]:
    """Holm over all tasks."""
    adjusted = holm([effect.paired.p for effect in found]).tolist()
    return tuple(replace(effect, holm_p=p) for effect, p in zip(found, adjusted, strict=True))


@final
class _Changed(NamedTuple):
    """The images whose answers became wrong, and right."""

    broken: list[ChangedAnswer]
    mended: list[ChangedAnswer]

    def add(self, answers: PairedAnswers, task: Task, samples: Sequence[Sample]) -> None:
        """Those of one task."""
        before = answers.before.labels
        after = answers.after.labels
        change = answers.change
        for i, sample in enumerate(samples):
            if np.isnan(change[i]) or change[i] == 0:
                continue
            kind = self.mended if change[i] > 0 else self.broken
            kind.append(
                ChangedAnswer(
                    task.name, sample.id, task.ask(sample), sample.answer, before[i], after[i]
                )
            )


def label_shift(
    before: Sequence[str | None], after: Sequence[str | None], *, seed: int = 0
) -> LabelShift | None:
    """The shift between two answers to each image, aligned; None without images.

    An answer that is None stands for a reply that named no label.
    """
    if not before:
        return None
    first = [label or NO_LABEL for label in before]
    second = [label or NO_LABEL for label in after]
    labels = sorted({*first, *second})
    n = len(first)
    rows = np.zeros((n, len(labels)))
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        rows[i, labels.index(other)] += 1
        rows[i, labels.index(one)] -= 1
    moved = rows.sum(axis=0) / n
    distance = float(np.abs(moved).sum() / 2)
    most = int(np.abs(moved).argmax())
    changed = rows[np.any(rows, axis=1)]
    return LabelShift(
        n,
        _shares(first),
        _shares(second),
        distance,
        labels[most],
        float(moved[most]),
        _permuted(changed, distance * n, seed) if n > 1 else None,
    )


def _permuted(rows: np.ndarray, distance: float, seed: int) -> float:
    """The share of random exchanges that move the labels as far, the observed one among them."""
    if not len(rows):
        return 1.0
    draws = stream(seed, "verify", "label-shift")
    signs = draws.choice(np.array([-1.0, 1.0]), (_SHUFFLES, len(rows)))
    far = np.abs(signs @ rows).sum(axis=1) / 2 >= distance - 1e-9
    return float((1 + far.sum()) / (1 + _SHUFFLES))


def _shares(given: Sequence[str]) -> dict[str, float]:
    return {label: count / len(given) for label, count in sorted(Counter(given).items())}


def _yes(
    task: Task, before: Sequence[str | None], after: Sequence[str | None], seed: int
) -> PairedGain | None:
    """The change of the share of "yes"; None unless the labels are yes and no."""
    if task.labels is None or {label.casefold() for label in task.labels} != {"yes", "no"}:
        return None

    def said(answers: Sequence[str | None]) -> list[float]:
        return [float(answer is not None and answer.casefold() == "yes") for answer in answers]

    return paired_gain(said(before), said(after), seed=seed)


def _error(task: Task, answers: Sequence[str | None], truths: Sequence[str]) -> float | None:
    """The mean absolute error; None unless the labels are numbers and some answer is one."""
    if task.labels is None or any(number(label) is None for label in task.labels):
        return None
    found = mean_absolute_error([answer or NO_LABEL for answer in answers], truths)
    return found.value if found.n else None


# -- images of no task -----------------------------------------------------------------------------
@final
class _OffTaskImages(NamedTuple):
    """Images of one kind, and for each the sample whose question goes with it."""

    name: str
    samples: Sequence[Sample]
    images: Sequence[Pixels]


def _kinds(
    own: Task, samples: Sequence[Sample], others: Sequence[Task], limit: int | None, seed: int
) -> Iterator[_OffTaskImages]:
    """The images of the other tasks, then the blank ones."""
    for other in others:
        images = [sample.pixels() for sample in held_out(other, limit)]
        yield _OffTaskImages(other.name, _cycled(samples, len(images)), images)
    yield from _blanks(samples, own, seed)


def _blanks(samples: Sequence[Sample], own: Task, seed: int) -> Iterator[_OffTaskImages]:
    """Blank images of the first sample's size: one for each question, and `NOISES` of noise."""
    shape = samples[0].pixels().shape
    different = list({own.ask(sample): sample for sample in reversed(samples)}.values())
    for name, level in BLANKS.items():
        if level is None:
            rng = stream(seed, "verify", "blank-noise")
            images = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(NOISES)]
        else:
            images = [np.full(shape, level, np.uint8)] * len(different)
        yield _OffTaskImages(f"blank {name}", _cycled(different, len(images)), images)


def _cycled(samples: Sequence[Sample], count: int) -> list[Sample]:
    return [samples[i % len(samples)] for i in range(count)]


def _off_task(session: CheckSession, model: Model, kind: _OffTaskImages) -> OffTaskEffect:
    pairs = prompted_pairs(session, kind.images)
    answers = ask_both(session, model, session.task, kind.samples, pairs)
    before, after = answers.labels()
    labelled = session.task.labels is not None
    shift = label_shift(before, after, seed=session.seed) if labelled else None
    return OffTaskEffect(kind.name, shift, MissingReplies.of(answers))


def _stability(session: CheckSession, model: Model, samples: Sequence[Sample]) -> Stability:
    first = _ask(session, model, session.task, samples)
    second = _ask(session, model, session.task, samples, replicate=1)
    before = _equal(first.before, second.before)
    after = _equal(first.after, second.after)
    if np.isnan(before + after).all():
        return Stability(exact=False)
    return Stability(exact=False, same=paired_gain(before, after, seed=session.seed))


def _equal(first: Answers, second: Answers) -> np.ndarray:
    """(n,) 1 where two answers are equal, 0 where not, NaN where one failed."""
    equal = [float(a == b) for a, b in zip(first.labels, second.labels, strict=True)]
    return np.where(np.isfinite(first.correct + second.correct), equal, np.nan)
