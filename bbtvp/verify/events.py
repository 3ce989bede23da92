"""What a proof tells while it goes on, and what all checks tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

from bbtvp.verify.messages import Message
from bbtvp.verify.planning import ProofPlan
from bbtvp.verify.rows import ProofRow
from bbtvp.verify.verdict import Verdict


@final
@dataclass(frozen=True)
class ProofPlanned:
    """What the proof asks at most, before anything is asked."""

    models: int
    plan: ProofPlan


@final
@dataclass(frozen=True)
class ProofOpened:
    """The journal is open. resumed: image queries that earlier processes sent."""

    resumed: int


@final
@dataclass(frozen=True)
class ModelProbed:
    """What an endpoint was found to do."""

    spec: str
    findings: tuple[str, ...]


@final
@dataclass(frozen=True)
class CheckPlanned:
    """What a check asks at most, before anything is asked.

    resumed: image queries that earlier processes sent.
    """

    check: str
    queries: int
    resumed: int


@final
@dataclass(frozen=True)
class ModelVerified:
    """One model was asked about all images that it is asked about."""

    row: ProofRow


@final
@dataclass(frozen=True)
class ProofJudged:
    """The verdict, and what is to be said beside it."""

    verdict: Verdict
    notes: tuple[Message, ...]


ProofEvent: TypeAlias = ProofPlanned | ProofOpened | ModelProbed | ModelVerified | ProofJudged
ProofWatch: TypeAlias = Callable[[ProofEvent], None]
"""Is called with every event of a proof."""
