"""A request on its way: how it is made, what it may cost, and what became of it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from bbtvp.endpoint.provider import HttpRequest, Json


class UnusableReply(Exception):
    """A reply of status 200 that holds no answer.

    usd: what it cost in US dollars. None if it does not say: it then counts at its highest cost.
    """

    def __init__(self, reason: str, usd: float | None = None) -> None:
        super().__init__(reason)
        self.usd = usd


class RefusedReply(UnusableReply):
    """A reply of status 200 in which the model or a filter would not answer."""


class PendingRequest(ABC):
    """A request to be made, and then what became of it.

    max_usd: the most that one attempt can cost, in US dollars. tokens: of one attempt, an estimate
    for the limit per minute. failure: why there is no answer, None if there is one. refused: the
    model or a filter would not answer. attempts: how many were sent, retries included. usd: what
    they cost together.
    """

    def __init__(self, max_usd: float, tokens: int) -> None:
        self.max_usd = max_usd
        self.tokens = tokens
        self.failure: str | None = None
        self.refused = False
        self.attempts = 0
        self.usd = 0.0

    @abstractmethod
    def http_request(self) -> HttpRequest:
        """Make the HTTP request. Called for every attempt, since signatures expire."""

    @abstractmethod
    def read(self, reply: Json) -> float:
        """Keep what a reply says, and return its cost in US dollars. Called from any thread.

        Raises UnusableReply, after which another attempt follows, or RefusedReply.
        """

    def fail(self, reason: str, *, refused: bool = False) -> None:
        """Note why there is no answer."""
        self.failure = reason
        self.refused = refused
