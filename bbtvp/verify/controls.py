"""Controls that cost no query: the best constant answer, the commonest answers, what was not read.

A prompt that makes a model say one and the same thing, or say anything at all, changes the share of
right answers without making the model see better. These figures show that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Vector
from bbtvp.models import Outcome, QueryFailed
from bbtvp.search import Answers, Reading
from bbtvp.search.preview import one_line
from bbtvp.tasks import Sample, Task, per_sample

_TRIED = 50
"""Answers of a task of free answers that are tried as the constant one: the commonest."""

_LONGEST = 40
"""Characters of an answer that a figure or a sentence names."""

COLLAPSED = 0.95
"""Share of the images on which an answer is wrong and given all the same, from which a model that
gives it is said to have collapsed to it."""

_FEWEST = 10
"""Images on which an answer is wrong, below which nothing is said of a collapse to it."""

_RIGHT = 0.5
"""Score from which an answer counts as right where answers are counted."""

OVERUSED = 0.25
"""By how much the share of an answer among the replies must exceed its share among the truths to be
noted.
"""


@final
class CommonAnswer(NamedTuple):
    """The commonest answer and its share among the images, 0 to 1; None where none was given."""

    answer: str | None
    share: float


@final
class Collapse(NamedTuple):
    """The commonest answers without the prompt and with it.

    earlier: share of the commonest prompted answer without the prompt. true: share of the images
    for which it is right. collapsed: whether it is given to (nearly) all other images too.
    """

    before: CommonAnswer
    after: CommonAnswer
    earlier: float
    true: float
    collapsed: bool

    @property
    def overused(self) -> bool:
        """Whether the prompt made an answer commoner, and far commoner than it is right."""
        grown = self.after.share > self.earlier
        return self.after.answer is not None and grown and self.excess >= OVERUSED

    @property
    def excess(self) -> float:
        """By how much the prompted answer is commoner than it is right."""
        return self.after.share - self.true


@final
class ReplyCounts(NamedTuple):
    """Of the replies in one arm, those without an answer, and the queries without a reply.

    unparsed: named no single label. refused: the model or a filter declined. cut: ended at the
    limit of tokens. failed: no reply, the refusals of a filter among them.
    """

    unparsed: int = 0
    refused: int = 0
    cut: int = 0
    failed: int = 0

    @classmethod
    def of(cls, answers: Answers) -> ReplyCounts:
        return cls(answers.unparsed, answers.refused, answers.cut, answers.failed)


def best_constant(task: Task, samples: Sequence[Sample]) -> str:
    """The one answer with the best score over these samples; of equal ones the first by name.

    It is taken from their true answers. Of free answers the 50 commonest are tried, for a lenient
    or graded metric may find one answer right for several truths.
    """
    truths = Counter(sample.accepted for sample in samples)
    named: Counter[str] = Counter()
    for accepted, count in truths.items():
        named.update(dict.fromkeys(accepted, count))
    tried = sorted(named, key=lambda answer: (-named[answer], answer))[:_TRIED]
    counts = np.array(list(truths.values()))

    def total(answer: str) -> float:
        return float(counts @ per_sample(task.scoring, [answer] * len(truths), list(truths)))

    return max(tried, key=total)


def constant_correct(task: Task, answer: str, samples: Sequence[Sample]) -> Vector:
    """(n,) the score of this answer to each sample: 1 where it is right, else 0, unless graded."""
    truths = [sample.accepted for sample in samples]
    found: Vector = per_sample(task.scoring, [answer] * len(samples), truths)
    return found


def hardest_constant(
    task: Task, best: str, samples: Sequence[Sample], said: Iterable[str | None]
) -> tuple[str, Vector]:
    """The constant answer with the better score on these samples, and its scores (n,).

    It is `best`, or the commonest of the answers that were given. The latter matters for free
    answers: a reply that lists everything may be right by a lenient metric every time.
    """
    found = constant_correct(task, best, samples)
    common = common_answer(said, len(samples)).answer
    if common is None:
        return best, found
    other = constant_correct(task, common, samples)
    return (common, other) if other.sum() > found.sum() else (best, found)


def common_answer(said: Iterable[str | None], images: int) -> CommonAnswer:
    """The commonest of these answers. Answers that differ in case or a final stop are one."""
    named = [answer for answer in said if answer is not None]
    if not named:
        return CommonAnswer(None, 0.0)
    keys = Counter(_key(answer) for answer in named)
    key, count = min(keys.items(), key=lambda item: (-item[1], item[0]))
    first = next(answer for answer in named if _key(answer) == key)
    return CommonAnswer(first, count / images)


def collapse(
    task: Task,
    samples: Sequence[Sample],
    before: Sequence[str | None],
    after: Sequence[str | None],
) -> Collapse:
    """How the answers to these samples gather on one, without the prompt and with it."""
    images = len(samples)
    first = common_answer(before, images)
    second = common_answer(after, images)
    if second.answer is None:
        return Collapse(first, second, 0.0, 0.0, collapsed=False)
    right = constant_correct(task, second.answer, samples) >= _RIGHT
    given = _gives(second.answer, after)
    wrong = ~right
    everywhere = wrong.sum() >= _FEWEST and given[wrong].mean() >= COLLAPSED
    earlier = float(_gives(second.answer, before).mean())
    return Collapse(first, second, earlier, float(right.mean()), bool(everywhere))


def shortened(answer: str) -> str:
    """An answer as a sentence names it: one line, at most 40 characters."""
    return one_line(answer, _LONGEST)


def reply_counts(arms: Mapping[str, Answers]) -> dict[str, ReplyCounts]:
    """What each arm left without an answer."""
    return {arm: ReplyCounts.of(answers) for arm, answers in arms.items()}


def read_before(answers: Answers) -> NDArray[np.bool_]:
    """(n,) whether a reply said something: an answer, or that the model declines.

    A refusal is what the model chose to say. An unparsed or cut reply may hold the right answer,
    and another question, or more tokens, would bring it out without any prompt. A reply without any
    text holds none: a reader of text that finds none on a sign has answered, and is wrong.
    """
    pairs = zip(answers.readings, answers.outcomes, strict=True)
    return np.array(
        [
            reading.status not in ("unparsed", "cut") or _is_empty(reading, outcome)
            for reading, outcome in pairs
        ]
    )


def _is_empty(reading: Reading, outcome: Outcome) -> bool:
    """Whether a reply came that has no text and was not cut off."""
    if reading.status == "cut" or isinstance(outcome, QueryFailed) or outcome.text is None:
        return False
    return not outcome.text.strip()


def _gives(answer: str, said: Sequence[str | None]) -> NDArray[np.bool_]:
    key = _key(answer)
    return np.array([one is not None and _key(one) == key for one in said])


def _key(answer: str) -> str:
    return " ".join(answer.casefold().split()).rstrip(".!")
