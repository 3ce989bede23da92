"""How many exchanges at once, and how many requests and tokens a minute: as much as the server
allows, no more.

Rates are token buckets, which pace evenly. How many are in flight is found as in congestion
control: more while all goes well, fewer in proportion to the share of throttled replies (Alizadeh
et al. 2010, Data Center TCP, equation 2), so that a stray 429 costs little and a wall of them
halves the number every round trip, down to one with a pause after it.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, final

BURST = 0.25
"""Seconds' worth of a rate that may go out at once after a lull."""
QUEUEING = 1.5
"""Times the quickest round trip: beyond it the server keeps requests in a queue, and more at once
gain nothing.
"""
LONG = 3600.0
"""Seconds of one wait: the system's waits take no infinite time."""
GLANCE = 0.25
"""Seconds between looks at whether to stop, while a thread of another run waits for room."""
TOLERATED = 0.15
"""Share of throttled replies that is borne where the rate is known and kept."""
WALL = 0.25
"""Share of throttled replies from which on all requests wait as the server says, not only the
throttled one.
"""


class Permit(NamedTuple):
    """Leave for one exchange. round: when it was sent, in round trips."""

    round: int
    tokens: int


@final
class Bucket:
    """A rate per minute. What costs more than the burst waits for a full bucket and leaves a debt.
    Not thread-safe.
    """

    def __init__(self, per_minute: float, now: float, level: float = math.inf) -> None:
        self.per_minute = per_minute
        self.rate = per_minute / 60
        self.burst = max(1.0, self.rate * BURST)
        self.level = min(level, self.burst)
        self.at = now

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` may be taken, 0 for now."""
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        missing = min(cost, self.burst) - self.level
        return missing / self.rate if missing > 1e-9 * self.burst else 0.0

    def take(self, cost: float) -> None:
        self.level -= cost


@final
class Window:
    """How many exchanges may be in flight: `size`, within `least` and `most`. Not thread-safe.

    A size of 1/4 is one exchange, and then a pause of three times its duration. A round trip ends
    with the first reply to a request that was sent in it; the size changes then, and only then.
    """

    def __init__(self, start: int, least: float, most: int) -> None:
        self.least = least
        self.most = most
        self.size = float(min(max(start, least), most))
        self.round = 0
        self.share = 0.0
        """Of the replies of the last window or so, those that were throttled."""
        self.latency = 1.0
        """Seconds of an answered exchange, in the latest round trip that had one."""
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
        """Seconds from one request to the next, below a size of 1."""
        return self.latency / self.size if self.size < 1 else 0.0

    def sent(self, in_flight: int) -> int:
        """The round in which a request goes out, as the last of so many in flight."""
        self._full |= in_flight >= self.room
        return self.round

    def replied(self, sent: int, seconds: float | None, *, throttled: bool, paced: bool) -> None:
        """Count a reply to a request sent in that round; seconds it took, None if it is no answer.

        paced: the rate is known, so that growing fast does no harm, and a few throttled replies say
        little.
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
            queueing = self.latency > QUEUEING * self._quickest
        size = self.size
        if self._throttled and self.share > (TOLERATED if paced else 0):
            size = size * (1 - self.share / 2)
            self._cut = True
        elif self._full and not self._spoilt and not queueing:
            fast = size * (2 if paced else 1.5)
            size = fast if paced or not self._cut else size + min(1.0, 0.1 * size)
        self.size = min(max(size, self.least), self.most)


@final
class Limiter:
    """Lets exchanges begin when the limits allow. For any number of threads; keeps what it learned
    from call to call.

    requests, tokens: per minute; None to take them from the replies' headers, if they say. start,
    least, most: in flight, see Window; with `requests` given the start is `most`. first, longest:
    seconds of the first wait after a failure, which doubles up to the longest. clock: seconds;
    wait: as `Condition.wait`; rng: of the jitter.
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
        # A rate that is given is enough of a check, and a slow start would lose some of it.
        self.window = Window(start if requests is None else most, min(least, most), most)
        self.in_flight = 0
        self._last = -math.inf
        self._wait = wait
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._given = {"requests": requests is not None, "tokens": tokens is not None}
        rates = {"requests": requests, "tokens": tokens}
        self._buckets = {
            kind: Bucket(rate, clock()) for kind, rate in rates.items() if rate is not None
        }
        self._not_before = -math.inf
        # One thread at a time waits for room, the rest for their turn: room for one need not wake
        # them all.
        self._turn = threading.Lock()
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._resting = threading.Condition(lock)

    def enter(self, tokens: int, *, until: float, stopped: Callable[[], bool]) -> Permit | None:
        """Wait for leave to begin an exchange of so many tokens. None if it `stopped`, or cannot be
        before `until`.
        """
        while not self._turn.acquire(timeout=GLANCE):
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
                    self._wait(self._room, min(delay, until - now, LONG))
            return None
        finally:
            self._turn.release()

    def leave(
        self,
        permit: Permit,
        seconds: float | None,
        *,
        throttled: bool = False,
        wait: float | None = None,
    ) -> None:
        """An exchange ended: with an answer after `seconds`, or None. throttled: too many; wait: so
        the server said.
        """
        with self._room:
            self.in_flight -= 1
            self.window.replied(
                permit.round, seconds, throttled=throttled, paced=bool(self._buckets)
            )
            if throttled and wait is not None and self.window.share >= WALL:
                self._not_before = max(self._not_before, self.clock() + wait)
            self._room.notify()

    def give_back(self, permit: Permit) -> None:
        """The exchange was not made after all."""
        with self._room:
            self.in_flight -= 1
            for kind, bucket in self._buckets.items():
                bucket.take(-self._cost(kind, permit.tokens))
            self._room.notify()

    def rest(self, seconds: float, *, stopped: Callable[[], bool]) -> bool:
        """Wait; False if it `stopped` meanwhile."""
        end = self.clock() + seconds
        with self._resting:
            while not stopped():
                left = end - self.clock()
                if left <= 0:
                    return True
                self._wait(self._resting, min(left, LONG))
        return False

    def wake(self) -> None:
        """Have everyone who waits look whether it stopped."""
        with self._room:
            self._room.notify_all()
            self._resting.notify_all()

    def backoff(self, failures: int, wait: float | None) -> float:
        """Seconds until the next attempt after so many: doubling, with jitter, and not before what
        the server says.
        """
        own = min(self.longest, self.first * 2.0 ** (failures - 1)) * self._rng.uniform(0.5, 1)
        return own if wait is None else max(own, wait * self._rng.uniform(1, 1.1))

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take the limits from a reply's headers, where they were not given. A daily limit, read
        so, binds nobody.
        """
        for kind, names in HEADERS.items():
            if self._given[kind]:
                continue
            found = [headers[name] for name in names if name in headers]
            rate = float(found[0]) if found and found[0].isdecimal() else 0.0
            with self._room:
                known = self._buckets.get(kind)
                if rate > 0 and (known is None or known.per_minute != rate):
                    self._buckets[kind] = Bucket(rate, self.clock(), known.level if known else 1.0)
                    self._room.notify()

    def _delay(self, tokens: int, now: float) -> float:
        """Seconds until an exchange may begin; infinite until another ends."""
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


HEADERS = {
    "requests": ("x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit"),
    "tokens": (
        "x-ratelimit-limit-tokens",
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-input-tokens-limit",
    ),
}
