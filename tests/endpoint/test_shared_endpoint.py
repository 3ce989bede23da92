"""One endpoint, four jobs in threads of their own: what they share is shared, and what ends one
ends no other.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest

from bbtvp.core.errors import BudgetReached, ModelError
from bbtvp.endpoint.limiter import RateLimiter
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Budget, InMemoryCache, MeteredModel, Outcome, Reply, Request, load_model
from bbtvp.models.store import ReplyStore
from tests.adapters.recording import Recorder, recorder
from tests.endpoint.eye_server import EyeServer
from tests.endpoint.faulty import FaultyServer, Script, Seen, Step, error, reply
from tests.endpoint.scripted import threads_gone

JOBS = range(4)


def question(job: int, number: int) -> Request:
    return Request(np.zeros((8, 8, 3), np.uint8), f"job {job}, number {number}")


def questions(job: int, count: int) -> list[Request]:
    return [question(job, number) for number in range(count)]


def asked(seen: Seen) -> tuple[int, int]:
    """(job, number) of a request as it arrived."""
    job, number = re.findall(r"\d+", seen.json["messages"][0]["content"][1]["text"])
    return int(job), int(number)


def answer(seen: Seen) -> Step:
    job, number = asked(seen)
    message = {"role": "assistant", "content": f"{number} of {job}"}
    return reply(model="m", choices=[{"index": 0, "finish_reason": "stop", "message": message}])


def after(seconds: float) -> Script:
    return lambda seen: Step(body=answer(seen).body, delay=seconds)


def shared(url: str, **options: Any) -> Endpoint:
    model = load_model(
        "openai-api/lab/m", base_url=url, **{"store": False, "probe": False, **options}
    )
    assert isinstance(model, Endpoint)
    return model


@final
class Jobs:
    """A thread for each, all begun at once; what each returned or raised."""

    def __init__(self, work: Sequence[Callable[[], Any]]) -> None:
        self.ended: dict[int, Any] = {}
        self._gate = threading.Barrier(len(work) + 1)
        self._threads = [
            threading.Thread(target=self._run, args=pair, daemon=True) for pair in enumerate(work)
        ]
        for thread in self._threads:
            thread.start()
        self._gate.wait()

    def _run(self, job: int, work: Callable[[], Any]) -> None:
        self._gate.wait()
        try:
            self.ended[job] = work()
        except (ModelError, BudgetReached, KeyboardInterrupt) as error:
            self.ended[job] = error

    def wait(self, seconds: float = 20.0) -> dict[int, Any]:
        for thread in self._threads:
            thread.join(seconds)
        assert not any(thread.is_alive() for thread in self._threads)
        return self.ended


def texts(outcomes: Sequence[Outcome]) -> list[str | None]:
    return [outcome.text if isinstance(outcome, Reply) else outcome.reason for outcome in outcomes]


@contextmanager
def eye() -> Iterator[Recorder]:
    with recorder(EyeServer()) as server:
        yield server


# -- the probe -------------------------------------------------------------------------------------
@pytest.mark.parametrize("store", [True, False])
def test_one_probe_does_for_all(store: bool, tmp_path: Path) -> None:
    with eye() as server:
        options = {"probe": True, "store": str(tmp_path / "replies.sqlite") if store else False}
        model = shared(server.url, **options)
        found = Jobs([lambda: model.probe(Budget(cap=9)) for _ in JOBS]).wait()
        asked = len(server.asked)
    assert sorted(probe.queries for probe in found.values()) == [0, 0, 0, asked]
    assert {probe.capabilities for probe in found.values()} == {model.capabilities}
    assert model.capabilities.logprobs and 4 <= asked <= 9


def test_a_job_that_cannot_pay_for_the_probe_leaves_it_to_the_next() -> None:
    with eye() as server:
        model = shared(server.url, probe=True)
        caps = [2, None, 2, None]
        found = Jobs([lambda cap=cap: model.probe(Budget(cap=cap)) for cap in caps]).wait()  # type: ignore[misc]
        assert model.capabilities.logprobs
        assert found[1].capabilities == found[3].capabilities == model.capabilities
        assert min(found[1].queries, found[3].queries) == 0
        assert all(
            isinstance(found[job], ModelError | BudgetReached) or not found[job].queries
            for job in (0, 2)
        )


# -- limits ----------------------------------------------------------------------------------------
def test_all_are_answered_within_one_limit(tmp_path: Path) -> None:
    busy = 0
    most = 0
    lock = threading.Lock()

    def serve(seen: Seen) -> Step:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.01)
        with lock:
            busy -= 1
        return answer(seen)

    with FaultyServer(serve) as server:
        model = shared(
            server.url.removesuffix("/answer"),
            concurrency=6,
            store=str(tmp_path / "replies.sqlite"),
        )
        metered_models = [MeteredModel(model, InMemoryCache()) for _ in JOBS]
        found = Jobs(
            [lambda job=job: metered_models[job].query(questions(job, 60)) for job in JOBS]
        ).wait()  # type: ignore[misc]
        assert len(server.seen) == 240
        again = Jobs([lambda job=job: model.query(questions(3 - job, 60)) for job in JOBS]).wait()  # type: ignore[misc]
        assert len(server.seen) == 240
    for job in JOBS:
        assert (
            texts(found[job])
            == texts(again[3 - job])
            == [f"{number} of {job}" for number in range(60)]
        )
        assert metered_models[job].budget.total == 60
    assert 4 <= most <= 6
    assert ReplyStore(tmp_path / "replies.sqlite").rows() == 240


def test_a_rate_is_that_of_all_together() -> None:
    with FaultyServer(answer) as server:
        model = shared(server.url.removesuffix("/answer"), rpm=3000)
        began = time.monotonic()
        found = Jobs([lambda job=job: model.query(questions(job, 25)) for job in JOBS]).wait()  # type: ignore[misc]
        took = time.monotonic() - began
    assert all(texts(found[job]) == [f"{number} of {job}" for number in range(25)] for job in JOBS)
    assert took > (100 - 13) / 50 * 0.95  # a burst of 12.5 goes out at once; no upper limit


# -- one ends, the others go on --------------------------------------------------------------------
@pytest.mark.parametrize("status", [500, 400, 422, 401])
def test_a_job_that_only_fails_ends_alone(status: int) -> None:
    """500s and 400s, which odd content may bring, by their number; a 401 at once.

    A 422 may be one image's or a field's: several in a row end the job, in one way or the other.
    """

    def serve(seen: Seen) -> Step:
        time.sleep(0.005)
        return error(status, "", "not this") if asked(seen)[0] == 0 else answer(seen)

    with FaultyServer(serve) as server:
        model = shared(server.url.removesuffix("/answer"), retries=0, stop_after=5)
        found = Jobs([lambda job=job: model.query(questions(job, 80)) for job in JOBS]).wait()  # type: ignore[misc]
    assert isinstance(found[0], ModelError)
    if status != 422:
        assert ("5 requests failed in a row" in str(found[0])) == (status != 401)
    for job in (1, 2, 3):
        assert texts(found[job]) == [f"{number} of {job}" for number in range(80)]


def test_failures_in_a_row_are_those_of_one_job() -> None:
    """Four jobs of which each fails three times in a row are no twelve failures in a row."""

    def serve(seen: Seen) -> Step:
        return error(500) if asked(seen)[1] % 4 else answer(seen)

    with FaultyServer(serve) as server:
        model = shared(server.url.removesuffix("/answer"), retries=0, stop_after=4, concurrency=64)

        def one_by_one(job: int) -> list[str | None]:
            return [texts(model.query([question(job, number)]))[0] for number in range(20)]

        found = Jobs([lambda job=job: one_by_one(job) for job in JOBS]).wait()  # type: ignore[misc]
        for job in JOBS:
            assert found[job][::4] == [f"{number} of {job}" for number in range(0, 20, 4)]
        for number in (1, 2, 3):
            model.query([question(0, number)])
        with pytest.raises(
            ModelError, match="4 requests failed in a row"
        ):  # from call to call, as ever
            model.query([question(0, 5)])


def test_a_job_without_money_ends_alone() -> None:
    with FaultyServer(after(0.01)) as server:
        model = shared(server.url.removesuffix("/answer"))
        budgets = [Budget(cap=10), *(Budget() for _ in range(3))]

        def work(job: int) -> list[Outcome]:
            found = model.query(questions(job, 50), budgets[job])
            budgets[job].book(found)
            return found

        found = Jobs([lambda job=job: work(job) for job in JOBS]).wait()  # type: ignore[misc]
    assert isinstance(found[0], BudgetReached) and budgets[0].total == 10
    assert [texts(found[job]) for job in (1, 2, 3)] == [
        [f"{n} of {job}" for n in range(50)] for job in (1, 2, 3)
    ]


def test_who_is_stopped_does_not_wait_for_whoever_waits_for_room() -> None:
    limiter = RateLimiter(requests=1)
    over = threading.Event()
    assert limiter.acquire(1, until=time.monotonic() + 60, stopped=lambda: False)
    held = threading.Thread(
        target=limiter.acquire,
        args=(1,),
        kwargs={"until": time.monotonic() + 61, "stopped": over.is_set},
    )
    held.start()  # has the turn for a minute
    time.sleep(0.05)
    began = time.monotonic()
    assert (
        limiter.acquire(1, until=began + 60, stopped=lambda: time.monotonic() > began + 0.1) is None
    )
    assert limiter.acquire(1, until=began + 0.2, stopped=lambda: False) is None
    over.set()
    limiter.wake()
    held.join(60)
    assert not held.is_alive()


# -- leaving ---------------------------------------------------------------------------------------
def test_to_abandon_ends_every_job_and_keeps_what_comes_in_the_next_moment(tmp_path: Path) -> None:
    def serve(seen: Seen) -> Step:
        return (
            Step(body=answer(seen).body, manner="silence") if asked(seen)[1] else after(0.6)(seen)
        )

    with FaultyServer(serve) as server:
        model = shared(
            server.url.removesuffix("/answer"), store=str(tmp_path / "replies.sqlite"), probe=True
        )
        jobs = Jobs([lambda job=job: model.query(questions(job, 10)) for job in JOBS])  # type: ignore[misc]
        while len(server.seen) < 8:
            time.sleep(0.01)
        model.abandon()
        ended = jobs.wait(60)
        assert all(isinstance(error, KeyboardInterrupt) for error in ended.values())
        sent = len(server.seen)
        with pytest.raises(KeyboardInterrupt):
            model.query(questions(9, 1))
        with pytest.raises(KeyboardInterrupt):
            model.probe(Budget())
        assert len(server.seen) == sent
        kept = ReplyStore(tmp_path / "replies.sqlite").rows()
        assert kept == sum(asked(seen)[1] == 0 for seen in server.seen) > 0
    assert threads_gone()
