"""Go, no-go or undecided: the rule, what it is told, and what it says.

The models that decide are the sources, or all if none is among them. A model's gain is judged by
the paired score test (`bbtvp.stats.score`), one-sided at `LEVEL`:

    go         every model that decides is shown to gain more than `min_gain`, and no other is shown to lose more than
               `max_harm`
    no-go      a model that decides is shown to gain less than `min_gain`, or another to lose more than `max_harm`;
               over several models at once Holm's levels hold (Bonferroni's, looking early)
    undecided  all else, and wherever the figures say nothing: see `Verdict.reasons`

A go that is false for a prompt without any gain is thus rarer than `LEVEL`, for the margin must be
passed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np

from bbtvp.core.errors import UsageError
from bbtvp.stats import holm, images_needed, paired_z
from bbtvp.stats.power import Z
from bbtvp.verify.remark import Remark, remark

Word: TypeAlias = Literal["go", "no-go", "undecided"]
LEVEL = 0.05
"""Of each one-sided test, and of all tests for harm together; `bbtvp.stats.power.Z` belongs to it.
"""

EXIT_CODES: dict[Word, int] = {"go": 0, "no-go": 4, "undecided": 5}

LEAST = 30
"""Test images below which no verdict is given: with 30, a gain of 20 points is seen half of the
time.
"""

FAILING = 1 / 3
"""Share of images that failed in some arm, from which a model's figures are about the images that
it would answer.
"""

OVERLAPPING = 1 / 3
"""Share of test images that the other splits hold, from which the split itself is in doubt."""


@final
@dataclass(frozen=True)
class Rule:
    """min_gain: a gain worth deploying for. max_harm: a loss on another model that forbids it.
    Shares, 0 to below 1.

    Both are 2 points unless said otherwise: a prompt is one more thing that is shipped, versioned
    and checked again for every new model, and below one answer in fifty that is seldom worth it;
    nor is more often seen than the noise of asking again. A gain of 0 asks only that there is one.
    """

    min_gain: float = 0.02
    max_harm: float = 0.02

    def __post_init__(self) -> None:
        for name in ("min_gain", "max_harm"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; give a share from 0 up, below 1 (0.02: 2 points)"
                )

    def __str__(self) -> str:
        return str(self._remark())

    def as_json(self) -> dict[str, Any]:
        """min_gain, max_harm and level as shares, and the English text."""
        said = self._remark()
        return {**said.values, "text": str(said)}

    def _remark(self) -> Remark:
        return remark("rule", min_gain=self.min_gain, max_harm=self.max_harm, level=LEVEL)


@final
class Evidence(NamedTuple):
    """What the verdict is told of one model: of n images, and `asked` in all, how many answers
    changed.

    decides: see the module. z: what Z must reach to show a gain. below_z: what −Z must reach to
    show too little, when looked at early; at a fixed number of images Holm's p-values say that.
    """

    model: str
    decides: bool
    gained: int
    lost: int
    n: int
    asked: int
    z: float = Z
    below_z: float | None = None

    @property
    def fails(self) -> bool:
        return self.n < (1 - FAILING) * self.asked + 1e-9

    def at(self, margin: float) -> float:
        return float(paired_z(self.gained, self.lost, self.n, margin)) if self.n else 0.0

    @property
    def gain(self) -> float:
        return (self.gained - self.lost) / self.n if self.n else 0.0


@final
@dataclass(frozen=True)
class Verdict:
    """The word, the rule it was found by, and why. more_images: about how many more would settle an
    undecided one.

    more_images is None where none would (the gain lies at the margin) or where not their number is
    what is wanting.
    """

    word: Word
    rule: Rule
    reasons: tuple[Remark, ...]
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


def judge(rule: Rule, evidence: Sequence[Evidence], withheld: Sequence[Remark] = ()) -> Verdict:
    """The verdict. withheld: what is wrong with the test set itself; with any of it nothing is
    decided.
    """
    if withheld:
        return Verdict("undecided", rule, tuple(withheld))
    sound = [e for e in evidence if not e.fails]
    harm = [
        *(_too_little(rule, [e for e in sound if e.decides])),
        *_harmed(rule, [e for e in sound if not e.decides]),
    ]
    if harm:
        return Verdict("no-go", rule, tuple(harm))
    failing = [
        remark("fails", model=e.model, failed=e.asked - e.n, asked=e.asked)
        for e in evidence
        if e.fails
    ]
    if failing:
        return Verdict("undecided", rule, tuple(failing))
    deciders = [e for e in sound if e.decides]
    open_ = [e for e in deciders if e.at(rule.min_gain) < e.z]
    if not open_ and deciders:
        shown = [remark("gains", model=e.model, gain=e.gain, images=e.n) for e in deciders]
        safe = [remark("no-harm", max_harm=rule.max_harm)] if len(sound) > len(deciders) else []
        return Verdict("go", rule, (*shown, *safe))
    return _undecided(rule, open_)


def settled(rule: Rule, evidence: Evidence) -> bool:
    """Whether asking this model further can change nothing that the rule needs of it."""
    z = evidence.at(rule.min_gain if evidence.decides else -rule.max_harm)
    return z >= evidence.z or z <= -(evidence.below_z or evidence.z)


def _too_little(rule: Rule, deciders: Sequence[Evidence]) -> list[Remark]:
    shown = _below(rule, deciders, rule.min_gain)
    return [
        remark("gains-too-little", model=e.model, min_gain=rule.min_gain, gain=e.gain)
        for e in shown
    ]


def _harmed(rule: Rule, others: Sequence[Evidence]) -> list[Remark]:
    shown = _below(rule, others, -rule.max_harm)
    return [remark("harmed", model=e.model, max_harm=rule.max_harm, gain=e.gain) for e in shown]


def _below(rule: Rule, evidence: Sequence[Evidence], margin: float) -> list[Evidence]:
    """Those whose gain is shown to lie below the margin, at the rule's level for all of them
    together.
    """
    from scipy.stats import norm  # type: ignore[import-untyped]

    if any(e.below_z is not None for e in evidence):
        return [e for e in evidence if e.at(margin) <= -(e.below_z or e.z)]
    p = holm(np.array([float(norm.cdf(e.at(margin))) for e in evidence]))
    return [e for e, adjusted in zip(evidence, p, strict=True) if adjusted <= LEVEL]


def _undecided(rule: Rule, open_: Sequence[Evidence]) -> Verdict:
    reasons = [
        remark("open", model=e.model, gain=e.gain, images=e.n, min_gain=rule.min_gain)
        for e in open_
    ]
    more = [_more(rule, e) for e in open_]
    wanted = (
        None
        if any(count is None for count in more)
        else max((count or 0 for count in more), default=None)
    )
    if wanted:
        reasons.append(remark("more-images", images=wanted))
    elif open_:
        reasons.append(remark("at-the-margin"))
    return Verdict("undecided", rule, tuple(reasons), wanted)


def _more(rule: Rule, e: Evidence) -> int | None:
    """With four chances in five, if the shares seen are the true ones; half an image is added to
    each against zeros.
    """
    gained = (e.gained + 0.5) / (e.n + 1)
    lost = (e.lost + 0.5) / (e.n + 1)
    above = gained - lost > rule.min_gain
    gain, other = (gained - lost, lost) if above else (lost - gained, gained)
    wanted = images_needed(gain, other, margin=rule.min_gain if above else -rule.min_gain)
    return None if wanted is None else max(1, wanted - e.n)


UNJUDGED = Verdict("undecided", Rule(), (remark("nothing-judged"),))
