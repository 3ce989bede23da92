"""The day: one place to ask, so that what depends on it can be tried on any day."""

from __future__ import annotations

from datetime import UTC, date, datetime


def today() -> date:
    """The day, UTC. Call it as `clock.today()`: a name of one's own would not follow a change."""
    return datetime.now(UTC).date()
