"""Caps on image queries, money and time, asked before every attempt."""

from __future__ import annotations

import threading

import pytest

from bbtvp.core.errors import BudgetReached, UsageError
from bbtvp.models import (
    Budget,
    InMemoryCache,
    MeteredModel,
    QueryFailed,
    Reply,
    Request,
    Usage,
    probe_model,
)
from tests.support import Vendor, patterns

TASK = patterns()


def requests(count: int, start: int = 0) -> list[Request]:
    return [Request(sample.pixels(), TASK.question) for sample in TASK.test[start : start + count]]


def test_dollars_are_counted_and_capped_before_the_call() -> None:
    vendor = Vendor(usd=0.01)
    metered = MeteredModel(vendor, InMemoryCache(), budget=Budget(usd_cap=0.1))
    metered.query(requests(6))
    assert metered.budget.usd == pytest.approx(0.06)
    with pytest.raises(
        BudgetReached,
        match=r"5 more image queries could cost \$0\.0500 and pass the cap of \$0\.1 \(",
    ):
        metered.query(requests(5, start=6))
    assert vendor.sold == 6


def test_retries_never_pass_the_cap_and_what_was_answered_is_kept() -> None:
    vendor = Vendor(flaky=0.6)
    cache = InMemoryCache()
    metered = MeteredModel(vendor, cache, budget=Budget(10))
    with pytest.raises(BudgetReached, match="pass the cap of 10"):
        metered.query(requests(9))
    assert vendor.sold == metered.budget.total == 10
    before = vendor.sold
    again = MeteredModel(vendor, cache, budget=Budget(100))
    assert all(isinstance(outcome, Reply | QueryFailed) for outcome in again.query(requests(9)))
    assert 0 < again.budget.total == vendor.sold - before


def test_money_kept_for_later_is_not_spent_now() -> None:
    budget = Budget(usd_cap=1.0)
    budget.reserve(0.1)
    budget.settle(0.1, 0.02)
    budget.book([Reply("one", usage=Usage(usd=0.02))])
    budget.held_back = 5
    assert budget.usd_left == pytest.approx(1.0 - 0.02 - 5 * 0.1)
    assert budget.affordable(100) == 4
    budget.held_back = 0
    assert budget.affordable(100) == 9


def test_what_is_under_way_counts_at_the_most_it_can_cost() -> None:
    budget = Budget(usd_cap=1.0)
    budget.reserve(0.6)
    with pytest.raises(BudgetReached, match=r"could cost \$1\.2000"):
        budget.reserve(0.6)
    budget.settle(0.6, 0.1)
    budget.reserve(0.6)


def test_time_is_a_cap() -> None:
    now = [0.0]
    budget = Budget(seconds=60, clock=lambda: now[0])
    budget.reserve(0)
    now[0] = 61.0
    with pytest.raises(BudgetReached, match="the time is up: 60 seconds"):
        budget.reserve(0)


def test_many_threads_reserve_no_more_than_there_is() -> None:
    budget = Budget(500)
    granted = []

    def spend() -> None:
        for _ in range(100):
            try:
                budget.reserve(0.001)
            except BudgetReached:
                return
            granted.append(1)

    threads = [threading.Thread(target=spend) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 500


def test_refusals_are_counted_apart() -> None:
    vendor = Vendor(refuses=lambda request: bool(request.image[0, 0, 0] % 2))
    metered = MeteredModel(vendor, InMemoryCache())
    outcomes = metered.query(requests(20))
    refused = sum(isinstance(outcome, QueryFailed) for outcome in outcomes)
    assert 0 < refused < 20
    assert metered.budget.refused == metered.budget.failed == refused


def test_a_probe_keeps_to_the_caps_and_needs_a_price_where_money_is_capped() -> None:
    assert probe_model(Vendor().inner, Budget()) is None
    assert probe_model(Vendor(usd=0.5), Budget(usd_cap=1.0)) is not None
    with pytest.raises(BudgetReached):
        probe_model(Vendor(usd=0.5), Budget(usd_cap=0.9))
    with pytest.raises(UsageError, match="price"):
        probe_model(Vendor(priced=False), Budget(usd_cap=1.0))
    assert probe_model(Vendor(priced=False), Budget()) is not None


def test_time_is_kept_for_what_comes_later() -> None:
    now = [0.0]
    budget = Budget(seconds=60, clock=lambda: now[0])
    now[0] = 20.0
    budget.book([Reply("one")] * 40)
    budget.held_back = 40  # at half a second each, and some to spare
    budget.check(1, 0)
    now[0] = 36.0
    with pytest.raises(BudgetReached, match="kept for 40 image queries"):
        budget.check(1, 0)
    budget.held_back = 0
    budget.check(1, 0)
