"""The meter: every image query is counted once, a cap is checked before the call, no answered query
is sent twice.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, final

from bbtvp.core.digest import digest
from bbtvp.core.errors import BudgetReached, ModelError
from bbtvp.models.port import Model, Outcome, PaidModel, Probe, Purse, QueryFailed, Reply, Request

CALL = 128
"""Most requests in one call to the model: what a kill can lose, since replies are recorded call by
call.
"""


_SPARE = 1.25
"""Time set aside for an image query, in times of what one took."""


class Memory(Protocol):
    """Where replies are remembered, in a run that is its journal."""

    def recall(self, key: str) -> Reply | None:
        """The reply to the request with this key, if one was recorded."""

    def record(
        self, phase: str, asked: Sequence[tuple[str, Outcome]], *, noted: bool = False
    ) -> None:
        """Keep outcomes, failures too, before anything is made of them. noted: what they cost was
        noted before.
        """

    def note(self, phase: str, queries: int, usd: float) -> None:
        """Keep what an attempt spends, before it is made, and then the correction to that. From any
        thread.
        """


@final
class Forgetful:
    """A memory that keeps replies until the process ends."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}

    def recall(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def note(self, phase: str, queries: int, usd: float) -> None:
        pass

    def record(
        self, phase: str, asked: Sequence[tuple[str, Outcome]], *, noted: bool = False
    ) -> None:
        self._replies.update((key, outcome) for key, outcome in asked if isinstance(outcome, Reply))


@final
class Account(Purse):
    """What may be spent, and what was: one for a run, however many models it asks. Safe to use from
    many threads.

    `spent[phase]` counts image queries (attempts, so retries and failures too) and `usd` the
    dollars that were spent, in this process or, given `spent`, `failed`, `refused` (among the
    failed) and `usd`, before. `kept` of the cap are kept for later; `dearest` is what one can cost
    at most. cap: in image queries; usd_cap: in US dollars; seconds: from now on. No cap where it is
    None.
    """

    def __init__(
        self,
        cap: int | None = None,
        spent: Mapping[str, int] | None = None,
        failed: int = 0,
        *,
        refused: int = 0,
        usd_cap: float | None = None,
        usd: float = 0.0,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cap = cap
        self.failed = failed
        self.refused = refused
        self.spent: Counter[str] = Counter(spent or {})
        self.usd_cap = usd_cap
        self.usd = usd
        self.kept = 0
        self.dearest = 0.0
        self.phase = "search"
        self._clock = clock
        self._seconds = seconds
        self._began = clock()
        self._before = self.total
        self._deadline = math.inf if seconds is None else clock() + seconds
        self._lock = threading.Lock()
        self._under_way = 0
        self._usd_under_way = 0.0
        self._refusal: str | None = None

    @property
    def total(self) -> int:
        """Image queries sent so far, all phases."""
        return self.spent.total()

    @property
    def left(self) -> float:
        """Image queries that may still be sent; infinite without a cap, negative where retries
        passed it.
        """
        return math.inf if self.cap is None else self.cap - self.kept - self.total

    @property
    def usd_left(self) -> float:
        """Dollars that may still be spent, less what the image queries kept for later can cost."""
        return (
            math.inf if self.usd_cap is None else self.usd_cap - self.kept * self.dearest - self.usd
        )

    def affordable(self, queries: int) -> int:
        """How many of so many image queries the caps still allow, at what one can cost."""
        by_usd = self.usd_left / self.dearest if self.dearest else math.inf
        return int(max(0, min(self.left, by_usd, queries)))

    def check(self, queries: int, usd: float) -> None:
        """Raises BudgetReached if so many image queries, or dollars at most, would pass a cap, or
        the time is up.
        """
        if queries > max(self.left, 0):
            kept = f", {self.kept} kept for later" if self.kept else ""
            spent = f"{self.total} spent{kept}"
            raise BudgetReached(
                f"{queries} more image queries would pass the cap of {self.cap} ({spent})"
            )
        if usd > self.usd_left:
            kept = f", {self.kept} image queries kept for later" if self.kept else ""
            raise BudgetReached(
                f"{queries} more image queries could cost ${usd:.4f} and pass the cap of ${self.usd_cap:g} "
                f"(${self.usd:.4f} spent{kept})"
            )
        if self._clock() + self._later() > self._deadline:
            kept = f", some of them kept for {self.kept} image queries" if self.kept else ""
            raise BudgetReached(f"the time is up: {self._seconds:g} seconds{kept}")

    def _later(self) -> float:
        """Seconds that the image queries kept for later will take, at the pace so far and with some
        to spare.
        """
        asked = self.total - self._before
        return _SPARE * self.kept * (self._clock() - self._began) / asked if asked else 0.0

    def reserve(self, usd: float) -> None:
        """See `Purse`. What is under way counts as spent, at the most it can cost."""
        with self._lock:
            self.dearest = max(self.dearest, usd)
            try:
                self.check(self._under_way + 1, self._usd_under_way + usd)
            except BudgetReached as error:
                self._refusal = self._refusal or str(error)
                raise
            self._under_way += 1
            self._usd_under_way += usd

    def settle(self, reserved: float, usd: float) -> None:
        with self._lock:
            self._usd_under_way += usd - reserved

    def book(self, outcomes: Iterable[Outcome]) -> None:
        """Count outcomes, and with them what was under way. Raises BudgetReached if attempts had
        been refused.
        """
        for outcome in outcomes:
            self.spent[self.phase] += outcome.usage.attempts
            self.usd += outcome.usage.usd
            if isinstance(outcome, QueryFailed):
                self.failed += 1
                self.refused += outcome.refused
        self._under_way = 0
        self._usd_under_way = 0.0
        refusal = self._refusal
        self._refusal = None
        if refusal:
            raise BudgetReached(refusal)


def probed(
    model: Model,
    *,
    cap: int | None = None,
    usd_cap: float | None = None,
    seconds: float | None = None,
) -> Probe | None:
    """What an endpoint really does, found within these caps; None for a model that is no endpoint.

    Raises UsageError where there is a cap on money and no price, BudgetReached if the caps allow no
    probe, ModelError if the endpoint does not answer.
    """
    if not isinstance(model, PaidModel):
        return None
    if usd_cap is not None:
        model.need_price()
    return model.probe(Account(cap, usd_cap=usd_cap, seconds=seconds))


@final
class Meter(Model):
    """Wraps a model: counts by phase, keeps to the cap, answers from memory what was answered
    before.

    A repeated request is answered from memory at no cost. A `PaidModel` asks the account before
    every attempt; what any other model tried again is known only after the call, and may pass the
    cap. account: shared with the meters of other models; by default one of its own, of `cap`.
    """

    def __init__(
        self,
        model: Model,
        memory: Memory,
        *,
        cap: int | None = None,
        spent: Mapping[str, int] | None = None,
        failed: int = 0,
        account: Account | None = None,
    ) -> None:
        self.model = model
        self.spec = model.spec
        self.capabilities = model.capabilities
        self.memory = memory
        self.account = account or Account(cap, spent, failed)

    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer from memory or from the model, in calls of at most `CALL` requests.

        Raises BudgetReached before the first call if all of them could pass the cap, and ModelError
        once a whole call of more than three fails and failures outnumber answers.
        """
        asked = self.model.identity.encode()
        keys = [digest(asked, request.key.encode()) for request in requests]
        fresh: dict[str, Request] = {}
        answers: dict[str, Outcome] = {}
        for key, request in zip(keys, requests, strict=True):
            known = self.memory.recall(key)
            if known is None:
                fresh[key] = request
            else:
                answers[key] = known
        self._check_cap(list(fresh.values()))
        # A paid model keeps every reply as it comes, so nothing is lost with a long call, and
        # batches stay whole.
        unasked = list(fresh)
        most = len(fresh) if isinstance(self.model, PaidModel) else CALL
        for start in range(0, len(unasked), most or 1):
            sent = self._send({key: fresh[key] for key in unasked[start : start + most]})
            answers |= sent
            self._check_failures(sent, answers)
        return [answers[key] for key in keys]

    def _send(self, fresh: Mapping[str, Request]) -> dict[str, Outcome]:
        asked = list(fresh.values())
        noted = isinstance(self.model, PaidModel) and not self.model.lasting
        if isinstance(self.model, PaidModel):
            purse = _Noting(self.account, self.memory) if noted else self.account
            found = self.model.query_paid(asked, purse)
        else:
            found = self.model.query(asked)
        outcomes = dict(zip(fresh, map(_checked, found), strict=True))
        self.memory.record(self.account.phase, list(outcomes.items()), noted=noted)
        self.account.book(outcomes.values())
        return outcomes

    def _check_cap(self, fresh: Sequence[Request]) -> None:
        usd = sum(map(self.model.bound, fresh)) if isinstance(self.model, PaidModel) else 0.0
        if fresh:
            self.account.check(len(fresh), usd)

    def _check_failures(self, sent: Mapping[str, Outcome], answers: Mapping[str, Outcome]) -> None:
        # A few that fail among many that memory answered are refusals of these images, not a model
        # that is down.
        failures = _failures(sent)
        if len(failures) == len(sent) > 3 and 2 * len(_failures(answers)) > len(answers):
            raise ModelError(
                f"all {len(failures)} queries to {self.spec} failed: {failures[-1].reason}"
            )


@final
class _Noting(Purse):
    """An account's purse that notes every attempt: one under way at a kill has cost the most it
    can, and counts.
    """

    def __init__(self, account: Account, memory: Memory) -> None:
        self._account = account
        self._memory = memory

    def reserve(self, usd: float) -> None:
        self._account.reserve(usd)
        self._memory.note(self._account.phase, 1, usd)

    def settle(self, reserved: float, usd: float) -> None:
        self._account.settle(reserved, usd)
        if usd != reserved:
            self._memory.note(self._account.phase, 0, usd - reserved)


def _failures(outcomes: Mapping[str, Outcome]) -> list[QueryFailed]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, QueryFailed)]


def _checked(outcome: Outcome) -> Outcome:
    """The outcome; a score that is NaN or infinite is no answer."""
    if isinstance(outcome, Reply) and not all(
        math.isfinite(score.logprob) for score in outcome.scores or ()
    ):
        return QueryFailed("a log-probability is not a finite number", outcome.usage)
    return outcome
