"""The meter: every image query is counted once, a cap is checked before the call, no answered query is sent twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, final

from bbtvp.core.digest import digest
from bbtvp.core.errors import BudgetReached, ModelError
from bbtvp.query.port import Model, Outcome, QueryFailed, Reply, Request


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
class Meter(Model):
    """Wraps a model: counts by phase, keeps to the cap, answers from memory what was answered before.

    `spent[phase]` counts image queries (attempts, so retries and failures too) that were sent, in this process or,
    as far as `memory` knows, before. A repeated request is answered from memory at no cost.
    """

    def __init__(self, model: Model, memory: Memory, *, cap: int | None = None, spent: Counter[str] | None = None):
        self.model, self.spec, self.capabilities = model, model.spec, model.capabilities
        self.memory, self.cap = memory, cap
        self.spent: Counter[str] = Counter(spent or {})
        self.failed = 0
        self.phase = "search"

    @property
    def total(self) -> int:
        """Image queries sent so far, all phases."""
        return self.spent.total()

    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer from memory or from the model. Raises BudgetReached before a call that could pass the cap, and
        ModelError if a whole batch of more than three queries fails."""
        keys = [digest(self.spec.encode(), request.key.encode()) for request in requests]
        known = {key: self.memory.recall(key) for key in keys}
        fresh = {key: request for key, request in zip(keys, requests, strict=True) if known[key] is None}
        if self.cap is not None and self.total + len(fresh) > self.cap:
            raise BudgetReached(f"{len(fresh)} more image queries would pass the cap of {self.cap} ({self.total} spent)")
        answers: dict[str, Outcome] = {key: reply for key, reply in known.items() if reply is not None}
        if fresh:
            answers |= self._send(fresh)
        return [answers[key] for key in keys]

    def _send(self, fresh: dict[str, Request]) -> dict[str, Outcome]:
        outcomes = dict(zip(fresh, self.model.query(list(fresh.values())), strict=True))
        self.memory.record(self.phase, list(outcomes.items()))
        self.spent[self.phase] += sum(outcome.usage.attempts for outcome in outcomes.values())
        failures = [outcome for outcome in outcomes.values() if isinstance(outcome, QueryFailed)]
        self.failed += len(failures)
        if len(failures) == len(outcomes) > 3:
            raise ModelError(f"all {len(failures)} queries to {self.spec} failed: {failures[-1].reason}")
        return outcomes
