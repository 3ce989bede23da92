"""What a search tells while it goes on, for progress bars and logs.

>>> def watch(event: SearchEvent) -> None:
...     if isinstance(event, GenerationDone):
...         print(event.generation, event.mean)
>>> run = optimize("zoo/shapes-dark", "zoo/llava", watch=watch)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

from bbtvp.prompt import PromptSpace
from bbtvp.search.plan import Plan
from bbtvp.search.preflight import Preflight
from bbtvp.search.preview import Preview
from bbtvp.search.proposals import Refused
from bbtvp.search.validation import Arm


@final
@dataclass(frozen=True)
class SearchPrepared:
    """The task and its images were looked at, and the costs worked out."""

    preflight: Preflight


@final
@dataclass(frozen=True)
class SearchPlanned:
    """The plan is settled; no query of the search was sent yet.

    reader: how answers are read, in words. resumed: image queries that were answered before.
    probes: what each endpoint was found to do, by spec.
    """

    plan: Plan
    space: PromptSpace
    reader: str
    resumed: int
    probes: Mapping[str, tuple[str, ...]]


@final
@dataclass(frozen=True)
class RepliesSeen:
    """The first replies came, about images as they are; nothing was searched yet."""

    preview: Preview


@final
@dataclass(frozen=True)
class ArmValidated:
    """One choice was asked about on the validation images."""

    arm: Arm


@final
@dataclass(frozen=True)
class WordingsProposed:
    """A round of a proposer: the texts that are tried, and those that were refused.

    calls, usd: of the proposer so far; they are no image queries.
    """

    number: int
    texts: tuple[str, ...]
    refused: tuple[Refused, ...]
    calls: int
    usd: float


@final
@dataclass(frozen=True)
class ProposerSkipped:
    """A proposer gives no more wordings; the search goes on without."""

    why: str


@final
@dataclass(frozen=True)
class RaceWon:
    """The recipes of a stage have raced.

    recipe: the winner in words. fall: its mean fall of the loss against the neutral point, 0 where
    that point won.
    """

    stage: str
    recipe: str
    fall: float


@final
@dataclass(frozen=True)
class GenerationDone:
    """A generation was evaluated: its lowest and mean loss, and the mean of both terms.

    queries, failed: image queries of the run so far, and the failed ones among them.
    """

    stage: str
    generation: int
    generations: int
    best: float
    mean: float
    fca: float
    tse: float
    queries: int
    failed: int


@final
@dataclass(frozen=True)
class StageStopped:
    """A stage ended before its part of the budget did."""

    stage: str
    why: str


@final
@dataclass(frozen=True)
class StageSkipped:
    """A stage found nothing."""

    stage: str
    why: str


@final
@dataclass(frozen=True)
class StageUnvalidated:
    """A cap was met before any validation image was asked about the winner of a stage."""

    stage: str
    why: str


SearchEvent: TypeAlias = (
    SearchPrepared
    | SearchPlanned
    | RepliesSeen
    | ArmValidated
    | WordingsProposed
    | ProposerSkipped
    | RaceWon
    | GenerationDone
    | StageStopped
    | StageSkipped
    | StageUnvalidated
)
Watch: TypeAlias = Callable[[SearchEvent], None]
"""Is called with every event of a search."""


def silent(event: object) -> None:
    """A watch that does nothing."""
