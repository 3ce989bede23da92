"""The limiter against simulated servers, on a clock of its own: an hour takes a moment, and every
run is the same.
"""

from __future__ import annotations

import heapq
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, final

import pytest

from bbtvp.endpoint.limiter import CongestionWindow, Permit, RateLimiter, TokenBucket

NEVER: Callable[[], bool] = lambda: False  # noqa: E731 - a constant


class Said(NamedTuple):
    """What a server does with a request: seconds until the reply, whether it is a 429, and its
    hint.
    """

    seconds: float
    throttled: bool = False
    wait: float | None = None


class Reply(NamedTuple):
    sent: float
    arrived: float
    said: Said


@final
class Simulation:
    """One thread that asks as fast as the limiter lets it, a server, and the time between them."""

    def __init__(self, server: Callable[[float], Said], **options: Any) -> None:
        self.server = server
        self.now = 0.0
        self.replies: list[Reply] = []
        self.widest = 0
        self._due: list[tuple[float, int, Permit, float, Said]] = []
        self.limiter = RateLimiter(
            clock=lambda: self.now, wait=self._wait, rng=random.Random(0), **options
        )

    def _wait(self, condition: threading.Condition, timeout: float | None) -> None:
        condition.release()
        self.advance(self.now + (math.inf if timeout is None else timeout))
        condition.acquire()

    def advance(self, until: float) -> None:
        """To `until`, or to the next reply."""
        if self._due and self._due[0][0] <= until:
            self.now, _, permit, sent, said = heapq.heappop(self._due)
            self.replies.append(Reply(sent, self.now, said))
            answered = None if said.throttled else said.seconds
            self.limiter.release(permit, answered, throttled=said.throttled, wait=said.wait)
        else:
            assert until < math.inf, "the limiter waits for ever"
            self.now = until

    def ask(self, tokens: int = 1, until: float = math.inf) -> bool:
        permit = self.limiter.acquire(tokens, until=until, stopped=NEVER)
        if permit is None:
            return False
        said = self.server(self.now)
        heapq.heappush(
            self._due,
            (self.now + said.seconds, len(self.replies) + len(self._due), permit, self.now, said),
        )
        self.widest = max(self.widest, len(self._due))
        return True

    def run(self, seconds: float, tokens: int = 1) -> None:
        """Ask for so long, and let the last ones end."""
        end = self.now + seconds
        while self.now < end and self.ask(tokens, until=end):
            pass
        while self._due:
            self.advance(math.inf)

    def answered(self, since: float = 0.0, until: float = math.inf) -> int:
        return sum(
            not reply.said.throttled and since <= reply.sent < until for reply in self.replies
        )

    def refused(self) -> float:
        """Share of the attempts."""
        return 1 - self.answered() / len(self.replies)


def steady(seconds: float = 0.3) -> Callable[[float], Said]:
    return lambda now: Said(seconds)


def limited(
    per_minute: float, *, burst: float, hint: bool = False, seconds: float = 0.3
) -> Callable[[float], Said]:
    """A server with a token bucket that starts full; a refusal is quick."""
    bucket = TokenBucket(per_minute, 0.0)
    bucket.burst = bucket.level = burst

    def serve(now: float) -> Said:
        delay = bucket.wait(1, now)
        if delay > 0:
            return Said(0.02, True, max(delay, 1.0) if hint else None)
        bucket.take(1)
        return Said(seconds)

    return serve


def stray(
    share: float, inner: Callable[[float], Said], hint: float | None = None
) -> Callable[[float], Said]:
    rng = random.Random(1)
    return lambda now: Said(0.02, True, hint) if rng.random() < share else inner(now)


# -- rates -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("per_minute", [6, 60, 600, 12_000])
def test_a_given_rate_is_used_up_and_never_passed(per_minute: int) -> None:
    simulation = Simulation(steady(), requests=per_minute)
    simulation.run(120)
    assert simulation.answered() >= 0.98 * 2 * per_minute
    window: deque[float] = deque()
    for reply in sorted(simulation.replies, key=lambda reply: reply.sent):
        window.append(reply.sent)
        while window[0] <= reply.sent - 1:
            window.popleft()
        assert len(window) <= 1.25 * per_minute / 60 + 1
    assert simulation.refused() == 0


def test_a_rate_is_paced_evenly() -> None:
    simulation = Simulation(steady(), requests=600)
    simulation.run(60)
    gaps = [
        b.sent - a.sent
        for a, b in zip(simulation.replies[8:], simulation.replies[9:], strict=False)
    ]
    assert max(gaps) == pytest.approx(0.1, abs=1e-6) and min(gaps) == pytest.approx(0.1, abs=1e-6)


def test_after_a_lull_only_a_small_burst_goes_out() -> None:
    simulation = Simulation(steady(), requests=600)
    simulation.now = 3600.0
    simulation.run(1)
    assert sum(reply.sent == 3600.0 for reply in simulation.replies) == 2


@pytest.mark.parametrize("tokens", [40, 400, 5000])
def test_tokens_per_minute_are_used_up_and_never_passed(tokens: int) -> None:
    simulation = Simulation(steady(), tokens=30_000)
    simulation.run(600, tokens)
    used = tokens * simulation.answered()
    assert 0.97 * 300_000 <= used <= 300_000 + 2 * tokens + 125


def test_the_tighter_limit_rules() -> None:
    simulation = Simulation(steady(), requests=600, tokens=30_000)
    simulation.run(120, tokens=100)
    assert simulation.answered() == pytest.approx(600, rel=0.02)


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_stray_throttling_does_not_cost_the_rate(share: float) -> None:
    """One in a hundred or in twenty, with a hint that, if everyone followed it, would leave
    nothing.
    """
    simulation = Simulation(stray(share, steady(), hint=1.0), requests=6000)
    simulation.run(120)
    assert simulation.answered(10) >= (0.99 - share) * 6000 * 110 / 60


def test_a_request_that_was_not_made_costs_nothing() -> None:
    limiter = RateLimiter(requests=60, clock=lambda: 0.0)
    for _ in range(5):
        permit = limiter.acquire(
            300, until=1.0, stopped=NEVER
        )  # a second to wait would be one too many
        assert permit is not None
        limiter.cancel(permit)
    assert limiter.in_flight == 0


# -- limits that replies tell ----------------------------------------------------------------------
@pytest.mark.parametrize(
    "header", ["x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit"]
)
def test_a_limit_is_learned_from_headers(header: str) -> None:
    simulation = Simulation(limited(600, burst=10))
    simulation.ask()
    simulation.limiter.learn({header: "600"})
    simulation.run(60)
    assert simulation.answered() >= 0.98 * 600 and simulation.refused() == 0


def test_a_limit_of_tokens_is_learned_from_headers() -> None:
    simulation = Simulation(steady())
    simulation.limiter.learn({"x-ratelimit-limit-tokens": "30000"})
    simulation.run(60, tokens=1000)
    assert simulation.answered() == pytest.approx(30, abs=2)


def test_a_given_limit_wins() -> None:
    simulation = Simulation(steady(), requests=60)
    for rate in ("6000", "6"):
        simulation.limiter.learn({"x-ratelimit-limit-requests": rate})
    simulation.run(60)
    assert simulation.answered() == pytest.approx(60, abs=2)


def test_a_limit_that_changes_is_followed_without_a_fresh_burst() -> None:
    simulation = Simulation(steady())
    simulation.limiter.learn({"x-ratelimit-limit-requests": "60"})
    simulation.run(30)
    for _ in range(
        100
    ):  # were each a bucket that starts with something in it, this would be a way around the limit
        simulation.limiter.learn({"x-ratelimit-limit-requests": "60"})
        simulation.limiter.learn({"x-ratelimit-limit-requests": "61"})
        simulation.run(0.1)
    assert simulation.answered() <= 42


@pytest.mark.parametrize("text", ["", "0", "-5", "many", "1e9", "unlimited", "²"])
def test_a_header_that_is_no_limit_is_ignored(text: str) -> None:
    simulation = Simulation(steady())
    simulation.limiter.learn({"x-ratelimit-limit-requests": text})
    simulation.run(6)
    assert simulation.answered() > 1000


# -- how many at once ------------------------------------------------------------------------------
@pytest.mark.parametrize("most", [1, 4, 64, 256])
def test_a_server_that_takes_all_gets_all(most: int) -> None:
    simulation = Simulation(steady(), most=most)
    simulation.run(30)
    assert simulation.widest == most
    assert simulation.answered() > 0.8 * 30 * most / 0.3


def test_a_window_that_is_not_used_does_not_grow() -> None:
    simulation = Simulation(steady())
    simulation.limiter.learn({"x-ratelimit-limit-requests": "600"})
    simulation.run(60)
    assert simulation.widest <= 4 and simulation.limiter.window.size == 8


@pytest.mark.parametrize("per_minute", [60, 600, 6000])
@pytest.mark.parametrize("hint", [False, True])
def test_a_limit_that_nobody_tells_is_found(per_minute: int, hint: bool) -> None:
    simulation = Simulation(limited(per_minute, burst=max(per_minute / 60, 5), hint=hint))
    simulation.run(300)
    assert simulation.answered(60, 300) >= 0.9 * 4 * per_minute
    assert simulation.refused() < 0.3


def test_a_wall_with_a_hint_wastes_few_attempts() -> None:
    """Fifteen a minute, all at once: the ninth of each minute is told to wait for the next."""

    def serve(now: float) -> Said:
        taken[int(now // 60)] = taken.get(int(now // 60), 0) + 1
        return Said(0.02, True, 60 - now % 60) if taken[int(now // 60)] > 15 else Said(1.0)

    taken: dict[int, int] = {}
    simulation = Simulation(serve)
    simulation.run(1200)
    assert simulation.answered() >= 0.95 * 15 * 20
    assert simulation.refused() < 0.35


def test_a_server_that_queues_is_not_flooded() -> None:
    """It answers one at a time: more at once gain nothing, and would run into the time for an
    attempt.
    """
    free = [0.0]

    def serve(now: float) -> Said:
        free[0] = max(free[0], now) + 0.5
        return Said(free[0] - now)

    simulation = Simulation(serve)
    simulation.run(300)
    assert simulation.widest <= 24
    assert simulation.answered() == pytest.approx(600, rel=0.05)
    assert max(reply.said.seconds for reply in simulation.replies) < 15


def window(size: int = 64) -> CongestionWindow:
    return CongestionWindow(size, 1, 256)


def throttle(tested: CongestionWindow, replies: int, sent: int) -> None:
    for _ in range(replies):
        tested.replied(sent, None, throttled=True, paced=False)


def test_throttling_cuts_at_most_once_per_round_trip() -> None:
    tested = window(64)
    first = [tested.sent(n) for n in range(1, 65)]
    assert set(first) == {0}
    throttle(tested, 64, 0)
    assert tested.round == 1 and 32 <= tested.size < 64
    after = tested.size
    throttle(tested, 1, 1)
    assert tested.round == 2 and 0.5 * after <= tested.size < 0.75 * after


def test_a_wall_takes_the_window_down_to_the_least() -> None:
    tested = window(64)
    for _ in range(30):
        throttle(tested, tested.room, tested.sent(tested.room))
    assert (tested.size, tested.room) == (1, 1)


def test_a_stray_refusal_hardly_cuts() -> None:
    tested = window(64)
    tested.replied(tested.sent(64), None, throttled=True, paced=False)
    assert 63 <= tested.size < 64


@pytest.mark.parametrize("kind", ["error", "queue"])
def test_errors_and_queues_neither_cut_nor_grow(kind: str) -> None:
    tested = window(64)
    tested.replied(tested.sent(10), 0.3, throttled=False, paced=False)
    for _ in range(20):
        seconds = None if kind == "error" else 0.6
        tested.replied(tested.sent(64), seconds, throttled=False, paced=False)
    assert tested.size == 64


def test_growth_is_fast_until_the_first_cut_and_steady_after() -> None:
    tested = window(8)
    sizes = []
    for _ in range(3):
        tested.replied(tested.sent(256), 0.3, throttled=False, paced=False)
        sizes.append(tested.size)
    assert sizes == [12, 18, 27]
    tested.replied(tested.sent(256), None, throttled=True, paced=False)
    cut = tested.size
    tested.replied(tested.sent(256), 0.3, throttled=False, paced=False)
    assert tested.size == pytest.approx(min(1.1 * cut, cut + 1))


# -- waits -----------------------------------------------------------------------------------------
def test_a_wall_with_a_hint_makes_everyone_wait() -> None:
    simulation = Simulation(lambda now: Said(0.02, now < 20, 20 - now if now < 20 else None))
    simulation.run(21)
    late = sorted(reply.sent for reply in simulation.replies)
    assert len([sent for sent in late if sent < 20]) <= 10
    assert min(sent for sent in late if sent > 1) == pytest.approx(20, abs=0.1)


def test_late_replies_do_not_push_a_pause_on_for_ever() -> None:
    """Each refusal says 89 seconds; what was in flight comes in one by one, and then it is over."""
    simulation = Simulation(lambda now: Said(0.02 + now % 1, now < 1, 89.0 if now < 1 else None))
    simulation.run(200)
    assert simulation.answered(0, 92) > 0


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    simulation = Simulation(lambda now: Said(0.02, True, 300.0))
    for _ in range(8):
        simulation.ask()
    for _ in range(8):
        simulation.advance(math.inf)
    before = simulation.now
    assert not simulation.ask(until=before + 100)
    assert simulation.now == before
    assert simulation.ask(until=before + 301)


def test_waits_double_with_jitter_up_to_the_longest_and_never_undercut_a_hint() -> None:
    limiter = RateLimiter(first=0.5, longest=60)
    for failures in range(1, 12):
        most = min(60, 0.5 * 2 ** (failures - 1))
        drawn = [limiter.backoff(failures, None) for _ in range(200)]
        assert most / 2 <= min(drawn) < 0.6 * most and 0.9 * most < max(drawn) <= most
    assert all(30 <= limiter.backoff(1, 30.0) <= 33 for _ in range(100))
    assert all(limiter.backoff(9, 0.1) >= 30 for _ in range(100))
    assert len({RateLimiter().backoff(1, None) for _ in range(5)}) == 5


# -- threads ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["room", "rate", "rest"])
def test_whoever_waits_is_woken(kind: str) -> None:
    limiter = RateLimiter(requests=1 if kind == "rate" else None, most=1)
    assert limiter.acquire(1, until=math.inf, stopped=NEVER) is not None
    if kind == "rate":
        limiter.release(Permit(0, 1), 0.1)
    stopped = threading.Event()
    results: list[object] = []

    def wait() -> None:
        if kind == "rest":
            results.append(limiter.rest(60, stopped=stopped.is_set) or None)
        else:
            results.append(limiter.acquire(1, until=math.inf, stopped=stopped.is_set))

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert results == []
    stopped.set()
    limiter.wake()
    for thread in threads:
        thread.join(60)
    assert results == [None] * 20


def test_threads_share_the_limits() -> None:
    limiter = RateLimiter(requests=12_000, most=5)
    widest = [0]
    now = [0]
    lock = threading.Lock()
    sent: list[float] = []

    def work() -> None:
        for _ in range(10):
            permit = limiter.acquire(1, until=math.inf, stopped=NEVER)
            assert permit is not None
            with lock:
                now[0] += 1
                widest[0] = max(widest[0], now[0])
                sent.append(time.monotonic())
            time.sleep(0.005)
            with lock:
                now[0] -= 1
            limiter.release(permit, 0.005)

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert widest[0] <= 5 and len(sent) == 200 and limiter.in_flight == 0
    # No earlier than the rate allows; a busy machine only makes it later.
    assert max(sent) - began >= 0.99 * (199 - 50) / 200
