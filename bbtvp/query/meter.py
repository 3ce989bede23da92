"""The meter: every image query is counted once, a cap is checked before the call, no answered query is sent twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol, final

from bbtvp.core.digest import digest
from bbtvp.core.errors import BudgetReached, ModelError
from bbtvp.query.port import Model, Outcome, QueryFailed, Reply, Request

CALL = 128
"""Most requests in one call to the model: what a kill can lose, since replies are recorded call by call."""


class Memory(Protocol):
    """Where replies are remembered, in a run that is its journal."""

    def recall(self, key: str) -> Reply | None:
        """The reply to the request with this key, if one was recorded."""

    def record(self, phase: str, asked: Sequence[tuple[str, Outcome]]) -> None:
        """Keep outcomes, failures too, before anything is made of them."""


@final
class Forgetful:
    """A memory that keeps replies until the process ends."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}

    def recall(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def record(self, phase: str, asked: Sequence[tuple[str, Outcome]]) -> None:
        self._replies.update((key, outcome) for key, outcome in asked if isinstance(outcome, Reply))


@final
class Account:
    """What may be spent, and what was: one for a run, however many models it asks.

    `spent[phase]` counts image queries (attempts, so retries and failures too) that were sent, in this process or,
    given `spent` and `failed`, before. `reserve` of the cap is kept for later.
    """

    def __init__(self, cap: int | None = None, spent: Mapping[str, int] | None = None, failed: int = 0) -> None:
        self.cap, self.failed = cap, failed
        self.spent: Counter[str] = Counter(spent or {})
        self.reserve = 0
        self.phase = "search"

    @property
    def total(self) -> int:
        """Image queries sent so far, all phases."""
        return self.spent.total()

    @property
    def left(self) -> float:
        """Image queries that may still be sent; infinite without a cap, negative where retries passed it."""
        return math.inf if self.cap is None else self.cap - self.reserve - self.total


@final
class Meter(Model):
    """Wraps a model: counts by phase, keeps to the cap, answers from memory what was answered before.

    A repeated request is answered from memory at no cost. Retries are known only after the call: those of the last
    call may pass the cap. account: shared with the meters of other models; by default one of its own, of `cap`.
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
        self.model, self.spec, self.capabilities = model, model.spec, model.capabilities
        self.memory = memory
        self.account = account or Account(cap, spent, failed)

    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer from memory or from the model, in calls of at most `CALL` requests.

        Raises BudgetReached before the first call if all of them could pass the cap, and ModelError once a whole call
        of more than three fails and failures outnumber answers.
        """
        keys = [digest(self.spec.encode(), request.key.encode()) for request in requests]
        fresh: dict[str, Request] = {}
        answers: dict[str, Outcome] = {}
        for key, request in zip(keys, requests, strict=True):
            known = self.memory.recall(key)
            if known is None:
                fresh[key] = request
            else:
                answers[key] = known
        self._check_cap(len(fresh))
        unasked = list(fresh)
        for start in range(0, len(unasked), CALL):
            sent = self._send({key: fresh[key] for key in unasked[start : start + CALL]})
            answers |= sent
            self._check_failures(sent, answers)
        return [answers[key] for key in keys]

    def _send(self, fresh: Mapping[str, Request]) -> dict[str, Outcome]:
        found = [_checked(outcome) for outcome in self.model.query(list(fresh.values()))]
        outcomes = dict(zip(fresh, found, strict=True))
        self.memory.record(self.account.phase, list(outcomes.items()))
        self.account.spent[self.account.phase] += sum(outcome.usage.attempts for outcome in outcomes.values())
        self.account.failed += len(_failures(outcomes))
        return outcomes

    def _check_cap(self, wanted: int) -> None:
        account = self.account
        if wanted > max(account.left, 0):
            kept = f", {account.reserve} kept for later" if account.reserve else ""
            spent = f"{account.total} spent{kept}"
            raise BudgetReached(f"{wanted} more image queries would pass the cap of {account.cap} ({spent})")

    def _check_failures(self, sent: Mapping[str, Outcome], answers: Mapping[str, Outcome]) -> None:
        # A few that fail among many that memory answered are refusals of these images, not a model that is down.
        failures = _failures(sent)
        if len(failures) == len(sent) > 3 and 2 * len(_failures(answers)) > len(answers):
            raise ModelError(f"all {len(failures)} queries to {self.spec} failed: {failures[-1].reason}")


def _failures(outcomes: Mapping[str, Outcome]) -> list[QueryFailed]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, QueryFailed)]


def _checked(outcome: Outcome) -> Outcome:
    """The outcome; a score that is NaN or infinite is no answer."""
    if isinstance(outcome, Reply) and not all(math.isfinite(score.logprob) for score in outcome.scores or ()):
        return QueryFailed("a log-probability is not a finite number", outcome.usage)
    return outcome
