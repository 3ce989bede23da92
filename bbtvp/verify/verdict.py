"""Go, no-go or undecided: the rule of the verdict, its evidence, and its reasons.

The models that decide are the sources, or all models if none is a source. A model's gain is judged
by the paired score test (`bbtvp.stats.score`; for graded scores `bbtvp.stats.graded`), one-sided at
`LEVEL`:

    go         every model that decides is shown to gain more than `min_gain`, for the right reason,
               and no other model is shown to lose more than `max_harm`
    no-go      a model that decides is shown to gain less than `min_gain`, or another model to lose
               more than `max_harm`. Several models are tested at Holm's levels, or at Bonferroni's
               in a sequential proof
    undecided  everything else, and every case in which the figures show nothing: see
               `Verdict.reasons`

The right reason is that the model sees better. So a go is withheld unless the same test, at the
same level, shows

- that the prompted answers do better than the best constant answer (`Constant`);
- if some of the gain lies on images whose unprompted reply could not be read, that the gain on the
  other images exceeds `min_gain` too (`Evidence.read`). Where it is shown that less than `HARDLY`
  of the unprompted replies can be read, there was no answer before to compare with. The prompted
  answers must then exceed the best constant answer by `min_gain`.

A false go for a prompt without any gain is rarer than `LEVEL`, because its gain must also pass the
margin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.stats import (
    graded_images_needed,
    graded_interval,
    graded_z,
    holm,
    images_needed,
    is_right_or_wrong,
    null_spread,
    paired_z,
    score_interval,
)
from bbtvp.stats.power import Z
from bbtvp.verify.controls import Collapse, shortened
from bbtvp.verify.messages import Message, message

VerdictWord: TypeAlias = Literal["go", "no-go", "undecided"]
LEVEL = 0.05
"""The level of each one-sided test, and of all tests for harm together.

`bbtvp.stats.power.Z` is its normal quantile.
"""

EXIT_CODES: dict[VerdictWord, int] = {"go": 0, "no-go": 4, "undecided": 5}

LEAST = 30
"""The fewest test images for a verdict: with 30, a gain of 20 points is seen half of the time."""

FAILING = 1 / 3
"""Share of images that failed in some arm, from which a model's figures are not trusted.

They would describe only the images that it was willing to answer.
"""

HARDLY = 0.1
"""Share of unprompted replies that were read, below which the model is said to have given no answer
before.
"""

OVERLAPPING = 1 / 3
"""Share of test images that the other splits hold, from which the split is not trusted."""

WITHHELD = ("split-leaks", "too-few-images", "one-answer")
"""Codes of what can be wrong with the test split itself."""


@final
@dataclass(frozen=True)
class Rule:
    """What a go takes. All fields are shares; max_harm from 0, min_gain from above -1, to below 1.

    min_gain: the least gain that is worth a deployment; 0 asks only that there is one, and below 0
    it is a loss that a cheaper prompt may have: the test is then one of non-inferiority. max_harm:
    the loss on another model that forbids a deployment. level: of the test that shows a gain, above
    0 and at most `LEVEL`; where several prompts are tried on the same test images, a share of it.

    The first two are 2 points by default. A prompt must be shipped, versioned and checked for every
    new model, and for less than one answer in fifty that is seldom worth it. Smaller gains are also
    seldom larger than the noise of asking again.
    """

    min_gain: float = 0.02
    max_harm: float = 0.02
    level: float = LEVEL

    def __post_init__(self) -> None:
        if not -1 < self.min_gain < 1:
            raise UsageError(
                f"min_gain is {self.min_gain}; give a share between -1 and 1 (0.02: 2 points)"
            )
        if not 0 <= self.max_harm < 1:
            raise UsageError(
                f"max_harm is {self.max_harm}; give a share from 0 up, below 1 (0.02: 2 points)"
            )
        if not 0 < self.level <= LEVEL:
            raise UsageError(
                f"level is {self.level}; give a share above 0, at most {LEVEL} (0.025: 2.5 %)"
            )

    @property
    def z(self) -> float:
        """The value of Z that shows a gain."""
        from scipy.stats import norm  # type: ignore[import-untyped]

        return Z if self.level == LEVEL else float(norm.isf(self.level))

    @classmethod
    def of(cls, facts: Mapping[str, Any] | None) -> Rule:
        """The usual rule for a bundle's facts: non-inferiority where its search was for cost."""
        rule = cls()
        if (facts or {}).get("goal") != "cost":
            return rule
        return cls(min_gain=-rule.max_harm)

    def __str__(self) -> str:
        return str(self._message())

    def as_json(self) -> dict[str, Any]:
        """min_gain, max_harm and level as shares, and the English text."""
        said = self._message()
        return {**said.values, "text": str(said)}

    def _message(self) -> Message:
        return message("rule", min_gain=self.min_gain, max_harm=self.max_harm, level=self.level)


@final
class ChangedAnswers(NamedTuple):
    """Of n images, on how many the prompted answer is right and another is not, and the reverse.

    Of graded scores: on how many the score is higher, and lower. differences: (n,) by how much;
    None where answers are right or wrong.
    """

    gained: int
    lost: int
    n: int
    differences: tuple[float, ...] | None = None

    @classmethod
    def of(cls, other: Vector, prompted: Vector) -> ChangedAnswers:
        """other, prompted: (n,) scores: 1 where the answer is right, else 0, unless graded."""
        plain = is_right_or_wrong(other, prompted)
        return cls(
            int((prompted > other).sum()),
            int((prompted < other).sum()),
            len(prompted),
            None if plain else tuple((prompted - other).tolist()),
        )

    def at(self, margin: float) -> float:
        """Z, above 0 where the gain exceeds the margin; 0 without images."""
        if not self.n:
            return 0.0
        if self.differences is not None:
            return graded_z(self.differences, margin)
        return float(paired_z(self.gained, self.lost, self.n, margin))

    @property
    def gain(self) -> float:
        if self.differences is not None:
            return math.fsum(self.differences) / self.n
        return (self.gained - self.lost) / self.n if self.n else 0.0

    def interval(self, z: float) -> tuple[float, float]:
        """The gains that the score test does not reject at |Z| = z."""
        if self.differences is not None:
            return graded_interval(self.differences, z)
        return score_interval(self.gained, self.lost, self.n, z)

    def images_for(self, margin: float) -> int | None:
        """Images that settle the gain against the margin with a probability of 80 %.

        What was seen is taken for true; None if no number of them would.
        """
        if self.differences is not None:
            spread = null_spread(self.differences, margin)
            distance = abs(self.gain - margin)
            return graded_images_needed(distance, spread)
        # Half an image is added to each share against zeros.
        gained = (self.gained + 0.5) / (self.n + 1)
        lost = (self.lost + 0.5) / (self.n + 1)
        above = gained - lost > margin
        gain, other = (gained - lost, lost) if above else (lost - gained, gained)
        return images_needed(gain, other, margin=margin if above else -margin)


@final
class Constant(NamedTuple):
    """The best constant answer, and what the prompted answers do beside it.

    answer: as it is named. accuracy, prompted: mean scores. changed: from the constant
    answer to the prompted ones. collapsed: the answer that the prompted model gives whatever it is
    shown, with its share among the replies with the prompt and without it; None of a model that
    does not.
    """

    answer: str
    accuracy: float
    prompted: float
    changed: ChangedAnswers
    collapsed: tuple[str, float, float] | None = None

    @classmethod
    def of(cls, answer: str, always: Vector, prompted: Vector, gathered: Collapse) -> Constant:
        """always, prompted: (n,) the scores of the constant answer and of the prompted ones."""
        common = gathered.after
        fallen = gathered.collapsed and common.answer is not None
        return cls(
            shortened(answer),
            float(always.mean()),
            float(prompted.mean()),
            ChangedAnswers.of(always, prompted),
            (shortened(common.answer or ""), common.share, gathered.earlier) if fallen else None,
        )


@final
class Evidence(NamedTuple):
    """What the verdict knows of one model: how its answers changed.

    decides: see the module. changed: the answers of the images that were answered in all arms, of
    `asked`. z: the value of Z that shows a gain. below_z: the
    value of −Z that shows too little, in a sequential proof; in others Holm's p-values show it.
    constant: None where it is not known, and not tested. read: the answers that changed on the
    images whose unprompted reply was read; None where all were.
    """

    model: str
    decides: bool
    changed: ChangedAnswers
    asked: int
    z: float = Z
    below_z: float | None = None
    constant: Constant | None = None
    read: ChangedAnswers | None = None

    @property
    def fails(self) -> bool:
        return self.n < (1 - FAILING) * self.asked + 1e-9

    @property
    def n(self) -> int:
        """Images that were answered in all arms."""
        return self.changed.n

    def at(self, margin: float) -> float:
        return self.changed.at(margin)

    @property
    def gain(self) -> float:
        return self.changed.gain

    @property
    def hardly_read(self) -> bool:
        """Whether the model is shown to have given hardly an answer before that could be read.

        A few unread replies more, by chance, must not take the test on the read ones away.
        """
        from scipy.stats import binom, norm

        if self.read is None:
            return False
        return bool(binom.cdf(self.read.n, self.n, HARDLY) <= norm.sf(self.z))

    @property
    def tested(self) -> ChangedAnswers | None:
        """The images whose reply was read before, where the gain must be shown on them too."""
        if self.read is None or self.hardly_read or self.read.gained == self.changed.gained:
            return None
        return self.read


@final
@dataclass(frozen=True)
class Verdict:
    """The verdict in a word, the rule that it follows, and its reasons.

    more_images: about how many more test images would settle an undecided verdict. None where no
    number would, because the gain lies at the margin, or where something else is wrong.
    """

    word: VerdictWord
    rule: Rule
    reasons: tuple[Message, ...]
    more_images: int | None = None

    @property
    def exit_code(self) -> int:
        """0 go, 4 no-go, 5 undecided."""
        return EXIT_CODES[self.word]

    def __str__(self) -> str:
        return f"{self.word}: {'; '.join(self.reasons)}"

    def as_json(self) -> dict[str, Any]:
        reasons = [reason.as_json() for reason in self.reasons]
        found: dict[str, Any] = {"word": self.word, "rule": self.rule.as_json(), "reasons": reasons}
        return found | ({} if self.more_images is None else {"more_images": self.more_images})


def judge(rule: Rule, evidence: Sequence[Evidence], withheld: Sequence[Message] = ()) -> Verdict:
    """The verdict on this evidence.

    withheld: what is wrong with the test split itself. If anything is, the verdict is undecided.
    """
    if withheld:
        return Verdict("undecided", rule, tuple(withheld))
    sound = [e for e in evidence if not e.fails]
    deciders = [e for e in sound if e.decides]
    harm = [
        *_too_little(rule, deciders),
        *_harmed(rule, [e for e in sound if not e.decides]),
    ]
    if harm:
        return Verdict("no-go", rule, tuple(harm))
    failing = [
        message("fails", model=e.model, failed=e.asked - e.n, asked=e.asked)
        for e in evidence
        if e.fails
    ]
    if failing:
        return Verdict("undecided", rule, tuple(failing))
    doubts = [doubt for e in deciders for doubt in _doubts(rule, e)]
    if doubts or not deciders:
        return _undecided(rule, doubts)
    shown = [_gains(rule, e) for e in deciders]
    spoke = [_answers_now(e) for e in deciders if e.hardly_read]
    safe = [message("no-harm", max_harm=rule.max_harm)] if len(sound) > len(deciders) else []
    return Verdict("go", rule, (*shown, *spoke, *safe))


def needless(rule: Rule) -> Verdict:
    """The verdict on the identity: there is nothing that could gain."""
    return Verdict("no-go", rule, (message("identity"),))


def settled(rule: Rule, evidence: Evidence) -> bool:
    """Whether more answers of this model could not change what the rule needs of it."""
    if not evidence.decides:
        z = evidence.at(-rule.max_harm)
        return z >= evidence.z or _is_below(evidence, z)
    return not _doubts(rule, evidence) or _is_below(evidence, evidence.at(rule.min_gain))


@final
class _Test(NamedTuple):
    """One comparison that a go takes, with the margin that it must pass.

    scale: images of the whole for one of the comparison.
    """

    changed: ChangedAnswers
    margin: float
    scale: float = 1.0


@final
class _Doubt(NamedTuple):
    """What a model that decides is not shown to do, and how many more images would settle it."""

    said: Message
    more: int | None


def _doubts(rule: Rule, e: Evidence) -> list[_Doubt]:
    """What is not shown of a model that decides; nothing for a go."""
    gain = _Test(e.changed, rule.min_gain)
    if not _is_shown(e, gain):
        return [_Doubt(_open(rule, e), _more_images(gain))]
    found = []
    if e.constant is not None:
        above = _Test(e.constant.changed, rule.min_gain if e.hardly_read else 0.0)
        if not _is_shown(e, above):
            found.append(_Doubt(*_no_better(e.model, e.n, e.constant, above)))
    if e.tested is not None:
        read = _Test(e.tested, rule.min_gain, e.n / max(1, e.tested.n))
        if not _is_shown(e, read):
            found.append(_Doubt(_parses_now(rule, e, e.tested), _more_for_a_go(read)))
    return found


def _is_shown(e: Evidence, test: _Test) -> bool:
    return test.changed.at(test.margin) >= e.z


def _is_below(e: Evidence, z: float) -> bool:
    return z <= -(e.below_z or e.z)


def _gains(rule: Rule, e: Evidence) -> Message:
    if rule.min_gain < 0:
        return message("no-worse", model=e.model, most=-rule.min_gain, gain=e.gain, images=e.n)
    return message("gains", model=e.model, gain=e.gain, images=e.n)


def _open(rule: Rule, e: Evidence) -> Message:
    if rule.min_gain < 0:
        return message("open-loss", model=e.model, gain=e.gain, images=e.n, most=-rule.min_gain)
    return message("open", model=e.model, gain=e.gain, images=e.n, min_gain=rule.min_gain)


def _no_better(
    model: str, images: int, constant: Constant, test: _Test
) -> tuple[Message, int | None]:
    """That the prompted answers are not shown to beat a constant one; more images may show it."""
    if constant.collapsed is None:
        said = message(
            "not-above-constant",
            model=model,
            prompted=constant.prompted,
            images=images,
            constant=constant.accuracy,
            answer=constant.answer,
        )
        return said, _more_for_a_go(test)
    answer, share, earlier = constant.collapsed
    said = message(
        "collapsed",
        model=model,
        answer=answer,
        share=share,
        earlier=earlier,
        prompted=constant.prompted,
        constant=constant.accuracy,
    )
    return said, None


def _parses_now(rule: Rule, e: Evidence, read: ChangedAnswers) -> Message:
    return message("parses-now", model=e.model, read=read.n, gain=read.gain, min_gain=rule.min_gain)


def _answers_now(e: Evidence) -> Message:
    above = 0.0 if e.constant is None else e.constant.changed.gain
    read = 0 if e.read is None else e.read.n
    return message("answers-now", model=e.model, read=read, images=e.n, above=above)


def _too_little(rule: Rule, deciders: Sequence[Evidence]) -> list[Message]:
    shown = _below(deciders, rule.min_gain)
    if rule.min_gain < 0:
        return [_harm(e, -rule.min_gain) for e in shown]
    return [
        message("gains-too-little", model=e.model, min_gain=rule.min_gain, gain=e.gain)
        for e in shown
    ]


def _harmed(rule: Rule, others: Sequence[Evidence]) -> list[Message]:
    shown = _below(others, -rule.max_harm)
    return [_harm(e, rule.max_harm) for e in shown]


def _harm(e: Evidence, most: float) -> Message:
    return message("harmed", model=e.model, max_harm=most, gain=e.gain)


def _below(evidence: Sequence[Evidence], margin: float) -> list[Evidence]:
    """The models whose gain is shown to lie below the margin, at `LEVEL` for all together."""
    from scipy.stats import norm

    if any(e.below_z is not None for e in evidence):
        return [e for e in evidence if _is_below(e, e.at(margin))]
    p = holm(np.array([float(norm.cdf(e.at(margin))) for e in evidence]))
    return [e for e, adjusted in zip(evidence, p, strict=True) if adjusted <= LEVEL]


def _undecided(rule: Rule, doubts: Sequence[_Doubt]) -> Verdict:
    reasons = [doubt.said for doubt in doubts]
    known = [doubt.more for doubt in doubts if doubt.more is not None]
    wanted = max(known, default=None) if len(known) == len(doubts) else None
    if wanted:
        reasons.append(message("more-images", images=wanted))
    elif any(reason.code == "open" for reason in reasons):
        reasons.append(message("at-the-margin"))
    return Verdict("undecided", rule, tuple(reasons), wanted)


def _more_for_a_go(test: _Test) -> int | None:
    """The same for a test that can only withhold a go; None where what was seen speaks against."""
    return _more_images(test) if test.changed.gain > test.margin else None


def _more_images(test: _Test) -> int | None:
    """How many more images would settle it with a probability of 80 %; None if no number would."""
    wanted = test.changed.images_for(test.margin)
    return None if wanted is None else max(1, round((wanted - test.changed.n) * test.scale))


UNJUDGED = Verdict("undecided", Rule(), (message("nothing-judged"),))
