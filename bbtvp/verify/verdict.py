"""Go, no-go or undecided: the rule of the verdict, its evidence, and its reasons.

The models that decide are the sources, or all models if none is a source. A model's gain is judged
by the paired score test (`bbtvp.stats.score`), one-sided at `LEVEL`:

    go         every model that decides is shown to gain more than `min_gain`, and no other model is
               shown to lose more than `max_harm`
    no-go      a model that decides is shown to gain less than `min_gain`, or another model to lose
               more than `max_harm`. Several models are tested at Holm's levels, or at Bonferroni's
               in a sequential proof
    undecided  everything else, and every case in which the figures show nothing: see
               `Verdict.reasons`

A false go for a prompt without any gain is rarer than `LEVEL`, because its gain must also pass the
margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np

from bbtvp.core.errors import UsageError
from bbtvp.stats import holm, images_needed, paired_z
from bbtvp.stats.power import Z
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

OVERLAPPING = 1 / 3
"""Share of test images that the other splits hold, from which the split is not trusted."""


@final
@dataclass(frozen=True)
class Rule:
    """What a go takes. Both fields are shares, from 0 to below 1.

    min_gain: the least gain that is worth a deployment; 0 asks only that there is one. max_harm:
    the loss on another model that forbids a deployment.

    Both are 2 points by default. A prompt must be shipped, versioned and checked for every new
    model, and for less than one answer in fifty that is seldom worth it. Smaller gains are also
    seldom larger than the noise of asking again.
    """

    min_gain: float = 0.02
    max_harm: float = 0.02

    def __post_init__(self) -> None:
        for name in ("min_gain", "max_harm"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; "
                    "give a share from 0 up, below 1 (0.02: 2 points)"
                )

    def __str__(self) -> str:
        return str(self._message())

    def as_json(self) -> dict[str, Any]:
        """min_gain, max_harm and level as shares, and the English text."""
        said = self._message()
        return {**said.values, "text": str(said)}

    def _message(self) -> Message:
        return message("rule", min_gain=self.min_gain, max_harm=self.max_harm, level=LEVEL)


@final
class Evidence(NamedTuple):
    """What the verdict knows of one model: how many of n answers changed.

    decides: see the module. gained: wrong answers that became right; lost: the reverse. n: images
    that were answered in all arms, of `asked`. z: the value of Z that shows a gain. below_z: the
    value of −Z that shows too little, in a sequential proof; in others Holm's p-values show it.
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
    harm = [
        *_too_little(rule, [e for e in sound if e.decides]),
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
    deciders = [e for e in sound if e.decides]
    open_ = [e for e in deciders if e.at(rule.min_gain) < e.z]
    if not open_ and deciders:
        shown = [message("gains", model=e.model, gain=e.gain, images=e.n) for e in deciders]
        safe = [message("no-harm", max_harm=rule.max_harm)] if len(sound) > len(deciders) else []
        return Verdict("go", rule, (*shown, *safe))
    return _undecided(rule, open_)


def needless(rule: Rule) -> Verdict:
    """The verdict on the identity: there is nothing that could gain."""
    return Verdict("no-go", rule, (message("identity"),))


def settled(rule: Rule, evidence: Evidence) -> bool:
    """Whether more answers of this model could not change what the rule needs of it."""
    z = evidence.at(rule.min_gain if evidence.decides else -rule.max_harm)
    return z >= evidence.z or z <= -(evidence.below_z or evidence.z)


def _too_little(rule: Rule, deciders: Sequence[Evidence]) -> list[Message]:
    shown = _below(deciders, rule.min_gain)
    return [
        message("gains-too-little", model=e.model, min_gain=rule.min_gain, gain=e.gain)
        for e in shown
    ]


def _harmed(rule: Rule, others: Sequence[Evidence]) -> list[Message]:
    shown = _below(others, -rule.max_harm)
    return [message("harmed", model=e.model, max_harm=rule.max_harm, gain=e.gain) for e in shown]


def _below(evidence: Sequence[Evidence], margin: float) -> list[Evidence]:
    """The models whose gain is shown to lie below the margin, at `LEVEL` for all together."""
    from scipy.stats import norm  # type: ignore[import-untyped]

    if any(e.below_z is not None for e in evidence):
        return [e for e in evidence if e.at(margin) <= -(e.below_z or e.z)]
    p = holm(np.array([float(norm.cdf(e.at(margin))) for e in evidence]))
    return [e for e, adjusted in zip(evidence, p, strict=True) if adjusted <= LEVEL]


def _undecided(rule: Rule, open_: Sequence[Evidence]) -> Verdict:
    reasons = [
        message("open", model=e.model, gain=e.gain, images=e.n, min_gain=rule.min_gain)
        for e in open_
    ]
    more = [_more_images(rule, e) for e in open_]
    known = [count for count in more if count is not None]
    wanted = max(known, default=None) if len(known) == len(more) else None
    if wanted:
        reasons.append(message("more-images", images=wanted))
    elif open_:
        reasons.append(message("at-the-margin"))
    return Verdict("undecided", rule, tuple(reasons), wanted)


def _more_images(rule: Rule, e: Evidence) -> int | None:
    """How many more images would settle it with a probability of 80 %; None if no number would.

    The shares seen are taken for the true ones, with half an image added to each against zeros.
    """
    gained = (e.gained + 0.5) / (e.n + 1)
    lost = (e.lost + 0.5) / (e.n + 1)
    above = gained - lost > rule.min_gain
    gain, other = (gained - lost, lost) if above else (lost - gained, gained)
    wanted = images_needed(gain, other, margin=rule.min_gain if above else -rule.min_gain)
    return None if wanted is None else max(1, wanted - e.n)


UNJUDGED = Verdict("undecided", Rule(), (message("nothing-judged"),))
