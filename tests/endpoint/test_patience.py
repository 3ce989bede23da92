"""How long an attempt is waited for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.endpoint.patience import FLOOR, Patience
from tests.endpoint.faulty import FaultyServer, Seen, Step
from tests.endpoint.scripted import BOUND, OK, PRICE, CappedBudget, ScriptedCaller


def after(*durations: float, most: float = 120.0) -> Patience:
    patience = Patience(most)
    for seconds in durations:
        patience.note(seconds)
    return patience


def test_until_enough_was_seen_the_limit_of_an_attempt_holds() -> None:
    assert after(*[1.0] * 7).seconds(0) == 120
    assert after(*[1.0] * 8).seconds(0) == FLOOR


@pytest.mark.parametrize(
    ("durations", "seconds"),
    [
        ([0.3] * 64, FLOOR),
        ([5.0] * 64, 20.0),
        ([5.0] * 60 + [25.0] * 4, 100.0),  # the 95 % quantile
        ([5.0] * 61 + [25.0] * 3, 20.0),
        ([40.0] * 64, 120.0),
        ([50.0] * 64 + [5.0] * 64, 20.0),  # the latest count
    ],
)
def test_it_follows_a_high_quantile_of_the_latest(durations: list[float], seconds: float) -> None:
    assert after(*durations).seconds(0) == seconds


def test_each_further_attempt_gets_twice_as_long() -> None:
    patience = after(*[1.0] * 20)
    assert [patience.seconds(attempts) for attempts in range(5)] == [10, 20, 40, 80, 120]


@given(st.lists(st.floats(0, 1000), max_size=80), st.floats(0.01, 900), st.integers(0, 2000))
def test_it_is_within_its_bounds(durations: list[float], most: float, attempts: int) -> None:
    found = after(*durations, most=most).seconds(min(attempts, 1000))
    assert min(FLOOR, most) <= found <= most


def test_a_request_that_hangs_is_given_up_and_asked_again() -> None:
    scripted = ScriptedCaller()
    scripted.caller.patience = Patience(0.5, floor=0.1)
    hung: list[int] = []

    def serve(seen: Seen) -> Step:
        if seen.json["index"] == 30 and not hung:
            hung.append(seen.number)
            return Step(manner="silence")
        return OK

    budget = CappedBudget()
    with FaultyServer(serve) as server:
        scripted.run(server.url, 30, budget)
        ends = scripted.run(server.url, 40, budget)
    scripted.transport.close()
    assert all(end.reason is None for end in ends)
    assert ends[30].attempts == 2 and ends[30].usd == pytest.approx(BOUND + PRICE)
    assert hung
    assert budget.reserved == budget.settled == len(server.seen)
