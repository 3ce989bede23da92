"""A cap that retries, money or time bring about early: the prompt that was paid for is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import pytest

from bbtvp.core.errors import BudgetReached
from bbtvp.models import Budget, Outcome, QueryFailed, Request, Usage
from bbtvp.report.progress import lines_of
from bbtvp.search import Run, optimize
from bbtvp.search.events import ArmValidated, SearchEvent, StageUnvalidated
from bbtvp.search.plan import with_retries
from tests.support import Eye, Wrapper, patterns

TASK = patterns()


@final
class Throttled(Wrapper):
    """A paid model of which attempt n fails, and is made again, wherever `fails(n)`.

    It is killed before its call number `dies`, as by a signal between two calls.
    """

    is_endpoint = True

    def __init__(self, fails: Callable[[int], bool], *, dies: int = -1) -> None:
        super().__init__(Eye())
        self.fails = fails
        self.dies = dies
        self.calls = 0
        self.attempts = 0

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        if self.calls == self.dies:
            self.dies = -1
            raise KeyboardInterrupt
        self.calls += 1
        return [
            self._answer(request, Budget() if budget is None else budget) for request in requests
        ]

    def _answer(self, request: Request, budget: Budget) -> Outcome:
        for made in range(50):
            try:
                budget.reserve(0.001)
            except BudgetReached as error:
                return QueryFailed(str(error), Usage(attempts=made, usd=0.001 * made))
            budget.settle(0.001, 0.001)
            self.attempts += 1
            if not self.fails(self.attempts):
                (reply,) = self.inner.query([request])
                usage = Usage(9, 1, made + 1, 0.001 * (made + 1))
                return type(reply)(reply.text, reply.scores, usage)
        return QueryFailed("failed fifty times", Usage(attempts=50))

    def max_cost(self, request: Request) -> float:
        return 0.001

    def need_price(self) -> None:
        """It has one."""


def search(model: Throttled, **options: Any) -> tuple[Run, list[SearchEvent]]:
    told: list[SearchEvent] = []
    settings = {"queries": 300, "prompt": "tone", "watch": told.append, **options}
    return optimize(TASK, model, **settings), told


@pytest.mark.parametrize("every", [2, 3, 5, 7])
def test_retries_from_the_search_on_leave_enough_to_choose(every: int) -> None:
    model = Throttled(lambda n: n > 60 and n % every == 0)
    run, _ = search(model)
    winner = run.arms[-1]
    assert model.attempts == sum(run.queries.values()) <= 300
    assert winner.name == "tone" and winner.answered >= 0.7 * winner.planned
    assert run.queries["validation"] > winner.planned, "the share for retries was not kept"


def test_a_choice_on_what_was_answered_says_on_how_many_and_how_sure_it_is() -> None:
    """The rate of retries was not known before: validation itself is throttled."""
    model = Throttled(lambda n: n > 262 and n % 5 != 0)
    run, told = search(model)
    winner = run.arms[-1]
    assert winner.name == "tone" and 0 < winner.answered < winner.planned
    assert "pass the cap of 300" in winner.cut
    lines = [line for event in told if isinstance(event, ArmValidated) for line in lines_of(event)]
    assert any(f"on {winner.answered} of {winner.planned} validation images" in x for x in lines)
    whole, _ = search(Throttled(lambda n: False))
    assert winner.stderr > whole.arms[-1].stderr


def test_too_few_answers_keep_nothing_and_a_cap_before_any_still_gives_the_prompt() -> None:
    few, _ = search(Throttled(lambda n: n > 264))
    assert not few.improved
    none, told = search(Throttled(lambda n: n > 262))
    assert [arm.name for arm in none.arms] == ["unprompted"] and not none.improved
    (event,) = [event for event in told if isinstance(event, StageUnvalidated)]
    assert "cap of 300" in event.why
    assert "not compared with the image as it is" in "".join(lines_of(event))


@pytest.mark.parametrize("every", [3, 4])
def test_a_run_that_was_killed_between_any_two_calls_gives_the_same_prompt(
    every: int, tmp_path: Path
) -> None:
    def fails(n: int) -> bool:
        return n > 60 and n % every == 0

    model = Throttled(fails)
    whole, _ = search(model, queries=200)
    for dies in range(1, model.calls):
        again = Throttled(fails, dies=dies)
        with pytest.raises(KeyboardInterrupt):
            search(again, queries=200, out=tmp_path / str(dies))
        found, _ = search(again, queries=200, out=tmp_path / str(dies))
        assert found.prompt.digest == whole.prompt.digest
        assert (found.queries, found.arms) == (whole.queries, whole.arms)


def test_the_cap_that_was_hit_is_named_with_its_option() -> None:
    with pytest.raises(BudgetReached, match=r"give more than 300 image queries \(--queries\)"):
        search(Throttled(lambda n: n > 45))
    with pytest.raises(BudgetReached, match=r"give more than \$0\.02 \(--usd\)") as caught:
        search(Throttled(lambda n: False), usd=0.02)
    assert caught.value.cap == "US dollars"

    def slow(n: int) -> bool:
        time.sleep(0.3 if n == 5 else 0)
        return False

    with pytest.raises(BudgetReached, match=r"give more than 0\.004 minutes \(--minutes\)"):
        search(Throttled(slow), minutes=0.004)


def test_what_is_kept_for_retries_grows_with_their_rate() -> None:
    assert with_retries(40, 1.0) == 40
    assert with_retries(40, 1.5) == 66  # 60, and a standard deviation of 5.5
    assert with_retries(0, 3.0) == 0
