"""The table of rivals: what each arm finds, what it costs, and which one to take.

An arm is out of the choice if another one has a significantly higher score on the source model:
paired tests at 5 %, Holm over its rivals. Of the arms that are left the cheapest is named. Where a
price is known the cost is that of 1,000 deployed images; else it is image queries, then tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.models import Model, Outcome
from bbtvp.rivals.rival import TuningCost, usd_of
from bbtvp.stats import PairedGain, holm, paired_gain, smallest_gain

ZERO_SHOT = "zero-shot"
PROMPT = "prompt"
"""The prompt that is proved."""

LEVEL = 0.05
FAILING = 1 / 3
"""Share of images without an answer from which an arm is not recommended."""


@final
class UseCost(NamedTuple):
    """What one deployed image costs, as a mean over the test images.

    queries: image queries. input_tokens, output_tokens: of all its queries, as the model counts
    them; the image's tokens are among the input. usd_per_1000: US dollars for 1,000 images; None
    where no price is known.
    """

    queries: float
    input_tokens: float
    output_tokens: float
    usd_per_1000: float | None

    @classmethod
    def of(cls, model: Model, outcomes: Sequence[Outcome], images: int) -> UseCost:
        """The mean over so many images. outcomes: of every image query about them."""
        answered = [outcome.usage for outcome in outcomes if outcome.usage.output_tokens]
        usd = usd_of(model, outcomes)
        share = len(outcomes) / images / max(1, len(answered))
        return cls(
            len(outcomes) / images,
            share * sum(usage.input_tokens for usage in answered),
            share * sum(usage.output_tokens for usage in answered),
            None if usd is None else 1000 * usd / images,
        )


@final
@dataclass(frozen=True)
class RivalRow:
    """One arm on the model that it was made ready on.

    paired: from zero-shot to this arm, on the images that both answered. failed: image queries
    without an answer. unread: replies that may hold an answer and could not be read. transfer: the
    same arm on the other models. note: what was chosen, or what a reader must know. beaten_by: arms
    with a significantly higher score.
    """

    name: str
    about: str
    paired: PairedGain
    failed: int
    unread: int
    tuning: TuningCost
    use: UseCost
    transfer: Mapping[str, PairedGain] = field(default_factory=dict)
    note: str = ""
    beaten_by: tuple[str, ...] = ()

    @property
    def mean_transfer(self) -> float | None:
        """The mean gain over the other models; None if there are none."""
        gains = [found.gain for found in self.transfer.values()]
        return float(np.mean(gains)) if gains else None

    def as_json(self) -> dict[str, Any]:
        """JSON-able; shares and gains as shares."""
        return {
            "arm": self.name,
            "about": self.about,
            **self.paired.as_json("zero_shot", "score"),
            "failed": self.failed,
            "unread": self.unread,
            "tuning": self.tuning._asdict(),
            "per_image": {
                "queries": self.use.queries,
                "input_tokens": self.use.input_tokens,
                "output_tokens": self.use.output_tokens,
            },
            "usd_per_1000": self.use.usd_per_1000,
            "transfer": {
                model: found.as_json("zero_shot", "score") for model, found in self.transfer.items()
            },
            "note": self.note,
            "beaten_by": list(self.beaten_by),
        }


@final
@dataclass(frozen=True)
class RivalTable:
    """All arms, the cheapest first; of equally cheap ones the best.

    model: on which the arms were made ready. images: test images asked about. choice: the name of
    the arm to take, "" if no arm answered. advice: the choice in a sentence. left_out: arms that
    were not asked, with the reason. queries, failed, refused, usd: what all of it cost.
    """

    task: str
    model: str
    images: int
    rows: tuple[RivalRow, ...]
    choice: str
    advice: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    queries: int = 0
    failed: int = 0
    refused: int = 0
    usd: float = 0.0

    def __str__(self) -> str:
        return self.advice

    @property
    def detectable(self) -> float | None:
        """The difference of two arms that so many images show in 4 of 5 cases; None for none."""
        return smallest_gain(self.images) if self.images else None

    def as_json(self) -> dict[str, Any]:
        """The `rivals` part of a `bbtvp.result/1` document."""
        return {
            "model": self.model,
            "images": self.images,
            "choice": self.choice,
            "advice": self.advice,
            "detectable_gain": self.detectable,
            "arms": [row.as_json() for row in self.rows],
            "left_out": dict(self.left_out),
            "queries": self.queries,
            "failed": self.failed,
            "refused": self.refused,
            "usd": self.usd,
        }


def ranked(rows: Iterable[RivalRow]) -> list[RivalRow]:
    """By rising cost of a deployed image, then of the tuning; of equals the best first."""
    found = list(rows)
    priced = all(row.use.usd_per_1000 is not None for row in found)

    def cost(row: RivalRow) -> tuple[float, ...]:
        use = row.use
        money = use.usd_per_1000 or 0.0 if priced else 0.0
        tokens = use.input_tokens + use.output_tokens
        return round(money, 9), use.queries, tokens, row.tuning.queries, -row.paired.gain

    return sorted(found, key=cost)


def beaten(rows: Sequence[RivalRow], scores: Mapping[str, Vector]) -> list[RivalRow]:
    """The rows with the arms that beat each.

    scores: (n,) of each arm on the test images, 0 to 1, NaN where it gave no answer.
    """
    return [replace(row, beaten_by=_better(row.name, scores)) for row in rows]


def _better(name: str, scores: Mapping[str, Vector]) -> tuple[str, ...]:
    """The arms with a significantly higher score, Holm over all other arms."""
    others = [other for other in scores if other != name and _both(scores[name], scores[other])]
    if not others:
        return ()
    pairs = [paired_gain(scores[name], scores[other]) for other in others]
    adjusted = holm([pair.p for pair in pairs])
    found = zip(others, pairs, adjusted, strict=True)
    return tuple(other for other, pair, p in found if pair.gain > 0 and p <= LEVEL)


def _both(one: Vector, other: Vector) -> bool:
    return bool((np.isfinite(one) & np.isfinite(other)).any())


def recommended(rows: Sequence[RivalRow], images: int) -> tuple[str, str]:
    """The name of the arm to take, and a sentence that says so.

    rows: as `ranked` orders them, with `beaten_by`.
    """
    sound = [row for row in rows if row.paired.n > (1 - FAILING) * images]
    if not sound:
        return "", "no arm answered enough of the test images; nothing can be recommended"
    # The best arm is beaten by none, so that one of those which answered is always left.
    chosen = next((row for row in sound if not row.beaten_by), sound[0])
    said = f"{_praise(chosen)}: no other arm beats it significantly on {chosen.paired.n} images"
    ours = next((row for row in rows if row.name == PROMPT), None)
    if ours is None or ours.name == chosen.name:
        return chosen.name, said
    return chosen.name, f"{said}, so the prompt is not the choice ({_why_not(ours, chosen)})"


def _praise(row: RivalRow) -> str:
    named = {
        ZERO_SHOT: "for this task the plain question is enough",
        PROMPT: "take the prompt, the cheapest arm that does as well as any",
        "words": "for this task words alone are enough",
    }
    return named.get(row.name, f"for this task {row.name} is enough ({row.about})")


def _why_not(ours: RivalRow, chosen: RivalRow) -> str:
    if ours.beaten_by:
        return f"{', '.join(ours.beaten_by)} beats it"
    return (
        f"it costs no less and gains {100 * (ours.paired.after - chosen.paired.after):+.1f} points"
    )
