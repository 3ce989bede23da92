"""Batches: handed in once, whoever dies in between, and collected by whoever comes next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import ModelError
from bbtvp.core.rng import stream
from bbtvp.models import Reply
from bbtvp.models.store import ReplyStore
from tests.endpoint.batch_server import KEY, BatchServer, Client, Fault, answers, bodies_of
from tests.support import ROOT

VENDORS = ("openai", "anthropic")


def awaken(after: int) -> Callable[[Client], None]:
    """Batches end in the pause with this number."""

    def asleep(client: Client) -> None:
        if len(client.slept) >= after:
            client.server.hold.clear()

    return asleep


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReplyStore]:
    store = ReplyStore(tmp_path / "replies.sqlite")
    yield store
    store.close()


@pytest.fixture(params=VENDORS)
def client(request: pytest.FixtureRequest, server: BatchServer, store: ReplyStore) -> Client:
    return Client(request.param, server, store)


def again(client: Client) -> Client:
    """The next process."""
    return Client(client.vendor, client.server, client.store)


# -- from end to end -------------------------------------------------------------------------------
def test_every_body_is_answered_once_and_billed_once(client: Client) -> None:
    bodies = bodies_of(7)
    client.server.hold.set()
    client.asleep = awaken(3)
    assert client.run(bodies) == {}
    assert client.texts() == answers(bodies)
    assert client.server.billed == dict.fromkeys(bodies, 1)
    assert (len(client.server.batches), client.left(), client.said) == (1, (0, 0), [])


def test_pauses_grow_to_five_minutes_and_progress_is_told(client: Client) -> None:
    client.server.hold.set()
    client.asleep = awaken(9)
    client.run(bodies_of(3))
    assert client.slept == pytest.approx([30, 45, 67.5, 101.25, 151.875, 227.8125, 300, 300, 300])
    first = client.progress[0]
    last = client.progress[-1]
    assert (first.collected, first.total, list(first.states)) == (0, 3, list(client.server.batches))
    assert set(first.states.values()) <= {"validating", "in_progress"}
    assert (last.collected, last.states, last.seconds) == (3, {}, sum(client.slept))


def test_nothing_to_do(client: Client) -> None:
    assert client.run({}) == {}
    assert client.server.log == []


def test_large_generations_are_split(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = bodies_of(8)
    assert (
        client.run(bodies, limit=3 * (32 << 10)) == {}
    )  # what one exchange can bring back: three replies
    assert sorted(len(batch.items) for batch in client.server.batches.values()) == [2, 3, 3]
    client = again(client)
    monkeypatch.setattr("bbtvp.endpoint.batch._UPLOAD", 700)  # two of them, wrapped
    more = bodies_of(3, first=8) | {"f" * 65: b"{}", "a" * 64: b" " * 700}
    failed = client.run(more)
    assert failed.keys() == {"f" * 65, "a" * 64}
    assert (
        "longer than 64" in failed["f" * 65]
        and "956 bytes are too many for a batch" in failed["a" * 64]
    )
    assert client.server.billed == dict.fromkeys(bodies_of(11), 1)


# -- how batches end -------------------------------------------------------------------------------
@pytest.mark.parametrize("fate", ["completed", "expired", "cancelled"])
def test_what_failed_has_the_vendors_reason_and_the_rest_counts(client: Client, fate: str) -> None:
    bodies = bodies_of(8)
    outcomes = dict(zip(bodies, ["ok", "errored", "unanswered", "missing"] * 2, strict=True))
    client.server.fate = fate
    client.server.outcome = outcomes.__getitem__
    failed = client.run(bodies)
    good = [key for key in bodies if outcomes[key] == "ok"]
    assert client.texts() == {key: answers(bodies)[key] for key in good}
    assert failed.keys() == bodies.keys() - set(good)
    words = {"errored": "status 400", "unanswered": "status 408", "missing": "no result: "}
    assert all(failed[key].startswith(words[outcomes[key]]) for key in failed)
    assert client.left() == (0, 0)
    assert client.server.billed.total() == len(good)
    client.server.outcome = lambda name: "ok"  # a later run asks for what failed, and nothing else
    assert again(client).run({key: bodies[key] for key in failed}) == {}
    assert client.server.billed == dict.fromkeys(bodies, 1)


def test_a_batch_that_fails_as_a_whole(server: BatchServer, store: ReplyStore) -> None:
    server.fate = "failed"
    client = Client("openai", server, store)
    failed = client.run(bodies_of(3))
    assert len(failed) == 3 and all(
        "is failed: line 1 is bad" in reason for reason in failed.values()
    )
    assert client.left() == (0, 0)


def test_results_that_cannot_be_read_stay_with_the_vendor(client: Client) -> None:
    bodies = bodies_of(4)
    where = "/content" if client.vendor == "openai" else "/results"
    client.server.faults.append(Fault("GET", where, 200, b"<html>not today</html>"))
    with pytest.raises(ModelError, match="cannot be read"):
        client.run(bodies)
    later = again(client)
    assert later.run(bodies) == {}
    assert later.texts() == answers(bodies)
    assert client.server.billed == dict.fromkeys(bodies, 1)


# -- faults while it is under way ------------------------------------------------------------------
def test_looking_survives_faults(client: Client) -> None:
    client.server.hold.set()
    client.asleep = awaken(6)
    client.server.faults += [
        Fault("GET", "/batches/", 500),
        Fault("GET", "/batches/"),
        Fault("GET", "/batches/", 200, b"<html>"),
        Fault("GET", "/batches/", 429, headers={"Retry-After": "600"}),
        Fault("GET", "/batches/", 404),
    ]
    where = "/content" if client.vendor == "openai" else "/results"
    client.server.faults += [Fault("GET", where, 503), Fault("GET", where)]
    bodies = bodies_of(3)
    assert client.run(bodies) == {}
    assert client.texts() == answers(bodies)
    assert client.slept[3] == 600
    assert client.server.faults == []


def test_a_key_that_expires_stops_the_run_and_the_batch_stays(client: Client) -> None:
    bodies = bodies_of(3)
    client.server.faults.append(
        Fault(
            "GET",
            "/batches/",
            401,
            f'{{"error": {{"code": "no", "message": "not {KEY}"}}}}'.encode(),
        )
    )
    with pytest.raises(ModelError, match="check the environment variable VENDOR_API_KEY") as caught:
        client.run(bodies)
    assert KEY not in str(caught.value)
    assert client.left() == (1, 0)
    later = again(client)
    assert later.run(bodies) == {}
    assert later.texts() == answers(bodies)
    assert client.server.billed == dict.fromkeys(bodies, 1)


def test_a_batch_that_the_vendor_does_not_know_is_given_up(client: Client) -> None:
    bodies = bodies_of(3)
    client.store.begin_batch("batch_lost", f"{client.vendor}/m", list(bodies))
    failed = client.run(bodies)
    assert failed.keys() == bodies.keys() and all(
        "batch_lost cannot be found" in why for why in failed.values()
    )
    assert "submitted with another key?" in client.said[0]
    assert again(client).run(bodies) == {}


def test_patience_ends_and_the_batch_stays(client: Client) -> None:
    bodies = bodies_of(3)
    client.server.hold.set()
    failed = client.run(bodies, patience=3600.0)
    assert failed.keys() == bodies.keys() and all(
        "a later run collects it" in why for why in failed.values()
    )
    assert 3600 < sum(client.slept) < 3900
    client.server.hold.clear()
    assert again(client).run(bodies) == {}
    assert client.server.billed == dict.fromkeys(bodies, 1)


def test_an_interrupt_leaves_the_batch_and_says_so(client: Client) -> None:
    bodies = bodies_of(3)
    client.server.hold.set()

    def interrupt(client: Client) -> None:
        raise KeyboardInterrupt

    client.asleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        client.run(bodies)
    name = next(iter(client.server.batches))
    assert client.said == [
        f"interrupted: {name} stays with the vendor; the same command collects it"
    ]
    client.server.hold.clear()
    assert again(client).run(bodies) == {}
    assert client.server.billed == dict.fromkeys(bodies, 1)


# -- no body is with the vendor twice --------------------------------------------------------------
def test_only_what_no_batch_holds_is_handed_in(client: Client) -> None:
    old = bodies_of(4)
    more = bodies_of(3, first=4)
    client.server.hold.set()
    client.run(old, patience=0.0)
    later = again(client)
    wanted = dict(list(old.items())[:2]) | more
    later.asleep = awaken(1)
    assert later.run(wanted) == {}
    assert later.texts() == answers(wanted)
    assert [len(batch.items) for batch in client.server.batches.values()] == [4, 3]
    assert client.left() == (
        1,
        0,
    )  # two replies that were paid for and that nobody has asked for yet
    last = again(client)
    rest = {key: body for key, body in old.items() if client.store.recall(key) is None}
    assert (len(rest), last.run(rest), last.texts()) == (2, {}, answers(rest))
    assert client.server.billed == dict.fromkeys(old | more, 1)
    assert client.left() == (0, 0)


def test_a_batch_of_which_all_is_kept_is_forgotten(client: Client) -> None:
    old = bodies_of(2)
    client.server.hold.set()
    client.run(old, patience=0.0)
    for key in old:
        client.store.keep(key, Reply("known"), model="m")
    client.server.hold.clear()
    again(client).run(bodies_of(1, first=2))
    assert client.left() == (0, 0)


def test_two_runs_at_once_share_a_batch(client: Client) -> None:
    bodies = bodies_of(5)
    client.server.delay = 0.3
    clients = [again(client) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        failed = list(
            pool.map(
                lambda each: each.run(bodies, poll=0.05, sleep=time.sleep, clock=time.monotonic),
                clients,
            )
        )
    assert failed == [{}] * 4
    assert all(each.texts() == answers(bodies) for each in clients)
    assert len(client.server.batches) == 1


# -- the dangerous instant -------------------------------------------------------------------------
@pytest.mark.parametrize("status", [429, 503, 529])
def test_what_was_turned_down_is_handed_in_again(client: Client, status: int) -> None:
    client.server.faults.append(Fault("POST", "/batches", status, headers={"Retry-After": "7"}))
    assert client.run(bodies_of(2)) == {}
    assert (client.slept[0], len(client.server.batches)) == (7, 1)


def test_what_was_refused_for_good_leaves_no_trace(client: Client) -> None:
    client.server.faults.append(
        Fault("POST", "/batches", 400, b'{"error": {"code": "bad", "message": "no such model"}}')
    )
    with pytest.raises(ModelError, match="no such model"):
        client.run(bodies_of(2))
    assert client.left() == (0, 0)


@pytest.mark.parametrize("status", [None, 500, 200], ids=["hung up", "500", "unreadable"])
def test_where_nobody_knows_the_user_is_told(
    server: BatchServer, store: ReplyStore, status: int | None
) -> None:
    """And nothing is handed in a second time before the user gives the command again."""
    client = Client("anthropic", server, store)
    client.server.faults.append(Fault("POST", "/batches", status, b"<html>", after=True))
    with pytest.raises(
        ModelError, match=r"it is unknown whether .* accepted a batch .*console.*same command again"
    ):
        client.run(bodies_of(2))
    assert (len(client.server.batches), client.left()) == (1, (0, 1))
    later = again(client)
    assert later.run(bodies_of(2)) == {}
    assert "2 requests" in later.said[0] and "cancel it, or both are charged" in later.said[0]
    assert client.left() == (0, 0)


@pytest.mark.parametrize("after", [True, False], ids=["accepted", "not accepted"])
@pytest.mark.parametrize("status", [None, 500, 200], ids=["hung up", "500", "unreadable"])
def test_where_batches_are_listed_it_is_found_out(
    server: BatchServer, store: ReplyStore, after: bool, status: int | None
) -> None:
    server.faults.append(Fault("POST", "/batches", status, b"<html>", after=after))
    client = Client("openai", server, store)
    bodies = bodies_of(3)
    assert client.run(bodies) == {}
    assert client.texts() == answers(bodies)
    assert server.billed == dict.fromkeys(bodies, 1)
    assert (len(server.batches), len(client.said), client.left()) == (1, int(after), (0, 0))


# -- kills -----------------------------------------------------------------------------------------
def child(vendor: str, url: str, path: str, instant: str) -> None:
    """In a process of its own. It dies at an instant of its own choice, or prints what it has."""
    store = ReplyStore(Path(path))
    bodies = bodies_of(6)
    server: Any = type("Server", (), {"url": url})()
    client = Client(vendor, server, store)

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if instant == "accepted":
        store.begin_batch = die  # type: ignore[method-assign]
    elif instant == "waiting":
        client.asleep = die
    elif instant == "reading":
        keep = store.keep
        store.keep = lambda *a, **k: die() if len(client.got) == 4 else keep(*a, **k)  # type: ignore[method-assign]
    known = {key: reply.text for key in bodies if (reply := store.recall(key))}
    options = (
        {"sleep": time.sleep, "clock": time.monotonic, "poll": 0.02} if instant == "never" else {}
    )
    failed = client.run({key: body for key, body in bodies.items() if key not in known}, **options)
    sys.stdout.write(json.dumps([known | client.texts(), failed, client.said]))


def start(
    vendor: str, server: BatchServer, store: ReplyStore, instant: str = "never"
) -> subprocess.Popen[str]:
    code = "import sys\nfrom tests.endpoint.test_batch import child\nchild(*sys.argv[1:])"
    command = [sys.executable, "-c", code, vendor, server.url, str(store.path), instant]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    out = process.communicate()[0]
    assert process.returncode == 0
    got, failed, said = json.loads(out)
    return got, failed, said


def fall(process: subprocess.Popen[str]) -> None:
    assert (process.communicate()[0], process.returncode) == ("", -signal.SIGKILL)


@pytest.mark.parametrize(
    ("vendor", "instant"),
    [
        ("openai", "waiting"),
        ("anthropic", "waiting"),
        ("openai", "reading"),
        ("anthropic", "reading"),
        ("openai", "accepted"),
    ],
)
def test_the_same_command_after_a_kill_has_the_same_results_and_is_billed_once(
    server: BatchServer, store: ReplyStore, vendor: str, instant: str
) -> None:
    if instant == "waiting":
        server.hold.set()
    fall(start(vendor, server, store, instant))
    server.hold.clear()
    got, failed, _ = finish(start(vendor, server, store))
    assert (got, failed) == (answers(bodies_of(6)), {})
    assert server.billed == dict.fromkeys(bodies_of(6), 1)
    assert len(server.batches) == 1


def test_a_kill_at_the_dangerous_instant_is_told_where_batches_are_not_listed(
    server: BatchServer, store: ReplyStore
) -> None:
    fall(start("anthropic", server, store, "accepted"))
    got, _, said = finish(start("anthropic", server, store))
    assert got == answers(bodies_of(6))
    assert len(said) == 1 and "process died while it submitted 6 requests" in said[0]


@pytest.mark.parametrize("runs", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_kills_at_random_instants(runs: int, server: BatchServer, tmp_path: Path) -> None:
    rng = stream(0, "kills of batches")
    kills = 0
    server.delay = 0.3
    for run in range(runs):
        store = ReplyStore(tmp_path / f"{run}.sqlite")
        server.billed.clear()
        server.batches.clear()  # an earlier run's would be collected: its requests are equal
        for _ in range(6):
            process = start("openai", server, store)
            time.sleep(rng.uniform(0.2, 1.2))
            kills += process.poll() is None
            process.kill()
            process.communicate()
        got, failed, _ = finish(start("openai", server, store))
        assert (got, failed) == (answers(bodies_of(6)), {})
        assert server.billed == dict.fromkeys(bodies_of(6), 1)
        store.close()
    assert kills > 0
