"""What may be spent and what was spent, in image queries, US dollars and seconds.

>>> from bbtvp.models import Budget, Reply, Usage
>>> budget = Budget(100, usd_cap=0.5)
>>> budget.reserve(0.01)        # before an attempt: the most that it can cost
>>> budget.settle(0.01, 0.004)  # after it: what it has cost
>>> budget.book([Reply("three", usage=Usage(usd=0.004))])
>>> budget.total, budget.left, budget.usd
(1, 99, 0.004)
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from bbtvp.core.errors import BudgetReached
from bbtvp.models.exchange import Outcome, QueryFailed

_SPARE = 1.25
"""Factor on the time that image queries took so far, for those that are held back."""


class Budget:
    """Caps and counts of one run, for all the models that it asks. Safe to use from many threads.

    cap: in image queries. usd_cap: in US dollars. seconds: from now on. None means no cap.
    spent, failed, refused, answered, usd: what earlier processes of the same run have spent.

    `spent[phase]` counts image queries, that is attempts, retries and failures included. `failed`
    counts queries without an answer, `refused` those of them that the model would not answer;
    `answered` counts queries with an answer, whatever their attempts.
    `held_back` image queries of the cap are kept for later. `max_cost` is the most that one image
    query can cost, as far as is known.
    """

    def __init__(
        self,
        cap: int | None = None,
        spent: Mapping[str, int] | None = None,
        failed: int = 0,
        *,
        refused: int = 0,
        answered: int = 0,
        usd_cap: float | None = None,
        usd: float = 0.0,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cap = cap
        self.failed = failed
        self.refused = refused
        self.answered = answered
        self.spent: Counter[str] = Counter(spent or {})
        self.usd_cap = usd_cap
        self.usd = usd
        self.held_back = 0
        self.max_cost = 0.0
        self.phase = "search"
        self._clock = clock
        self._seconds = seconds
        self._began = clock()
        self._before = self.total
        self._deadline = math.inf if seconds is None else clock() + seconds
        self._lock = threading.Lock()
        self._under_way = 0
        self._usd_under_way = 0.0
        self._refusal: BudgetReached | None = None

    @property
    def total(self) -> int:
        """Image queries sent so far, in all phases."""
        return self.spent.total()

    @property
    def attempts_per_answer(self) -> float:
        """Attempts for each answer so far, probes left out; at least 1.

        It is per answer, for a query that failed may be asked again after a kill: the same attempts
        then count for the same answers, whichever process made them.
        """
        attempts = self.total - self.spent["probe"]
        return max(1.0, attempts / self.answered) if self.answered else 1.0

    @property
    def left(self) -> float:
        """Image queries that may still be sent.

        Infinite without a cap; negative if retries passed the cap.
        """
        if self.cap is None:
            return math.inf
        return self.cap - self.held_back - self.total

    @property
    def usd_left(self) -> float:
        """Dollars that may still be spent, less the most that the held-back queries can cost."""
        if self.usd_cap is None:
            return math.inf
        return self.usd_cap - self.held_back * self.max_cost - self.usd

    def affordable(self, queries: int) -> int:
        """How many of `queries` image queries the caps still allow, each at its highest cost."""
        by_usd = self.usd_left / self.max_cost if self.max_cost else math.inf
        return int(max(0, min(self.left, by_usd, queries)))

    def check(self, queries: int, usd: float) -> None:
        """Raise BudgetReached if so many more image queries would pass a cap, or time is up.

        usd: the most that all of them can cost.
        """
        if queries > max(self.left, 0):
            kept = f", {self.held_back} kept for later" if self.held_back else ""
            raise BudgetReached(
                f"{queries} more image queries would pass the cap of {self.cap} "
                f"({self.total} spent{kept})"
            )
        if usd > self.usd_left:
            kept = f", {self.held_back} image queries kept for later" if self.held_back else ""
            raise BudgetReached(
                f"{queries} more image queries could cost ${usd:.4f} and pass the cap of "
                f"${self.usd_cap:g} (${self.usd:.4f} spent{kept})",
                "US dollars",
            )
        if self._clock() + self._seconds_held_back() > self._deadline:
            kept = f", some of them kept for {self.held_back} image queries"
            raise BudgetReached(
                f"the time is up: {self._seconds:g} seconds{kept if self.held_back else ''}",
                "minutes",
            )

    def _seconds_held_back(self) -> float:
        """Seconds that the held-back image queries will take at the pace so far, and some more."""
        asked = self.total - self._before
        if not asked:
            return 0.0
        return _SPARE * self.held_back * (self._clock() - self._began) / asked

    def reserve(self, usd: float) -> None:
        """Set aside one image query and `usd`, the most that it can cost, before it is sent.

        Raises BudgetReached if a cap would be passed. What is reserved counts as spent.
        """
        with self._lock:
            self.max_cost = max(self.max_cost, usd)
            try:
                self.check(self._under_way + 1, self._usd_under_way + usd)
            except BudgetReached as error:
                self._refusal = self._refusal or error
                raise
            self._under_way += 1
            self._usd_under_way += usd

    def settle(self, reserved: float, usd: float) -> None:
        """State that the attempt for which `reserved` dollars were set aside has cost `usd`."""
        with self._lock:
            self._usd_under_way += usd - reserved

    def book(self, outcomes: Iterable[Outcome]) -> None:
        """Count the outcomes of a call, in place of what was reserved for it.

        Raises BudgetReached, once all is counted, if attempts of the call had been refused.
        """
        for outcome in outcomes:
            self.spent[self.phase] += outcome.usage.attempts
            self.usd += outcome.usage.usd
            if isinstance(outcome, QueryFailed):
                self.failed += 1
                self.refused += outcome.refused
            else:
                self.answered += outcome.usage.attempts > 0
        self._under_way = 0
        self._usd_under_way = 0.0
        refusal = self._refusal
        self._refusal = None
        if refusal is not None:
            raise BudgetReached(str(refusal), refusal.cap)
