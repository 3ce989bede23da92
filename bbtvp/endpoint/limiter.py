"""How many exchanges run at once, and how many requests and tokens are sent a minute.

The aim is as much as the server allows, and no more. Rates are token buckets, which pace requests
evenly. The number in flight is controlled like a congestion window: it grows while all goes well,
and shrinks in proportion to the share of throttled replies (Alizadeh et al. 2010, Data Center TCP,
equation 2). A single 429 then costs little, and a run of them halves the number every round trip,
down to one request with a pause after it.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, final

_BURST = 0.25
"""How much of a rate may be sent at once after a lull, in seconds of that rate."""
_QUEUEING = 1.5
"""A round trip longer than this multiple of the quickest one means that the server queues.

More requests at once would then gain nothing.
"""
_LONG = 3600.0
"""Longest single wait in seconds, since the system's waits take no infinite time."""
_GLANCE = 0.25
"""Seconds between checks for a stop, while another thread waits for a permit."""
_TOLERATED = 0.15
"""Share of throttled replies that is tolerated where the rate is known and kept."""
_WALL = 0.25
"""From this share of throttled replies on, all requests wait for as long as the server asks."""


class Permit(NamedTuple):
    """Permission for one exchange. round: the round trip in which it was sent."""

    round: int
    tokens: int


@final
class TokenBucket:
    """A token bucket for a rate per minute. Not thread-safe.

    A cost above the capacity waits for a full bucket and leaves a debt.
    """

    def __init__(self, per_minute: float, now: float, level: float = math.inf) -> None:
        self.per_minute = per_minute
        self.rate = per_minute / 60
        self.burst = max(1.0, self.rate * _BURST)
        self.level = min(level, self.burst)
        self.at = now

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until `cost` may be taken, 0 for now."""
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        missing = min(cost, self.burst) - self.level
        return missing / self.rate if missing > 1e-9 * self.burst else 0.0

    def take(self, cost: float) -> None:
        self.level -= cost


@final
class CongestionWindow:
    """How many exchanges may be in flight: `size`, within `least` and `most`. Not thread-safe.

    A size of 1/4 means one exchange, followed by a pause of three times its duration. A round trip
    ends with the first reply to a request that was sent in it. The size changes only then.
    """

    def __init__(self, start: int, least: float, most: int) -> None:
        self.least = least
        self.most = most
        self.size = float(min(max(start, least), most))
        self.round = 0
        self.share = 0.0
        """The share of throttled replies among those of about the last window."""
        self.latency = 1.0
        """Mean seconds of an answered exchange, in the latest round trip that had one."""
        self._cut = False
        self._quickest = math.inf
        self._begin()

    def _begin(self) -> None:
        self._full = self._spoilt = self._throttled = False
        self._seconds = 0.0
        self._answers = 0

    @property
    def room(self) -> int:
        return max(int(self.size), 1)

    @property
    def gap(self) -> float:
        """Seconds from one request to the next, for a size below 1."""
        return self.latency / self.size if self.size < 1 else 0.0

    def sent(self, in_flight: int) -> int:
        """Return the round of a request that makes `in_flight` exchanges in flight."""
        self._full |= in_flight >= self.room
        return self.round

    def replied(self, sent: int, seconds: float | None, *, throttled: bool, paced: bool) -> None:
        """Count a reply to a request that was sent in the round `sent`.

        seconds: how long it took, None if it is no answer. paced: the rate is known. Fast growth
        then does no harm, and a few throttled replies mean little.
        """
        self.share += (throttled - self.share) / max(self.size, 2.0)
        self._throttled |= throttled
        if seconds is None:
            self._spoilt = True
        else:
            self._seconds = self._seconds + seconds
            self._answers = self._answers + 1
        if sent == self.round:
            self._adjust(paced)
            self.round += 1
            self._begin()

    def _adjust(self, paced: bool) -> None:
        queueing = False
        if self._answers:
            self.latency = self._seconds / self._answers
            self._quickest = min(self._quickest, self.latency)
            queueing = self.latency > _QUEUEING * self._quickest
        size = self.size
        if self._throttled and self.share > (_TOLERATED if paced else 0):
            size = size * (1 - self.share / 2)
            self._cut = True
        elif self._full and not self._spoilt and not queueing:
            fast = size * (2 if paced else 1.5)
            size = fast if paced or not self._cut else size + min(1.0, 0.1 * size)
        self.size = min(max(size, self.least), self.most)


@final
class RateLimiter:
    """Lets exchanges begin when the limits allow. Safe to use from many threads.

    What was learned is kept from call to call. requests, tokens: per minute; None to learn them
    from the headers of replies. start, least, most: exchanges in flight, see CongestionWindow; with
    `requests` given the start is `most`. first, longest: seconds of the first wait after a failure,
    and of the longest one; the wait doubles in between. clock: seconds. wait: like
    `Condition.wait`. rng: for the jitter.
    """

    def __init__(
        self,
        *,
        requests: float | None = None,
        tokens: float | None = None,
        start: int = 8,
        least: float = 1 / 32,
        most: int = 256,
        first: float = 0.5,
        longest: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait,
        rng: random.Random | None = None,
    ) -> None:
        self.most = most
        self.first = first
        self.longest = longest
        self.clock = clock
        # A given rate limits enough, and a slow start would waste some of it.
        self.window = CongestionWindow(start if requests is None else most, min(least, most), most)
        self.in_flight = 0
        self._last = -math.inf
        self._wait = wait
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._given = {"requests": requests is not None, "tokens": tokens is not None}
        rates = {"requests": requests, "tokens": tokens}
        self._buckets = {
            kind: TokenBucket(rate, clock()) for kind, rate in rates.items() if rate is not None
        }
        self._not_before = -math.inf
        # One thread at a time waits for a permit and the others for their turn, so that room for
        # one exchange does not wake them all.
        self._turn = threading.Lock()
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._resting = threading.Condition(lock)

    def acquire(self, tokens: int, *, until: float, stopped: Callable[[], bool]) -> Permit | None:
        """Wait until an exchange of so many tokens may begin.

        None if it `stopped`, or if it cannot begin before `until`.
        """
        while not self._turn.acquire(timeout=_GLANCE):
            if stopped() or self.clock() >= until:
                return None
        try:
            with self._room:
                while not stopped():
                    now = self.clock()
                    delay = self._delay(tokens, now)
                    if delay <= 0:
                        return self._let_in(tokens)
                    if now >= until or until <= now + delay < math.inf:
                        return None
                    self._wait(self._room, min(delay, until - now, _LONG))
            return None
        finally:
            self._turn.release()

    def release(
        self,
        permit: Permit,
        seconds: float | None,
        *,
        throttled: bool = False,
        wait: float | None = None,
    ) -> None:
        """Note that an exchange ended, with an answer after `seconds`, or with None.

        throttled: too much was asked at once. wait: seconds that the server asks to wait.
        """
        with self._room:
            self.in_flight -= 1
            self.window.replied(
                permit.round, seconds, throttled=throttled, paced=bool(self._buckets)
            )
            if throttled and wait is not None and self.window.share >= _WALL:
                self._not_before = max(self._not_before, self.clock() + wait)
            self._room.notify()

    def cancel(self, permit: Permit) -> None:
        """Take a permit back: the exchange was not made after all."""
        with self._room:
            self.in_flight -= 1
            for kind, bucket in self._buckets.items():
                bucket.take(-self._cost(kind, permit.tokens))
            self._room.notify()

    def rest(self, seconds: float, *, stopped: Callable[[], bool]) -> bool:
        """Wait for so many seconds. False if it `stopped` meanwhile."""
        end = self.clock() + seconds
        with self._resting:
            while not stopped():
                left = end - self.clock()
                if left <= 0:
                    return True
                self._wait(self._resting, min(left, _LONG))
        return False

    def wake(self) -> None:
        """Make every waiting thread check whether it was stopped."""
        with self._room:
            self._room.notify_all()
            self._resting.notify_all()

    def backoff(self, failures: int, wait: float | None) -> float:
        """Return the seconds until the next attempt after so many failures.

        The wait doubles from failure to failure, with jitter, and is never shorter than what the
        server asks for.
        """
        own = min(self.longest, self.first * 2.0 ** (failures - 1)) * self._rng.uniform(0.5, 1)
        return own if wait is None else max(own, wait * self._rng.uniform(1, 1.1))

    def learn(self, headers: Mapping[str, str]) -> None:
        """Learn the limits that were not given from the headers of a reply.

        A daily limit that is read in this way restricts nothing.
        """
        for kind, names in _HEADERS.items():
            if self._given[kind]:
                continue
            found = [headers[name] for name in names if name in headers]
            rate = float(found[0]) if found and found[0].isdecimal() else 0.0
            with self._room:
                known = self._buckets.get(kind)
                if rate > 0 and (known is None or known.per_minute != rate):
                    self._buckets[kind] = TokenBucket(
                        rate, self.clock(), known.level if known else 1.0
                    )
                    self._room.notify()

    def _delay(self, tokens: int, now: float) -> float:
        """Return the seconds until an exchange may begin; infinite until another one ends."""
        if self.in_flight >= self.window.room:
            return math.inf
        waits = [
            bucket.wait(self._cost(kind, tokens), now) for kind, bucket in self._buckets.items()
        ]
        return max([self._not_before - now, self._last + self.window.gap - now, *waits])

    def _let_in(self, tokens: int) -> Permit:
        for kind, bucket in self._buckets.items():
            bucket.take(self._cost(kind, tokens))
        self.in_flight = self.in_flight + 1
        self._last = self.clock()
        return Permit(self.window.sent(self.in_flight), tokens)

    @staticmethod
    def _cost(kind: str, tokens: int) -> int:
        return 1 if kind == "requests" else tokens


_HEADERS = {
    "requests": ("x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit"),
    "tokens": (
        "x-ratelimit-limit-tokens",
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-input-tokens-limit",
    ),
}
