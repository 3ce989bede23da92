"""Counting, the cap, and the cache: what a user pays for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
import pytest

from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.models import (
    Budget,
    InMemoryCache,
    LabelScore,
    MeteredModel,
    Outcome,
    QueryFailed,
    Reply,
    Request,
    Shown,
)
from bbtvp.models.metered import REQUESTS_PER_CALL
from tests.support import LABELS, QUESTION, Eye, Flaky, Recorder, Wrapper


def requests(n: int, first: int = 0) -> list[Request]:
    """n requests that differ in their pixels."""
    images = [np.full((4, 4, 3), i % 256, np.uint8) for i in range(first, first + n)]
    return [
        Request(image, QUESTION, LABELS, replicate=i // 256)
        for i, image in enumerate(images, first)
    ]


def test_each_image_query_is_counted_once_by_phase() -> None:
    metered = MeteredModel(Eye(), InMemoryCache())
    metered.query(requests(3))
    metered.budget.phase = "validation"
    metered.query(requests(2, first=3))
    assert dict(metered.budget.spent) == {"search": 3, "validation": 2}
    assert metered.budget.total == 5


def test_an_answered_request_is_served_from_the_cache_at_no_cost() -> None:
    model = Recorder()
    metered = MeteredModel(model, InMemoryCache(), budget=Budget(4))
    first = metered.query(requests(4))
    again = metered.query([*requests(4), *requests(2)])
    assert again == first + first[:2]
    assert len(model.asked) == metered.budget.total == 4


@final
class Dated(Wrapper):
    """A model that reports another version from one call on, and none after that."""

    def __init__(self, *versions: str) -> None:
        super().__init__()
        self.versions = iter(versions)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        version = next(self.versions)
        return [
            replace(outcome, version=version) if isinstance(outcome, Reply) else outcome
            for outcome in super().query(requests, budget)
        ]


def test_the_versions_of_all_replies_are_known_cached_ones_included() -> None:
    cache = InMemoryCache()
    metered = MeteredModel(Dated("b", "a", "b", ""), cache)
    assert (metered.versions, metered.unversioned) == ((), False)
    for n in range(3):
        metered.query(requests(2, first=2 * n))
    assert (metered.versions, metered.unversioned) == (("b", "a"), False)
    metered.query(requests(8))
    assert (metered.versions, metered.unversioned) == (("b", "a"), True)
    again = MeteredModel(Dated(), cache)
    again.query(requests(4))
    assert again.versions == ("b", "a")


def test_a_request_of_more_images_than_the_model_takes_is_refused_before_it_is_asked() -> None:
    model = Recorder()
    metered = MeteredModel(model, InMemoryCache())
    example = Shown(np.zeros((4, 4, 3), np.uint8), "red")
    asked = [*requests(1), replace(requests(1)[0], context=(example, example))]
    with pytest.raises(UsageError, match="takes one image in a request, and this one holds 3"):
        metered.query(asked)
    assert not model.asked
    model.capabilities = replace(model.capabilities, images=3)
    metered.query(asked)
    assert len(model.asked) == metered.budget.total == 2


def test_equal_requests_of_one_batch_are_sent_once() -> None:
    model = Recorder()
    outcomes = MeteredModel(model, InMemoryCache()).query(requests(2) * 3)
    assert len(model.asked) == 2
    assert outcomes == outcomes[:2] * 3


def test_retries_and_failures_are_counted() -> None:
    metered = MeteredModel(
        Flaky(refuses=lambda request: int(request.image[0, 0, 0]) % 2 == 0, attempts=3),
        InMemoryCache(),
    )
    outcomes = metered.query(requests(6))
    assert [isinstance(outcome, QueryFailed) for outcome in outcomes] == [True, False] * 3
    assert (metered.budget.total, metered.budget.failed) == (18, 3)


def test_a_failed_query_is_not_remembered() -> None:
    model = Recorder(
        Flaky(refuses=lambda request: len(model.calls) == 1 and int(request.image[0, 0, 0]) == 0)
    )
    metered = MeteredModel(model, InMemoryCache())
    assert isinstance(metered.query(requests(5))[0], QueryFailed)
    assert all(isinstance(outcome, Reply) for outcome in metered.query(requests(5)))
    assert [len(call) for call in model.calls] == [5, 1]
    assert (metered.budget.total, metered.budget.failed) == (6, 1)


@pytest.mark.parametrize("cap", [0, 4, 5])
def test_the_cap_is_checked_before_the_call(cap: int) -> None:
    model = Recorder()
    metered = MeteredModel(model, InMemoryCache(), budget=Budget(cap))
    with pytest.raises(BudgetReached, match=f"6 more image queries would pass the cap of {cap} "):
        metered.query(requests(6))
    assert model.calls == []
    assert metered.budget.total == 0


def test_the_cap_may_be_reached_and_not_passed() -> None:
    model = Recorder()
    metered = MeteredModel(model, InMemoryCache(), budget=Budget(5))
    metered.query(requests(5))
    with pytest.raises(BudgetReached):
        metered.query(requests(1, first=5))
    metered.query(requests(5))  # all known: nothing to pay
    assert len(model.asked) == 5


def test_no_call_is_made_for_a_batch_that_would_pass_the_cap_only_at_its_end() -> None:
    model = Recorder()
    with pytest.raises(BudgetReached):
        MeteredModel(model, InMemoryCache(), budget=Budget(2 * REQUESTS_PER_CALL - 1)).query(
            requests(2 * REQUESTS_PER_CALL)
        )
    assert model.calls == []


def test_earlier_spending_counts_against_the_cap() -> None:
    metered = MeteredModel(Eye(), InMemoryCache(), budget=Budget(10, {"search": 8}, 2))
    with pytest.raises(BudgetReached):
        metered.query(requests(3))
    metered.query(requests(2))
    assert (metered.budget.total, metered.budget.failed) == (10, 2)


def test_a_reserve_is_kept_for_later() -> None:
    metered = MeteredModel(Eye(), InMemoryCache(), budget=Budget(10))
    metered.budget.held_back = 6
    with pytest.raises(BudgetReached, match="6 kept for later"):
        metered.query(requests(5))
    metered.budget.held_back = 0
    metered.query(requests(5))


def test_retries_count_against_the_cap_of_the_next_call() -> None:
    metered = MeteredModel(Flaky(share=0, attempts=4), InMemoryCache(), budget=Budget(10))
    metered.query(requests(2))
    with pytest.raises(BudgetReached):
        metered.query(requests(3, first=2))


def test_two_models_never_share_replies() -> None:
    cache = InMemoryCache()
    near = Recorder(Eye("eye/near"))
    far = Recorder(Eye("eye/far", prejudice="columns"))
    answers = [MeteredModel(model, cache).query(requests(3)) for model in (near, far)]
    assert len(near.asked) == len(far.asked) == 3
    assert answers[0] != answers[1]


def test_a_large_batch_goes_out_in_calls_and_comes_back_in_order() -> None:
    model = Recorder()
    asked = requests(2 * REQUESTS_PER_CALL + 1)
    outcomes = MeteredModel(model, InMemoryCache()).query(asked)
    assert [len(call) for call in model.calls] == [REQUESTS_PER_CALL, REQUESTS_PER_CALL, 1]
    assert outcomes == [Eye().look(request) for request in asked]


@final
class Interrupted(Wrapper):
    """Ctrl-C in its third call."""

    calls = 0

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().query(requests, budget)


def test_an_interrupt_loses_the_call_under_way_and_no_other() -> None:
    cache = InMemoryCache()
    asked = requests(4 * REQUESTS_PER_CALL)
    with pytest.raises(KeyboardInterrupt):
        MeteredModel(Interrupted(), cache).query(asked)
    metered = MeteredModel(Eye(), cache)
    metered.query(asked)
    assert metered.budget.total == 2 * REQUESTS_PER_CALL


def test_a_model_that_is_down_stops_the_run() -> None:
    model = Recorder(Flaky(share=1.0))
    metered = MeteredModel(model, InMemoryCache())
    with pytest.raises(
        ModelError, match=f"all {REQUESTS_PER_CALL} queries to eye/near failed: HTTP 503"
    ):
        metered.query(requests(3 * REQUESTS_PER_CALL))
    assert len(model.calls) == 1  # the other two would have failed too, at the user's cost
    assert (metered.budget.total, metered.budget.failed) == (REQUESTS_PER_CALL, REQUESTS_PER_CALL)


def test_up_to_three_failures_prove_nothing() -> None:
    assert len(MeteredModel(Flaky(share=1.0), InMemoryCache()).query(requests(3))) == 3


def test_refusals_of_a_few_images_are_no_outage_when_they_are_asked_again() -> None:
    metered = MeteredModel(
        Flaky(refuses=lambda request: int(request.image[0, 0, 0]) < 5), InMemoryCache()
    )
    for _ in range(2):  # the second time the answers come from cache, and only the five are sent
        outcomes = metered.query(requests(40))
        assert sum(isinstance(outcome, QueryFailed) for outcome in outcomes) == 5
    assert metered.budget.total == 45


@final
class Broken(Wrapper):
    """Overflows: a score that is not a finite number, for every second request."""

    def __init__(self, score: float) -> None:
        super().__init__(Eye())
        self.score = score

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        bad = Reply(scores=(LabelScore(self.score, 1),) * len(LABELS))
        return [
            bad if i % 2 else outcome for i, outcome in enumerate(super().query(requests, budget))
        ]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_missing_data(score: float) -> None:
    metered = MeteredModel(Broken(score), InMemoryCache())
    outcomes = metered.query(requests(4))
    assert [isinstance(outcome, QueryFailed) for outcome in outcomes] == [False, True] * 2
    assert metered.budget.failed == 2


# -- one budget for several models ----------------------------------------------------------------
def two(cap: int) -> tuple[MeteredModel, MeteredModel, Budget]:
    budget = Budget(cap)
    cache = InMemoryCache()
    far = Eye("eye/far", prejudice="columns")
    return (
        MeteredModel(Eye(), cache, budget=budget),
        MeteredModel(far, cache, budget=budget),
        budget,
    )


def test_two_models_spend_from_one_budget() -> None:
    near, far, budget = two(cap=10)
    near.query(requests(4))
    budget.phase = "validation"
    far.query(requests(5))
    assert dict(budget.spent) == {"search": 4, "validation": 5}
    assert (budget.total, budget.left) == (9, 1)
    assert near.budget is far.budget is budget


def test_what_one_model_spent_the_other_cannot() -> None:
    near, far, budget = two(cap=10)
    near.query(requests(6))
    with pytest.raises(
        BudgetReached, match=r"5 more image queries would pass the cap of 10 \(6 spent\)"
    ):
        far.query(requests(5))
    assert budget.total == 6
    far.query(requests(4))
    near.query(requests(6))  # all known: nothing to pay
    assert budget.left == 0


def test_failures_and_the_reserve_are_shared_too() -> None:
    budget = Budget(20)
    metered_models = [
        MeteredModel(Flaky(share=1.0, attempts=2), InMemoryCache(), budget=budget) for _ in range(2)
    ]
    for metered in metered_models:
        metered.query(requests(3))
    assert (budget.total, budget.failed) == (12, 6)
    budget.held_back = 7
    for metered in metered_models:
        with pytest.raises(BudgetReached, match="7 kept for later"):
            metered.query(requests(2))


def test_a_budget_without_a_cap_has_infinitely_much_left() -> None:
    budget = Budget()
    MeteredModel(Eye(), InMemoryCache(), budget=budget).query(requests(5))
    budget.held_back = 3
    assert budget.left == math.inf


def test_a_budget_goes_on_from_what_was_spent_before() -> None:
    before = {"search": 3}
    budget = Budget(5, before, 1)
    MeteredModel(Eye(), InMemoryCache(), budget=budget).query(requests(2))
    assert (budget.total, budget.failed, before) == (5, 1, {"search": 3})
