"""A caller, a budget and requests to make at a scripted server."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, final

from bbtvp.core.errors import BudgetReached
from bbtvp.endpoint.caller import Caller
from bbtvp.endpoint.limiter import RateLimiter
from bbtvp.endpoint.pending import PendingRequest, RefusedReply, UnusableReply
from bbtvp.endpoint.provider import HttpRequest, Json
from bbtvp.endpoint.transport import Timeouts, Transport
from bbtvp.models import Budget
from tests.endpoint.faulty import Step, reply

KEY = "sk-Kq7fJ2mN8vX4bZ1c"
PRICE = 0.001
BOUND = 0.004
OK = reply(text="rows", usd=PRICE)
QUICK = Timeouts(1.0, 0.5, 5.0)

Read: TypeAlias = Callable[[int, Json], float]
"""Reads the reply to a request, given its index, and returns what it cost."""


def explain(status: int, body: Json) -> tuple[str, str]:
    """As an adapter's `ProviderApi.error`."""
    found = body.get("error")
    if not isinstance(found, dict):
        return "", str(found or "")
    return str(found.get("code") or ""), str(found.get("message") or "")


@final
class CappedBudget(Budget):
    """A budget with caps, which remembers the worst moment."""

    def __init__(self, queries: int = 10**9, usd: float = 1e9) -> None:
        super().__init__()
        self.queries = queries
        self.limit = usd
        self.reserved = self.settled = 0
        self.paid = self.held = self.most = 0.0
        self._lock = threading.Lock()

    def reserve(self, usd: float) -> None:
        with self._lock:
            if self.reserved + 1 > self.queries:
                raise BudgetReached(f"one more image query would pass the cap of {self.queries}")
            if self.paid + self.held + usd > self.limit + 1e-9:
                raise BudgetReached(f"one more image query could pass the cap of ${self.limit:g}")
            self.reserved = self.reserved + 1
            self.held = self.held + usd
            self.most = max(self.most, self.paid + self.held)

    def settle(self, reserved: float, usd: float) -> None:
        with self._lock:
            self.settled = self.settled + 1
            self.held = self.held - reserved
            self.paid = self.paid + usd


@final
class ScriptedRequest(PendingRequest):
    """A request that is made and read by the functions of a test."""

    def __init__(
        self,
        make: Callable[[], HttpRequest],
        read: Callable[[Json], float],
        *,
        max_usd: float = BOUND,
        tokens: int = 10,
    ) -> None:
        super().__init__(max_usd, tokens)
        self._make = make
        self._read = read

    def http_request(self) -> HttpRequest:
        return self._make()

    def read(self, reply: Json) -> float:
        return self._read(reply)


class Ended(NamedTuple):
    """How a request ended."""

    reason: str | None
    refused: bool
    attempts: int
    usd: float


def ended(requests: Sequence[PendingRequest]) -> list[Ended]:
    return [Ended(each.failure, each.refused, each.attempts, each.usd) for each in requests]


@final
class SkippedTime:
    """The clock of a limiter whose waits end at once, for one request at a time.

    now: the seconds that were waited so far.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, _: threading.Condition, timeout: float | None) -> None:
        if timeout is None:
            raise RuntimeError("a wait without an end")
        self.now += timeout


@final
class ScriptedCaller:
    """A caller, and what it has read."""

    def __init__(
        self,
        *,
        timeouts: Timeouts = QUICK,
        limit: int = 1 << 20,
        stop_after: int = 20,
        retries: int = 8,
        requests: float | None = None,
        most: int = 32,
        first: float = 0.001,
        skipped: SkippedTime | None = None,
    ) -> None:
        self.transport = Transport(timeouts, limit=limit)
        clock = {} if skipped is None else {"clock": skipped, "wait": skipped.wait}
        self.limiter = RateLimiter(requests=requests, first=first, longest=0.05, most=most, **clock)
        self.caller = Caller(
            self.transport,
            self.limiter,
            explain=explain,
            key_variable="OPENAI_API_KEY",
            secrets=[KEY],
            retries=retries,
            stop_after=stop_after,
        )
        self.texts: dict[int, str] = {}
        self.reads: Counter[int] = Counter()
        self._lock = threading.Lock()

    def read(self, index: int, body: Json) -> float:
        with self._lock:
            self.reads[index] += 1
        if body.get("refusal"):
            raise RefusedReply(body["refusal"], body.get("usd"))
        if "text" not in body:
            raise UnusableReply(f"no text in {json.dumps(body)}", body.get("usd"))
        self.texts[index] = body["text"]
        return float(body["usd"])

    def requests(self, url: str, n: int, read: Read | None = None) -> list[PendingRequest]:
        return [self._request(url, index, read or self.read) for index in range(n)]

    @staticmethod
    def _request(url: str, index: int, read: Read) -> PendingRequest:
        body = json.dumps({"index": index}).encode()
        headers = {"Authorization": f"Bearer {KEY}"}
        return ScriptedRequest(
            lambda: HttpRequest("POST", url, headers, body), lambda reply: read(index, reply)
        )

    def run(
        self, url: str, n: int = 1, budget: Budget | None = None, read: Read | None = None
    ) -> list[Ended]:
        requests = self.requests(url, n, read)
        self.caller.run(requests, budget or Budget())
        return ended(requests)


def threads_gone(threads: str = "bbtvp-caller") -> bool:
    """Whether the worker threads end within ten seconds."""
    end = time.monotonic() + 10
    while any(thread.name == threads for thread in threading.enumerate()):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def throttled(
    body: bytes = b'{"error": {"code": "rate_limit", "message": "slow down"}}', **headers: str
) -> Step:
    return Step(429, body, {name.replace("_", "-"): value for name, value in headers.items()})
