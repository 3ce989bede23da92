"""Several servers of one model: the load is shared, one that is down costs time and nothing else,
none is forgotten.
"""

from __future__ import annotations

import heapq
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.core.errors import ModelError
from bbtvp.endpoint.caller import Caller
from bbtvp.endpoint.faults import FailureDecision
from bbtvp.endpoint.fleet import FAULTS, FIRST_PAUSE, LONGEST_PAUSE, Fleet, ServerChoice
from bbtvp.endpoint.provider import HttpRequest
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import (
    Budget,
    InMemoryCache,
    MeteredModel,
    QueryFailed,
    Reply,
    Request,
    load_model,
)
from bbtvp.runs.journal import Journal
from bbtvp.search import optimize
from tests.adapters.recording import recorder
from tests.endpoint.eye_server import EyeServer
from tests.endpoint.faulty import FaultyServer, Script, Seen, Step, error
from tests.endpoint.fleet_server import Numbers, answer
from tests.endpoint.scripted import KEY, OK, PRICE, Ended, ScriptedCaller, explain, throttled
from tests.support import patterns

BROKEN = FailureDecision("HTTP 500", retry=True)
SLOW_DOWN = FailureDecision("HTTP 429", retry=True, throttled=True)
MISSING = FailureDecision("HTTP 404", fatal=True)
ODD = FailureDecision("HTTP 400")
REFUSED = FailureDecision("no", refused=True)


# -- who is asked ----------------------------------------------------------------------------------
class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet(clock: Clock) -> Fleet:
    return Fleet(["http://a", "http://b"], "m", clock=clock)


def took(fleet: Fleet, last: ServerChoice | None = None) -> ServerChoice:
    turn = fleet.choose(last)
    assert turn is not None
    return turn


def ask(
    fleet: Fleet, verdict: FailureDecision | None = None, *, at: str = "", gone: bool = False
) -> tuple[str, FailureDecision | None]:
    """One request: who got it (`at`, if given), and the fleet's verdict."""
    held = []
    while (turn := took(fleet)).server.url != (at or turn.server.url):
        held.append(turn)
        assert len(held) < 9, f"{at} is not asked"
    found = fleet.record(turn, verdict, gone=gone)
    for each in [turn, *held]:
        fleet.release(each)
    return turn.server.url, found


def test_the_least_busy_is_asked_and_of_equals_each_in_turn(fleet: Fleet) -> None:
    assert [ask(fleet)[0] for _ in range(4)] == ["http://a", "http://b"] * 2
    turns = [took(fleet) for _ in range(6)]
    assert Counter(turn.server.url for turn in turns) == {"http://a": 3, "http://b": 3}
    for turn in turns:
        if turn.server.url == "http://b":
            fleet.release(turn)
    assert [took(fleet).server.url for _ in range(3)] == ["http://b"] * 3


def test_a_slow_server_adds_what_it_can(fleet: Fleet, clock: Clock) -> None:
    """Two work on two requests at once, b three times slower; 16 requests are always under way."""
    seconds = {"http://a": 0.03, "http://b": 0.09}
    free = {url: [0.0, 0.0] for url in seconds}
    under_way: list[tuple[float, int, ServerChoice]] = []
    done = Counter[str]()
    for number in range(16 + 160):
        if number >= 16:
            clock.now, _, turn = heapq.heappop(under_way)
            fleet.record(turn, None)
            fleet.release(turn)
            done[turn.server.url] += 1
        turn = took(fleet)
        url = turn.server.url
        end = max(clock.now, heapq.heappop(free[url])) + seconds[url]
        heapq.heappush(free[url], end)
        heapq.heappush(under_way, (end, number, turn))
    most = clock.now * sum(2 / each for each in seconds.values())
    assert done.total() == 160 > 0.95 * most
    assert done["http://a"] > 2 * done["http://b"]


def test_no_servers_are_no_fleet() -> None:
    nobody = Fleet()
    wire = HttpRequest("POST", "http://x", {})
    assert (nobody.choose(), len(nobody), nobody.at(None, wire)) == (None, 0, wire)
    assert nobody.record(None, MISSING) is MISSING
    assert nobody.recognise(None, {"model": "x"}) is None
    nobody.release(None)


@pytest.mark.parametrize(
    ("verdict", "gone", "times"),
    [(BROKEN, False, FAULTS), (BROKEN, True, 1), (ODD, True, 1), (MISSING, False, 1)],
)
def test_a_server_that_fails_is_left_out(
    fleet: Fleet, verdict: FailureDecision, gone: bool, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(times):
        assert not fleet.left_out
        _, found = ask(fleet, verdict, at="http://a", gone=gone)
        assert found is not None
        assert found.retry and found.elsewhere and not found.fatal
    assert [ask(fleet)[0] for _ in range(5)] == ["http://b"] * 5
    assert fleet.left_out == (f"left out for now: a: {verdict.reason}",)
    assert [record.getMessage() for record in caplog.records] == list(fleet.left_out)


@pytest.mark.parametrize("verdict", [SLOW_DOWN, ODD, REFUSED])
def test_a_server_that_answers_is_not(fleet: Fleet, verdict: FailureDecision) -> None:
    for _ in range(2 * FAULTS):
        assert ask(fleet, verdict, at="http://a")[1] == verdict
    assert not fleet.left_out


def test_failures_count_in_a_row(fleet: Fleet) -> None:
    for _ in range(4):
        for _ in range(FAULTS - 1):
            ask(fleet, BROKEN, at="http://a")
        ask(fleet, at="http://a")
    assert not fleet.left_out


def test_it_gets_one_request_after_each_pause_and_the_pauses_grow(
    fleet: Fleet, clock: Clock
) -> None:
    ask(fleet, BROKEN, at="http://a", gone=True)
    for pause in (
        FIRST_PAUSE,
        2 * FIRST_PAUSE,
        4 * FIRST_PAUSE,
        8 * FIRST_PAUSE,
        16 * FIRST_PAUSE,
        32 * FIRST_PAUSE,
        LONGEST_PAUSE,
        LONGEST_PAUSE,
    ):
        clock.now += pause - 0.01
        assert ask(fleet)[0] == "http://b"
        clock.now += 0.02
        first, *others = [took(fleet) for _ in range(4)]
        assert [turn.server.url for turn in (first, *others)] == ["http://a", *["http://b"] * 3]
        fleet.record(first, BROKEN, gone=True)
        for turn in (first, *others):
            fleet.release(turn)


def test_the_first_reply_brings_it_back(
    fleet: Fleet, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ask(fleet, BROKEN, at="http://a", gone=True)
    clock.now += FIRST_PAUSE
    assert ask(fleet, at="http://a")[1] is None
    assert caplog.records[-1].getMessage() == "a answers again"
    assert {ask(fleet)[0] for _ in range(2)} == {"http://a", "http://b"}
    ask(fleet, BROKEN, at="http://a", gone=True)
    clock.now += FIRST_PAUSE  # and the pause is a short one again
    assert ask(fleet, at="http://a")[1] is None


def test_what_was_sent_before_says_nothing_bad_about_a_server_that_is_back(
    fleet: Fleet, clock: Clock
) -> None:
    turns = [took(fleet) for _ in range(12)]
    old = [turn for turn in turns if turn.server.url == "http://a"]
    fleet.record(old[0], BROKEN, gone=True)
    clock.now += FIRST_PAUSE
    for turn in old[1:3]:
        fleet.record(turn, BROKEN, gone=True)  # neither does it put the next attempt off
    for turn in turns:
        fleet.release(turn)
    assert ask(fleet, at="http://a")[1] is None
    for turn in old[3:]:
        fleet.record(turn, BROKEN, gone=True)
    assert not fleet.left_out


def test_while_all_are_down_all_are_asked(fleet: Fleet, clock: Clock) -> None:
    for url in ("http://a", "http://b"):
        _, found = ask(fleet, BROKEN, at=url, gone=True)
    assert found is not None
    assert found.retry and not found.elsewhere  # after a wait, as with one server
    assert {ask(fleet, BROKEN, gone=True)[0] for _ in range(4)} == {"http://a", "http://b"}
    assert ask(fleet)[1] is None
    assert len(fleet.left_out) == 1


def test_another_attempt_goes_to_another(fleet: Fleet) -> None:
    last: ServerChoice | None = None
    for url in ("http://a", "http://b", "http://a"):
        last = took(fleet, last)
        fleet.release(last)
        assert last.server.url == url
    for _ in range(3):
        fleet.choose()  # b, a, b: the least busy is a
    assert took(fleet, last).server.url == "http://b"


def test_what_no_server_can_do_ends_the_run_and_blames_no_server(fleet: Fleet) -> None:
    first = ask(fleet, MISSING, at="http://a")[1]
    second = ask(fleet, MISSING, at="http://b")[1]
    assert first is not None and second is not None
    assert (first.fatal, second.fatal) == (False, True)
    assert not fleet.left_out


def test_a_useless_server_is_not_asked_while_another_may_come_back(fleet: Fleet) -> None:
    ask(fleet, MISSING, at="http://a")
    ask(fleet, BROKEN, at="http://b", gone=True)
    assert [ask(fleet, BROKEN, gone=True)[0] for _ in range(3)] == ["http://b"] * 3


# -- which model -----------------------------------------------------------------------------------
def test_a_server_with_another_model_is_left_out(fleet: Fleet) -> None:
    a = took(fleet)
    b = took(fleet)
    assert fleet.recognise(a, {"model": "m"}) is None
    stranger = fleet.recognise(b, {"model": "x"})
    assert stranger is not None
    assert stranger.fatal and stranger.reason == "it serves the model 'x', not 'm'"
    assert fleet.recognise(b, {}) is None


@pytest.mark.parametrize(("first", "second"), [("x", "m"), ("x", "y")])
def test_where_nobody_can_tell_which_is_right_the_run_ends(
    fleet: Fleet, first: str, second: str
) -> None:
    a = took(fleet)
    b = took(fleet)
    assert fleet.recognise(a, {"model": first}) is None
    with pytest.raises(
        ModelError, match=rf"b as '{second}', another as '{first}'; take the wrong one out"
    ):
        fleet.recognise(b, {"model": second})


def test_a_model_that_is_called_like_the_key_is_not_named() -> None:
    fleet = Fleet(["http://a", "http://b"], "m", shown=lambda text: text.replace(KEY, "***"))
    assert fleet.recognise(took(fleet), {"model": "x"}) is None
    with pytest.raises(ModelError, match=r"b as '\*\*\*', another as 'x'"):
        fleet.recognise(took(fleet), {"model": KEY})


def test_a_fingerprint_makes_no_other_model(fleet: Fleet) -> None:
    fleet.expect("m.gguf b4721-1f0c")
    assert (
        fleet.recognise(took(fleet), {"model": "m.gguf", "system_fingerprint": "b4800-77aa"})
        is None
    )
    with pytest.raises(ModelError):
        fleet.recognise(took(fleet), {"model": "m"})


# -- over the wire ---------------------------------------------------------------------------------
def served(script: Script, *, slots: int) -> Script:
    """So many requests at once, the others wait."""
    room = threading.Semaphore(slots)

    def serve(seen: Seen) -> Step:
        with room:
            step = script(seen)
            time.sleep(step.delay)
        return Step(step.status, step.body, step.headers)

    return serve


def manned(scripted: ScriptedCaller, servers: list[FaultyServer], **changes: Any) -> None:
    """Give the caller these servers."""
    options = {
        "retries": scripted.caller.retries,
        "stop_after": scripted.caller.stop_after,
        **changes,
    }
    fleet = Fleet([server.url for server in servers], "m")
    scripted.caller = Caller(
        scripted.transport,
        scripted.limiter,
        explain=explain,
        key_variable="VLLM_API_KEY",
        secrets=[KEY],
        fleet=fleet,
        **options,
    )


@pytest.fixture
def scripted() -> Iterator[ScriptedCaller]:
    made = ScriptedCaller(most=16)
    yield made
    made.transport.close()
    assert made.limiter.in_flight == 0


def test_equal_servers_share_equally(scripted: ScriptedCaller) -> None:
    with ExitStack() as stack:
        script = served(lambda seen: Step(body=OK.body, delay=0.01), slots=4)
        other = served(lambda seen: Step(body=OK.body, delay=0.01), slots=4)
        servers = [stack.enter_context(FaultyServer(each)) for each in (script, other)]
        manned(scripted, servers)
        assert scripted.run("fleet:m", 300) == [Ended(None, False, 1, PRICE)] * 300
        shares = [len(server.seen) for server in servers]
    assert sum(shares) == 300
    assert abs(shares[0] / 300 - 0.5) <= 0.05


def test_connections_are_kept_for_each_server(scripted: ScriptedCaller) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(FaultyServer(lambda seen: OK)) for _ in range(5)]
        manned(scripted, servers)
        for _ in range(20):
            scripted.run("fleet:m", 1)
        assert [(len(server.seen), server.connections) for server in servers] == [(4, 1)] * 5


@pytest.mark.parametrize(
    "sick",
    [
        error(404, "model_not_found", "no such model"),
        error(500),
        error(401),
        Step(body=b"<html>"),
        Step(302),
    ],
)
def test_a_sick_server_loses_no_request(scripted: ScriptedCaller, sick: Step) -> None:
    with FaultyServer(lambda seen: OK) as well, FaultyServer(lambda seen: sick) as ill:
        manned(scripted, [ill, well])
        ended = scripted.run("fleet:m", 60)
        assert [end.reason for end in ended] == [None] * 60
        assert sum(end.attempts for end in ended) == len(ill.seen) + len(well.seen)
        assert len(well.seen) == 60 and 0 < len(ill.seen) <= 8 + FAULTS
    assert set(scripted.reads.values()) == {1}


def test_a_server_that_hangs_is_given_up(scripted: ScriptedCaller) -> None:
    with (
        FaultyServer(lambda seen: OK) as well,
        FaultyServer(lambda seen: Step(manner="silence")) as ill,
    ):
        manned(scripted, [ill, well])
        ended = scripted.run("fleet:m", 40)
    assert [end.reason for end in ended] == [None] * 40
    assert all(
        end.usd > PRICE for end in ended if end.attempts > 1
    )  # it may have charged for what it never said


def test_when_all_are_down_it_ends_as_with_one() -> None:
    scripted = ScriptedCaller(stop_after=5, retries=2)
    with (
        FaultyServer(lambda seen: error(500)) as one,
        FaultyServer(lambda seen: error(503)) as other,
    ):
        manned(scripted, [one, other])
        with pytest.raises(
            ModelError,
            match=r"5 requests failed in a row, the last with: 127\.0\.0\.1:\d+: HTTP 50",
        ):
            scripted.run("fleet:m", 100)
        assert len(one.seen) and len(other.seen)
    scripted.transport.close()


def test_what_every_server_refuses_ends_the_run(scripted: ScriptedCaller) -> None:
    missing = error(404, "model_not_found", "no such model")
    with FaultyServer(lambda seen: missing) as one, FaultyServer(lambda seen: missing) as other:
        manned(scripted, [one, other])
        with pytest.raises(ModelError, match="check the model's name"):
            scripted.run("fleet:m", 20)


def test_throttling_is_no_illness(scripted: ScriptedCaller) -> None:
    with (
        FaultyServer(lambda seen: throttled() if seen.number % 3 == 0 else OK) as one,
        FaultyServer(lambda s: OK) as two,
    ):
        manned(scripted, [one, two])
        ended = scripted.run("fleet:m", 60)
        assert [end.reason for end in ended] == [None] * 60
        assert not scripted.caller.fleet.left_out


# -- kills -----------------------------------------------------------------------------------------
def question(number: int) -> Request:
    return Request(np.zeros((8, 8, 3), np.uint8), f"say {number}")


def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    """No request is lost or answered twice, and the server that returns works again."""
    count = 1500
    killed = threading.Event()
    with Numbers(tmp_path / "a") as steady, Numbers(tmp_path / "b") as other:
        model = load_model(
            "openai-api/lab/numbers",
            base_url=[steady.url, other.url],
            store=str(tmp_path / "store"),
            probe=False,
            concurrency=16,
        )

        def strike() -> None:
            end = time.monotonic() + 20
            while other.answered.total() < 100 and time.monotonic() < end:
                time.sleep(0.01)
            other.kill()
            killed.set()
            time.sleep(0.5)
            other.start()

        striker = threading.Thread(target=strike)
        striker.start()
        with Journal({"numbers": count}, tmp_path / "run") as journal:
            metered = MeteredModel(model, journal, budget=Budget())
            outcomes = [
                metered.query([question(number) for number in range(at, at + 500)])
                for at in (0, 500, 1000)
            ]
            striker.join()
            attempts = metered.budget.total
        replies = [outcome for call in outcomes for outcome in call]
        before = other.answered.total()
        model.query([question(number) for number in range(count, count + 100)])
        assert other.answered.total() >= before + 45
        total = steady.answered + other.answered
    assert killed.is_set()
    assert [reply.text if isinstance(reply, Reply) else reply for reply in replies] == [
        f"number {i}" for i in range(count)
    ]
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    ]
    keys = [row[0] for line in lines if line["record"].startswith("replies") for row in line["got"]]
    assert len(keys) == len(set(keys)) == count
    again = sum(total[number] - 1 for number in range(count))
    assert again <= 16  # answered, and killed on the way out: those in flight at most
    assert count + again <= attempts <= count + 40


# -- one run, another list -------------------------------------------------------------------------
def loaded(urls: str | list[str], tmp_path: Path, **options: Any) -> Endpoint:
    model = load_model(
        "openai-api/eye/eye",
        base_url=urls,
        **{"store": str(tmp_path / "replies.sqlite"), **options},
    )
    assert isinstance(model, Endpoint)
    return model


def test_a_run_goes_on_whatever_the_list(tmp_path: Path) -> None:
    task = patterns()
    with ExitStack() as stack:
        servers = [stack.enter_context(recorder(EyeServer())) for _ in range(3)]
        a, b, c = (server.url for server in servers)

        def search(urls: str | list[str], out: str, **options: Any) -> str:
            return optimize(
                task,
                loaded(urls, tmp_path, **options),
                budget=400,
                prompt="tone",
                out=tmp_path / out,
            ).prompt.digest

        first = search([a, b], "run")
        sent = [len(server.asked) for server in servers]
        assert min(sent[:2]) > 0.4 * sum(sent) and not sent[2]
        assert search([c, a, b], "run") == first  # by the journal
        assert search(f"{b},", "run") == first
        assert search(f"{c},{b}", "elsewhere") == first  # by the store
        assert search([c], "run", store=False) == first  # by the journal alone, but for the probe
        assert len(servers[2].asked) <= 9
        assert [len(server.asked) for server in servers[:2]] == sent[:2]


def test_a_fleet_is_known_by_its_name_and_one_server_by_its_address(tmp_path: Path) -> None:
    one, other = (
        loaded(urls, tmp_path).identity
        for urls in ("http://127.0.0.1:1/v1,", ["http://127.0.0.1:2/v1"])
    )
    assert one == other
    assert (
        loaded("http://127.0.0.1:1/v1", tmp_path).identity
        != loaded("http://127.0.0.1:2/v1", tmp_path).identity
    )
    assert loaded("http://127.0.0.1:1/v1,", tmp_path, api="responses").identity != one


def test_the_probe_meets_every_server_and_names_the_wrong_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    eyes = EyeServer()
    with recorder(eyes) as right, recorder(lambda asked: eyes(asked) | {"model": "ear"}) as wrong:
        model = loaded([right.url, wrong.url], tmp_path)
        found = model.probe(Budget())
        host = wrong.url.removeprefix("http://")
        assert f"left out for now: {host}: it serves the model 'ear', not 'eye'" in found.findings
        assert found.capabilities.revision == "eye" and found.capabilities.deterministic
        assert found.queries == len(right.asked) + len(wrong.asked) and len(wrong.asked) == 1
        assert not any(
            "left out" in finding
            for finding in loaded([right.url], tmp_path).probe(Budget()).findings
        )
        with pytest.raises(ModelError, match="answer as different models"):
            loaded([wrong.url, right.url], tmp_path, store=False).probe(Budget())


def test_a_run_that_goes_on_does_not_take_another_model_for_the_one_it_knew(tmp_path: Path) -> None:
    def says(name: str) -> Any:
        return lambda asked: answer(asked.body, name)

    with recorder(says("/models/seven")) as then, recorder(says("/models/eight")) as now:
        loaded([then.url], tmp_path, top=0, forced=False).probe(Budget())
        model = loaded([now.url], tmp_path, top=0, forced=False)
        assert model.probe(Budget()).capabilities.revision == "/models/seven"
        with pytest.raises(ModelError, match="'/models/eight', another as '/models/seven'"):
            model.query([question(7)])


def test_attempts_at_another_server_count(tmp_path: Path) -> None:
    with Numbers(tmp_path / "log", seconds=0) as well, FaultyServer(lambda seen: error(500)) as ill:
        model = load_model(
            "openai-api/lab/n", base_url=[ill.url, well.url], store=False, probe=False
        )
        metered = MeteredModel(model, InMemoryCache())
        outcomes = metered.query([question(number) for number in range(20)])
        assert not any(isinstance(outcome, QueryFailed) for outcome in outcomes)
        assert metered.budget.total == 20 + len(ill.seen)
