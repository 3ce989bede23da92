"""What a search keeps back of its budget for the choice on validation."""

from __future__ import annotations

from bbtvp.models import Budget
from bbtvp.search.plan import with_retries


class Reserve:
    """Image queries that the search may not touch, with the retries that they will need.

    attempts: for each answer so far, as it was seen.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.attempts = 1.0

    def hold_back(self, queries: int, *, first: int = 0) -> None:
        """Keep so many queries, but for the `first` ones that the caps allow."""
        self._budget.held_back = 0
        if not first:
            self._budget.held_back = with_retries(queries, self.attempts)
            return
        self._budget.held_back = max(0, self._budget.affordable(queries + first) - first)
