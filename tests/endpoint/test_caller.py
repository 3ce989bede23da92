"""Many exchanges on a server that fails: everything is answered or failed once, counted once, and
paid once.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import final

import pytest

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.endpoint.caller import Ended, Job
from bbtvp.endpoint.provider import HttpRequest, Json
from bbtvp.endpoint.transport import Timeouts
from bbtvp.models import Budget
from tests.endpoint.desk import BOUND, KEY, OK, PRICE, Desk, Till, settled, throttled
from tests.endpoint.faulty import FaultyServer, Seen, Step, error, in_turn, reply


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.transport.close()
    assert made.limiter.in_flight == 0


# -- answers ---------------------------------------------------------------------------------------
def test_every_job_is_answered_in_its_place(desk: Desk) -> None:
    def serve(seen: Seen) -> Step:
        step = reply(text=f"answer {seen.json['index']}", usd=PRICE)
        return Step(body=step.body, delay=0.02 * (seen.json["index"] % 3))

    till = Till()
    with FaultyServer(serve) as server:
        ended = desk.run(server.url, 50, till)
    assert ended == [Ended(None, False, 1, PRICE)] * 50
    assert desk.texts == {i: f"answer {i}" for i in range(50)}
    assert (till.reserved, till.settled, len(server.seen)) == (50, 50, 50)
    assert till.paid == pytest.approx(50 * PRICE) and till.held == pytest.approx(0)
    assert settled()


def test_no_jobs_are_no_work(desk: Desk) -> None:
    assert desk.run("http://127.0.0.1:9/", 0) == []


def test_a_reply_is_read_as_soon_as_it_is_there(desk: Desk) -> None:
    first = threading.Event()

    def serve(seen: Seen) -> Step:
        if seen.json["index"] == 1:
            assert first.wait(2)  # the other one is read while this one is under way
        return OK

    def read(index: int, body: Json) -> float:
        if index == 0:
            first.set()
        return desk.read(index, body)

    with FaultyServer(serve) as server:
        assert [end.reason for end in Desk().run(server.url, 2, read=read)] == [None, None]


def test_no_more_threads_than_are_of_use() -> None:
    desk = Desk(requests=1200)
    names: list[int] = []

    def read(index: int, body: Json) -> float:
        names.append(sum(thread.name == "bbtvp-caller" for thread in threading.enumerate()))
        return desk.read(index, body)

    with FaultyServer(lambda seen: Step(body=OK.body, delay=0.02)) as server:
        desk.run(server.url, 20, read=read)
    assert max(names) <= 8
    desk.transport.close()


def test_jobs_share_connections_from_run_to_run(desk: Desk) -> None:
    with FaultyServer(lambda seen: Step(body=OK.body, delay=0.02)) as server:
        for _ in range(4):
            desk.run(server.url, 20)
        assert server.connections <= 32


# -- retries ---------------------------------------------------------------------------------------
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
def test_the_next_attempt_waits_as_the_server_says(desk: Desk, step: Step, seconds: float) -> None:
    with FaultyServer(in_turn([step], OK)) as server:
        ended = desk.run(server.url)
    assert ended == [Ended(None, False, 2, PRICE)]
    waited = server.seen[1].at - server.seen[0].at
    assert seconds <= waited < 1.1 * seconds + 0.25


def test_a_date_to_wait_for_is_honoured(desk: Desk) -> None:
    from email.utils import formatdate

    with FaultyServer(
        in_turn([throttled(Retry_After=formatdate(time.time() + 2, usegmt=True))], OK)
    ) as server:
        desk.run(server.url)
    assert 0.9 <= server.seen[1].at - server.seen[0].at < 2.5


def test_the_latest_hint_counts(desk: Desk) -> None:
    steps = [
        throttled(Retry_After="0.1"),
        throttled(Retry_After="0.5"),
        throttled(Retry_After="0.1"),
    ]
    with FaultyServer(in_turn(steps, OK)) as server:
        desk.run(server.url)
    gaps = [b.at - a.at for a, b in zip(server.seen, server.seen[1:], strict=False)]
    assert 0.5 <= gaps[1] < 0.8 and gaps[2] < 0.4


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
    desk: Desk, step: Step, cost: float
) -> None:
    till = Till()
    with FaultyServer(in_turn([step], OK)) as server:
        (ended,) = desk.run(server.url, 1, till)
    assert (ended.reason, ended.attempts) == (None, 2)
    assert ended.usd == pytest.approx(cost + PRICE) == till.paid
    assert (till.reserved, till.settled, len(server.seen)) == (2, 2, 2)


def test_a_storm_is_waited_out(desk: Desk) -> None:
    with FaultyServer(in_turn([error(500)] * 100, OK)) as server:
        ended = desk.run(server.url, 20)
    assert all(end.reason is None for end in ended)
    assert sum(end.attempts for end in ended) == len(server.seen) == 120


def test_retries_are_finite(desk: Desk) -> None:
    with FaultyServer(lambda seen: error(503, "overloaded", "try later")) as server:
        (ended,) = desk.run(server.url)
    assert ended == Ended("HTTP 503 overloaded: try later", False, 9, 0.0)
    assert len(server.seen) == 9


def test_replies_without_an_answer_are_paid_for_three_times_at_most(desk: Desk) -> None:
    with FaultyServer(lambda seen: reply(usd=PRICE)) as server:
        (ended,) = desk.run(server.url)
    assert ended.attempts == len(server.seen) == 3 and ended.usd == pytest.approx(3 * PRICE)
    assert ended.reason is not None and ended.reason.startswith("no text in")


def test_a_huge_reply_is_not_fetched_again() -> None:
    desk = Desk(limit=100_000)
    till = Till()
    with FaultyServer(lambda seen: Step(body=b" " * 500_000)) as server:
        (ended,) = desk.run(server.url, 1, till)
    desk.transport.close()
    assert ended == Ended("the reply is larger than 100,000 bytes", False, 1, BOUND)
    assert till.paid == BOUND and len(server.seen) == 1


def test_what_was_never_sent_costs_nothing(desk: Desk) -> None:
    till = Till()
    (ended,) = desk.run("http://127.0.0.1:9/", 1, till)
    assert (ended.attempts, ended.usd, till.paid, till.reserved) == (9, 0.0, 0.0, 9)
    assert ended.reason is not None and "Connection refused" in ended.reason


def test_a_request_has_a_deadline_over_all_its_attempts() -> None:
    desk = Desk(timeouts=Timeouts(1.0, 0.3, 0.7))
    with FaultyServer(lambda seen: Step(manner="silence")) as server:
        (ended,) = desk.run(server.url)
    desk.transport.close()
    assert 1 <= ended.attempts <= 4, "without a deadline there would be nine attempts"
    assert ended.reason is not None


def test_a_wait_beyond_the_deadline_is_not_begun(desk: Desk) -> None:
    with FaultyServer(
        lambda seen: error(429, "rate", "come tomorrow", Retry_After="80000")
    ) as server:
        (ended,) = desk.run(server.url)
    assert ended.attempts == 1
    assert ended.reason is not None and "an hour or more" in ended.reason


def test_wires_are_made_anew_for_every_attempt(desk: Desk) -> None:
    made: list[HttpRequest] = []

    def wire() -> HttpRequest:
        made.append(HttpRequest("POST", server.url, {"Date": str(len(made))}, b"{}"))
        return made[-1]

    with FaultyServer(in_turn([error(500), error(500)], OK)) as server:
        desk.caller.run([Job(wire, 0.0, 1)], Budget(), desk.read)
    assert [seen.headers["Date"] for seen in server.seen] == ["0", "1", "2"]


# -- ends ------------------------------------------------------------------------------------------
def test_a_refusal_is_an_outcome_of_its_own(desk: Desk) -> None:
    steps: dict[int, Step] = {
        0: reply(refusal="I would rather not", usd=PRICE),
        1: error(400, "content_filter", "filtered"),
        2: error(400, "invalid_image", "cannot read it"),
    }
    with FaultyServer(lambda seen: steps.get(seen.json["index"], OK)) as server:
        ended = desk.run(server.url, 4)
    assert ended[0] == Ended("I would rather not", True, 1, PRICE)
    assert ended[1] == Ended("HTTP 400 content_filter: filtered", True, 1, 0.0)
    assert ended[2] == Ended("HTTP 400 invalid_image: cannot read it", False, 1, 0.0)
    assert ended[3].reason is None and len(server.seen) == 4


def test_an_expired_key_ends_the_run_and_keeps_what_was_answered(desk: Desk) -> None:
    till = Till()

    def serve(seen: Seen) -> Step:
        if seen.number < 50:
            return Step(body=OK.body, delay=0.01)
        return error(401, "invalid_api_key", f"Incorrect API key provided: {KEY}")

    with FaultyServer(serve) as server:
        with pytest.raises(
            ModelError, match="check the environment variable OPENAI_API_KEY"
        ) as caught:
            desk.run(server.url, 500, till)
        assert settled()
    assert KEY not in str(caught.value)
    assert len(desk.texts) == 50 and till.paid == pytest.approx(50 * PRICE)
    assert till.reserved == till.settled == len(server.seen) <= 50 + 32


def test_what_is_under_way_at_a_fatal_reply_is_read(desk: Desk) -> None:
    def serve(seen: Seen) -> Step:
        index = seen.json["index"]
        return (
            error(404, "model_not_found", "no such model")
            if index == 3
            else Step(body=OK.body, delay=0.2)
        )

    with FaultyServer(serve) as server, pytest.raises(ModelError, match="the model's name"):
        desk.run(server.url, 100)
    assert set(desk.texts) == {seen.json["index"] for seen in server.seen} - {3}
    assert len(desk.texts) >= 3


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
    desk: Desk, step: Step, says: str
) -> None:
    with FaultyServer(lambda seen: step) as server, pytest.raises(ModelError, match=says):
        desk.run(server.url, 100)
    assert len(server.seen) <= 8


def test_a_redirect_ends_the_run_and_carries_no_key(desk: Desk) -> None:
    with FaultyServer(lambda seen: OK) as other:
        moved = Step(307, b"", {"Location": other.url})
        with (
            FaultyServer(lambda seen: moved) as server,
            pytest.raises(ModelError, match=f"127.0.0.1:{other.port}"),
        ):
            desk.run(server.url, 20)
    assert other.seen == []


def test_many_failures_in_a_row_end_the_run(desk: Desk) -> None:
    says = r"20 requests failed in a row, the last with: HTTP 400 bad: no such field"
    with (
        FaultyServer(lambda seen: error(400, "bad", "no such field")) as server,
        pytest.raises(ModelError, match=says),
    ):
        desk.run(server.url, 500)
    assert 20 <= len(server.seen) <= 20 + 32


def test_failures_are_counted_from_run_to_run_and_an_answer_ends_the_row(desk: Desk) -> None:
    bad = error(400, "bad")
    with FaultyServer(in_turn([bad] * 19 + [OK] + [bad] * 19, bad)) as server:
        for _ in range(39):
            desk.run(server.url)
        with pytest.raises(ModelError, match="in a row"):
            desk.run(server.url)
    assert len(server.seen) == 40


def test_refusals_in_a_row_are_no_outage(desk: Desk) -> None:
    with FaultyServer(lambda seen: error(400, "content_filter")) as server:
        assert all(end.refused for end in desk.run(server.url, 100))


@final
class Odd(RuntimeError):
    """A bug."""


@pytest.mark.parametrize("place", ["read", "wire", "budget"])
def test_an_error_of_ours_reaches_the_caller_and_ends_all(place: str) -> None:
    desk = Desk()
    calls = Counter[str]()

    def fail(here: str) -> None:
        calls[here] += 1
        if here == place and calls[here] == 5:
            raise Odd(here)

    def wire() -> HttpRequest:
        fail("wire")
        return HttpRequest("POST", server.url, {}, b"{}")

    def read(index: int, body: Json) -> float:
        fail("read")
        return 0.0

    class Hole(Budget):
        def reserve(self, usd: float) -> None:
            fail("budget")

        def settle(self, reserved: float, usd: float) -> None:
            pass

    with FaultyServer(lambda seen: OK) as server:
        with pytest.raises(Odd, match=place):
            desk.caller.run([Job(wire, 0.0, 1)] * 100, Hole(), read)
        assert settled()
        assert len(server.seen) < 60
    assert desk.limiter.in_flight == 0
    desk.transport.close()


def test_a_key_that_cannot_be_sent_is_a_usage_error(desk: Desk) -> None:
    def wire() -> HttpRequest:
        return HttpRequest(
            "POST", "https://api.invalid", {"Authorization": f"Bearer {KEY}\n"}, b"{}"
        )

    with pytest.raises(UsageError, match="environment variable") as caught:
        desk.caller.run([Job(wire, BOUND, 1)], till := Till(), desk.read)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert (till.reserved, till.settled, till.paid) == (1, 1, 0.0)


def test_several_runs_at_once_share_the_limits(desk: Desk) -> None:
    results: list[list[Ended]] = []

    def go() -> None:
        results.append(
            desk.caller.run(desk.jobs(server.url, 20), Budget(), lambda index, body: 0.0)
        )

    with FaultyServer(lambda seen: Step(body=OK.body, delay=0.01)) as server:
        threads = [threading.Thread(target=go) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert [end.reason for ended in results for end in ended] == [None] * 60
