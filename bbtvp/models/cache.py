"""Where a `MeteredModel` looks for replies that were given before.

The journal of a run is a `ReplyCache`; `InMemoryCache` is one that ends with the process. For
replies that are kept across runs, see `bbtvp.models.store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

from bbtvp.models.exchange import Outcome, Reply


class ReplyCache(Protocol):
    """Keeps outcomes by the key of their request, and what was spent on them."""

    def recall(self, key: str) -> Reply | None:
        """The reply to the request with this key, if one was recorded."""

    def record(
        self, phase: str, asked: Sequence[tuple[str, Outcome]], *, noted: bool = False
    ) -> None:
        """Keep outcomes by key, failures too, before they are used.

        noted: their cost was told to `note` before and is not counted again.
        """

    def note(self, phase: str, queries: int, usd: float) -> None:
        """Count the image queries and dollars of an attempt before it is made, or a correction.

        May be called from any thread.
        """

    def saw_version(self, spec: str, version: str) -> None:
        """Keep that the model of this spec reported a version of itself."""

    def versions(self, spec: str) -> tuple[str, ...]:
        """The versions that the model of this spec reported, each once, the first first."""


@final
class InMemoryCache(ReplyCache):
    """Keeps replies until the process ends, and counts nothing."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}
        self._versions: dict[str, dict[str, None]] = {}

    def recall(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def record(
        self, phase: str, asked: Sequence[tuple[str, Outcome]], *, noted: bool = False
    ) -> None:
        for key, outcome in asked:
            if isinstance(outcome, Reply):
                self._replies[key] = outcome

    def note(self, phase: str, queries: int, usd: float) -> None:
        pass

    def saw_version(self, spec: str, version: str) -> None:
        self._versions.setdefault(spec, {})[version] = None

    def versions(self, spec: str) -> tuple[str, ...]:
        return tuple(self._versions.get(spec, ()))
