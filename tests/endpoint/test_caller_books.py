"""The budget, the key and the interrupt: what a failing run may cost, show and leave."""

from __future__ import annotations

import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.errors import ModelError
from bbtvp.endpoint.transport import Timeouts
from tests.endpoint.faulty import FaultyServer, Script, Seen, Step, error, in_turn, reply
from tests.endpoint.scripted import (
    BOUND,
    KEY,
    OK,
    PRICE,
    CappedBudget,
    Ended,
    ScriptedCaller,
    threads_gone,
    throttled,
)


@pytest.fixture
def scripted() -> Iterator[ScriptedCaller]:
    made = ScriptedCaller()
    yield made
    made.transport.close()
    assert made.limiter.in_flight == 0


# -- the budget ------------------------------------------------------------------------------------
def test_an_empty_budget_ends_what_was_not_begun(scripted: ScriptedCaller) -> None:
    budget = CappedBudget(queries=30)
    with FaultyServer(lambda seen: Step(body=OK.body, delay=0.02)) as server:
        ended = scripted.run(server.url, 100, budget)
    assert len(server.seen) == budget.reserved == budget.settled == 30
    answered = [end for end in ended if end.reason is None]
    unasked = [end for end in ended if end.reason is not None]
    assert len(answered) == len(scripted.texts) == 30 and len(unasked) == 70
    assert set(unasked) == {Ended("one more image query would pass the cap of 30", False, 0, 0.0)}


def test_a_request_out_of_money_between_attempts_says_both(scripted: ScriptedCaller) -> None:
    with FaultyServer(lambda seen: error(500, "broken")) as server:
        (ended,) = scripted.run(server.url, 1, CappedBudget(queries=3))
    assert ended.attempts == len(server.seen) == 3
    assert ended.reason == "HTTP 500 broken; one more image query would pass the cap of 3"


def test_money_set_aside_for_what_is_under_way_is_waited_for(scripted: ScriptedCaller) -> None:
    """The bound is far above the price: to give up at once would leave most of the money."""
    budget = CappedBudget(usd=10 * BOUND)
    with FaultyServer(lambda seen: Step(body=OK.body, delay=0.02)) as server:
        ended = scripted.run(server.url, 100, budget)
    assert sum(end.reason is None for end in ended) == 37  # then less than one bound is left
    assert budget.paid == pytest.approx(0.037) and budget.most <= budget.limit + 1e-9


def test_a_budget_with_nothing_in_it_asks_nothing(scripted: ScriptedCaller) -> None:
    with FaultyServer(lambda seen: OK) as server:
        ended = scripted.run(server.url, 40, CappedBudget(queries=0))
        assert server.seen == []
    assert {end.attempts for end in ended} == {0} and all(end.reason for end in ended)


@final
class Vendor:
    """Faults drawn at random, and a bill for every answer, whether it arrives or not."""

    def __init__(self, seed: int, share: float) -> None:
        self.rng = random.Random(seed)
        self.share = share
        self.billed = 0.0
        self.worst = 0.0
        self._lock = threading.Lock()

    def __call__(self, seen: Seen) -> Step:
        with self._lock:
            fault = self.rng.random() < self.share
            price = round(self.rng.uniform(PRICE / 2, BOUND), 6)
            drawn = self.rng.choice(self.faults(price))
            step = drawn if fault else reply(text=str(seen.json["index"]), usd=price)
            if step.status == 200:
                self.billed += price
        return step

    @staticmethod
    def faults(price: float) -> Sequence[Step]:
        answer = reply(text="lost", usd=price).body
        return (
            throttled(),
            throttled(Retry_After="0.02"),
            error(500),
            error(503, Retry_After="0.01"),
            error(408),
            Step(502, b"<html>"),
            Step(200, answer[:-4]),
            Step(200, answer, manner="cut"),
            reply(usd=price),
            Step(200, answer, manner="reset"),
            Step(200, b'{"error": {"message": "odd"}}'),
            reply(refusal="no", usd=price),
            error(400, "invalid_image"),
            error(400, "content_filter"),
        )


@pytest.mark.parametrize(
    ("n", "share", "cap"),
    [
        (1200, 0.05, None),
        (600, 0.3, None),
        (600, 0.05, 0.5),
        (300, 0.05, 0.02),
        pytest.param(10_000, 0.05, None, marks=pytest.mark.slow),
        pytest.param(10_000, 0.05, 10.0, marks=pytest.mark.slow),
    ],
)
def test_under_faults_nothing_is_lost_or_paid_twice_or_over_the_cap(
    n: int, share: float, cap: float | None
) -> None:
    vendor = Vendor(n, share)
    scripted = ScriptedCaller(most=24, timeouts=Timeouts(1.0, 2.0, 20.0))
    budget = CappedBudget(usd=1e9 if cap is None else cap)
    with FaultyServer(vendor) as server:
        ended = scripted.run(server.url, n, budget)
    scripted.transport.close()
    assert len(ended) == n
    answered = {i for i, end in enumerate(ended) if end.reason is None}
    assert answered == set(scripted.texts) and all(
        text == str(i) for i, text in scripted.texts.items()
    )
    # Each attempt of the budget is a request that the server saw, and each count is right.
    assert (
        budget.reserved == budget.settled == len(server.seen) == sum(end.attempts for end in ended)
    )
    tries = Counter(seen.json["index"] for seen in server.seen)
    assert all(end.attempts == tries[i] for i, end in enumerate(ended))
    # What was answered is never asked again.
    replies = Counter(i for i in scripted.reads.elements() if i in answered)
    assert all(replies[i] <= tries[i] for i in answered)
    # Money: no more than the cap at any moment, no less than the vendor's bill.
    assert budget.most <= budget.limit + 1e-9
    assert vendor.billed <= budget.paid + 1e-9 <= budget.limit + 2e-9
    assert budget.paid == pytest.approx(
        sum(end.usd for end in ended)
    ) and budget.held == pytest.approx(0)
    if cap is None:
        assert len(answered) >= (0.97 if share < 0.1 else 0.85) * n
    else:
        assert budget.paid > budget.limit - BOUND - 1e-9  # the cap was used up
        assert sum(end.attempts == 0 for end in ended) > 0


@settings(max_examples=15)
@given(st.lists(st.integers(0, 13), max_size=40), st.integers(1, 25), st.integers(0, 40))
def test_any_order_of_faults_keeps_the_books(faults: list[int], n: int, queries: int) -> None:
    scripted = ScriptedCaller(most=4, stop_after=10**6)
    budget = CappedBudget(queries=queries)
    with FaultyServer(
        in_turn([Vendor.faults(PRICE)[fault] for fault in faults], reply(text="t", usd=PRICE))
    ) as server:
        ended = scripted.run(server.url, n, budget)
    scripted.transport.close()
    assert (
        budget.reserved
        == budget.settled
        == len(server.seen)
        == sum(end.attempts for end in ended)
        <= queries
    )
    assert {i for i, end in enumerate(ended) if end.reason is None} == set(scripted.texts)
    assert budget.paid == pytest.approx(sum(end.usd for end in ended))


# -- secrets ---------------------------------------------------------------------------------------
def leaks() -> list[Script]:
    """Every way to fail that could quote what was sent."""
    said = f"you sent Authorization: Bearer {KEY} ({KEY})"
    statuses = (400, 401, 402, 403, 404, 408, 413, 418, 422, 429, 500, 503, 529)
    steps = [error(status, f"code {KEY}", said) for status in statuses]
    steps += [
        Step(502, f"<title>{said}</title>".encode()),
        Step(200, said.encode()),
        Step(302, b"", {"Location": said}),
    ]
    steps += [
        error(429, "insufficient_quota", said),
        error(400, "content_filter", said),
        reply(error=said),
    ]
    steps += [
        reply(refusal=said),
        reply(echo=said),
        Step(500, json.dumps({"error": said}).encode()),
    ]
    steps += [
        Step(body=OK.body, manner="reset"),
        Step(body=OK.body, manner="cut"),
        Step(manner="silence"),
    ]
    steps += [Step(body=b" " * 2_000_000), Step(503, said.encode(), {"Retry-After": KEY})]
    return [in_turn([], step) for step in steps]


@pytest.mark.parametrize("script", leaks(), ids=range(len(leaks())))
def test_no_way_to_fail_shows_the_key(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripted = ScriptedCaller(retries=1, timeouts=Timeouts(1.0, 0.1, 5.0))
    shown = io.StringIO()
    with FaultyServer(script) as server:
        try:
            shown.write(repr(scripted.run(server.url)))
        except ModelError as fatal:
            shown.write(
                "".join(traceback.format_exception(fatal))
                + repr(vars(fatal))
                + repr(fatal.__context__)
            )
        assert f"Bearer {KEY}" in server.keys  # it did go out
    shown.write(
        caplog.text
        + repr(scripted.requests(server.url, 1))
        + repr(scripted.caller)
        + repr(scripted.transport)
    )
    scripted.transport.close()
    assert len(shown.getvalue()) > 200  # there was something to look at
    assert KEY not in shown.getvalue() and KEY[3:12] not in shown.getvalue()


# -- interrupts ------------------------------------------------------------------------------------
PROGRAM = """
import json, signal, sys, time
from bbtvp.core.errors import ModelError
from bbtvp.endpoint.caller import Caller
from bbtvp.endpoint.provider import HttpRequest
from bbtvp.endpoint.limiter import RateLimiter
from bbtvp.endpoint.transport import Timeouts, Transport
from bbtvp.models import Budget
from tests.endpoint.scripted import ScriptedRequest

# Interrupts are ignored where the tests run in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
url = sys.argv[1]
transport = Transport(Timeouts())
explain = lambda s, b: ("", "")
caller = Caller(transport, RateLimiter(), explain=explain, key_variable="K", secrets=[])

def make():
    return HttpRequest("POST", url, {}, b"{}")

def request(index):
    def read(reply):
        print("read", index, flush=True)
        return 0.0
    return ScriptedRequest(make, read)

try:
    caller.run([request(index) for index in range(100)], Budget())
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


@pytest.mark.parametrize("manner", ["silence", "storm", "throttled"])
def test_an_interrupt_leaves_within_two_seconds(manner: str, tmp_path: Path) -> None:
    steps = {
        "silence": Step(manner="silence"),
        "storm": error(500),
        "throttled": error(429, Retry_After="60"),
    }
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with FaultyServer(in_turn([OK, OK], steps[manner])) as server:
        path = os.pathsep.join(filter(None, sys.path))
        child = subprocess.Popen(
            [sys.executable, str(program), server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        while len(server.seen) < 4 and child.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        seen = len(server.seen)
        time.sleep(0.1)
        assert len(server.seen) == seen
    assert child.returncode == 130 and "interrupted" in out and out.count("read") == 2
    assert err == ""


@contextmanager
def interruptible() -> Iterator[None]:
    """Where the tests run in the background, an interrupt is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_answered_soon_after_an_interrupt_is_kept_and_nothing_later(
    scripted: ScriptedCaller,
) -> None:
    def serve(seen: Seen) -> Step:
        return Step(body=OK.body, delay=0.3 if seen.json["index"] < 4 else 2.5)

    late = ScriptedCaller(timeouts=Timeouts(1.0, 5.0, 20.0))
    budget = CappedBudget()
    with FaultyServer(serve) as server, interruptible():
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            while len(server.seen) < 8:
                time.sleep(0.01)
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            late.run(server.url, 100, budget)
        assert set(late.texts) == {0, 1, 2, 3} and len(server.seen) == 8
        assert threads_gone()
        assert set(late.texts) == {0, 1, 2, 3}  # whoever could have kept more is gone
    assert (budget.reserved, budget.settled) == (8, 8)
    assert budget.paid == pytest.approx(
        4 * PRICE + 4 * BOUND
    )  # what was sent and not read may have cost that much
    late.transport.close()
