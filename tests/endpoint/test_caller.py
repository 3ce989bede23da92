"""Many exchanges on a server that fails: everything is answered or failed once, counted once, and
paid once.
"""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import final

import pytest

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.endpoint.caller import UnreachedWarning
from bbtvp.endpoint.provider import HttpRequest, Json
from bbtvp.endpoint.transport import Timeouts
from bbtvp.models import Budget
from tests.endpoint.faulty import FaultyServer, Seen, Step, error, in_turn, reply
from tests.endpoint.scripted import (
    BOUND,
    KEY,
    OK,
    PRICE,
    CappedBudget,
    Ended,
    ScriptedCaller,
    ScriptedRequest,
    SkippedTime,
    ended,
    threads_gone,
    throttled,
)


@pytest.fixture
def scripted() -> Iterator[ScriptedCaller]:
    made = ScriptedCaller()
    yield made
    made.transport.close()
    assert made.limiter.in_flight == 0


# -- answers ---------------------------------------------------------------------------------------
def test_every_job_is_answered_in_its_place(scripted: ScriptedCaller) -> None:
    def serve(seen: Seen) -> Step:
        step = reply(text=f"answer {seen.json['index']}", usd=PRICE)
        return Step(body=step.body, delay=0.02 * (seen.json["index"] % 3))

    budget = CappedBudget()
    with FaultyServer(serve) as server:
        ends = scripted.run(server.url, 50, budget)
    assert ends == [Ended(None, False, 1, PRICE)] * 50
    assert scripted.texts == {i: f"answer {i}" for i in range(50)}
    assert (budget.reserved, budget.settled, len(server.seen)) == (50, 50, 50)
    assert budget.paid == pytest.approx(50 * PRICE) and budget.held == pytest.approx(0)
    assert threads_gone()


def test_no_jobs_are_no_work(scripted: ScriptedCaller) -> None:
    assert scripted.run("http://127.0.0.1:9/", 0) == []


def test_a_reply_is_read_as_soon_as_it_is_there(scripted: ScriptedCaller) -> None:
    first = threading.Event()

    def serve(seen: Seen) -> Step:
        if seen.json["index"] == 1:
            assert first.wait(2)  # the other one is read while this one is under way
        return OK

    def read(index: int, body: Json) -> float:
        if index == 0:
            first.set()
        return scripted.read(index, body)

    with FaultyServer(serve) as server:
        assert [end.reason for end in ScriptedCaller().run(server.url, 2, read=read)] == [
            None,
            None,
        ]


def test_no_more_threads_than_are_of_use() -> None:
    scripted = ScriptedCaller(requests=1200)
    names: list[int] = []

    def read(index: int, body: Json) -> float:
        names.append(sum(thread.name == "bbtvp-caller" for thread in threading.enumerate()))
        return scripted.read(index, body)

    with FaultyServer(lambda seen: Step(body=OK.body, delay=0.02)) as server:
        scripted.run(server.url, 20, read=read)
    assert max(names) <= 8
    scripted.transport.close()


def test_jobs_share_connections_from_run_to_run(scripted: ScriptedCaller) -> None:
    with FaultyServer(lambda seen: Step(body=OK.body, delay=0.02)) as server:
        for _ in range(4):
            scripted.run(server.url, 20)
        assert server.connections <= 32


# -- retries ---------------------------------------------------------------------------------------
def waits_after(steps: Sequence[Step]) -> tuple[list[Ended], list[float]]:
    """How a request ends after these replies, and the seconds waited after each."""
    skipped = SkippedTime()
    scripted = ScriptedCaller(timeouts=Timeouts(1.0, 10.0, 5000.0), skipped=skipped)
    script = in_turn(steps, OK)
    came: list[float] = []

    def serve(seen: Seen) -> Step:
        came.append(skipped.now)
        return script(seen)

    with FaultyServer(serve) as server:
        ends = scripted.run(server.url)
    scripted.transport.close()
    return ends, [after - before for before, after in itertools.pairwise(came)]


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (throttled(), 0.0),
        (throttled(Retry_After="1"), 1.0),
        (throttled(Retry_After="0.3"), 0.3),
        (throttled(Retry_After="0"), 0.0),
        (throttled(Retry_After="-1"), 0.0),
        (throttled(Retry_After="soon"), 0.0),
        (throttled(retry_after_ms="300"), 0.3),
        (throttled(x_ratelimit_reset_requests="300ms"), 0.3),
        (throttled(b'{"error": {"message": "Please retry in 0.3s."}}'), 0.3),
        (throttled(b'{"error": {"details": [{"retryDelay": "0.3s"}]}}'), 0.3),
        (error(503, "overloaded", Retry_After="0.3"), 0.3),
        (error(529, "overloaded_error", retry_after="0.3"), 0.3),
    ],
)
def test_the_next_attempt_waits_as_the_server_says(step: Step, seconds: float) -> None:
    ends, (waited,) = waits_after([step])
    assert ends == [Ended(None, False, 2, PRICE)]
    assert seconds <= waited < 1.1 * seconds + 0.05


def test_a_date_to_wait_for_is_honoured() -> None:
    from email.utils import formatdate

    _, (waited,) = waits_after([throttled(Retry_After=formatdate(time.time() + 2000, usegmt=True))])
    assert 1000 < waited <= 1.1 * 2000


def test_the_latest_hint_counts() -> None:
    _, (first, second, third) = waits_after(
        [throttled(Retry_After=seconds) for seconds in ("0.1", "0.5", "0.1")]
    )
    assert 0.1 <= first < 0.2 and 0.5 <= second < 0.6 and 0.1 <= third < 0.2


@pytest.mark.parametrize(
    ("step", "cost"),
    [
        (error(500), 0.0),
        (error(408), 0.0),
        (error(409), 0.0),
        (error(424, "ModelErrorException"), 0.0),
        (error(429, "ModelNotReadyException"), 0.0),
        (
            Step(
                502, b"<html><title>502 Bad Gateway</title></html>", {"Content-Type": "text/html"}
            ),
            0.0,
        ),
        (Step(200, b"<html><title>Welcome</title></html>", {"Content-Type": "text/html"}), BOUND),
        (Step(200, b""), BOUND),
        (Step(200, OK.body[:20]), BOUND),
        (Step(200, b"[1, 2]"), BOUND),
        (Step(200, b"[" * 100_000), BOUND),
        (Step(200, OK.body, manner="cut"), BOUND),
        (Step(200, OK.body, manner="unframed cut"), BOUND),
        (Step(200, OK.body, manner="reset"), BOUND),
        (Step(200, OK.body, manner="drip"), BOUND),
        (Step(200, manner="silence"), BOUND),
        (Step(200, b'{"error": {"code": 500, "message": "in spite of the status"}}'), BOUND),
        (Step(200, b'{"error": "no"}'), BOUND),
        (reply(nothing=True), BOUND),
        (reply(nothing=True, usd=0.003), 0.003),
    ],
    ids=range(20),
)
def test_what_may_pass_is_tried_again_and_its_cost_counted(
    scripted: ScriptedCaller, step: Step, cost: float
) -> None:
    budget = CappedBudget()
    with FaultyServer(in_turn([step], OK)) as server:
        (end,) = scripted.run(server.url, 1, budget)
    assert (end.reason, end.attempts) == (None, 2)
    assert end.usd == pytest.approx(cost + PRICE) == budget.paid
    assert (budget.reserved, budget.settled, len(server.seen)) == (2, 2, 2)


def test_a_storm_is_waited_out(scripted: ScriptedCaller) -> None:
    with FaultyServer(in_turn([error(500)] * 100, OK)) as server:
        ends = scripted.run(server.url, 20)
    assert all(end.reason is None for end in ends)
    assert sum(end.attempts for end in ends) == len(server.seen) == 120


def test_retries_are_finite(scripted: ScriptedCaller) -> None:
    with FaultyServer(lambda seen: error(503, "overloaded", "try later")) as server:
        (end,) = scripted.run(server.url)
    assert end == Ended("HTTP 503 overloaded: try later", False, 9, 0.0)
    assert len(server.seen) == 9


def test_replies_without_an_answer_are_paid_for_three_times_at_most(
    scripted: ScriptedCaller,
) -> None:
    with FaultyServer(lambda seen: reply(usd=PRICE)) as server:
        (end,) = scripted.run(server.url)
    assert end.attempts == len(server.seen) == 3 and end.usd == pytest.approx(3 * PRICE)
    assert end.reason is not None and end.reason.startswith("no text in")


def test_a_huge_reply_is_not_fetched_again() -> None:
    scripted = ScriptedCaller(limit=100_000)
    budget = CappedBudget()
    with FaultyServer(lambda seen: Step(body=b" " * 500_000)) as server:
        (end,) = scripted.run(server.url, 1, budget)
    scripted.transport.close()
    assert end == Ended("the reply is larger than 100,000 bytes", False, 1, BOUND)
    assert budget.paid == BOUND and len(server.seen) == 1


def test_what_was_never_sent_costs_nothing(scripted: ScriptedCaller) -> None:
    budget = CappedBudget()
    with pytest.warns(UnreachedWarning, match=r"refused; .*; trying again") as said:
        (end,) = scripted.run("http://127.0.0.1:9/", 1, budget)
    assert len(said) == 1
    assert (end.attempts, end.usd, budget.paid, budget.reserved) == (9, 0.0, 0.0, 9)
    assert end.reason is not None and "Connection refused" in end.reason


def test_a_server_that_answered_before_is_waited_for_without_a_word(
    scripted: ScriptedCaller,
) -> None:
    with FaultyServer(lambda _: OK) as server:
        scripted.run(server.url, 1, CappedBudget())
    (end,) = scripted.run("http://127.0.0.1:9/", 1, CappedBudget())
    assert end.reason is not None


def test_a_request_has_a_deadline_over_all_its_attempts() -> None:
    scripted = ScriptedCaller(timeouts=Timeouts(1.0, 0.3, 0.7))
    with FaultyServer(lambda seen: Step(manner="silence")) as server:
        (end,) = scripted.run(server.url)
    scripted.transport.close()
    assert 1 <= end.attempts <= 4, "without a deadline there would be nine attempts"
    assert end.reason is not None


def test_a_wait_beyond_the_deadline_is_not_begun(scripted: ScriptedCaller) -> None:
    with FaultyServer(
        lambda seen: error(429, "rate", "come tomorrow", Retry_After="80000")
    ) as server:
        (end,) = scripted.run(server.url)
    assert end.attempts == 1
    assert end.reason is not None and "an hour or more" in end.reason


def test_http_requests_are_made_anew_for_every_attempt(scripted: ScriptedCaller) -> None:
    made: list[HttpRequest] = []

    def make() -> HttpRequest:
        made.append(HttpRequest("POST", server.url, {"Date": str(len(made))}, b"{}"))
        return made[-1]

    with FaultyServer(in_turn([error(500), error(500)], OK)) as server:
        request = ScriptedRequest(make, lambda reply: scripted.read(0, reply))
        scripted.caller.run([request], Budget())
    assert [seen.headers["Date"] for seen in server.seen] == ["0", "1", "2"]


# -- ends ------------------------------------------------------------------------------------------
def test_a_refusal_is_an_outcome_of_its_own(scripted: ScriptedCaller) -> None:
    steps: dict[int, Step] = {
        0: reply(refusal="I would rather not", usd=PRICE),
        1: error(400, "content_filter", "filtered"),
        2: error(400, "invalid_image", "cannot read it"),
    }
    with FaultyServer(lambda seen: steps.get(seen.json["index"], OK)) as server:
        ends = scripted.run(server.url, 4)
    assert ends[0] == Ended("I would rather not", True, 1, PRICE)
    assert ends[1] == Ended("HTTP 400 content_filter: filtered", True, 1, 0.0)
    assert ends[2] == Ended("HTTP 400 invalid_image: cannot read it", False, 1, 0.0)
    assert ends[3].reason is None and len(server.seen) == 4


@pytest.mark.parametrize("status", [403, 413, 422])
def test_one_request_that_is_turned_down_in_unknown_words_fails_alone(
    scripted: ScriptedCaller, status: int
) -> None:
    """A filter may have words that nobody knows yet; it must not end every run at its image."""
    odd = error(status, "E77", "not this picture")
    with FaultyServer(lambda seen: odd if seen.json["index"] in (0, 7) else OK) as server:
        ends = scripted.run(server.url, 12)
    assert [i for i, end in enumerate(ends) if end.reason] == [0, 7]
    assert "E77: not this picture" in str(ends[0].reason) and ends[0].attempts == 1


@pytest.mark.parametrize("status", [403, 413, 422])
def test_what_three_requests_in_a_row_are_told_ends_the_run(
    scripted: ScriptedCaller, status: int
) -> None:
    with FaultyServer(lambda seen: error(status, "E77", "not you")) as server:
        with pytest.raises(ModelError, match="E77: not you"):
            scripted.run(server.url, 500)
        assert 3 <= len(server.seen) <= 3 + 32


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"error": {"code": 403, "message": "Your input was flagged"}}, True),
        ({"error": {"code": "content_filter", "message": "filtered"}}, True),
        ({"choices": [{"error": {"code": 403, "metadata": {"reasons": ["safety"]}}}]}, True),
        ({"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}, True),
        ({"choices": [{"error": {"code": 502, "message": "upstream died"}}]}, False),
    ],
)
def test_an_error_with_status_200_is_judged_by_its_words(
    scripted: ScriptedCaller, body: Json, refused: bool
) -> None:
    with FaultyServer(in_turn([reply(**body)], OK)) as server:
        (end,) = scripted.run(server.url)
    assert end.refused == refused and end.attempts == (1 if refused else 2)


def test_an_empty_account_with_status_200_ends_the_run(scripted: ScriptedCaller) -> None:
    body = reply(base_resp={"status_code": 1008, "status_msg": "insufficient balance"})
    with FaultyServer(lambda seen: body) as server:
        with pytest.raises(ModelError, match="no credit left"):
            scripted.run(server.url)
        assert len(server.seen) == 1


def test_an_expired_key_ends_the_run_and_keeps_what_was_answered(scripted: ScriptedCaller) -> None:
    budget = CappedBudget()

    def serve(seen: Seen) -> Step:
        if seen.number < 50:
            return Step(body=OK.body, delay=0.01)
        return error(401, "invalid_api_key", f"Incorrect API key provided: {KEY}")

    with FaultyServer(serve) as server:
        with pytest.raises(
            ModelError, match="check the environment variable OPENAI_API_KEY"
        ) as caught:
            scripted.run(server.url, 500, budget)
        assert threads_gone()
    assert KEY not in str(caught.value)
    assert len(scripted.texts) == 50 and budget.paid == pytest.approx(50 * PRICE)
    assert budget.reserved == budget.settled == len(server.seen) <= 50 + 32


def test_what_is_under_way_at_a_fatal_reply_is_read(scripted: ScriptedCaller) -> None:
    def serve(seen: Seen) -> Step:
        index = seen.json["index"]
        return (
            error(404, "model_not_found", "no such model")
            if index == 3
            else Step(body=OK.body, delay=0.2)
        )

    with FaultyServer(serve) as server, pytest.raises(ModelError, match="the model's name"):
        scripted.run(server.url, 100)
    assert set(scripted.texts) == {seen.json["index"] for seen in server.seen} - {3}
    assert len(scripted.texts) >= 3


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (
            error(429, "insufficient_quota", "You exceeded your current quota"),
            "OPENAI_API_KEY has no credit left",
        ),
        (error(402), "credit"),
        (error(403), "rights"),
        (error(413), "smaller canvas"),
        (error(422), "field"),
    ],
)
def test_what_no_request_can_get_past_ends_the_run_at_once(
    scripted: ScriptedCaller, step: Step, says: str
) -> None:
    with FaultyServer(lambda seen: step) as server, pytest.raises(ModelError, match=says):
        scripted.run(server.url, 100)
    assert len(server.seen) <= 8 + 2  # of the last two, others may have to say the same


def test_a_redirect_ends_the_run_and_carries_no_key(scripted: ScriptedCaller) -> None:
    with FaultyServer(lambda seen: OK) as other:
        moved = Step(307, b"", {"Location": other.url})
        with (
            FaultyServer(lambda seen: moved) as server,
            pytest.raises(ModelError, match=f"127.0.0.1:{other.port}"),
        ):
            scripted.run(server.url, 20)
    assert other.seen == []


def test_many_failures_in_a_row_end_the_run(scripted: ScriptedCaller) -> None:
    says = r"20 requests failed in a row, the last with: HTTP 400 bad: no such field"
    with (
        FaultyServer(lambda seen: error(400, "bad", "no such field")) as server,
        pytest.raises(ModelError, match=says),
    ):
        scripted.run(server.url, 500)
    assert 20 <= len(server.seen) <= 20 + 32


def test_failures_are_counted_from_run_to_run_and_an_answer_ends_the_row(
    scripted: ScriptedCaller,
) -> None:
    bad = error(400, "bad")
    with FaultyServer(in_turn([bad] * 19 + [OK] + [bad] * 19, bad)) as server:
        for _ in range(39):
            scripted.run(server.url)
        with pytest.raises(ModelError, match="in a row"):
            scripted.run(server.url)
    assert len(server.seen) == 40


def test_refusals_in_a_row_are_no_outage(scripted: ScriptedCaller) -> None:
    with FaultyServer(lambda seen: error(400, "content_filter")) as server:
        assert all(end.refused for end in scripted.run(server.url, 100))


@final
class Odd(RuntimeError):
    """A bug."""


@pytest.mark.parametrize("place", ["read", "make", "budget"])
def test_an_error_of_ours_reaches_the_caller_and_ends_all(place: str) -> None:
    scripted = ScriptedCaller()
    calls = Counter[str]()

    def fail(here: str) -> None:
        calls[here] += 1
        if here == place and calls[here] == 5:
            raise Odd(here)

    def make() -> HttpRequest:
        fail("make")
        return HttpRequest("POST", server.url, {}, b"{}")

    def read(body: Json) -> float:
        fail("read")
        return 0.0

    class Hole(Budget):
        def reserve(self, usd: float) -> None:
            fail("budget")

        def settle(self, reserved: float, usd: float) -> None:
            pass

    with FaultyServer(lambda seen: OK) as server:
        with pytest.raises(Odd, match=place):
            scripted.caller.run([ScriptedRequest(make, read) for _ in range(100)], Hole())
        assert threads_gone()
        assert len(server.seen) < 60
    assert scripted.limiter.in_flight == 0
    scripted.transport.close()


def test_a_key_that_cannot_be_sent_is_a_usage_error(scripted: ScriptedCaller) -> None:
    def make() -> HttpRequest:
        return HttpRequest(
            "POST", "https://api.invalid", {"Authorization": f"Bearer {KEY}\n"}, b"{}"
        )

    request = ScriptedRequest(make, lambda reply: 0.0)
    with pytest.raises(UsageError, match="environment variable") as caught:
        scripted.caller.run([request], budget := CappedBudget())
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert (budget.reserved, budget.settled, budget.paid) == (1, 1, 0.0)


def test_several_runs_at_once_share_the_limits(scripted: ScriptedCaller) -> None:
    results: list[list[Ended]] = []

    def go() -> None:
        requests = scripted.requests(server.url, 20, lambda index, body: 0.0)
        scripted.caller.run(requests, Budget())
        results.append(ended(requests))

    with FaultyServer(lambda seen: Step(body=OK.body, delay=0.01)) as server:
        threads = [threading.Thread(target=go) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert [end.reason for ends in results for end in ends] == [None] * 60
