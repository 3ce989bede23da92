"""The response store: what was kept is there, whoever dies, and a file that cannot be used says
what to type.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.rng import stream
from bbtvp.models import LabelScore, Reply, Usage
from bbtvp.models import store as store_module
from bbtvp.models.store import ReplyStore, reply_key
from bbtvp.models.store_file import StoreFile
from tests.support import ROOT

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReplyStore]:
    store = ReplyStore(tmp_path / "replies.sqlite")
    yield store
    store.close()


def scored(first: float = -0.25) -> Reply:
    return Reply(
        scores=(LabelScore(first, 1), LabelScore(-1.5, 3)),
        usage=Usage(700, 4, attempts=2, usd=0.01),
    )


# -- replies ---------------------------------------------------------------------------------------
def test_a_kept_reply_is_recalled_and_costs_nothing(store: ReplyStore) -> None:
    store.keep("a", scored(), model="openai/gpt-5")
    assert store.recall("a") == Reply(
        scores=scored().scores, usage=Usage(700, 4, attempts=0, usd=0.0)
    )
    assert store.recall("b") is None


def test_the_version_of_the_model_is_kept(store: ReplyStore) -> None:
    store.keep("a", Reply("yes", version="claude-5-20260901"), model="m")
    found = store.recall("a")
    assert found is not None
    assert found.version == "claude-5-20260901"


def test_another_process_recalls_it(store: ReplyStore) -> None:
    store.keep("a", Reply("yes", usage=Usage(9, 1)), model="m")
    environment = {**os.environ, "BBTVP_STORE": str(store.path)}
    code = "from bbtvp.models.store import ReplyStore\nprint(ReplyStore().recall('a').text)"
    python = [sys.executable, "-c", code]
    done = subprocess.run(
        python, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "yes\n"), done.stderr


def test_a_second_reply_leaves_the_first(store: ReplyStore) -> None:
    store.keep("a", Reply("first"), model="m")
    store.keep("a", Reply("second"), model="m")
    kept = store.recall("a")
    assert kept is not None and kept.text == "first"
    assert store.rows() == 1


TEXTS = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL too
SCORES = st.lists(
    st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 99)), max_size=4
)


@settings(max_examples=40)
@given(text=st.none() | TEXTS, scores=st.none() | SCORES, cut=st.booleans())
def test_any_reply_comes_back_to_the_bit(
    text: str | None,
    scores: list[tuple[float, int]] | None,
    cut: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = ReplyStore(tmp_path_factory.getbasetemp() / "any.sqlite")
    kept_scores = None if scores is None else tuple(LabelScore(*s) for s in scores)
    reply = Reply(text, kept_scores, Usage(1, 2, 0), cut)
    key = reply_key("", repr(reply).encode("utf-8", "surrogatepass"), 0, "")
    store.keep(key, reply, model="m")
    assert repr(store.recall(key)) == repr(reply)  # repr tells -0.0 from 0.0
    store.close()


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_not_kept(store: ReplyStore, score: float) -> None:
    store.keep("a", scored(score), model="m")
    assert store.recall("a") is None


def test_the_key_is_of_all_that_was_asked() -> None:
    keys = {
        reply_key(*parts)
        for parts in [
            ("u", b"b", 0, "1"),
            ("v", b"b", 0, "1"),
            ("u", b"c", 0, "1"),
            ("u", b"b", 1, "1"),
            ("u", b"b", 0, "2"),
            ("ub", b"", 0, "1"),
        ]
    }
    assert len(keys) == 6
    assert {len(key) for key in keys} == {64}  # the longest identifier that a batch may carry


def test_entries_can_be_listed_and_forgotten(
    store: ReplyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PAGE", 3)
    before = time.time()
    for i in range(10):
        store.keep(f"{i}", Reply("x" * 20_000), model="near" if i % 2 else "far")
    entries = list(store.entries())
    assert [entry.key for entry in entries] == [f"{i}" for i in range(10)]
    assert {entry.model for entry in entries} == {"near", "far"}
    assert all(before <= entry.when <= time.time() and entry.bytes > 20_000 for entry in entries)
    full = store.size()
    store.forget(entry.key for entry in entries if entry.model == "far")
    assert (store.rows(), store.recall("0")) == (5, None)
    assert store.size() < 0.7 * full  # the room is given back


# -- threads and processes -------------------------------------------------------------------------
def test_many_threads_keep_and_recall(store: ReplyStore) -> None:
    def work(thread: int) -> None:
        for i in range(5):
            store.keep(f"{thread}/{i}", Reply(f"{thread}/{i}"), model="m")
            kept = store.recall(f"{thread}/{i}")
            assert kept is not None and kept.text == f"{thread}/{i}"

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(work, range(64)))
    assert store.rows() == 320


def test_threads_that_wait_share_a_transaction(
    store: ReplyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.rows()
    entered = threading.Event()
    go = threading.Event()
    writes = []
    write = StoreFile.write

    def slow(self: StoreFile, change: Callable[[sqlite3.Connection], object]) -> None:
        writes.append(len(store._queue))
        entered.set()
        go.wait()
        write(self, change)

    monkeypatch.setattr(StoreFile, "write", slow)
    with ThreadPoolExecutor(20) as pool:
        pool.submit(store.keep, "first", Reply(), model="m")
        entered.wait()
        rest = [pool.submit(store.keep, f"{i}", Reply(), model="m") for i in range(19)]
        while len(store._queue) < 20:
            time.sleep(0.001)
        go.set()
        for future in rest:
            future.result()
    assert writes == [1, 19]
    assert store.rows() == 20


def keep_some(path: Path, process: int) -> None:
    store = ReplyStore(path)
    for i in range(10):
        store.keep(f"{process}/{i}", Reply("ok"), model="m")


def test_processes_that_open_a_new_file_at_once(tmp_path: Path) -> None:
    processes = [
        FORK.Process(target=keep_some, args=(tmp_path / "new" / "replies.sqlite", i))
        for i in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = ReplyStore(tmp_path / "new" / "replies.sqlite")
    assert store.rows() == 80
    store.close()


def test_a_forked_child_opens_the_file_anew(store: ReplyStore) -> None:
    store.keep("parent", Reply("p"), model="m")

    def child() -> None:
        store.keep("child", Reply("c"), model="m")
        store.close()

    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    store.keep("after", Reply("a"), model="m")
    assert [entry.key for entry in store.entries()] == ["after", "child", "parent"]


# -- kills -----------------------------------------------------------------------------------------
VICTIM = """
import sys, threading
from pathlib import Path
from bbtvp.models import Reply, store, store_file
if sys.argv[3] == "rollback":
    store_file.on_one_machine = lambda _: False
disk, name = store.ReplyStore(Path(sys.argv[1])), sys.argv[2]
def work(thread):
    for i in range(10**9):
        key = f"{name}/{thread}/{i}"
        disk.keep(key, Reply(key * 50), model="m")
        sys.stdout.write(key + "\\n")
        sys.stdout.flush()
for thread in range(8):
    threading.Thread(target=work, args=(thread,)).start()
"""


def kill_at_random(path: Path, kills: int, mode: str) -> list[str]:
    """Two processes at a time keep replies until they are killed; gives the keys whose `keep` had
    returned.
    """
    rng = stream(0, "kills")
    said = []
    for kill in range(kills):
        commands = [
            [sys.executable, "-c", VICTIM, str(path), f"{kill}{name}", mode] for name in "ab"
        ]
        victims = [
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for command in commands
        ]
        said += [
            (victim.stdout or sys.stdin).readline() for victim in victims
        ]  # they are under way
        time.sleep(rng.uniform(0, 0.2))
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
            said += victim.communicate()[0].splitlines(keepends=True)
    return [line.strip() for line in said if line.endswith("\n")]


@pytest.mark.parametrize(
    ("kills", "mode"),
    [
        (3, "wal"),
        (1, "rollback"),
        *(pytest.param(30, mode, marks=pytest.mark.slow) for mode in ("wal", "rollback")),
    ],
)
def test_what_was_kept_survives_kills(tmp_path: Path, kills: int, mode: str) -> None:
    path = tmp_path / "replies.sqlite"
    keys = kill_at_random(path, kills, mode)
    assert len(keys) > 5 * kills
    with sqlite3.connect(path) as disk:
        assert disk.execute("PRAGMA journal_mode").fetchone() == (
            "wal" if mode == "wal" else "delete",
        )
        assert disk.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    disk.close()
    store = ReplyStore(path)
    assert [
        key for key in keys if (reply := store.recall(key)) is None or reply.text != key * 50
    ] == []
    store.close()


# -- batches ---------------------------------------------------------------------------------------
def test_a_batch_is_open_until_it_is_ended(store: ReplyStore) -> None:
    store.begin_batch("b1", "m", ["x", "y"])
    store.begin_batch("b2", "m", ["z"])
    store.begin_batch("b3", "other", ["x"])
    store.close()
    assert store.open_batches("m") == {"b1": ["x", "y"], "b2": ["z"]}
    store.begin_batch("b1", "m", ["y"])  # x was read
    assert store.open_batches("m") == {"b1": ["y"], "b2": ["z"]}
    store.end_batch("b1")
    assert list(store.open_batches("m")) == ["b2"]
    assert store.open_batches("other") == {"b3": ["x"]}


def test_an_intent_lasts_until_its_batch_begins_or_it_is_withdrawn(store: ReplyStore) -> None:
    first = store.intend("m", ["x"])
    second = store.intend("m", ["y"])
    store.close()
    assert [(intent.intent, intent.keys) for intent in store.intents("m")] == [
        (first, ["x"]),
        (second, ["y"]),
    ]
    assert store.intents("other") == []
    store.begin_batch("b", "m", ["x"], intent=first)
    assert [intent.intent for intent in store.intents("m")] == [second]
    store.withdraw(second)
    assert store.intents("m") == []


def test_one_process_hands_in_at_a_time(store: ReplyStore) -> None:
    held = FORK.Event()

    def hold() -> None:
        with ReplyStore(store.path).submitting():
            held.set()
            time.sleep(60)

    process = FORK.Process(target=hold)
    process.start()
    held.wait()
    free = store.submitting()
    with pytest.raises(TimeoutError):
        free.acquire(timeout=0.05)
    process.kill()
    process.join()
    with free.acquire(timeout=5):  # the lock died with its holder
        assert stat.S_IMODE(Path(f"{store.path}.lock").stat().st_mode) == 0o600
