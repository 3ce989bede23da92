"""Counting, the cap, and the memory: what a user pays for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
import pytest

from bbtvp.core.errors import BudgetReached, ModelError
from bbtvp.models import Account, Forgetful, LabelScore, Meter, Outcome, QueryFailed, Reply, Request
from bbtvp.models.budget import CALL
from tests.support import LABELS, QUESTION, Eye, Flaky, Recorder, Wrapper


def requests(n: int, first: int = 0) -> list[Request]:
    """n requests that differ in their pixels."""
    images = [np.full((4, 4, 3), i % 256, np.uint8) for i in range(first, first + n)]
    return [
        Request(image, QUESTION, LABELS, replicate=i // 256)
        for i, image in enumerate(images, first)
    ]


def test_each_image_query_is_counted_once_by_phase() -> None:
    meter = Meter(Eye(), Forgetful())
    meter.query(requests(3))
    meter.account.phase = "validation"
    meter.query(requests(2, first=3))
    assert dict(meter.account.spent) == {"search": 3, "validation": 2}
    assert meter.account.total == 5


def test_an_answered_request_is_served_from_memory_at_no_cost() -> None:
    model = Recorder()
    meter = Meter(model, Forgetful(), cap=4)
    first = meter.query(requests(4))
    again = meter.query([*requests(4), *requests(2)])
    assert again == first + first[:2]
    assert len(model.asked) == meter.account.total == 4


def test_equal_requests_of_one_batch_are_sent_once() -> None:
    model = Recorder()
    outcomes = Meter(model, Forgetful()).query(requests(2) * 3)
    assert len(model.asked) == 2
    assert outcomes == outcomes[:2] * 3


def test_retries_and_failures_are_counted() -> None:
    meter = Meter(
        Flaky(refuses=lambda request: int(request.image[0, 0, 0]) % 2 == 0, attempts=3), Forgetful()
    )
    outcomes = meter.query(requests(6))
    assert [isinstance(outcome, QueryFailed) for outcome in outcomes] == [True, False] * 3
    assert (meter.account.total, meter.account.failed) == (18, 3)


def test_a_failed_query_is_not_remembered() -> None:
    model = Recorder(
        Flaky(refuses=lambda request: len(model.calls) == 1 and int(request.image[0, 0, 0]) == 0)
    )
    meter = Meter(model, Forgetful())
    assert isinstance(meter.query(requests(5))[0], QueryFailed)
    assert all(isinstance(outcome, Reply) for outcome in meter.query(requests(5)))
    assert [len(call) for call in model.calls] == [5, 1]
    assert (meter.account.total, meter.account.failed) == (6, 1)


@pytest.mark.parametrize("cap", [0, 4, 5])
def test_the_cap_is_checked_before_the_call(cap: int) -> None:
    model = Recorder()
    meter = Meter(model, Forgetful(), cap=cap)
    with pytest.raises(BudgetReached, match=f"6 more image queries would pass the cap of {cap} "):
        meter.query(requests(6))
    assert model.calls == []
    assert meter.account.total == 0


def test_the_cap_may_be_reached_and_not_passed() -> None:
    model = Recorder()
    meter = Meter(model, Forgetful(), cap=5)
    meter.query(requests(5))
    with pytest.raises(BudgetReached):
        meter.query(requests(1, first=5))
    meter.query(requests(5))  # all known: nothing to pay
    assert len(model.asked) == 5


def test_no_call_is_made_for_a_batch_that_would_pass_the_cap_only_at_its_end() -> None:
    model = Recorder()
    with pytest.raises(BudgetReached):
        Meter(model, Forgetful(), cap=2 * CALL - 1).query(requests(2 * CALL))
    assert model.calls == []


def test_earlier_spending_counts_against_the_cap() -> None:
    meter = Meter(Eye(), Forgetful(), cap=10, spent={"search": 8}, failed=2)
    with pytest.raises(BudgetReached):
        meter.query(requests(3))
    meter.query(requests(2))
    assert (meter.account.total, meter.account.failed) == (10, 2)


def test_a_reserve_is_kept_for_later() -> None:
    meter = Meter(Eye(), Forgetful(), cap=10)
    meter.account.kept = 6
    with pytest.raises(BudgetReached, match="6 kept for later"):
        meter.query(requests(5))
    meter.account.kept = 0
    meter.query(requests(5))


def test_retries_count_against_the_cap_of_the_next_call() -> None:
    meter = Meter(Flaky(share=0, attempts=4), Forgetful(), cap=10)
    meter.query(requests(2))
    with pytest.raises(BudgetReached):
        meter.query(requests(3, first=2))


def test_two_models_never_share_replies() -> None:
    memory = Forgetful()
    near = Recorder(Eye("eye/near"))
    far = Recorder(Eye("eye/far", prejudice="columns"))
    answers = [Meter(model, memory).query(requests(3)) for model in (near, far)]
    assert len(near.asked) == len(far.asked) == 3
    assert answers[0] != answers[1]


def test_a_large_batch_goes_out_in_calls_and_comes_back_in_order() -> None:
    model = Recorder()
    asked = requests(2 * CALL + 1)
    outcomes = Meter(model, Forgetful()).query(asked)
    assert [len(call) for call in model.calls] == [CALL, CALL, 1]
    assert outcomes == [Eye().look(request) for request in asked]


@final
class Interrupted(Wrapper):
    """Ctrl-C in its third call."""

    calls = 0

    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().query(requests)


def test_an_interrupt_loses_the_call_under_way_and_no_other() -> None:
    memory = Forgetful()
    asked = requests(4 * CALL)
    with pytest.raises(KeyboardInterrupt):
        Meter(Interrupted(), memory).query(asked)
    meter = Meter(Eye(), memory)
    meter.query(asked)
    assert meter.account.total == 2 * CALL


def test_a_model_that_is_down_stops_the_run() -> None:
    model = Recorder(Flaky(share=1.0))
    meter = Meter(model, Forgetful())
    with pytest.raises(ModelError, match=f"all {CALL} queries to eye/near failed: HTTP 503"):
        meter.query(requests(3 * CALL))
    assert len(model.calls) == 1  # the other two would have failed too, at the user's cost
    assert (meter.account.total, meter.account.failed) == (CALL, CALL)


def test_up_to_three_failures_prove_nothing() -> None:
    assert len(Meter(Flaky(share=1.0), Forgetful()).query(requests(3))) == 3


def test_refusals_of_a_few_images_are_no_outage_when_they_are_asked_again() -> None:
    meter = Meter(Flaky(refuses=lambda request: int(request.image[0, 0, 0]) < 5), Forgetful())
    for _ in range(2):  # the second time the answers come from memory, and only the five are sent
        outcomes = meter.query(requests(40))
        assert sum(isinstance(outcome, QueryFailed) for outcome in outcomes) == 5
    assert meter.account.total == 45


@final
class Broken(Wrapper):
    """Overflows: a score that is not a finite number, for every second request."""

    def __init__(self, score: float) -> None:
        super().__init__(Eye())
        self.score = score

    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        bad = Reply(scores=(LabelScore(self.score, 1),) * len(LABELS))
        return [bad if i % 2 else outcome for i, outcome in enumerate(super().query(requests))]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_missing_data(score: float) -> None:
    meter = Meter(Broken(score), Forgetful())
    outcomes = meter.query(requests(4))
    assert [isinstance(outcome, QueryFailed) for outcome in outcomes] == [False, True] * 2
    assert meter.account.failed == 2


# -- one account for several models ----------------------------------------------------------------
def two(cap: int) -> tuple[Meter, Meter, Account]:
    account = Account(cap)
    memory = Forgetful()
    far = Eye("eye/far", prejudice="columns")
    return Meter(Eye(), memory, account=account), Meter(far, memory, account=account), account


def test_two_models_spend_from_one_account() -> None:
    near, far, account = two(cap=10)
    near.query(requests(4))
    account.phase = "validation"
    far.query(requests(5))
    assert dict(account.spent) == {"search": 4, "validation": 5}
    assert (account.total, account.left) == (9, 1)
    assert near.account is far.account is account


def test_what_one_model_spent_the_other_cannot() -> None:
    near, far, account = two(cap=10)
    near.query(requests(6))
    with pytest.raises(
        BudgetReached, match=r"5 more image queries would pass the cap of 10 \(6 spent\)"
    ):
        far.query(requests(5))
    assert account.total == 6
    far.query(requests(4))
    near.query(requests(6))  # all known: nothing to pay
    assert account.left == 0


def test_failures_and_the_reserve_are_shared_too() -> None:
    account = Account(20)
    meters = [Meter(Flaky(share=1.0, attempts=2), Forgetful(), account=account) for _ in range(2)]
    for meter in meters:
        meter.query(requests(3))
    assert (account.total, account.failed) == (12, 6)
    account.kept = 7
    for meter in meters:
        with pytest.raises(BudgetReached, match="7 kept for later"):
            meter.query(requests(2))


def test_an_account_without_a_cap_has_infinitely_much_left() -> None:
    account = Account()
    Meter(Eye(), Forgetful(), account=account).query(requests(5))
    account.kept = 3
    assert account.left == math.inf


def test_an_account_goes_on_from_what_was_spent_before() -> None:
    before = {"search": 3}
    account = Account(5, before, 1)
    Meter(Eye(), Forgetful(), account=account).query(requests(2))
    assert (account.total, account.failed, before) == (5, 1, {"search": 3})
