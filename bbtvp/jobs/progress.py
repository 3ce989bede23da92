"""How far a search has come in its plan, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, final

from bbtvp.core.lock import Owner
from bbtvp.runs.records import DAMAGED
from bbtvp.runs.tally import Tally
from bbtvp.search.choice import is_of
from bbtvp.search.plan import Plan, Stage


def plan_of(config: Mapping[str, Any]) -> Plan | None:
    """The plan that a journal's configuration describes.

    None if it describes none, or one of another version.
    """
    described = config.get("plan")
    try:
        return None if described is None else Plan.of(described)
    except DAMAGED:
        return None


@final
class SearchProgress:
    """How far the search of a journal has come. plan: None where it is not known."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.plan = plan_of(tally.config)

    @property
    def stage(self) -> Stage | None:
        """The stage under way: the first one, or the last one begun.

        A stage ends with its validation; then the next one is under way.
        """
        if self.plan is None or not self.plan.stages:
            return None
        stages = self.plan.stages
        begun = [i for i, stage in enumerate(stages) if self._tally.generations[stage.name]]
        if not begun:
            return stages[0]
        last = begun[-1]
        ended = self._ended(stages[last])
        return stages[min(last + ended, len(stages) - 1)]

    @property
    def share(self) -> float | None:
        """Share of the planned image queries that is done, 0 to 1.

        Done is what was asked, answered from memory, or not needed: a stage that its validation has
        ended is done, however early.
        """
        plan = self.plan
        if plan is None or not plan.queries:
            return None
        tally = self._tally
        validated = bool(tally.validated) * plan.held
        done = validated + sum(
            plan.choosing(number) for number, stage in enumerate(plan.stages) if self._ended(stage)
        )
        if tally.generations:
            done += plan.extra
        for stage in plan.stages:
            begun = stage.cost * tally.generations[stage.name]
            done += stage.queries if self._ended(stage) else min(stage.queries, begun)
        return min(1.0, done / plan.queries)

    def _ended(self, stage: Stage) -> bool:
        """Whether validation has chosen among what a stage found."""
        return any(is_of(name, stage) for name in self._tally.validated)

    def seconds_left(self, owner: Owner | None, now: datetime) -> float | None:
        """Seconds until the end at the pace since the owner took the folder.

        None without an owner or a pace, or where the owner's clock is ahead of ours. The share of
        the plan that is left is assumed to need image queries at the same rate as the share done.
        """
        share = self.share
        if owner is None or owner.queries is None or not share:
            return None
        try:
            elapsed = (now - datetime.fromisoformat(owner.since)).total_seconds()
        except (ValueError, TypeError):
            return None
        total = self._tally.total
        asked = total - owner.queries
        if elapsed <= 0 or asked <= 0:
            return None
        ahead = total * (1 - share) / share
        cap = self._tally.config.get("queries")
        if cap is not None:
            ahead = min(ahead, max(0, cap - total))
        return ahead * elapsed / asked
