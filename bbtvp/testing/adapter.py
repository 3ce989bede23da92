"""The contract of an adapter, as tests that anyone can run on an adapter of their own.

class TestMine(AdapterContract):
    def make(self):
        return bbtvp.load_model("mine/colours")
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import final

import numpy as np

from bbtvp.core.errors import BudgetReached
from bbtvp.core.shown import Shown
from bbtvp.models import Budget, Model, Outcome, QueryFailed, Reply, Request
from bbtvp.testing.support import Contract, ensure

SIDE = 64


@final
class _CountingBudget(Budget):
    """Allows so many attempts, and counts what is reserved and settled."""

    def __init__(self, allowed: float = math.inf) -> None:
        super().__init__()
        self.allowed = allowed
        self.asked = 0
        self.reserved = 0.0
        self.settled = 0.0

    def reserve(self, usd: float) -> None:
        if self.asked >= self.allowed:
            raise BudgetReached("no more attempts")
        self.asked += 1
        self.reserved += usd

    def settle(self, reserved: float, usd: float) -> None:
        self.settled += usd


class AdapterContract(Contract, ABC):
    """Checks of a model: order of replies, several images, label scores, counts and caps.

    Subclass it under a name that begins with Test, implement `make`, and run pytest. `make` gives a
    model that can be asked, for instance behind a server of your own. Each check asks fewer than
    ten image queries. question, labels: what is asked, and what may be answered.
    """

    question: str = "Which colour is it?"
    labels: tuple[str, ...] = ("red", "blue")

    @abstractmethod
    def make(self) -> Model:
        """A model that can be asked."""

    # -- replies -----------------------------------------------------------------------------------
    def test_replies_come_in_order_one_for_each_request(self) -> None:
        model = self.make()
        requests = [self._request(level) for level in (0, 120, 250)]
        together = model.query(requests)
        ensure(
            len(together) == len(requests), f"{len(together)} outcomes for {len(requests)} requests"
        )
        ensure(
            all(isinstance(outcome, Reply | QueryFailed) for outcome in together),
            "an outcome is a reply or a failure",
        )
        if model.capabilities.deterministic:
            alone = [model.query([request])[0] for request in requests]
            ensure(
                [_content(outcome) for outcome in together]
                == [_content(outcome) for outcome in alone],
                "a reply depends on its own request alone, not on its neighbours",
            )

    def test_no_requests_give_no_outcomes(self) -> None:
        ensure(self.make().query([]) == [], "no requests give no outcomes")

    def test_a_question_without_labels_gets_a_text(self) -> None:
        outcome = self.make().query([self._request(200)])[0]
        ensure(isinstance(outcome, Reply) and bool(outcome.text), f"a text, not {outcome!r}")

    def test_every_label_gets_a_finite_score(self) -> None:
        model = self._made_and_probed()
        if not model.capabilities.logprobs:
            return
        outcome = model.query([replace(self._request(200), labels=self.labels)])[0]
        ensure(isinstance(outcome, Reply), f"a reply, not {outcome!r}")
        scores = outcome.scores if isinstance(outcome, Reply) else None
        ensure(scores is not None, "a reply with scores, which may be empty")
        if scores:
            ensure(len(scores) == len(self.labels), "one score for each label, in their order")
            ensure(
                all(math.isfinite(s.logprob) and s.logprob <= 0 for s in scores),
                "log-probabilities are finite",
            )
            ensure(all(s.tokens >= 1 for s in scores), "a label has at least one token")

    def test_a_forced_reply_is_one_of_the_labels(self) -> None:
        model = self._made_and_probed()
        if not model.capabilities.forced:
            return
        outcome = model.query([replace(self._request(200), labels=self.labels, forced=True)])[0]
        ensure(
            isinstance(outcome, Reply) and outcome.text in self.labels,
            f"one of {self.labels}, not {outcome!r}",
        )

    def test_an_image_before_another_belongs_to_its_own_request(self) -> None:
        model = self._made_and_probed()
        model.probe_images(2, Budget())
        if model.capabilities.images < 2:
            return
        example = Shown(self._request(250).image, f"Answer: {self.labels[0]}")
        showing = replace(self._request(40), context=(example,))
        requests = [self._request(200), showing, self._request(90)]
        together = model.query(requests)
        ensure(len(together) == 3, f"{len(together)} outcomes for 3 requests")
        ensure(isinstance(together[1], Reply), f"a reply to two images, not {together[1]!r}")
        if model.capabilities.deterministic:
            alone = [model.query([request])[0] for request in requests]
            ensure(
                list(map(_content, together)) == list(map(_content, alone)),
                "an image that one request shows changes no other reply",
            )

    # -- counting ----------------------------------------------------------------------------------
    def test_every_attempt_is_counted(self) -> None:
        model = self.make()
        budget = _CountingBudget()
        requests = [self._request(level) for level in (10, 60)]
        outcomes = model.query(requests, budget)
        counted = sum(outcome.usage.attempts for outcome in outcomes)
        if model.is_endpoint:
            ensure(
                counted == budget.asked,
                f"the outcomes count {counted} attempts, but {budget.asked} were reserved",
            )
            ensure(
                budget.settled <= budget.reserved + 1e-12,
                "an attempt costs no more than was reserved for it",
            )
        ensure(all(outcome.usage.usd >= 0 for outcome in outcomes), "a cost is not negative")

    def test_an_attempt_that_the_budget_refuses_is_not_made(self) -> None:
        model = self.make()
        if not model.is_endpoint:
            return
        budget = _CountingBudget(allowed=1)
        outcomes = model.query([self._request(level) for level in (20, 70, 140)], budget)
        ensure(budget.asked == 1, f"{budget.asked} attempts where one was allowed")
        unasked = [outcome for outcome in outcomes if outcome.usage.attempts == 0]
        ensure(
            len(unasked) == 2,
            f"two requests were not sent, but {len(unasked)} outcomes have no attempts",
        )
        ensure(
            all(isinstance(outcome, QueryFailed) for outcome in unasked),
            "a request that was not sent is a failed query",
        )

    def _made_and_probed(self) -> Model:
        model = self.make()
        model.probe(Budget())
        return model

    def _request(self, level: int) -> Request:
        """An image of one level (0-255) in red, without green and blue."""
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        image[..., 0] = level
        return Request(image, self.question)


def _content(outcome: Outcome) -> object:
    """What a deterministic model repeats: its text and scores."""
    return (outcome.text, outcome.scores) if isinstance(outcome, Reply) else type(outcome)
